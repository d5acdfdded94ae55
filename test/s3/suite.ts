// ceph/s3-tests as a measure: writes its configuration, runs it by pytest, and says what became of each test. Nothing of the suite is in this repository.
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** What waits for timers, other clouds or log rotation says nothing about the protocol. */
const UNTIMED = ['lifecycle_expiration', 'lifecycle_transition', 'cloud_transition', 'cloud_restore', 'fails_without_logging_rollover'];
/** What waits for things to get old: with days of seconds. */
const TIMED = 'lifecycle_expiration and not lifecycle_transition and not cloud_transition';
export const DAY_SECONDS = 10;
const FILES = ['s3tests/functional/test_s3.py', 's3tests/functional/test_headers.py'];
/** Of one test. */
const PATIENCE_SECONDS = 40;
const TIMED_PATIENCE_SECONDS = 20 * DAY_SECONDS;

export interface Account {
  accessKeyId: string;
  secretAccessKey: string;
  /** As the server says it in Owner. */
  id: string;
  name: string;
}
export const ROLES = ['main', 'alt', 'tenant', 'iam', 'iam root', 'iam alt root'] as const;
export type Accounts = Record<(typeof ROLES)[number], Account>;

export interface Outcome {
  name: string;
  outcome: 'passed' | 'failed' | 'error' | 'skipped';
  /** Whether AWS itself is said to pass it. */
  aws: boolean;
  seconds: number;
  why: string;
}

/** Why the suite cannot run here, in words; undefined when it can. */
export async function suiteMissing(suite: string | undefined, pythonPath: string | undefined): Promise<string | undefined> {
  if (suite === undefined) return 'CLOUD_S3_TESTS does not name a checkout of ceph/s3-tests';
  if (!existsSync(join(suite, FILES[0] as string))) return `${suite} is no checkout of ceph/s3-tests`;
  const modules = 'import boto3, gevent, httplib2, isodate, lxml, munch, pytest, pytest_timeout, pytz, requests, xdist, yaml';
  try {
    await execute('/usr/bin/python3', ['-c', modules], { env: { PATH: process.env['PATH'], ...(pythonPath === undefined ? {} : { PYTHONPATH: pythonPath }) } });
  } catch (error) {
    const said = String((error as { stderr?: string }).stderr ?? (error as Error).message);
    return `the suite’s Python packages are missing (${said.trim().split('\n').at(-1) ?? ''}); test/s3/python.sh brings them`;
  }
  return undefined;
}

export function configuration(endpoint: URL, accounts: Accounts): string {
  const section = (title: string, { accessKeyId, secretAccessKey, id, name }: Account, more = ''): string =>
    `[${title}]\ndisplay_name = ${name}\nuser_id = ${id}\nemail = ${name}@example.com\naccess_key = ${accessKeyId}\nsecret_key = ${secretAccessKey}\n${more}`;
  return [
    `[DEFAULT]\nhost = ${endpoint.hostname}\nport = ${endpoint.port}\nis_secure = False\nssl_verify = False\n`,
    '[fixtures]\nbucket prefix = thecloud-{random}-\niam name prefix = s3-tests-\niam path prefix = /s3-tests/\n',
    section('s3 main', accounts.main, `lc_debug_interval = ${DAY_SECONDS}\n`),
    section('s3 alt', accounts.alt),
    section('s3 tenant', accounts.tenant, `tenant = ${accounts.tenant.name}\n`),
    section('iam', accounts.iam),
    section('iam root', accounts['iam root']),
    section('iam alt root', accounts['iam alt root']),
  ].join('\n');
}

export interface SuiteRun {
  suite: string;
  pythonPath: string | undefined;
  /** Text of the configuration. */
  configuration: string;
  jobs: number;
  /** Those tests, and only those, that wait until objects expire. */
  timed?: boolean | undefined;
  /** Only tests whose names match this expression of pytest. */
  only?: string | undefined;
  /** Only these. */
  names?: readonly string[] | undefined;
  /** What pytest says while it runs. */
  say: (text: string) => void;
}

export async function runSuite({ suite, pythonPath, jobs, timed = false, only, names, say, ...rest }: SuiteRun): Promise<Outcome[]> {
  const folder = mkdtempSync(join(tmpdir(), 'cloud-s3-tests-'));
  const report = join(folder, 'report.jsonl');
  const config = join(folder, 's3tests.conf');
  writeFileSync(report, '');
  writeFileSync(config, rest.configuration, { mode: 0o600 });
  const words = [
    '-m',
    'pytest',
    '-q',
    '--no-header',
    '--tb=short',
    '-p',
    'no:cacheprovider',
    '-p',
    'thecloud_report',
    `--timeout=${timed ? TIMED_PATIENCE_SECONDS : PATIENCE_SECONDS}`,
  ];
  if (jobs > 1) words.push('-n', String(jobs));
  words.push('-m', timed ? TIMED : UNTIMED.map((mark) => `not ${mark}`).join(' and '));
  if (only !== undefined) words.push('-k', only);
  words.push(...(names ?? FILES));
  const env = {
    PATH: process.env['PATH'],
    HOME: folder,
    LANG: 'C.UTF-8',
    PYTHONDONTWRITEBYTECODE: '1',
    PYTHONPATH: [import.meta.dirname, ...(pythonPath === undefined ? [] : [pythonPath])].join(':'),
    S3TEST_CONF: config,
    S3TEST_REPORT: report,
    AWS_EC2_METADATA_DISABLED: 'true',
    // With the C runtime, which comes along with Debian’s awscli, botocore signs before tests can spoil what was signed.
    BOTO_DISABLE_CRT: 'true',
    NO_PROXY: '*',
  };
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      const child = spawn('/usr/bin/python3', words, { cwd: suite, env, stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout.setEncoding('utf8').on('data', say);
      child.stderr.setEncoding('utf8').on('data', say);
      child.once('error', reject).once('close', resolve);
    });
    const outcomes = readFileSync(report, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Outcome)
      .map((outcome) => ({ ...outcome, name: outcome.name.replace(/^.*\/(test_\w+)\.py::/, '$1::') }));
    // 0: all passed; 1: some did not. Anything else is trouble of the suite itself.
    if ((code !== 0 && code !== 1) || outcomes.length === 0) throw new Error(`pytest ended with code ${code} and told of ${outcomes.length} tests`);
    return outcomes.sort((a, b) => (a.name < b.name ? -1 : 1));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Of an Outcome's name, what pytest takes. */
export const nodeIdOf = (name: string): string => name.replace(/^(test_\w+)::/, 's3tests/functional/$1.py::');
