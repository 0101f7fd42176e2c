/**
 * `($1,$2),($3,$4)` for a multi-row statement, and its parameters. Large texts are best given as Buffers: they travel
 * as they are, without being escaped into an array literal.
 */
export function valuesList(
  rows: readonly (readonly unknown[])[],
  casts: readonly string[] = [],
  offset = 0,
): { sql: string; parameters: unknown[] } {
  let n = offset;
  const sql = rows.map((row) => `(${row.map((_, i) => `$${++n}${casts[i] ? `::${casts[i]}` : ''}`).join(',')})`).join(',');
  return { sql, parameters: rows.flat() };
}
