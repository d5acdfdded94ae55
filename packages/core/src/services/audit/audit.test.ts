// The audit log under attack: whatever somebody with the database in hand changes, verification says where; and what must be written down is.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import { DEFAULT_TENANT, localAdministrator, type Principal } from '../../kernel/authorize.ts';
import { ManualClock } from '../../kernel/clock.ts';
import type { Db } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { type ServiceContext, service } from '../../kernel/service.ts';
import { services } from '../../services.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';
import { testContracts } from '../../testing/gadget.ts';

const TENANT = DEFAULT_TENANT.id;
const DAY = 24 * 60 * 60 * 1000;
const viewer: Principal = { id: 'vera', kind: 'user', name: 'vera@example.org', tenantId: TENANT, roles: { [TENANT]: ['viewer'] } };
const stranger: Principal = { id: 'sam', kind: 'user', tenantId: 'tnt-elsewhere', roles: { 'tnt-elsewhere': ['admin'] } };

const key = (n: number) => ({ name: `q-${n}` });
/** Ten lines in the default tenant. */
async function ten(): Promise<Bench> {
  const b = await bench();
  for (let n = 1; n <= 10; n++) await b.cloud.queue.create(key(n));
  return b;
}
const verify = (b: Bench, installation = false) => b.cloud.audit.verify({ installation });
const problems = async (b: Bench) => (await verify(b)).problems.map(({ id, problem }) => `${id} ${problem}`);
const audit = (db: Db) => db.selectFrom('audit').selectAll().where('tenant', '=', TENANT).orderBy('seq');

