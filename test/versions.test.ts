// One version for everything that is released together: changesets writes it into the packages, and the core says it too.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { VERSION } from '@thecloud/core';
import { expect, it } from 'vitest';

const PACKAGES = join(import.meta.dirname, '..', 'packages');

interface Manifest {
  name: string;
  version: string;
  dependencies?: Record<string, string>;
}

it.each(readdirSync(PACKAGES))('packages/%s has the version that the core says', (folder) => {
  const manifest = JSON.parse(readFileSync(join(PACKAGES, folder, 'package.json'), 'utf8')) as Manifest;
  expect(manifest.version).toBe(VERSION);
  const ours = Object.entries(manifest.dependencies ?? {}).filter(([name]) => name.startsWith('@thecloud/'));
  expect(ours).toEqual(ours.map(([name]) => [name, VERSION]));
});
