import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['@thecloud/source'] },
  ssr: { resolve: { conditions: ['@thecloud/source', 'node', 'import'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts'],
    disableConsoleIntercept: true,
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