describe('the chain', () => {
  test('one that nobody touched is whole, across restarts and a change of the master key', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-audit-'));
    const masterKey = { kind: 'local' } as const;
    {
      await using b = await bench({ dataDir, masterKey });
      expect(await verify(b)).toEqual({ ok: true, lines: 0, problems: [] });
      for (let n = 1; n <= 3; n++) await b.cloud.queue.create(key(n));
      await b.cloud.system.rotateMasterKey();
      await b.cloud.queue.create(key(4));
    }
    {
      await using b = await bench({ dataDir, masterKey });
      await b.cloud.queue.create(key(5));
      const { ok, lines, from, to } = await verify(b);
      expect({ ok, from, to }).toEqual({ ok: true, from: 1, to: lines });
      expect((await b.cloud.audit.list({ limit: 1 })).items[0]).toMatchObject({ id: lines, target: 'q-5' });
    }
    rmSync(dataDir, { recursive: true });
  });

  const CHANGED = 'the line was changed, moved, or written by somebody else';
  test.each([
    ['time', 1],
    ['principal', 'mallory'],
    ['principal_name', 'x'],
    ['credential', 'x'],
    ['source', '10.0.0.1'],
    ['permission', 'queue:delete'],
    ['target', 'q-7'],
    ['target', null],
    ['target_id', null],
    ['request_id', 'x'],
    ['outcome', 'forbidden'],
    ['decision', 'role viewer'],
    ['hash', 'AAAA'],
    ['hash', ''],
  ] as const)('%s changed to %s', async (column, value) => {
    await using b = await ten();
    await b.db
      .updateTable('audit')
      .set({ [column]: value })
      .where('seq', '=', 4)
      .where('tenant', '=', TENANT)
      .execute();
    expect(await problems(b)).toEqual([`4 ${CHANGED}`]);
  });

  test('moved to another tenant', async () => {
    await using b = await ten();
    await b.db.updateTable('audit').set({ tenant: 'tnt-x' }).where('seq', '=', 4).execute();
    expect(await problems(b)).toEqual(['4 line 4 is missing']);
  });

  test.each([
    ['the first', [1], ['1 line 1 is missing']],
    ['the first two', [1, 2], ['1 lines 1 to 2 are missing']],
    ['one in the middle', [5], ['5 line 5 is missing']],
    ['some in the middle', [4, 5, 8], ['4 lines 4 to 5 are missing', '8 line 8 is missing']],
    ['the last', [10], ['10 line 10 is missing']],
    ['all', [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], ['1 lines 1 to 10 are missing']],
  ])('removed: %s', async (_, seqs, expected) => {
    await using b = await ten();
    await b.db.deleteFrom('audit').where('seq', 'in', seqs).execute();
    expect(await problems(b)).toEqual(expected);
  });

  test('two swapped', async () => {
    await using b = await ten();
    const swap = async (from: number, to: number) => b.db.updateTable('audit').set({ seq: to }).where('tenant', '=', TENANT).where('seq', '=', from).execute();
    await swap(4, 99);
    await swap(5, 4);
    await swap(99, 5);
    expect((await problems(b)).map((problem) => problem.split(' ')[0])).toEqual(['4', '5', '6']);
  });

  test('one doubled, one forged at the end, one before the first', async () => {
    await using b = await ten();
    const lines = await audit(b.db).execute();
    const { id: _, ...fifth } = lines[4] as (typeof lines)[number];
    await b.db.insertInto('audit').values(fifth).execute();
    expect(await problems(b)).toEqual(['5 there is another line in this place']);
    for (const seq of [11, 0, -3])
      await b.db
        .insertInto('audit')
        .values({ ...fifth, seq })
        .execute();
    expect(await problems(b)).toEqual(['5 there is another line in this place', ...[-3, 0, 11].map((seq) => `${seq} this line is not part of the chain`)]);
  });

  describe.each(['seq', 'hash', 'first_seq', 'anchor', 'mac'] as const)('the %s of the head changed', (column) => {
    const spoil = (b: Bench) =>
      b.db
        .updateTable('audit_head')
        .set({ [column]: column === 'seq' || column === 'first_seq' ? 7 : 'AAAA' })
        .where('tenant', '=', TENANT)
        .execute();

    test('is found; the next line of a core that remembers puts it right, or says so', async () => {
      await using b = await ten();
      await spoil(b);
      expect((await problems(b)).some((problem) => problem.includes('the head of the chain was changed'))).toBe(true);
      await b.cloud.queue.create(key(11));
      const told = column === 'mac' ? ['11 when this line was written, damage had been found: the head was changed'] : [];
      expect(await problems(b)).toEqual(told);
    });

    test('after a restart the next line says so, and that stays', async () => {
      const dataDir = mkdtempSync(join(tmpdir(), 'cloud-audit-'));
      {
        await using b = await bench({ dataDir });
        for (let n = 1; n <= 10; n++) await b.cloud.queue.create(key(n));
        await spoil(b);
      }
      await using b = await bench({ dataDir });
      await b.cloud.queue.create(key(11));
      expect((await problems(b)).join()).toContain('11 when this line was written, damage had been found: the head was changed');
      expect((await audit(b.db).execute()).slice(-2).map(({ seq, permission }) => `${seq} ${permission}`)).toEqual(['11 audit:break', '12 queue:create']);
      rmSync(dataDir, { recursive: true });
    });
  });

  test('an old head put back, with and without the lines since', async () => {
    await using b = await ten();
    const old = await b.db.selectFrom('audit_head').selectAll().executeTakeFirstOrThrow();
    await b.cloud.queue.create(key(11));
    await b.cloud.queue.create(key(12));
    const { tenant: _, ...head } = old;
    await b.db.updateTable('audit_head').set(head).execute();
    expect(await problems(b)).toEqual(['11 this line is not part of the chain', '12 this line is not part of the chain']);
    // The whole state of an earlier time is a true state: what was noted of it elsewhere (an export, its last hash) is what tells.
    await b.db.deleteFrom('audit').where('seq', '>', 10).execute();
    expect(await problems(b)).toEqual([]);
  });

  test('a head removed, a chain removed whole, every chain removed, another key', async () => {
    await using b = await ten();
    await b.db.deleteFrom('audit_head').execute();
    expect((await problems(b))[0]).toBe('0 the head of the chain was removed');
    await b.db.deleteFrom('audit').execute();
    expect(await problems(b)).toEqual(['0 the head of the chain was removed']);
    await b.db.deleteFrom('meta').where('key', '=', 'audit_chains').execute();
    expect(await problems(b)).toEqual(['0 the list of chains was changed or removed, so whole chains may be missing']);
    await b.cloud.queue.create(key(11));
    expect((await verify(b)).ok).toBe(false);
    await using c = await ten();
    await c.db.deleteFrom('meta').where('key', '=', 'audit_key').execute();
    expect((await verify(c)).ok).toBe(false);
    await c.cloud.queue.create(key(11));
    expect((await verify(c)).ok).toBe(false);
  });

  test('after the first hundred problems the rest is counted, not told', async () => {
    await using b = await bench();
    await b.cloud.queue.create(key(0));
    for (let n = 0; n < 150; n++) await b.cloud.queue.send('q-0', { body: 'x' });
    await b.db.updateTable('audit').set({ source: 'nowhere' }).execute();
    const { ok, lines, problems: told } = await verify(b);
    expect({ ok, lines, told: told.length }).toEqual({ ok: false, lines: 151, told: 100 });
  });

  test('any text that a caller can send is hashed as it is kept', async () => {
    await using b = await bench();
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: fc.constantFrom('\ud800', '\udfff', '\0', '"', '\\', '\u2028', 'é', '😀'), maxLength: 300 }),
        async (a, c) => {
          for (const target of [a, c])
            await faultOf(b.call({ service: 'queue', operation: 'get', target, input: {}, principal: undefined, source: `${target}.` }));
        },
      ),
      { numRuns: 100 },
    );
    expect((await verify(b, true)).problems).toEqual([]);
  });

  test('many writers at once, rolled back ones among them, while it is verified', async () => {
    await using b = await ten();
    const checks: boolean[] = [];
    let writing = true;
    const checking = (async () => {
      while (writing) {
        checks.push((await verify(b)).ok);
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const results = await Promise.allSettled(
      Array.from({ length: 200 }, (_, n) =>
        n % 3 === 0 ? b.cloud.queue.create(key(1)) : n % 3 === 1 ? b.cloud.queue.send('q-1', { body: 'x' }) : b.as(viewer).queue.delete('q-1'),
      ),
    );
    writing = false;
    await checking;
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(67);
    expect(checks.length).toBeGreaterThan(0);
    expect(checks).not.toContain(false);
    expect(await verify(b)).toMatchObject({ ok: true, lines: 210, from: 1, to: 210 });
  });

  test('killed at any moment it is whole at the next start', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-audit-'));
    for (let life = 0; life < 12; life++) {
      const b = await bench({ dataDir });
      expect((await verify(b)).ok).toBe(true);
      const work = Array.from({ length: 20 }, (_, n) => b.cloud.queue.create({ name: `k-${life}-${n}` }).catch(() => undefined));
      for (let turn = 0; turn < life * 7; turn++)
        await new Promise((resolve) => (turn % 2 === 0 ? setImmediate(resolve) : queueMicrotask(() => resolve(undefined))));
      b.kill();
      void Promise.allSettled(work);
    }
    await using b = await bench({ dataDir });
    const { ok, lines } = await verify(b);
    const queues = (await b.cloud.queue.list({ limit: 1000 })).items.length;
    expect(ok).toBe(true);
    expect(lines).toBeGreaterThanOrEqual(queues);
    rmSync(dataDir, { recursive: true });
  });

  test('lines from before there were chains are the beginning of one', async () => {
    await using b = await bench();
    const old = { time: 1, principal: 'local', source: 'socket', permission: 'queue:create', target: 'old', request_id: 'r', outcome: 'ok', seq: 0, hash: '' };
    for (let n = 0; n < 3; n++)
      await b.db
        .insertInto('audit')
        .values({ ...old, tenant: TENANT })
        .execute();
    await b.db
      .insertInto('audit')
      .values({ ...old, tenant: 'tnt-quiet' })
      .execute();
    await b.cloud.queue.create(key(1));
    expect(await verify(b)).toEqual({ ok: true, lines: 4, from: 1, to: 4, problems: [] });
    expect((await b.cloud.audit.list()).items.map(({ id, target }) => `${id} ${target}`)).toEqual(['4 q-1', '3 old', '2 old', '1 old']);
    expect(await b.db.selectFrom('audit').select('seq').where('tenant', '=', 'tnt-quiet').execute()).toEqual([{ seq: 1 }]);
  });
});

