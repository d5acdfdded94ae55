// Contexts, words and secrets as they are typed: files and their modes, precedence, questions on a terminal, what never stands on a command line.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cloud, has } from './cloud.ts';

let cloud: Cloud;
beforeAll(async () => {
  cloud = await Cloud.start();
});
afterAll(() => cloud[Symbol.asyncDispose]());

const configured = (name: string): string => join(cloud.folder, '.config', 'thecloud', name);

describe('words', () => {
  it('join to the name of a group, or of an action', async () => {
    const plain = await cloud.run(['instance-type', 'list', '-o', 'name']);
    expect(await cloud.run(['instance', 'type', 'list', '-o', 'name'])).toEqual(plain);
    expect(plain.code).toBe(0);
    await cloud.run(['ssh', 'key', 'create', 'k', '--generate']);
    expect((await cloud.run(['ssh', 'key', 'list', '-o', 'name'])).stdout).toBe('k\n');
    // Letters together: oclif reads this one.
    expect(await cloud.run(['instance', 'type', 'list', '-qoname'])).toEqual(plain);
    expect((await cloud.run(['system', 'rotate', 'master', 'key', '--dry-run'])).code).toBe(0);
    // As few words as make a command.
    expect((await cloud.run(['secret', 'delete', 'version', '--dry-run'])).stderr).toContain('There is no secret "version"');
  });

  it('that nearly join are told what was meant', async () => {
    const said = async (...words: string[]) => (await cloud.run(words)).stderr;
    expect(await said('instance', 'typ', 'list')).toContain('Hint: cloud instance type list');
    expect(await said('instance', 'type', 'lst')).toContain('Hint: cloud instance type list');
    expect(await said('instanc', 'type', 'list')).toContain('Did you mean instance type?');
    expect((await cloud.run(['instance', 'type', '--help'])).stdout).toContain('cloud instance type <operation>');
    expect((await cloud.run(['help', 'instance', 'type', 'list'])).stdout).toContain('cloud instance type list');
  });
});

describe('a context', () => {
  it('needs no file while there is only the own daemon', async () => {
    expect((await cloud.run(['context', 'current'])).stdout).toBe('default\n');
    expect(await cloud.json(['context', 'list'])).toEqual({ items: [{ name: 'default', current: true, where: join(cloud.folder, 'data') }] });
    expect((await cloud.run(['vpc', 'list'])).code).toBe(0);
    expect(readdirSync(join(cloud.folder))).not.toContain('.config/thecloud/contexts.json');
  });

  it('is made, used, renamed and forgotten', async () => {
    expect((await cloud.run(['context', 'create', 'far', '--url', 'https://cloud.example.com:8443/', '--tenant', 'acme'])).code).toBe(0);
    expect((await cloud.run(['context', 'create', 'far', '--url', 'http://127.0.0.1:1'])).code).toBe(5);
    expect((await cloud.run(['context', 'create', 'near'])).code).toBe(0);
    expect((await cloud.run(['context', 'use', 'nera'])).stderr).toContain('Did you mean near?');
    await cloud.run(['context', 'use', 'near']);
    expect((await cloud.run(['context', 'current'])).stdout).toBe('near\n');
    await cloud.run(['context', 'rename', 'near', 'here']);
    expect((await cloud.run(['context', 'current'])).stdout).toBe('here\n');
    expect(JSON.parse(readFileSync(configured('contexts.json'), 'utf8'))).toEqual({
      current: 'here',
      contexts: { far: { url: 'https://cloud.example.com:8443', tenant: 'acme' }, here: { dataDir: join(cloud.folder, 'data') } },
    });
    expect(statSync(configured('contexts.json')).mode & 0o777).toBe(0o600);
    expect((await cloud.run(['vpc', 'list'])).code).toBe(0);
    expect((await cloud.run(['complete', '--', 'context', 'use', ''])).stdout).toBe('default\nfar\nhere\n');
    expect((await cloud.run(['complete', '--', 'vpc', 'list', '--context', 'h'])).stdout).toBe('here\n');
    await cloud.run(['context', 'delete', 'here']);
    expect((await cloud.run(['context', 'current'])).stdout).toBe('default\n');
    expect((await cloud.run(['vpc', 'list', '--context', 'here'])).code).toBe(4);
    expect((await cloud.run(['vpc', 'list'], { env: { CLOUD_CONTEXT: 'here' } })).stderr).toContain('There is no context "here"');
  });

  it('goes after flags and the environment, and before the configuration; named by a flag it goes before the environment', async () => {
    const source = async (args: string[], env: NodeJS.ProcessEnv = {}) => {
      const { stdout } = await cloud.run(['config', 'list', '-o', 'json', ...args], { env });
      const { items } = JSON.parse(stdout) as { items: { name: string; value?: string; source: string }[] };
      const { value, source: from } = items.find(({ name }) => name === 'tenant') as (typeof items)[number];
      return `${value} ${from}`;
    };
    await cloud.run(['config', 'set', 'tenant', 'kept']);
    expect(await source([])).toBe('kept config');
    await cloud.run(['context', 'use', 'far']);
    expect(await source([])).toBe('acme context');
    expect(await source([], { CLOUD_TENANT: 'env' })).toBe('env environment');
    expect(await source(['--tenant', 'flag'], { CLOUD_TENANT: 'env' })).toBe('flag flag');
    expect(await source(['--context', 'far'], { CLOUD_TENANT: 'env' })).toBe('acme context');
    expect(await source([], { CLOUD_CONTEXT: 'default' })).toBe('kept config');
    await cloud.run(['context', 'use', 'default']);
    await cloud.run(['config', 'unset', 'tenant']);
  });

  it('named wrongly, or kept in a broken file, is an error and no guess', async () => {
    expect((await cloud.run(['context', 'create', 'a b'])).code).toBe(2);
    expect((await cloud.run(['context', 'create', 'default'])).code).toBe(5);
    expect((await cloud.run(['context', 'rename', 'default', 'x'])).code).toBe(5);
    const before = readFileSync(configured('contexts.json'), 'utf8');
    writeFileSync(configured('contexts.json'), '{');
    expect((await cloud.run(['vpc', 'list'])).stderr).toContain('contexts.json is not valid JSON');
    writeFileSync(configured('contexts.json'), before);
  });
});

