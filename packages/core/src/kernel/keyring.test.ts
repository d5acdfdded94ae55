// The master key: where it comes from, that a wrong one damages nothing, that a rotation is whole or not at all, and that what is sealed opens only where it belongs.
import fs, { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, describe, expect, test } from 'vitest';
import { readKeyCommand } from '../key-command.ts';
import { faultOf } from '../testing/bench.ts';
import { type Db, openDb } from './db.ts';
import { Fault } from './errors.ts';
import { type Keyring, openKeyring, type Reseal } from './keyring.ts';
import { type MasterKeySource, masterKeySource, nextMasterKeySource, type OutsideSource } from './master-key.ts';
import { migrateKernel } from './migrate.ts';

const made: string[] = [];
const directory = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'cloud-keyring-'));
  made.push(dir);
  return dir;
};
const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const LOCAL: MasterKeySource = { kind: 'local' };
const A = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 7 + 1)).toString('base64');
const B = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 5 + 2)).toString('base64');
const value = (text: string): OutsideSource => ({ kind: 'value', value: text });

interface Opened {
  keyring: Keyring;
  pending: OutsideSource | undefined;
  db: Db;
  close(): Promise<void>;
}

async function start(dataDir: string, source: MasterKeySource = LOCAL, next?: OutsideSource): Promise<Opened> {
  const opened = openDb(join(dataDir, 'cloud.db'), { durable: false });
  let closed = false;
  const close = async (): Promise<void> => {
    if (!closed) await opened.close();
    closed = true;
  };
  open.push(close);
  try {
    await migrateKernel(opened.db);
    await sql`create table if not exists sealed (id text primary key, text text not null)`.execute(opened.db);
    const found = await openKeyring({ dataDir, source, next, db: opened.db, installation: 'cloud-test', readCommand: readKeyCommand });
    return { ...found, db: opened.db, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const SCOPE = { tenant: 'tnt-1', user: 'usr-1' };
const put = (db: Db, id: string, text: string) => sql`insert into sealed (id, text) values (${id}, ${text})`.execute(db);
const rows = async (db: Db) => (await sql<{ id: string; text: string }>`select id, text from sealed order by id`.execute(db)).rows;
const reseal: Reseal = async (tx, from, to) => {
  for (const { id, text } of await rows(tx)) {
    await sql`update sealed set text = ${to.seal('secret', SCOPE, from.open('secret', SCOPE, text, id), id)} where id = ${id}`.execute(tx);
  }
};
const contents = async ({ keyring, db }: Opened) => (await rows(db)).map(({ id, text }) => `${id}=${keyring.open('secret', SCOPE, text, id)}`);
const text = (path: string) => readFileSync(path, 'utf8');
const sealAll = async ({ keyring, db }: Opened, ...ids: string[]) => {
  for (const id of ids) await put(db, id, keyring.seal('secret', SCOPE, Buffer.from(`value of ${id}`), id));
};

describe('where it comes from', () => {
  test('the local file is made once, readable by its owner only', async () => {
    const dir = directory();
    const first = await start(dir);
    const path = join(dir, 'master-key');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(Buffer.from(text(path).trim(), 'base64url')).toHaveLength(32);
    expect(fs.readdirSync(dir).filter((name) => name.startsWith('master-key'))).toEqual(['master-key']);
    const key = first.keyring.key('x', SCOPE);
    await first.close();
    chmodSync(path, 0o644);
    const second = await start(dir);
    expect(second.keyring.id).toBe(first.keyring.id);
    expect(second.keyring.key('x', SCOPE).equals(key)).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('the environment says which source, and only one', () => {
    expect(masterKeySource({}, { production: false })).toEqual(LOCAL);
    expect(masterKeySource({ CLOUD_MASTER_KEY: '' }, { production: false })).toEqual(LOCAL);
    expect(masterKeySource({ CLOUD_MASTER_KEY: A }, { production: true })).toEqual(value(A));
    expect(masterKeySource({ CLOUD_MASTER_KEY_FILE: '/k' }, { production: true })).toEqual({ kind: 'file', path: '/k' });
    expect(masterKeySource({ CLOUD_MASTER_KEY_COMMAND: 'get key  now' }, { production: true })).toEqual({ kind: 'command', command: ['get', 'key', 'now'] });
    expect(masterKeySource({ CLOUD_MASTER_KEY_COMMAND: '["a b", "$c"]' }, { production: true })).toEqual({ kind: 'command', command: ['a b', '$c'] });
    expect(nextMasterKeySource({ CLOUD_MASTER_KEY: A })).toBeUndefined();
    expect(nextMasterKeySource({ CLOUD_MASTER_KEY_NEXT: A })).toEqual(value(A));
    expect(masterKeySource({ CLOUD_MASTER_KEY_NEXT: A }, { production: true })).toEqual(LOCAL);
    const refused = (environment: Record<string, string>) => () => masterKeySource(environment, { production: true });
    expect(refused({})).toThrowError(/Production needs a master key from outside/);
    expect(refused({ CLOUD_MASTER_KEY_FILE: 'key' })).toThrowError(/CLOUD_MASTER_KEY_FILE has to be an absolute path/);
    expect(refused({ CLOUD_MASTER_KEY: A, CLOUD_MASTER_KEY_FILE: '/k' })).toThrowError(/CLOUD_MASTER_KEY and CLOUD_MASTER_KEY_FILE are set/);
    for (const command of ['[]', '[1]', '[""]', '["a"', ' ']) {
      expect(refused({ CLOUD_MASTER_KEY_COMMAND: command })).toThrowError(/CLOUD_MASTER_KEY_COMMAND is no program/);
    }
  });

  test('one key in every form is one key', async () => {
    const dir = directory();
    const bytes = Buffer.from(A, 'base64');
    const file = join(dir, 'outside');
    const wanted = (await start(directory(), value(A))).keyring.id;
    for (const form of [A, `${A}\n`, bytes.toString('base64url'), bytes.toString('hex'), bytes.toString('hex').toUpperCase()]) {
      writeFileSync(file, form);
      expect((await start(directory(), value(form))).keyring.id).toBe(wanted);
      expect((await start(directory(), { kind: 'file', path: file })).keyring.id).toBe(wanted);
      expect((await start(directory(), { kind: 'command', command: ['cat', file] })).keyring.id).toBe(wanted);
    }
    expect(existsSync(join(dir, 'master-key'))).toBe(false);
  });

  test('what is no key is said without repeating it', async () => {
    const dir = directory();
    const notKey = 'hunter2-hunter2-hunter2';
    const file = join(dir, 'outside');
    writeFileSync(file, notKey);
    const sources: MasterKeySource[] = [
      value(notKey),
      { kind: 'file', path: file },
      { kind: 'file', path: '/dev/zero' },
      { kind: 'command', command: ['cat', file] },
      value(Buffer.alloc(32).toString('base64')),
      value(A.slice(1)),
    ];
    for (const source of sources) {
      const fault = await faultOf(start(directory(), source));
      expect(fault).toMatchObject({ code: 'invalid_input', hint: expect.stringContaining('/dev/urandom') });
      expect(everything(fault)).not.toContain('hunter2');
    }
    expect(await faultOf(start(directory(), { kind: 'file', path: join(dir, 'none') }))).toMatchObject({ code: 'unavailable' });
    expect(await faultOf(start(directory(), { kind: 'file', path: dir }))).toMatchObject({ code: 'unavailable' });
  });

  test('a command that fails is named, and nothing that it printed', async () => {
    const cases: [string[], string][] = [
      [['sh', '-c', 'echo hunter2; echo hunter2 >&2; exit 3'], 'sh ended with 3'],
      [['/no/such/program', 'hunter2'], '/no/such/program is not there'],
      [['sh', '-c', 'kill -9 $$ # hunter2'], 'sh was ended by SIGKILL'],
      [['cat', '/dev/zero'], 'cat printed more than a key'],
    ];
    for (const [command, why] of cases) {
      const fault = await faultOf(start(directory(), { kind: 'command', command }));
      expect(fault).toMatchObject({ code: 'unavailable', message: `The master key could not be had: ${why}` });
      expect(everything(fault)).not.toContain('hunter2');
    }
    // No shell looks at it.
    expect((await faultOf(start(directory(), { kind: 'command', command: ['echo', '$(touch', '/tmp/x)'] }))).code).toBe('invalid_input');
  });
});

/** All that a log could find in an error. */
const everything = (fault: Fault): string => JSON.stringify([fault.message, fault.stack, fault, fault.cause, Object.entries(fault.cause ?? {})]);

describe('the wrong key', () => {
  test('says so, and changes nothing', async () => {
    const dir = directory();
    const first = await start(dir, value(A));
    await sealAll(first, 'a');
    await first.close();
    const before = await snapshotOf(dir);
    expect(await faultOf(start(dir, value(B)))).toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`not the master key that this data directory was written with (key id ${first.keyring.id}`),
      hint: expect.any(String),
    });
    expect(await snapshotOf(dir)).toEqual(before);
    expect(await contents(await start(dir, value(A)))).toEqual(['a=value of a']);
  });

  test('without the key from outside nothing starts; a key from outside comes in only by rotation', async () => {
    const outside = directory();
    await (await start(outside, value(A))).close();
    expect(await faultOf(start(outside))).toMatchObject({ code: 'conflict', message: expect.stringContaining('none was given') });
    expect(existsSync(join(outside, 'master-key'))).toBe(false);
    const local = directory();
    await (await start(local)).close();
    const key = text(join(local, 'master-key'));
    expect(await faultOf(start(local, value(A)))).toMatchObject({ code: 'conflict', message: expect.stringContaining('only by rotation') });
    // The same key, too: where it was kept is what is to be changed.
    expect(await faultOf(start(local, value(key)))).toMatchObject({ code: 'conflict' });
    await (await start(local)).close();
  });

  test('a local file that is lost, damaged or another one is not replaced', async () => {
    const dir = directory();
    const first = await start(dir);
    await sealAll(first, 'a');
    await first.close();
    const path = join(dir, 'master-key');
    const key = text(path);
    rmSync(path);
    expect(await faultOf(start(dir))).toMatchObject({ code: 'conflict', message: expect.stringContaining(`(key id ${first.keyring.id}) is missing`) });
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, 'rubbish');
    expect(await faultOf(start(dir))).toMatchObject({ code: 'conflict', message: expect.stringContaining('is missing') });
    writeFileSync(path, A);
    expect(await faultOf(start(dir))).toMatchObject({ code: 'conflict', message: expect.stringContaining('This is not the master key') });
    expect(text(path)).toBe(A);
    writeFileSync(path, key);
    expect(await contents(await start(dir))).toEqual(['a=value of a']);

    const fresh = directory();
    writeFileSync(join(fresh, 'master-key'), 'rubbish');
    expect(await faultOf(start(fresh))).toMatchObject({ code: 'conflict' });
    expect(text(join(fresh, 'master-key'))).toBe('rubbish');
  });

  test('a first start that ended before the database knew of the key goes on with it', async () => {
    const dir = directory();
    writeFileSync(join(dir, 'master-key'), A);
    const { keyring } = await start(dir);
    expect(keyring.id).toBe((await start(directory(), value(A))).keyring.id);
  });
});

/** All rows of `meta` and `sealed`, and all files that are not the database's. */
async function snapshotOf(dir: string): Promise<unknown> {
  const { db, close } = openDb(join(dir, 'cloud.db'), { durable: false });
  const found = [await sql`select * from meta order by key`.execute(db), await sql`select * from sealed order by id`.execute(db)].map((result) => result.rows);
  await close();
  return [found, fs.readdirSync(dir).filter((name) => !name.startsWith('cloud.db'))];
}

describe('what is sealed', () => {
  test('opens where it belongs, and nowhere else', async () => {
    const { keyring } = await start(directory());
    const { keyring: other } = await start(directory());
    const plain = Buffer.from('correct horse');
    const sealed = keyring.seal('secret', SCOPE, plain, 'sec-1 1');
    expect(keyring.open('secret', SCOPE, sealed, 'sec-1 1')).toEqual(plain);
    expect(keyring.seal('secret', SCOPE, plain, 'sec-1 1')).not.toBe(sealed);
    expect(keyring.open('secret', {}, keyring.seal('secret', {}, Buffer.alloc(0), ''), '')).toHaveLength(0);
    const elsewhere: [string, object, string][] = [
      ['secrets', SCOPE, 'sec-1 1'],
      ['secret', { tenant: 'tnt-2', user: 'usr-1' }, 'sec-1 1'],
      ['secret', { tenant: 'tnt-1', user: 'usr-2' }, 'sec-1 1'],
      ['secret', { tenant: 'tnt-1' }, 'sec-1 1'],
      ['secret', { user: 'usr-1' }, 'sec-1 1'],
      ['secret', SCOPE, 'sec-1 2'],
      ['secret', SCOPE, 'sec-11'],
    ];
    for (const [purpose, scope, aad] of elsewhere) {
      expect(await faultOf(Promise.resolve().then(() => keyring.open(purpose, scope, sealed, aad)))).toMatchObject({
        code: 'conflict',
        message: expect.stringContaining('was changed, or belongs to something else'),
      });
    }
    expect(() => other.open('secret', SCOPE, sealed, 'sec-1 1')).toThrowError(
      new RegExp(`another master key \\(key id ${keyring.id}; in use is ${other.id}\\)`),
    );
  });

  test('every bit of it is guarded', async () => {
    const { keyring } = await start(directory());
    const sealed = Buffer.from(keyring.seal('secret', SCOPE, Buffer.from('x'), 'a'), 'base64url');
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const bytes = Buffer.from(sealed);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(() => keyring.open('secret', SCOPE, bytes.toString('base64url'), 'a')).toThrow(Fault);
    }
    for (const damaged of ['', 'AQ', `${sealed.toString('base64url')}A`, `${sealed.toString('base64url')}=`, sealed.subarray(0, -1).toString('base64url')]) {
      expect(() => keyring.open('secret', SCOPE, damaged, 'a')).toThrowError(/was changed/);
    }
  });

  test('every purpose, tenant and user has a key of its own, known from outside', async () => {
    const dir = directory();
    const { keyring } = await start(dir, value(A));
    const scopes = [{}, { tenant: 'a' }, { tenant: 'b' }, { user: 'a' }, { tenant: 'a', user: 'a' }, { tenant: 'a', user: 'b' }];
    const keys = ['p', 'q'].flatMap((purpose) => scopes.map((scope) => keyring.key(purpose, scope).export().toString('hex')));
    expect(new Set(keys).size).toBe(keys.length);
    // RFC 5869 over the words that the documentation says, computed by another implementation.
    expect(keyring.key('p', { tenant: 'a' }).export().toString('hex')).toBe('c09584eec62f4893a9fbfa05aa7a373b95eb1cc90bf6a79ea55442632291cdc8');
    expect(keyring.mac('p', { tenant: 'a' }, 'data')).toHaveLength(32);
    for (const [purpose, scope] of [
      ['p/a', {}],
      ['', {}],
      ['p', { tenant: 'a/b' }],
      ['p', { user: '-' }],
      ['p', { user: '' }],
    ] as const) {
      expect(() => keyring.key(purpose, scope)).toThrowError('no purpose or scope');
    }
    const first = keyring.key('p', { tenant: 'many' });
    for (let n = 0; n < 600; n++) keyring.key('p', { tenant: `t${n}` });
    expect(keyring.key('p', { tenant: 'many' }).equals(first)).toBe(true);
  });
});

