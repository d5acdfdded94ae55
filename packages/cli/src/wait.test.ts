// Waiting, against a daemon whose answers stand here: progress, failure, a daemon that goes away and comes back, impatience.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Exit, OperationFailed } from './base.ts';
import { Remote } from './remote.ts';
import { waitFor } from './wait.ts';

let folder: string;
let socket: string;
let server: Server;
let asked: URLSearchParams[];
let answers: (object | 'break' | 'silence')[];
let said: string;

async function listen(): Promise<void> {
  server = createServer((request, response) => {
    asked.push(new URL(request.url ?? '/', 'http://localhost').searchParams);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === 'break') return void request.socket.destroy();
    if (answer === 'silence') return;
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
}
async function close(): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cloud-wait-'));
  socket = join(folder, 's');
  asked = [];
  said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += String(text);
    return true;
  });
  await listen();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await close();
  rmSync(folder, { recursive: true, force: true });
});

const operation = (more: object) => ({ id: 'op-1', kind: 'instance.create', resource: 'instance', resourceId: 'inst-1', name: 'web', ...more });
const wait = (timeout = 5000, quiet = false) =>
  waitFor(new Remote({ output: 'table', tenant: undefined, quiet, verbose: false, dataDir: folder, endpoint: { socket } }), 'op-1', {
    title: 'Creating instance web',
    done: 'instance web created',
    timeout,
    quiet,
  });

it('tells each change once, and asks for the next one only', async () => {
  answers = [
    operation({ state: 'running', progress: 'pulling the image', percent: 40 }),
    operation({ state: 'running', progress: 'pulling the image', percent: 40 }),
    operation({ state: 'running', progress: 'starting' }),
    operation({ state: 'succeeded' }),
  ];
  expect((await wait()).state).toBe('succeeded');
  expect(said.replace(/\(.* s\)/, '(0 s)')).toBe(
    'Creating instance web\nCreating instance web: pulling the image 40 %\nCreating instance web: starting\ninstance web created (0 s)\n',
  );
  expect(asked.map((query) => query.get('progress'))).toEqual(['', 'pulling the image', 'pulling the image', 'starting']);
});

it('says nothing when quiet', async () => {
  answers = [operation({ state: 'running', progress: 'starting' }), operation({ state: 'succeeded' })];
  await wait(5000, true);
  expect(said).toBe('');
});

it('fails with the reason', async () => {
  answers = [operation({ state: 'failed', error: { code: 'not_found', message: 'no such image', hint: 'cloud image list' } })];
  const failure = await wait().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(OperationFailed);
  expect(failure).toMatchObject({ message: 'Creating instance web failed: no such image', body: { hint: 'cloud image list' } });
});

it('outlasts a daemon that restarts', async () => {
  answers = ['break', 'break', 'break', operation({ state: 'running', progress: 'starting' }), operation({ state: 'succeeded' })];
  const waiting = wait();
  await vi.waitFor(() => expect(asked.length).toBeGreaterThanOrEqual(3));
  await close();
  await new Promise((resolve) => setTimeout(resolve, 400));
  await listen();
  expect((await waiting).state).toBe('succeeded');
  expect(said).toContain('the daemon does not answer; trying again');
});

it('gives up in time, and says that the operation goes on', async () => {
  answers = [operation({ state: 'running' })];
  await expect(wait(0)).rejects.toMatchObject({ code: 'timeout', hint: 'cloud operation wait op-1' });
});

it('when interrupted says how to take it up again', async () => {
  answers = ['silence'];
  const waiting = wait();
  const failure = waiting.catch((error: unknown) => error);
  await vi.waitFor(() => expect(asked).toHaveLength(1));
  process.emit('SIGINT');
  expect(await failure).toEqual(new Exit(130));
  expect(said).toContain('The operation goes on: cloud operation wait op-1');
  expect(process.listenerCount('SIGINT')).toBe(0);
});