describe('retention', () => {
  const START = 1_800_000_000_000;
  /** Five lines of one life, three of another forty days later, which is left running. */
  const aged = async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-audit-'));
    {
      await using b = await bench({ dataDir, clock: new ManualClock(START) });
      for (let n = 1; n <= 5; n++) await b.cloud.queue.create(key(n));
    }
    const clock = new ManualClock(START + 40 * DAY);
    const b = await bench({ dataDir, clock });
    for (let n = 6; n <= 8; n++) await b.cloud.queue.create(key(n));
    const end = async () => {
      await b.close();
      rmSync(dataDir, { recursive: true, force: true });
    };
    return { b, clock, dataDir, [Symbol.asyncDispose]: end };
  };
  const lines = async (b: Bench) => (await audit(b.db).execute()).map(({ seq, permission, target }) => `${seq} ${permission} ${target}`);

  test('a year unless set; what is older goes, with a line that says so, and the chain is whole', async () => {
    await using of = await aged();
    const { b, clock } = of;
    expect(await b.cloud.audit.settings()).toEqual({ retentionDays: 365 });
    expect(await lines(b)).toHaveLength(8);
    expect(await b.cloud.audit.configure({ retentionDays: 30 })).toEqual({ retentionDays: 30 });
    expect(await b.cloud.audit.settings()).toEqual({ retentionDays: 30 });
    await clock.advance(3_600_000);
    await b.until(async () => (await lines(b)).length === 5, 0);
    expect(await lines(b)).toEqual([
      '6 queue:create q-6',
      '7 queue:create q-7',
      '8 queue:create q-8',
      '9 audit:configure null',
      '10 audit:prune 5 lines, 1 to 5',
    ]);
    expect(await verify(b)).toEqual({ ok: true, lines: 5, from: 6, to: 10, problems: [] });
    await b.db.deleteFrom('audit').where('seq', '=', 6).execute();
    expect(await problems(b)).toEqual(['6 line 6 is missing']);
  });

  test('of lines that tell of removals alone nothing is left in the end', async () => {
    await using of = await aged();
    const { b } = of;
    await b.cloud.audit.configure({ retentionDays: 30 });
    await b.close();
    const left: number[] = [];
    for (let days = 71; days < 240; days += 31) {
      await using later = await bench({ dataDir: of.dataDir, clock: new ManualClock(START + days * DAY) });
      await later.until(async () => (await lines(later)).length !== left.at(-1) || left.at(-1) === 0, 0);
      left.push((await lines(later)).length);
      expect((await verify(later)).ok).toBe(true);
    }
    expect(left.at(-1)).toBe(0);
    await using last = await bench({ dataDir: of.dataDir, clock: new ManualClock(START + 300 * DAY) });
    await last.cloud.queue.create(key(9));
    expect(await verify(last)).toMatchObject({ ok: true, lines: 1 });
  });

  test('lines whose date was changed go, but that is found', async () => {
    await using of = await aged();
    const { b, clock } = of;
    await b.db.updateTable('audit').set({ time: 1 }).where('seq', '<=', 7).execute();
    await clock.advance(3_600_000);
    await b.until(async () => (await lines(b)).length === 2, 0);
    expect(await problems(b)).toEqual(['9 when this line was written, damage had been found: 7 lines, 1 to 7']);
  });

  test('a setting that was changed elsewhere removes nothing', async () => {
    await using of = await aged();
    const { b, clock } = of;
    await b.cloud.audit.configure({ retentionDays: 300 });
    await sql`update meta set value = replace(value, '300.', '3.') where key = 'audit_retention'`.execute(b.db);
    await clock.advance(3_600_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await lines(b)).toHaveLength(9);
    expect(await faultOf(b.cloud.audit.settings())).toMatchObject({ code: 'conflict', hint: 'cloud audit configure --retention-days 365' });
    await b.cloud.audit.configure({ retentionDays: 31 });
    expect(await b.cloud.audit.settings()).toEqual({ retentionDays: 31 });
  });
});