describe('rotation', () => {
  test('local: everything is sealed anew, the old key is gone', async () => {
    const dir = directory();
    const first = await start(dir);
    await sealAll(first, 'a', 'b');
    const old = text(join(dir, 'master-key'));
    const before = first.keyring.id;
    const sealedBefore = await rows(first.db);
    expect(await first.keyring.rotate(undefined, reseal)).toEqual({ from: before, to: first.keyring.id });
    expect(first.keyring.id).not.toBe(before);
    expect(await contents(first)).toEqual(['a=value of a', 'b=value of b']);
    expect(() => first.keyring.open('secret', SCOPE, sealedBefore[0]?.text as string, 'a')).toThrowError(/another master key/);
    await first.keyring.rotate('generate', reseal);
    await first.close();
    const second = await start(dir);
    expect(await contents(second)).toEqual(['a=value of a', 'b=value of b']);
    expect(text(join(dir, 'master-key'))).not.toBe(old);
    expect(existsSync(join(dir, 'master-key.next'))).toBe(false);
  });

  test('from the file inside to a key from outside, at a start with both; and back', async () => {
    const dir = directory();
    const first = await start(dir);
    await sealAll(first, 'a');
    await first.close();
    const second = await start(dir, LOCAL, value(A));
    expect(second.pending).toEqual(value(A));
    await second.keyring.rotate(second.pending, reseal);
    expect(existsSync(join(dir, 'master-key'))).toBe(false);
    await second.close();
    // The same start again has nothing to do, with the old source named or not.
    for (const source of [LOCAL, value(B)]) {
      const again = await start(dir, source, value(A));
      expect(again.pending).toBeUndefined();
      expect(await contents(again)).toEqual(['a=value of a']);
      await again.close();
    }
    const third = await start(dir, value(A), value(B));
    await third.keyring.rotate(third.pending, reseal);
    expect(await faultOf(third.keyring.rotate(value(B), reseal))).toMatchObject({ code: 'conflict', message: expect.stringContaining('in use already') });
    expect(await faultOf(third.keyring.rotate(undefined, reseal))).toMatchObject({ code: 'conflict', hint: expect.stringContaining('CLOUD_MASTER_KEY_NEXT') });
    await third.keyring.rotate('generate', reseal);
    await third.close();
    expect(await contents(await start(dir))).toEqual(['a=value of a']);
    // A first start with a next key has nothing to rotate from.
    const fresh = await start(directory(), LOCAL, value(A));
    expect([fresh.pending, fresh.keyring.id]).toEqual([undefined, (await start(directory(), value(A))).keyring.id]);
  });

  test('a key file outside is read again', async () => {
    const dir = directory();
    const file = join(directory(), 'key');
    writeFileSync(file, A);
    const first = await start(dir, { kind: 'file', path: file });
    await sealAll(first, 'a');
    expect(await faultOf(first.keyring.rotate(undefined, reseal))).toMatchObject({ code: 'conflict', message: expect.stringContaining('in use already') });
    writeFileSync(file, B);
    await first.keyring.rotate(undefined, reseal);
    await first.close();
    expect(await contents(await start(dir, value(B)))).toEqual(['a=value of a']);
  });

  test('one that fails leaves everything as it was; two at once are one', async () => {
    const dir = directory();
    const first = await start(dir);
    await sealAll(first, 'a', 'b');
    const before = first.keyring.id;
    const failing = first.keyring.rotate('generate', async (tx, from, to) => {
      await reseal(tx, from, to);
      throw new Error('no');
    });
    const meanwhile = first.keyring.rotate('generate', reseal);
    await expect(meanwhile).rejects.toMatchObject({ code: 'conflict' });
    await expect(failing).rejects.toThrowError('no');
    expect(first.keyring.id).toBe(before);
    expect(existsSync(join(dir, 'master-key.next'))).toBe(false);
    expect(await contents(first)).toEqual(['a=value of a', 'b=value of b']);
    await first.keyring.rotate('generate', reseal);
    expect(await contents(first)).toEqual(['a=value of a', 'b=value of b']);
  });

  test('whoever works meanwhile neither reads nor writes with the wrong key', async () => {
    const opened = await start(directory());
    const { keyring, db } = opened;
    await sealAll(opened, 'a');
    const work = Array.from({ length: 40 }, async (_, n) => {
      await db.transaction().execute(async (tx) => {
        const [row] = await rows(tx);
        expect(keyring.open('secret', SCOPE, row?.text as string, 'a').toString()).toBe('value of a');
        const id = `n${n}`;
        await sql`insert into sealed (id, text) values (${id}, ${keyring.seal('secret', SCOPE, Buffer.from(`value of ${id}`), id)})`.execute(tx);
      });
      if (n % 10 === 5) await keyring.rotate('generate', reseal).catch((error) => expect(error).toMatchObject({ code: 'conflict' }));
    });
    await Promise.all(work);
    await keyring.rotate('generate', reseal);
    expect(await contents(opened)).toHaveLength(41);
  });

  test.each([
    ['local to local', LOCAL, 'generate' as const, [LOCAL]],
    ['local to outside', LOCAL, value(A), [LOCAL, value(A)]],
    ['outside to outside', value(B), value(A), [value(B), value(A)]],
    ['outside to local', value(B), 'generate' as const, [value(B), LOCAL]],
  ])('killed at any point, %s: one state or the other, and it works on', async (_, source, next, after) => {
    const dir = directory();
    const first = await start(dir, source);
    await sealAll(first, 'a', 'b');
    const snapshots: string[] = [];
    const copies = directory();
    const snapshot = () => {
      const copy = join(copies, String(snapshots.length));
      mkdirSync(copy);
      cpSync(dir, copy, { recursive: true });
      snapshots.push(copy);
    };
    const restore = beforeEachFileCall(dir, snapshot);
    try {
      await first.keyring.rotate(next, async (tx, from, to) => {
        snapshot();
        await reseal(tx, from, to);
        snapshot();
      });
    } finally {
      restore();
    }
    snapshot();
    expect(snapshots.length).toBeGreaterThan(2);
    const ids = new Set<string>();
    for (const copy of snapshots) {
      let opened: Opened | undefined;
      for (const each of after) opened ??= await start(copy, each).catch(() => undefined);
      expect(opened, copy).toBeDefined();
      ids.add((opened as Opened).keyring.id);
      expect(await contents(opened as Opened)).toEqual(['a=value of a', 'b=value of b']);
      const local = ((await snapshotOf(copy)) as [unknown, string[]])[1].filter((name) => /^master-key(\.next)?$/.test(name));
      expect(local.length).toBeLessThan(2);
      await (opened as Opened).keyring.rotate('generate', reseal);
      expect(await contents(opened as Opened)).toEqual(['a=value of a', 'b=value of b']);
      await (opened as Opened).close();
    }
    expect(ids.size).toBe(2);
  });

  test('a first start killed at any point makes one key', async () => {
    const dir = directory();
    const copies = directory();
    let n = 0;
    const restore = beforeEachFileCall(dir, () => cpSync(dir, join(copies, String(n++)), { recursive: true }));
    let first: Opened;
    try {
      first = await start(dir);
    } finally {
      restore();
    }
    await sealAll(first, 'a');
    expect(n).toBeGreaterThan(3);
    for (const copy of fs.readdirSync(copies)) {
      const opened = await start(join(copies, copy));
      await sealAll(opened, 'x');
      await opened.close();
      expect(await contents(await start(join(copies, copy)))).toEqual(['x=value of x']);
    }
  });
});

/** Calls `look` before every call that changes a file; SQLite's own do not pass here. Returns the way back. */
function beforeEachFileCall(dir: string, look: () => void): () => void {
  const names = ['openSync', 'writeSync', 'fsyncSync', 'closeSync', 'renameSync', 'unlinkSync', 'rmSync'] as const;
  const originals = names.map((name) => fs[name]);
  let looking = false;
  names.forEach((name, index) => {
    (fs as unknown as Record<string, unknown>)[name] = (...args: unknown[]) => {
      if (!looking && (typeof args[0] !== 'string' || args[0].startsWith(dir))) {
        looking = true;
        look();
        looking = false;
      }
      return (originals[index] as (...all: unknown[]) => unknown)(...args);
    };
  });
  syncBuiltinESMExports();
  return () => {
    names.forEach((name, index) => {
      (fs as unknown as Record<string, unknown>)[name] = originals[index];
    });
    syncBuiltinESMExports();
  };
}
