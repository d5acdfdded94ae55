// How long a command takes that does next to nothing: what every one of them costs.
import { type Bench, type Case, inTurns } from './case.ts';
import { CLI, fill, serve } from './daemon.ts';
import { dockerObstacle } from './docker.ts';
import { timed } from './process.ts';

const NODE = 'node -e 0';
const DOCKER = 'docker ps';
const EACH = 8;

const version: Case = { name: 'cloud --version', unit: 'ms', subjects: ['cloud --version', NODE], goals: [{ most: 1.3, times: NODE }] };
const list: Case = {
  name: 'cloud instance list, 20 rows, memory driver',
  unit: 'ms',
  subjects: ['cloud instance list', NODE, DOCKER],
  goals: [{ most: 2, times: NODE }],
};
const get: Case = {
  name: 'another command: cloud instance get',
  unit: 'ms',
  subjects: ['cloud instance get', NODE],
  goals: [{ most: 4, times: NODE }],
};
const help: Case = {
  name: 'help: cloud instance create --help',
  unit: 'ms',
  subjects: ['cloud instance create --help', NODE],
  goals: [{ most: 4, times: NODE }],
};

export const bench: Bench = {
  name: 'cli',
  cases: [version, list, get, help],
  open: async (stack) => {
    const daemon = await serve(stack, 'memory');
    await fill(daemon, 20);
    const env = { CLOUD_DATA_DIR: daemon.dataDir };
    const withDocker = (await dockerObstacle()) === undefined;
    const cloud = (...args: string[]) => timed(CLI, args, env);
    await cloud('--version'); // what is compiled once has been compiled
    await cloud('instance', 'list');
    return async (take, round) => {
      for (let time = 0; time < EACH; time++) {
        const measured = (of: Case, subject: string, run: () => Promise<number>) => async () => take(of)(subject, { value: await run() });
        await inTurns(round + time, [
          async () => {
            const value = await timed(process.execPath, ['-e', '0']);
            for (const each of [version, list, get, help]) take(each)(NODE, { value });
          },
          measured(version, 'cloud --version', () => cloud('--version')),
          measured(list, 'cloud instance list', () => cloud('instance', 'list')),
          measured(get, 'cloud instance get', () => cloud('instance', 'get', 'web-00007')),
          measured(help, 'cloud instance create --help', () => cloud('instance', 'create', '--help')),
          ...(withDocker ? [measured(list, DOCKER, () => timed('docker', ['ps']))] : []),
        ]);
      }
    };
  },
};
