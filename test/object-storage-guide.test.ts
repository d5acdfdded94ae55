// The guide names what S3 clients cannot have; the routes know it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

interface Routed {
  name: string;
  level: string;
  method: string;
  handle?: unknown;
}
const isRoute = (value: unknown): value is Routed => typeof value === 'object' && value !== null && 'level' in value && 'method' in value && 'name' in value;

it('the guide lists every route of S3 that has no handler', async () => {
  const folder = join(import.meta.dirname, '../packages/core/src/services/bucket/s3');
  const missing = new Set<string>();
  const handled = new Set<string>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.ts') && !name.includes('.test.') && name !== 'testbench.ts')) {
    const module = (await import(join(folder, file))) as Record<string, unknown>;
    for (const value of Object.values(module)) {
      if (!Array.isArray(value)) continue;
      for (const route of value.filter(isRoute)) (route.handle === undefined ? missing : handled).add(route.name);
    }
  }
  expect(handled.size).toBeGreaterThan(60);
  const guide = readFileSync(join(import.meta.dirname, '../docs/guides/object-storage.md'), 'utf8');
  const [, text = ''] = guide.split('<!-- not implemented: checked against the routes -->\n');
  expect((text.split('.\n')[0] ?? '').split(/,\s+/).sort()).toEqual([...missing].sort());
});
