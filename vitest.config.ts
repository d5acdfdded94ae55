// Two groups: what needs only CPU runs in parallel, what drives the machine (Docker, daemons, kill -9) one file at a time
// and after it, so that neither disturbs the other's timing.
import { defineConfig } from 'vitest/config';

const machine = [
  'packages/core/src/drivers/docker/**/*.test.ts',
  'packages/*/src/**/*.docker.test.ts',
  'test/{e2e,crash,clients,s3,transcripts,examples}/**/*.test.ts',
];

export default defineConfig({
  resolve: { conditions: ['@thecloud/source'] },
  ssr: { resolve: { conditions: ['@thecloud/source', 'node', 'import'] } },
  test: {
    disableConsoleIntercept: true,
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['**/node_modules/**', ...machine],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: 'machine', include: machine, fileParallelism: false, sequence: { groupOrder: 1 }, testTimeout: 120_000, hookTimeout: 120_000 },
      },
    ],
  },
});