describe('what is written down', () => {
  test('changes with who, by what, to what, and what allowed it', async () => {
    await using b = await bench();
    const credential = { kind: 'session', id: 'ses-1' } as const;
    const ada: Principal = { id: 'usr-ada', kind: 'user', name: 'ada@example.org', tenantId: TENANT, roles: { [TENANT]: ['developer'] }, credential };
    const made = await b.as(ada).queue.create(key(1));
    expect((await b.cloud.audit.list()).items).toEqual([
      {
        id: 1,
        time: expect.any(String),
        principal: 'usr-ada',
        principalName: 'ada@example.org',
        credential: 'ses-1',
        source: 'test',
        permission: 'queue:create',
        target: 'q-1',
        targetId: made.id,
        requestId: expect.any(String),
        outcome: 'ok',
        decision: 'role developer',
        hash: expect.stringMatching(/^[\w-]{43}$/),
      },
    ]);
  });

  test('every refusal, of reads too; what else fails of a read is not', async () => {
    await using b = await bench();
    const nobody: Principal = { ...viewer, id: 'nemo', roles: { [TENANT]: [] } };
    await faultOf(b.as(nobody).queue.list());
    await faultOf(b.as(nobody).event.watch()[Symbol.asyncIterator]().next());
    await faultOf(b.as(stranger).queue.list({}, { tenant: 'default' }));
    await faultOf(b.as(viewer).audit.list());
    await faultOf(b.as(viewer).queue.create({ name: '!' }));
    await faultOf(b.cloud.queue.delete('nothing'));
    await faultOf(b.cloud.queue.get('nothing'));
    await faultOf(b.cloud.queue.list({ limit: -1 }));
    const written = await b.db.selectFrom('audit').select(['tenant', 'principal', 'permission', 'outcome', 'decision']).orderBy('id').execute();
    expect(written.map((line) => Object.values(line).join(' '))).toEqual([
      `${TENANT} nemo queue:list forbidden nothing allows it`,
      `${TENANT} nemo event:watch forbidden nothing allows it`,
      'tnt-elsewhere sam queue:list not_found ',
      `${TENANT} vera audit:list forbidden nothing allows it`,
      `${TENANT} vera queue:create invalid_input `,
      `${TENANT} local queue:delete not_found `,
    ]);
  });

  test('a flood without credentials is a few lines and a number', async () => {
    const clock = new ManualClock(1_800_000_000_000);
    await using b = await bench({ clock });
    const knock = (source: string) => faultOf(b.call({ service: 'queue', operation: 'list', input: {}, principal: undefined, source }));
    for (let n = 0; n < 200; n++) await knock('10.0.0.1');
    await knock('10.0.0.2');
    const counted = async () => (await b.cloud.audit.list({ installation: true, limit: 1000 })).items;
    expect(await counted()).toHaveLength(61);
    await clock.advance(60_000);
    await b.until(async () => (await counted()).length === 62, 0);
    expect((await counted())[0]).toMatchObject({ source: '10.0.0.1', permission: 'audit:flood', target: '140 more were refused', outcome: 'refused' });
    await knock('10.0.0.1');
    expect(await counted()).toHaveLength(63);
    expect((await verify(b, true)).ok).toBe(true);
  });

  test('numbers that were not told yet are told at the end', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-audit-'));
    {
      await using b = await bench({ dataDir });
      for (let n = 0; n < 70; n++) await faultOf(b.call({ service: 'queue', operation: 'list', input: {}, principal: undefined }));
    }
    await using b = await bench({ dataDir });
    expect((await b.cloud.audit.list({ installation: true })).items[0]).toMatchObject({ permission: 'audit:flood', target: '10 more were refused' });
    rmSync(dataDir, { recursive: true });
  });
});

