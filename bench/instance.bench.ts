// An instance from the command to running, beside `docker run -d` with the same options: a bridge network of its own, limits, an open standard input.
import { type Bench, type Case, inTurns } from './case.ts';
import { CLI, running, serve } from './daemon.ts';
import { docker, dockerObstacle, IMAGE } from './docker.ts';
import { timed } from './process.ts';
import { quantile } from './statistics.ts';

const RUN = 'docker run -d';
/** What any command costs before it has an effect: its start, one call, and printing an instance. */
const ANY = 'cloud instance get';
const CREATE = 'cloud instance create';
const SDK = 'SDK instance.create, wait';
const AT_ONCE = 20;
const EACH = 3;
const CLEAN_UP = { wait: true, timeout: 60_000 };

const single: Case = {
  name: 'one instance to running',
  unit: 'ms',
  subjects: [CREATE, RUN, ANY, SDK],
  goals: [{ most: 1.15, times: RUN, besides: ANY }],
};
const many: Case = {
  name: `${AT_ONCE} instances at once to running (a process each; the SDK in one)`,
  unit: 'ms',
  subjects: [CREATE, RUN, SDK],
  goals: [{ most: 1, times: RUN }],
};
const answer: Case = {
  name: 'POST /v1/instances, to the answer',
  unit: 'ms',
  subjects: ['POST, nothing else to do', `POST, ${AT_ONCE} at once`],
  goals: [{ most: 10 }],
};

/** The instance type `nano`, said as Docker says it. */
const LIMITS = ['--cpus', '0.25', '--memory', '128m', '--memory-swap', '128m', '--pids-limit', '256'];
const PROGRAM = ['sleep', '1d'];

export const bench: Bench = {
  name: 'instance',
  cases: [single, many, answer],
  obstacle: dockerObstacle,
  open: async (stack) => {
    const { cloud, dataDir } = await serve(stack, 'docker');
    const env = { CLOUD_DATA_DIR: dataDir };
    const mark = `cloud-bench-${process.pid}`;
    stack.defer(async () => {
      const { items } = await cloud.instance.list();
      await Promise.all(items.map(({ id }) => cloud.instance.delete(id, {}, CLEAN_UP)));
      for (const { id } of (await cloud.vpc.list()).items) await cloud.vpc.delete(id, {}, CLEAN_UP);
    });
    await cloud.vpc.create({ name: 'bench' }, { wait: true });
    await docker('network', 'create', '--label', mark, mark);
    stack.defer(async () => {
      const left = await docker('ps', '--all', '--quiet', '--filter', `label=${mark}`);
      if (left !== '') await docker('rm', '--force', ...left.split('\n'));
      await docker('network', 'rm', mark);
    });

    let made = 0;
    const nextName = () => `bench-${++made}`;
    const remove = async (names: readonly string[]) => {
      await Promise.all(names.map((name) => cloud.instance.delete(name, {}, CLEAN_UP)));
    };
    const create = async (name: string) =>
      timed(
        CLI,
        ['instance', 'create', name, '--image', IMAGE, '--type', 'nano', '--vpc', 'bench', '--stop-timeout', '0', '--command', PROGRAM.join(' ')],
        env,
      );
    const run = async (name: string) =>
      timed('docker', [
        'run',
        '--detach',
        '--interactive',
        '--name',
        `${mark}-${name}`,
        '--hostname',
        name,
        '--label',
        mark,
        '--network',
        mark,
        ...LIMITS,
        IMAGE,
        ...PROGRAM,
      ]);
    const spec = (name: string) => ({ name, image: IMAGE, type: 'nano', vpc: 'bench', stopTimeout: 0, command: PROGRAM });

    /** So many, all at once, with what each took; then they go away, off the clock. */
    const group = async (count: number, begin: (name: string) => Promise<number>, clear: (names: readonly string[]) => Promise<void>) => {
      const names = Array.from({ length: count }, nextName);
      const began = performance.now();
      const each = await Promise.all(names.map(begin));
      const all = performance.now() - began;
      await clear(names);
      return { all, each };
    };
    const bySdk = async (name: string) => {
      const began = performance.now();
      await cloud.instance.create(spec(name), { wait: true });
      return performance.now() - began;
    };
    const byPost = async (name: string) => {
      const began = performance.now();
      await cloud.instance.create(spec(name));
      return performance.now() - began;
    };
    /** What was only accepted is let come up first: a start that is cut off is another thing than the one measured. */
    const removeRunning = async (names: readonly string[]) => {
      for (const name of names) await running(cloud, name);
      await remove(names);
    };
    const removeContainers = async (names: readonly string[]) => void (await docker('rm', '--force', ...names.map((name) => `${mark}-${name}`)));

    await cloud.instance.create(spec('always'), { wait: true });
    await group(1, create, remove);
    await group(1, run, removeContainers);
    return async (take, round) => {
      const posts: number[] = [];
      for (let time = 0; time < EACH; time++) {
        await inTurns(round + time, [
          async () => take(single)(CREATE, { value: (await group(1, create, remove)).all }),
          async () => take(single)(RUN, { value: (await group(1, run, removeContainers)).all }),
          async () => take(single)(ANY, { value: await timed(CLI, ['instance', 'get', 'always'], env) }),
          async () => take(single)(SDK, { value: (await group(1, bySdk, remove)).all }),
          async () => void posts.push(...(await group(1, byPost, removeRunning)).each),
        ]);
      }
      take(answer)(answer.subjects[0], { value: quantile(posts, 0.5), p50: quantile(posts, 0.5), p99: quantile(posts, 0.99) });
      await inTurns(round, [
        async () => take(many)(CREATE, { value: (await group(AT_ONCE, create, remove)).all }),
        async () => take(many)(RUN, { value: (await group(AT_ONCE, run, removeContainers)).all }),
        async () => take(many)(SDK, { value: (await group(AT_ONCE, bySdk, remove)).all }),
        async () => {
          const { each } = await group(AT_ONCE, byPost, removeRunning);
          take(answer)(answer.subjects[1] ?? '', { value: quantile(each, 0.5), p50: quantile(each, 0.5), p99: quantile(each, 0.99) });
        },
      ]);
    };
  },
};
