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

/** Parts texts in {@link packed}. JSON.stringify writes it escaped. */
const SEPARATOR = '\x1f';

/**
 * JSON texts, or nulls, as one parameter; {@link unpacked} is the array of them in SQL. In an array literal each quote of them
 * would be escaped first, which for long lists costs more than all else about them.
 */
export const packed = (texts: readonly (string | null | undefined)[]): string => texts.map((text) => text ?? '').join(SEPARATOR);

export const unpacked = (parameter: string): string => `string_to_array(${parameter}, chr(${SEPARATOR.charCodeAt(0)}), '')`;