describe('lines of a service', () => {
  const NOTE = { tenantId: TENANT, principal: 'usr-ada', source: '10.0.0.1', permission: 'plain:reveal', target: 'x', requestId: 'r', outcome: 'ok' };

  test('alone, and as part of a transaction, with which they go', async () => {
    let audit: ServiceContext['audit'] | undefined;
    const noting = service(testContracts.plain, (context) => {
      audit = context.audit;
      return {
        handlers: {
          async create(call) {
            await context.audit.note({ ...NOTE, target: call.input.name }, call.sql);
            if (call.input.note === 'fail') throw new Fault('conflict', 'No');
            return call.rows.insert({ name: call.input.name, labels: {}, spec: {} });
          },
          async get(call) {
            await context.audit.note({ ...NOTE, target: 'read' }, call.sql);
            return call.target;
          },
        },
      };
    });
    await using b = await bench({ definitions: [...services, noting] });
    const { plain } = b.clientOf({ plain: testContracts.plain });
    await audit?.note({ ...NOTE, target: 'alone' });
    await plain.create({ name: 'kept' });
    await faultOf(plain.create({ name: 'lost', note: 'fail' }));
    await plain.get('kept');
    const lines = (await b.cloud.audit.list()).items.reverse();
    expect(lines.map(({ permission, target, outcome }) => `${permission} ${target} ${outcome}`)).toEqual([
      'plain:reveal alone ok',
      'plain:reveal kept ok',
      'plain:create kept ok',
      'plain:create lost conflict',
      'plain:reveal read ok',
    ]);
    expect((await verify(b)).ok).toBe(true);
  });

  test('credentials that are not valid here', async () => {
    await using b = await bench();
    expect((await faultOf(b.core.authenticate('nonsense', '10.0.0.9'))).code).toBe('unauthenticated');
    const [line] = (await b.cloud.audit.list({ installation: true })).items;
    expect(line).toMatchObject({ principal: 'anonymous', source: '10.0.0.9', permission: 'auth:authenticate', outcome: 'unauthenticated' });
  });
});

