// Completion in the shells themselves, with names from the daemon.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cloud, has } from './cloud.ts';

let cloud: Cloud;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  cloud = await Cloud.start();
  await cloud.run(['instance', 'create', 'web', '--image', 'busybox']);
  await cloud.run(['image', 'pull', 'debian:trixie']);
  const bin = join(cloud.folder, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'cloud'), `#!/bin/sh\nexec '${process.execPath}' '${join(import.meta.dirname, '../../packages/cli/bin/cloud.js')}' "$@"\n`);
  chmodSync(join(bin, 'cloud'), 0o755);
  env = { ...cloud.env, PATH: `${bin}:${cloud.env['PATH']}` };
});
afterAll(() => cloud[Symbol.asyncDispose]());

const candidates = async (...words: string[]): Promise<string[]> =>
  (await cloud.run(['complete', '--', ...words])).stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t')[0] as string);

describe('candidates', () => {
  it.each([
    [['vol'], ['volume']],
    [
      ['instance', 'res'],
      ['restart', 'resume', 'resize'],
    ],
    [['instance', 'get', ''], ['web']],
    [['instance', 'delete', 'web', ''], []],
    [['volume', 'attach', 'data', '--instance', ''], ['web']],
    [['instance', 'create', 'x', '--rest'], ['--restart-policy']],
    [
      ['instance', 'create', 'x', '--restart-policy', ''],
      ['always', 'on-failure', 'never'],
    ],
    [['instance', 'create', 'x', '--restart-policy=on'], ['--restart-policy=on-failure']],
    [
      ['instance', 'resize', 'web', '--type', 'm'],
      ['micro', 'medium'],
    ],
    [['instance', 'cp', 'w'], ['web:/']],
    [['instance', 'cp', './'], [':files']],
    [['-o', 'j'], ['json']],
    [['-o', 'json', 'vpc', 'l'], ['list']],
    [['config', 'set', 'output', 'w'], ['wide']],
    [['help', 'instance', 'pa'], ['pause']],
    [['nonsense', ''], []],
  ])('after %j', async (words, expected) => {
    expect(await candidates(...words)).toEqual(expected);
  });

  it('are none, and silent, where the daemon is away', async () => {
    const result = await cloud.run(['complete', '--', 'instance', 'get', ''], { env: { CLOUD_DATA_DIR: join(cloud.folder, 'none') } });
    expect(result).toEqual({ stdout: '', stderr: '', code: 0 });
  });
});

describe('bash', () => {
  const complete = (...words: string[]): string[] => {
    const script = `source <(cloud completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cloud; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = spawnSync('bash', ['--norc', '-c', script, 'bash', ...words], { env, encoding: 'utf8' });
    return stdout.split('\n').filter((line) => line !== '');
  };

  it('completes commands, names, and values with colons, which it takes apart', () => {
    expect(complete('cloud', 'snap')).toEqual(['snapshot']);
    expect(complete('cloud', 'instance', 'get', 'w')).toEqual(['web']);
    expect(complete('cloud', 'instance', 'create', 'x', '--image', 'deb')).toEqual(['debian:trixie']);
    expect(complete('cloud', 'instance', 'create', 'x', '--image', 'debian', ':', 'tr')).toEqual(['trixie']);
    expect(complete('cloud', 'instance', 'create', 'x', '--restart-policy', '=', 'on')).toEqual(['on-failure']);
  });

  it.skipIf(!has('script'))('completes at the key', async () => {
    const { Terminal } = await import('./cloud.ts');
    const shell = new Terminal('bash --norc --noprofile -i', cloud.folder, { ...env, PS1: '> ' });
    shell.type('source <(cloud completion bash); echo rea""dy\n');
    await shell.sees('ready');
    shell.type('cloud instance get w\t');
    await shell.sees('get web ');
    shell.type('-o na\t\n');
    await shell.sees(/name[^]*web\r?\n/);
    shell.type('exit\n');
    await shell.ended;
  });
});

describe.skipIf(!has('fish'))('fish', () => {
  const complete = (line: string): string[] => {
    const { stdout } = spawnSync('fish', ['--no-config', '-c', `cloud completion fish | source; complete -C '${line}'`], { env, encoding: 'utf8' });
    return stdout.split('\n').filter((one) => one !== '');
  };
  it('completes commands and names, with what they are', () => {
    expect(complete('cloud snap')).toEqual(['snapshot\tCopies of volumes as of one instant']);
    expect(complete('cloud instance get ')).toEqual(['web\trunning']);
    expect(complete('cloud instance create x --image deb')).toEqual(['debian:trixie\tavailable']);
  });
});

describe.skipIf(!has('zsh'))('zsh', () => {
  it('completes commands and names', () => {
    const script = `
      zmodload zsh/zpty
      zpty shell zsh -f -i
      zpty -w shell 'PS1=""; unsetopt zle_bracketed_paste; source <(cloud completion zsh); echo rea""dy'
      zpty -r shell out '*ready*'
      zpty -w -n shell $'cloud instance get w\\t'; zpty -r shell out '*get web*' ; print -r -- "$out"
      zpty -w -n shell $'\\025cloud instance create x --image deb\\t'; zpty -r shell out '*trixie*'; print -r -- "$out"
      zpty -d shell`;
    const { stdout } = spawnSync('zsh', ['-f', '-c', script], { env, encoding: 'utf8', timeout: 30_000 });
    expect(stdout).toMatch(/get web/);
    expect(stdout).toMatch(/debian\\?:trixie/);
  });
});
