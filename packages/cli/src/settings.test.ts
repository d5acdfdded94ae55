// What is sent where: a token of the configuration belongs to the address beside it.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { configFile } from './contexts.ts';
import { settingsOf } from './settings.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'cloud-settings-'));
  for (const name of ['CLOUD_TOKEN', 'CLOUD_API_KEY', 'CLOUD_URL', 'CLOUD_SOCKET', 'CLOUD_CONTEXT', 'CLOUD_DATA_DIR']) vi.stubEnv(name, '');
  vi.stubEnv('XDG_CONFIG_HOME', home);
  mkdirSync(dirname(configFile()), { recursive: true });
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true, force: true });
});

const configure = (config: object): void => writeFileSync(configFile(), JSON.stringify(config));

it.each([
  ['http://127.0.0.1:7070', '', { token: 't' }],
  ['http://127.0.0.1:7070', 'http://127.0.0.1:7070/', { token: 't' }],
  ['http://127.0.0.1:7070', 'http://127.0.0.1:9999', undefined],
  ['http://127.0.0.1:7070', 'https://127.0.0.1:7070', undefined],
  [undefined, 'http://127.0.0.1:9999', { token: 't' }],
])('the token of a configuration with the address %s, asked for %s', (url, variable, proof) => {
  configure({ token: 't', ...(url === undefined ? {} : { url }) });
  vi.stubEnv('CLOUD_URL', variable);
  expect(settingsOf(undefined).proof).toEqual(proof);
});
