// What it costs to know who calls and whether they may: list and get as a user without policies, with ten and with a thousand, and with an API key,
// beside a call that asks nobody who it is.
import { type Bench, type Case, inTurns, type Sample } from './case.ts';
import { fill, type Running, serve } from './daemon.ts';
import { load } from './load.ts';

const OPEN = 'GET /healthz, nobody asked';
const CONNECTIONS = 20;
const PASSWORD = 'benchmark-password-1';
const POLICIES = [0, 10, 1000] as const;

const subjectOf = (count: number): string => `session, ${count} policies`;
const KEY = 'API key';
const subjects = [subjectOf(0), subjectOf(10), subjectOf(1000), KEY, OPEN] as const;
const cases: readonly Case[] = [
  { name: 'list, 20 rows, who may', unit: '/s', subjects, goals: [{ least: 5000 }] },
  { name: 'get one by name, who may', unit: '/s', subjects, goals: [{ least: 5000 }] },
];
const PATHS = ['/v1/instances', '/v1/instances/web-00007'];

/** Of a thousand policies few speak of one action: as with people's real ones, most are about something else. */
type Json = string | Json[] | { [key: string]: Json };
const documentOf = (number: number): Record<string, Json> => ({
  Version: '2012-10-17',
  Statement: [
    { Sid: 'Own', Effect: 'Allow', Action: number % 10 === 0 ? ['instance:list', 'instance:get'] : ['volume:get', 'queue:send'], Resource: '*' },
    {
      Sid: 'Night',
      Effect: 'Deny',
      Action: ['instance:delete', 'vpc:delete'],
      Resource: `crn:cloud:*:*:*/prod-${number}-*`,
      Condition: { NotIpAddress: { 'cloud:SourceIp': '10.0.0.0/8' } },
    },
  ],
});

async function callers({ cloud, port }: Running): Promise<Map<string, { authorization: string }>> {
  const headers = new Map<string, { authorization: string }>();
  for (let number = 0; number < Math.max(...POLICIES); number++) await cloud.policy.create({ name: `bench-${number}`, document: documentOf(number) });
  for (const count of POLICIES) {
    const email = `with-${count}@example.com`;
    await cloud.user.create({ name: email, password: PASSWORD });
    await cloud.tenantMember.add({ name: email, roles: ['developer'] });
    for (let number = 0; number < count; number++) await cloud.policy.attach(`bench-${number}`, { user: email });
    const answer = await fetch(`http://127.0.0.1:${port}/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ email, password: PASSWORD }),
    });
    if (!answer.ok) throw new Error(`login: ${await answer.text()}`);
    const { accessToken } = (await answer.json()) as { accessToken: string };
    headers.set(subjectOf(count), { authorization: `Bearer ${accessToken}` });
    if (count > 0) continue;
    const made = await fetch(`http://127.0.0.1:${port}/v1/api-keys`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${accessToken}` },
      body: JSON.stringify({ name: 'bench' }),
    });
    if (!made.ok) throw new Error(`api-key: ${await made.text()}`);
    headers.set(KEY, { authorization: `Bearer ${((await made.json()) as { key: string }).key}` });
  }
  return headers;
}

export const bench: Bench = {
  name: 'access',
  cases,
  open: async (stack) => {
    const daemon = await serve(stack, 'memory');
    await fill(daemon, 20);
    const headers = await callers(daemon);
    return async (take, round) => {
      for (const [index, of] of cases.entries()) {
        const loaded = (path: string, with_: Record<string, string>): Promise<Sample> =>
          load({ port: daemon.port, pid: daemon.pid, headers: with_, paths: [path], connections: CONNECTIONS, warmSeconds: 0.5, seconds: 2 });
        await inTurns(
          round,
          subjects.map((subject) => async () => {
            const path = subject === OPEN ? '/healthz' : (PATHS[index] as string);
            take(of)(subject, await loaded(path, headers.get(subject) ?? {}));
          }),
        );
      }
    };
  },
};
