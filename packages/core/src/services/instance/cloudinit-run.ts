// Carries out a boot inside an instance, once. What is so stands in the instance alone: this process may be killed between any two
// calls, the next one looks again. A marker that only one run can make keeps a second one from ever happening.
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import tar from 'tar-stream';
import { systemClock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import { lastWords } from './cloudinit-log.ts';
import { type Boot, STARTED } from './cloudinit-script.ts';
import { HOME, hear, isAlive, isHeard, readState, scrub } from './cloudinit-state.ts';
import type { ComputeDriver, ExecSession } from './driver.ts';

export { bootLog } from './cloudinit-log.ts';

export interface BootProgress {
  /** `running` also before it has begun, e.g. because the instance does not run yet. */
  status: 'running' | 'done' | 'error';
  /** Of the first step that failed; 0 when all went well. Undefined when it did not come to an end. */
  exitCode?: number;
  /** What failed, with the end of its output. */
  reason?: string;
}

const START_LIMIT = 5_000;
const MAX_OUTPUT = 400;
const MAX_SAID = 4_096;
const MAX_STEP = 200;

/**
 * Brings first boot one step on: starts it, or looks how far it is. Returns within seconds whatever the boot does, may be called as often
 * as one likes, and after its end says the same again. Throws DriverError when the backend cannot be asked.
 */
export async function advanceBoot(driver: ComputeDriver, id: string, boot: Boot): Promise<BootProgress> {
  if (boot.empty) return { status: 'done', exitCode: 0 };
  const state = await readState(driver, id);
  if (state.result !== undefined) return finished(driver, id, boot, state.result);
  if (state.refused !== undefined) return refusal(state.refused);
  if (state.started === undefined) return isHeard(driver, id) ? { status: 'running' } : start(driver, id, boot);
  if (await isAlive(driver, id, state.started)) return { status: 'running' };
  // It may have ended between the two looks.
  const { result } = await readState(driver, id);
  if (result !== undefined) return finished(driver, id, boot, result);
  await scrub(driver, id);
  const { running } = await lastWords(driver, id);
  const reason = `interrupted${running === undefined ? '' : ` during ${running}`}: it ended without a result, as when the instance stops or its memory or disk runs out; it is not run again`;
  return { status: 'error', reason };
}

async function start(driver: ComputeDriver, id: string, boot: Boot): Promise<BootProgress> {
  if (!(await isRunning(driver, id))) return { status: 'running' };
  // A directory of its own for each try: an earlier one, of a process that was killed, may be running from another.
  const stage = `${HOME}/${id}.staged-${randomBytes(6).toString('hex')}`;
  await driver.writeFiles(
    id,
    '/',
    pack(directories(id, stage), [{ name: `${stage}/run.sh`, mode: 0o700, content: Buffer.from(boot.script) }, ...staged(stage, boot)]),
  );
  let session: ExecSession;
  try {
    session = await driver.exec(id, { command: ['/bin/sh', `${stage}/run.sh`, `${HOME}/${id}`], user: '0', workingDirectory: '/', tty: false, stdin: false });
  } catch (error) {
    // Stopped in this moment: it begins with the next start.
    if (error instanceof DriverError && error.code === 'bad_spec' && !(await isRunning(driver, id))) return { status: 'running' };
    throw error;
  }
  hear(driver, id, session);
  const { begun, said } = listen(session);
  const limit = new AbortController();
  const ended = session.exited.then((code) => ({ code }));
  const outcome = await Promise.race([ended, begun, systemClock.sleep(START_LIMIT, limit.signal)]).finally(() => limit.abort());
  if (outcome === undefined || outcome.code === 0) return { status: 'running' };
  const { code } = outcome;
  if ((await readState(driver, id)).started !== undefined || !(await isRunning(driver, id))) return { status: 'running' };
  await scrub(driver, id);
  const noShell = code === 126 || code === 127;
  const what = noShell ? 'this image has no usable /bin/sh, which cloud-init in a container needs' : 'first boot could not begin';
  const refused: BootProgress = { status: 'error', exitCode: code, reason: `${what}${excerpt(said().split('\n'), boot)}` };
  await driver.writeFiles(id, '/', pack([], [{ name: `${HOME}/${id}/refused`, mode: 0o600, content: Buffer.from(JSON.stringify(refused)) }]));
  return refused;
}

const isRunning = async (driver: ComputeDriver, id: string): Promise<boolean> => (await driver.inspect(id))?.power === 'running';

/** `begun` settles when the script says that it is the one run; both outputs are read to their ends either way. */
function listen(session: ExecSession): { begun: Promise<undefined>; said: () => string } {
  let said = '';
  const begun = new Promise<undefined>((resolve) => {
    let heard = '';
    session.stdout.on('data', (chunk: Buffer) => {
      if (heard.length < MAX_SAID) heard += chunk.toString('utf8');
      if (heard.includes(STARTED)) resolve(undefined);
    });
  });
  session.stderr.on('data', (chunk: Buffer) => {
    if (said.length < MAX_SAID) said += chunk.toString('utf8');
  });
  return { begun, said: () => said };
}

interface PackedFile {
  name: string;
  mode: number;
  content: Buffer;
}

const directories = (id: string, stage: string): string[] => [`${HOME}/${id}`, stage];

const staged = (stage: string, boot: Boot): PackedFile[] =>
  boot.files.map(({ name, executable, content }) => ({ name: `${stage}/${name}`, mode: executable ? 0o700 : 0o600, content: content() }));

/** For the root directory of an instance; everything root's own and nobody else's to read. */
function pack(folders: readonly string[], files: readonly PackedFile[]): Readable {
  const archive = tar.pack();
  const owner = { uid: 0, gid: 0, mtime: new Date(systemClock.now()) };
  const entries = [
    ...folders.map((folder) => archive.entry({ ...owner, type: 'directory', name: `${folder.slice(1)}/`, mode: 0o700 })),
    ...files.map(({ name, mode, content }) => archive.entry({ ...owner, type: 'file', name: name.slice(1), mode }, content)),
  ];
  // A driver that gives up in the middle breaks every entry that is left, and says so itself.
  for (const entry of entries) entry.on('error', () => undefined);
  archive.finalize();
  return Readable.from(archive);
}

async function finished(driver: ComputeDriver, id: string, boot: Boot, result: string): Promise<BootProgress> {
  const [first = '', ...failures] = result.split('\n').filter((line) => line !== '');
  if (!/^\d{1,3}$/.test(first)) return { status: 'error', reason: 'its result was written over by something in the instance' };
  const exitCode = Number(first);
  if (exitCode === 0) return { status: 'done', exitCode };
  const steps = failures.map((line) => plain(line.slice(line.indexOf(' ') + 1)).slice(0, MAX_STEP));
  const { lines } = await lastWords(driver, id, steps[0]);
  const others = steps.length > 1 ? `; also failed: ${steps.slice(1, 4).join(', ')}${steps.length > 4 ? ' …' : ''}` : '';
  return { status: 'error', exitCode, reason: `${steps[0] ?? 'first boot'} failed with exit code ${exitCode}${excerpt(lines, boot)}${others}` };
}

/** What `start` wrote down; by now it may be something else, for root in the instance can write there too. */
function refusal(text: string): BootProgress {
  let written: { exitCode?: unknown; reason?: unknown } | null;
  try {
    written = JSON.parse(text) as typeof written;
  } catch {
    written = null; // told below in general words
  }
  const { exitCode, reason } = written ?? {};
  return {
    status: 'error',
    ...(typeof exitCode === 'number' && Number.isInteger(exitCode) ? { exitCode } : {}),
    reason: typeof reason === 'string' ? plain(reason).slice(0, 2 * MAX_OUTPUT) : 'first boot could not begin',
  };
}

/** Without what a terminal would obey. */
const plain = (line: string): string =>
  line
    .replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '')
    .replace(/\p{Cc}+/gu, ' ')
    .trim();

/** The end of some output as one line, without the passwords of the user data and without control characters. */
function excerpt(lines: readonly string[], boot: Boot): string {
  let text = lines
    .map(plain)
    .filter((line) => line !== '')
    .join(' | ');
  for (const secret of boot.secrets) text = text.replaceAll(secret, '***');
  if (text === '') return '';
  return `: ${text.length > MAX_OUTPUT ? `…${text.slice(-MAX_OUTPUT)}` : text}`;
}