describe('a secret', () => {
  it('never comes from the command line', async () => {
    const { stderr, code } = await cloud.run(['secret', 'create', 'db', '--value', 'hunter2']);
    expect([code, stderr]).toEqual([2, expect.stringContaining('Hint: cloud secret create db --value -\n')]);
    expect(stderr).not.toContain('hunter2');
    expect((await cloud.run(['secret', 'create', 'db', '--value=@@hunter2'])).code).toBe(2);
    expect((await cloud.run(['secret', 'create', 'db'])).stderr).toContain('Give --value -, --value @file or --generate <length>');
  });

  it('comes from standard input or a file: a line without its end, lines as they are', async () => {
    await cloud.run(['secret', 'create', 'line', '--value', '-'], { input: 'hunter2\n' });
    expect(await cloud.run(['secret', 'get', 'line', '--raw'])).toEqual({ stdout: 'hunter2', stderr: '', code: 0 });
    writeFileSync(join(cloud.folder, 'key.pem'), '-----BEGIN\nabc\n-----END\n');
    await cloud.run(['secret', 'create', 'pem', '--value', '@key.pem']);
    expect((await cloud.run(['secret', 'get', 'pem', '-q'])).stdout).toBe('-----BEGIN\nabc\n-----END\n');
    expect(await cloud.json(['secret', 'get', 'line'])).toMatchObject({ name: 'line', value: 'hunter2' });
    expect((await cloud.run(['secret', 'list'])).stdout).not.toContain('hunter2');
    const binary = await cloud.run(['secret', 'create', 'bytes', '--value', '-'], { input: Buffer.from([0xff, 0xfe]) });
    expect([binary.code, binary.stderr]).toEqual([2, expect.stringContaining('no text in UTF-8')]);
  });

  it('is not shown by a dry run', async () => {
    const { stdout } = await cloud.run(['secret', 'create', 'dry', '--value', '-', '--dry-run'], { input: 'hunter2' });
    expect(stdout).toContain('[REDACTED]');
    expect(stdout).not.toContain('hunter2');
  });

  it.skipIf(!has('script'))('is asked for on a terminal, twice, and not shown', async () => {
    const terminal = cloud.terminal(['secret', 'create', 'asked']);
    await terminal.sees('Value: ');
    terminal.type('first\n');
    await terminal.sees('The same again: ');
    terminal.type('second\n');
    await terminal.sees('are not the same');
    terminal.type('hunter2x\x7f\n');
    await terminal.sees(/The same again: [^]*The same again: /);
    terminal.type('wrong\x15hunter2\n');
    expect(await terminal.ended).toBe(0);
    expect(terminal.output).not.toMatch(/hunter|first|second|wrong/);
    expect((await cloud.run(['secret', 'get', 'asked', '--raw'])).stdout).toBe('hunter2');
  });

  it.skipIf(!has('script'))('may be pasted with its repetition', async () => {
    const terminal = cloud.terminal(['secret', 'create', 'pasted']);
    await terminal.sees('Value: ');
    terminal.type('hünter2\nhünter2\n');
    expect(await terminal.ended).toBe(0);
    expect((await cloud.run(['secret', 'get', 'pasted', '--raw'])).stdout).toBe('hünter2');
  });

  it.skipIf(!has('script'))('that is not told ends with Ctrl-C, and the terminal is as it was', async () => {
    const { Terminal } = await import('./cloud.ts');
    const shell = new Terminal('bash --norc --noprofile -i', cloud.folder, { ...cloud.env, PS1: '> ' });
    const binary = join(import.meta.dirname, '../../packages/cli/bin/cloud.js');
    shell.type(
      `stty -a | md5sum > before; '${process.execPath}' '${binary}' secret create never; echo "code"=$?; stty -a | md5sum > after; cmp before after && echo sa""me\n`,
    );
    await shell.sees('Value: ');
    shell.type('hunter2\x03');
    await shell.sees('code=130');
    await shell.sees('same');
    shell.type('exit\n');
    await shell.ended;
    expect(shell.output).not.toContain('hunter2');
  });
});
