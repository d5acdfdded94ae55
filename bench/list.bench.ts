// `GET /v1/instances` over TCP with a bearer token, 20 connections; beside it node:http that answers the same number of bytes without thinking.
import { spawn } from 'node:child_process';
import { type Bench, type Case, type Goal, inTurns, type Sample } from './case.ts';
import { fill, pathsOfAll, type Running, serve } from './daemon.ts';
import { load } from './load.ts';
import { end, firstLine } from './process.ts';

const CEILING = 'node:http, same bytes';
const OURS = 'GET /v1/instances';
const CONNECTIONS = 20;
const FAST: readonly Goal[] = [{ least: 5000 }, { figure: 'p99', most: 20 }];

interface Kind {
  of: Case;
  paths(daemon: Running): Promise<string[]>;
  /** Something changes all the time, so that no answer can be given twice. */
  changing?: boolean;
}

const path = (text: string) => async () => [text];
const one = (name: string, goals: readonly Goal[]): Case => ({ name, unit: '/s', subjects: [OURS, CEILING], goals });

function listing(rows: number, kinds: readonly Kind[]): Bench {
  return {
    name: `list-${rows}`,
    cases: kinds.map(({ of }) => of),
    open: async (stack) => {
      const daemon = await serve(stack, 'memory');
      await fill(daemon, rows);
      const subjects = await Promise.all(
        kinds.map(async (kind) => {
          const paths = await kind.paths(daemon);
          const bytes = await Promise.all(
            paths.map(async (one) => (await (await fetch(`http://127.0.0.1:${daemon.port}${one}`, { headers: daemon.headers })).arrayBuffer()).byteLength),
          );
          const peer = spawn(
            process.execPath,
            [`${import.meta.dirname}/peer-http.mjs`, String(Math.round(bytes.reduce((sum, more) => sum + more) / bytes.length))],
            {
              stdio: ['ignore', 'pipe', 'inherit'],
            },
          );
          stack.defer(() => end(peer));
          const { port } = (await firstLine(peer)) as { port: number };
          return { ...kind, paths, peer: { port, pid: peer.pid ?? 0 } };
        }),
      );
      return async (take, round) => {
        for (const { of, paths, changing, peer } of subjects) {
          const loaded = (where: { port: number; pid: number; headers?: Running['headers'] }): Promise<Sample> =>
            load({ port: where.port, pid: where.pid, headers: where.headers ?? daemon.headers, paths, connections: CONNECTIONS, warmSeconds: 0.5, seconds: 2 });
          await inTurns(round, [
            async () => {
              await using _writing = changing === true ? keepChanging(daemon) : undefined;
              take(of)(OURS, await loaded(daemon));
            },
            async () => take(of)(CEILING, await loaded(peer)),
          ]);
        }
      };
    },
  };
}

const CHANGE_EVERY_MS = 20;

/** Another client that changes one of the rows fifty times a second. */
function keepChanging({ cloud }: Running): AsyncDisposable {
  let ended = false;
  const done = (async () => {
    for (let count = 0; !ended; count++) {
      const next = new Promise((resolve) => setTimeout(resolve, CHANGE_EVERY_MS));
      await cloud.instance.update('web-00003', { labels: { tier: 'web', count: String(count) } });
      await next;
    }
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      ended = true;
      await done;
    },
  };
}

const page = path('/v1/instances?limit=50');
const whole = ({ cloud }: Running) => pathsOfAll(cloud);

export const benches: readonly Bench[] = [
  listing(20, [
    { of: one('list, 20 rows, 20 connections', FAST), paths: path('/v1/instances') },
    { of: one('list, 20 rows, while one of them changes 50 times a second', FAST), paths: path('/v1/instances'), changing: true },
    { of: one('get one by name', FAST), paths: path('/v1/instances/web-00007') },
  ]),
  listing(10, [{ of: one('list, 10 rows, whole', FAST), paths: whole }]),
  ...[100, 1000, 10_000].map((rows) =>
    listing(rows, [
      { of: one(`list, ${rows} rows, page of 50`, FAST), paths: page },
      { of: one(`list, ${rows} rows, page of 50, while one changes`, []), paths: page, changing: true },
      { of: one(`list, ${rows} rows, whole${rows > 1000 ? ' (a round trip is all its pages of 1000)' : ''}`, []), paths: whole },
    ]),
  ),
];
