// Volumes: what is on them outlives instances and daemons, their size is a limit, and one instance at a time has them.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerMissing, TestCloud } from './bench.ts';

const missing = await dockerMissing();
let cloud: TestCloud;

const GIB = 2 ** 30;
const box = (name: string, ...words: string[]) =>
  cloud.ok('instance', 'create', name, '--image', 'busybox', '--vpc', 'net', '--type', 'nano', '--stop-timeout', '0', '--command', 'sleep 100000', ...words);
const said = async (instance: string, script: string) => (await cloud.sh(instance, script)).output.trim();

describe.skipIf(missing !== undefined)(`volumes on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  beforeAll(async () => {
    cloud = await TestCloud.start();
    await cloud.ok('vpc', 'create', 'net');
  });
  afterAll(() => cloud?.[Symbol.asyncDispose]());

  test('data outlives the instance, a kill of the daemon, and goes with the volume to another instance', async () => {
    await cloud.ok('volume', 'create', 'data', '--size', '1');
    await box('first', '--volume', 'data:/data');
    await said('first', 'echo precious > /data/file; sync');
    expect(await cloud.client.volume.get('data')).toMatchObject({ state: 'in-use', instance: 'first', path: '/data' });
    const inUse = await cloud.cloud('volume', 'delete', 'data', '--yes');
    expect([inUse.code, inUse.stderr]).toEqual([5, expect.stringContaining('first')]);
    await cloud.ok('instance', 'delete', 'first', '--yes');
    expect((await cloud.client.volume.get('data')).state).toBe('available');
    await cloud.kill();
    await cloud.start();
    await box('second', '--volume', 'data:/elsewhere:ro');
    expect(await said('second', 'cat /elsewhere/file; touch /elsewhere/x')).toMatch(/^precious\n.*Read-only/);
    await cloud.ok('instance', 'delete', 'second', '--yes');
  });

  test('attaching to and detaching from a running instance keeps its files, address and metadata', async () => {
    await cloud.ok('volume', 'create', 'extra', '--size', '1');
    await box('keeper', '--metadata', 'owner=ops', '--label', 'tier=front', '--env', 'A=b');
    const facts = async () => {
      const { address, metadata, labels, env, id } = await cloud.client.instance.get('keeper');
      return { address, metadata, labels, env, id };
    };
    const before = await facts();
    await said('keeper', 'mkdir /mine; echo kept > /mine/file; chmod 640 /mine/file; ln -s file /mine/link; rm /bin/vi; adduser -D me; mkfifo /mine/fifo');
    const listing = 'ls -ln /mine | cut -c1-40; cat /mine/link; test -e /bin/vi || echo gone; id me';
    const files = await said('keeper', listing);
    const refused = await cloud.cloud('volume', 'attach', 'extra', '--instance', 'keeper', '--path', '/extra');
    expect([refused.code, refused.stderr]).toEqual([5, expect.stringMatching(/restart[^]*--yes/)]);
    expect((await cloud.client.volume.get('extra')).state).toBe('available');
    await cloud.ok('volume', 'attach', 'extra', '--instance', 'keeper', '--path', '/extra', '--yes');
    expect(await said('keeper', 'echo on volume > /extra/file; grep -c /extra /proc/mounts')).toBe('1');
    expect(await said('keeper', listing)).toBe(files);
    await cloud.ok('volume', 'detach', 'extra', '--yes');
    expect(await said('keeper', `${listing}; cat /extra/file 2>&1`)).toMatch(/No such file/);
    expect(await said('keeper', listing)).toBe(files);
    expect(await facts()).toEqual(before);
    expect(await said('keeper', 'hostname; hostname -i; echo $A')).toBe(`keeper\n${before.address}\nb`);
    for (let round = 0; round < 3; round++) {
      await cloud.ok('volume', 'attach', 'extra', '--instance', 'keeper', '--path', `/extra${round}`, '--yes');
      expect(await said('keeper', `cat /extra${round}/file`)).toBe('on volume');
      await cloud.ok('volume', 'detach', 'extra', '--yes');
    }
    expect(await said('keeper', listing)).toBe(files);
  });

  test('one volume, one instance; one path, one volume', async () => {
    await cloud.ok('volume', 'create', 'shared', '--size', '1');
    await cloud.ok('volume', 'create', 'other', '--size', '1');
    await box('owner', '--volume', 'shared:/data');
    await box('rival');
    const refusals: [string[], number, RegExp][] = [
      [['volume', 'attach', 'shared', '--instance', 'rival', '--path', '/data', '--yes'], 5, /attached to owner/],
      [['volume', 'attach', 'shared', '--instance', 'owner', '--path', '/two', '--yes'], 5, /attached to owner at \/data/],
      [['volume', 'attach', 'other', '--instance', 'owner', '--path', '/data', '--yes'], 5, /owner has shared at \/data/],
      [['volume', 'attach', 'other', '--instance', 'owner', '--path', 'relative', '--yes'], 2, /absolute path/],
      [['volume', 'attach', 'other', '--instance', 'owner', '--path', '/', '--yes'], 2, /absolute path/],
      [['volume', 'attach', 'other', '--instance', 'ownre', '--path', '/x', '--yes'], 4, /owner/],
      [['volume', 'attach', 'othre', '--instance', 'owner', '--path', '/x', '--yes'], 4, /other/],
      [['volume', 'detach', 'other', '--yes'], 5, /not attached/],
      [['instance', 'create', 'third', '--image', 'busybox', '--vpc', 'net', '--volume', 'shared:/data'], 5, /attached to owner/],
      [['instance', 'create', 'third', '--image', 'busybox', '--vpc', 'net', '--volume', 'other:/a', '--volume', 'other:/b'], 2, /other is given twice/],
      [['instance', 'create', 'third', '--image', 'busybox', '--vpc', 'net', '--volume', 'other'], 2, /volume:\/path/],
    ];
    for (const [words, code, sentence] of refusals) {
      const result = await cloud.cloud(...words);
      expect([result.code, result.stdout], `cloud ${words.join(' ')}: ${result.stderr}`).toEqual([code, '']);
      expect(result.stderr).toMatch(sentence);
    }
    expect((await cloud.client.instance.list()).items.map(({ name }) => name)).not.toContain('third');
    expect((await cloud.client.volume.get('other')).state).toBe('available');
    // Attached again where it is already: the same thing.
    await cloud.ok('volume', 'attach', 'shared', '--instance', 'owner', '--path', '/data', '--yes');
  });

  test('the size is a limit, and can grow under a running program', async () => {
    await cloud.ok('volume', 'create', 'tight', '--size', '1');
    await box('filler', '--volume', 'tight:/data');
    const { sizeEnforced } = await cloud.client.volume.get('tight');
    const feature = (await cloud.client.system.info()).drivers.flatMap(({ features }) => features).find(({ name }) => name === 'size');
    expect(feature, 'system info says how').toMatchObject({ level: sizeEnforced ? 'enforced' : 'recorded' });
    if (!sizeEnforced) return;
    const fill = await cloud.sh('filler', 'dd if=/dev/zero of=/data/fill bs=1M count=1200 2>&1; df -kP /data | tail -1');
    expect(fill.output).toContain('No space left');
    const shrink = await cloud.cloud('volume', 'resize', 'tight', '--size', '0');
    expect(shrink.code).toBe(2);
    // Growing a mounted ext4 takes a right that not every machine gives to root; where it is missing, a stop is asked for.
    const grown = await cloud.cloud('volume', 'resize', 'tight', '--size', '2');
    if (grown.code !== 0) {
      expect(grown).toMatchObject({ code: 5, stderr: expect.stringMatching(/in use by filler[^]*cloud instance stop filler/) });
      await cloud.ok('instance', 'stop', 'filler');
      await cloud.ok('volume', 'resize', 'tight', '--size', '2');
      await cloud.ok('instance', 'start', 'filler');
    }
    const size = Number((await said('filler', 'df -kP /data | tail -1')).split(/\s+/)[1]) * 1024;
    expect(size).toBeGreaterThan(1.85 * GIB);
    expect((await cloud.sh('filler', 'dd if=/dev/zero of=/data/more bs=1M count=300 2>&1')).code).toBe(0);
    const smaller = await cloud.cloud('volume', 'resize', 'tight', '--size', '1');
    expect([smaller.code, smaller.stderr]).toEqual([2, expect.stringContaining('cannot shrink')]);
    await cloud.ok('instance', 'delete', 'filler', '--yes');
    await cloud.ok('volume', 'delete', 'tight', '--yes');
  });

  test('a snapshot of a volume in use is of one instant, outlives the volume, and becomes a new one', async () => {
    await cloud.ok('volume', 'create', 'source', '--size', '1');
    await box('writer', '--volume', 'source:/data');
    // Numbers written in order: whatever instant the snapshot is of, it has a prefix of them.
    await said('writer', 'echo marker > /data/marker; sync; (i=0; while :; do i=$((i+1)); echo $i >> /data/log; done) > /dev/null 2>&1 &');
    const made = await cloud.json<{ name: string; state: string }>('volume', 'snapshot', 'source', '--name', 'nightly');
    expect(made).toMatchObject({ name: 'nightly', state: 'available' });
    await said('writer', 'echo later > /data/marker; touch /data/after; sync');
    await cloud.ok('instance', 'delete', 'writer', '--yes');
    await cloud.ok('volume', 'delete', 'source', '--yes');
    const small = await cloud.cloud('volume', 'create', 'nope', '--snapshot', 'nightyl');
    expect([small.code, small.stderr]).toEqual([4, expect.stringContaining('nightly')]);
    await cloud.ok('volume', 'create', 'restored', '--snapshot', 'nightly', '--size', '2');
    await cloud.ok('volume', 'create', 'again', '--snapshot', 'nightly');
    await box('reader', '--volume', 'restored:/data', '--volume', 'again:/again');
    expect(await said('reader', 'cat /data/marker /again/marker; ls /data/after 2>&1')).toMatch(/^marker\nmarker\n.*No such file/);
    expect(await said('reader', 'awk \'$1 != NR { print "hole at " NR; exit }\' /data/log')).toMatch(/^(hole at \d+)?$/);
    const [lines = '', last = ''] = (await said('reader', 'wc -l < /data/log; tail -1 /data/log')).split('\n');
    expect(Math.abs(Number(lines) - Number(last))).toBeLessThanOrEqual(1);
    if ((await cloud.client.volume.get('restored')).sizeEnforced === true) {
      expect(Number((await said('reader', 'df -kP /data | tail -1')).split(/\s+/)[1]) * 1024).toBeGreaterThan(1.85 * GIB);
    }
    await said('reader', 'echo changed > /data/marker');
    expect(await said('reader', 'cat /again/marker')).toBe('marker');
    await cloud.ok('snapshot', 'delete', 'nightly', '--yes');
    expect(await said('reader', 'cat /again/marker')).toBe('marker');
  });
});