describe('list and export', () => {
  test('filters, the newest first, page by page', async () => {
    await using b = await ten();
    await faultOf(b.as(viewer).queue.delete('q-3'));
    const { list } = b.cloud.audit;
    const ids = async (input: Parameters<typeof list>[0]) => (await list(input)).items.map(({ id }) => id);
    expect(await ids({})).toEqual([11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    expect(await ids({ permission: 'queue:del*' })).toEqual([11]);
    expect(await ids({ permission: '*:d?lete' })).toEqual([11]);
    expect(await ids({ permission: 'queue:delete' })).toEqual([11]);
    expect(await ids({ permission: '%' })).toEqual([]);
    expect(await ids({ permission: 'que_e:*' })).toEqual([]);
    expect(await ids({ principal: 'vera' })).toEqual([11]);
    expect(await ids({ principal: 'vera@example.org' })).toEqual([11]);
    expect(await ids({ outcome: 'forbidden' })).toEqual([11]);
    expect(await ids({ target: 'q-3' })).toEqual([11, 3]);
    const { id } = await b.cloud.queue.get('q-4');
    expect(await ids({ target: id })).toEqual([4]);
    expect(await ids({ since: '2099-01-01T00:00:00Z' })).toEqual([]);
    expect(await ids({ until: '2001-01-01T00:00:00Z' })).toEqual([]);
    const pages: number[][] = [];
    for (let cursor: string | undefined, first = true; first || cursor !== undefined; first = false) {
      const page = await list({ limit: 4, permission: 'queue:*', ...(cursor === undefined ? {} : { cursor }) });
      pages.push(page.items.map((line) => line.id));
      cursor = page.cursor;
    }
    expect(pages).toEqual([
      [11, 10, 9, 8],
      [7, 6, 5, 4],
      [3, 2, 1],
    ]);
    expect((await faultOf(list({ cursor: 'x' }))).code).toBe('invalid_input');
  });

  test('a pattern that would be slow as a regular expression is not', async () => {
    await using b = await ten();
    const started = performance.now();
    expect((await b.cloud.audit.list({ permission: `${'*q'.repeat(60)}*` })).items).toEqual([]);
    expect(performance.now() - started).toBeLessThan(500);
  });

  test('export: the oldest first, all of them, as fast as they are taken', async () => {
    await using b = await bench();
    await b.cloud.queue.create(key(0));
    for (let n = 0; n < 1200; n++) await b.cloud.queue.send('q-0', { body: 'x' });
    const ids: number[] = [];
    for await (const { id } of b.cloud.audit.export({})) ids.push(id);
    expect(ids).toEqual(Array.from({ length: 1201 }, (_, n) => n + 1));
    const creates = [];
    for await (const line of b.cloud.audit.export({ permission: '*:create' })) creates.push(line.permission);
    expect(creates).toEqual(['queue:create']);
  });

  test('another tenant’s lines, and the installation’s, are not there', async () => {
    await using b = await ten();
    const second = await b.tenant('second');
    const theirs: Principal = { id: 'theo', kind: 'user', tenantId: second, roles: { [second]: ['admin'] } };
    expect((await b.as(theirs).audit.list()).items).toEqual([]);
    expect(await b.as(theirs).audit.verify()).toEqual({ ok: true, lines: 0, problems: [] });
    for (const call of [b.as(theirs).audit.list({ installation: true }), b.as(theirs).audit.verify({ installation: true })])
      expect((await faultOf(call)).code).toBe('forbidden');
    const machine: Principal = { ...localAdministrator, credential: { kind: 'api-key', id: 'key-1' } };
    expect((await faultOf(b.as(machine).audit.list({ installation: true }))).code).toBe('forbidden');
    expect((await faultOf(b.as(theirs).audit.configure({ retentionDays: 1 }))).code).toBe('forbidden');
  });
});
