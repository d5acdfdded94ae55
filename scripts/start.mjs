#!/usr/bin/env node
// `npm start`: set-up, the daemon, then the main job before one's eyes: a network, a volume and an instance with both,
// made (or found from last time) by the same `./cloud` commands that everybody types, and a request that it answers.

import { get } from 'node:http';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setUp } from './setup.mjs';
import { bold, childEnv, cyan, dim, exitCode, green, indent, report, root, run, Stop, seconds, sleep } from './terminal.mjs';

// Without --cidr it gets a network that is free on this host: another checkout may be running, too.
const vpc = ['vpc', 'create', 'hello'];
const volume = ['volume', 'create', 'hello-data', '--size', '1'];
const instance = [
  ...['instance', 'create', 'hello-web', '--image', 'busybox', '--type', 'nano', '--vpc', 'hello', '--volume', 'hello-data:/data'],
  ...['--publish', '127.0.0.1:0:80', '--user-data', '@examples/hello/user-data.sh', '--command', 'httpd -f -h /data'],
];

/**
 * @typedef {object} Instance what is used here of `instance get --output json`
 * @property {string} state
 * @property {string} [reason]
 * @property {string} [address]
 * @property {{ hostAddress: string, hostPort: number, instancePort: number }[]} [ports]
 * @property {{ status: string, exitCode?: number }} [cloudInit]
 */

/** What the memory driver records stays apart from what is real: CLOUD_DATA_DIR is set for it. @type {NodeJS.ProcessEnv} */
const environment = { ...childEnv };

/** Runs a command for its answer. @param {string[]} words */
const quietly = (words) => run(join(root, 'cloud'), [...words, '--output', 'json'], { env: environment });

/** Runs a command as if it were typed here. @param {string[]} words */
async function show(words) {
  process.stdout.write(`\n${cyan('$')} ${bold(['./cloud', ...words.map(quoted)].join(' '))}\n`);
  const { code } = await run(join(root, 'cloud'), words, { show: true, env: environment });
  if (code !== 0) {
    throw new Stop(`That command failed with exit code ${code}.`, { hint: 'What the daemon has to say:\n  ./cloud daemon logs', exit: code });
  }
}

const quoted = (/** @type {string} */ word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/**
 * The resource of that name as it is, or undefined. Anything but "there is none" is a failure.
 * @param {string} kind
 * @param {string} name
 */
async function find(kind, name) {
  const { code, output, stdout } = await quietly([kind, 'get', name]);
  if (code === 0) return JSON.parse(stdout);
  if (code === 4) return undefined;
  throw new Stop(`\`./cloud ${kind} get ${name}\` failed with exit code ${code}.`, { detail: output, hint: './cloud daemon logs', exit: code });
}

/** @param {string[]} create the command that makes it, `<kind> create <name> …` @returns {Promise<boolean>} whether it was there */
async function ensure(create) {
  const [kind = '', , name = ''] = create;
  const there = await find(kind, name);
  if (there === undefined) await show(create);
  else process.stdout.write(`\n${green('✓')} ${kind} ${bold(name)} is there from an earlier run.\n`);
  return there !== undefined;
}

/** Brings the instance to running, whatever an earlier run or its user left. @returns {Promise<{ web: Instance, existed: boolean }>} */
async function ensureInstance() {
  let web = await find('instance', 'hello-web');
  if (web?.state === 'deleting') {
    await show(['instance', 'wait', 'hello-web', '--for', 'deleted']);
    web = undefined;
  }
  const existed = await ensure(instance);
  web = await find('instance', 'hello-web');
  if (web?.state === 'stopped') await show(['instance', 'start', 'hello-web']);
  if (web?.state === 'paused') await show(['instance', 'resume', 'hello-web']);
  if (web?.state === 'pending') await show(['instance', 'wait', 'hello-web', '--for', 'running']);
  if (['pending', 'running'].includes(web?.cloudInit?.status ?? '')) await show(['instance', 'wait', 'hello-web', '--for', 'cloud-init']);
  web = /** @type {Instance} */ (await find('instance', 'hello-web'));
  if (web.cloudInit?.status === 'error') {
    throw new Stop('The user data of hello-web failed.', { hint: './cloud instance logs hello-web --cloud-init' });
  }
  if (web.state !== 'running') {
    throw new Stop(`hello-web is ${web.state}${web.reason ? `: ${web.reason}` : ''}.`, {
      hint: 'See its output, then make it anew (the volume stays):\n  ./cloud instance logs hello-web\n  ./cloud instance delete hello-web --yes && npm start',
    });
  }
  return { web, existed };
}

/** The body that the URL answers with; tries for some seconds, as a server that just started may not listen yet. @param {string} url */
async function fetchPage(url) {
  const until = Date.now() + 15_000;
  for (;;) {
    const answer = await request(url);
    if (answer.status === 200) return answer.text;
    const said = answer.status === undefined ? `does not answer: ${answer.text}` : `answered ${answer.status}, not 200`;
    if (Date.now() > until) throw new Stop(`${url} ${said}.`, { hint: './cloud instance logs hello-web\n./cloud instance logs hello-web --cloud-init' });
    await sleep(100);
  }
}

/** @param {string} url @returns {Promise<{ status?: number, text: string }>} status and body, or without a status why there is no answer */
function request(url) {
  return new Promise((resolve) => {
    const outgoing = get(url, { timeout: 5_000 }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => {
        text += part;
      });
      answer.on('end', () => resolve({ status: answer.statusCode, text }));
      answer.on('error', (error) => resolve({ text: error.message }));
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in 5 s')));
    outgoing.on('error', (error) => resolve({ text: error.message }));
  });
}

/** The daemon, running what was just built: instances do not notice that it is started anew. @param {string} driver @param {boolean} built */
async function ensureDaemon(driver, built) {
  if (driver === 'memory' && !process.env.CLOUD_DATA_DIR) {
    const data = process.env.XDG_DATA_HOME ?? join(homedir(), '.local', 'share');
    environment.CLOUD_DATA_DIR = join(data, 'thecloud-memory');
    process.stdout.write(`\n${cyan('$')} ${bold(`export CLOUD_DATA_DIR=${quoted(environment.CLOUD_DATA_DIR)}`)}\n`);
  }
  if (built && (await quietly(['daemon', 'status'])).code === 0) await show(['daemon', 'stop']);
  await show(['daemon', 'start', '--driver', driver]);
}

/** @param {string[]} words */
function parse(words) {
  if (words.length === 0) return 'docker';
  const given = words[0]?.startsWith('--driver=') ? [words[0].slice('--driver='.length), ...words.slice(1)] : words[0] === '--driver' ? words.slice(1) : [];
  if (given.length === 1 && (given[0] === 'docker' || given[0] === 'memory')) return given[0];
  throw new Stop(`Unknown: ${words.join(' ')}`, { hint: 'npm start -- [--driver docker|memory]', exit: 2 });
}

/** @param {string} driver */
async function setUpFor(driver) {
  try {
    return await setUp({ docker: driver === 'docker' });
  } catch (error) {
    if (error instanceof Stop && error.exit === exitCode.unavailable) {
      error.hint = `${error.hint ?? ''}\nTo see the control plane without real instances:\n  npm start -- --driver memory`;
    }
    throw error;
  }
}

/** @param {string[]} words */
async function main(words) {
  const since = Date.now();
  const driver = parse(words);
  const { built } = await setUpFor(driver);
  await ensureDaemon(driver, built);
  const found = [await ensure(vpc), await ensure(volume)];
  const { web, existed } = await ensureInstance();
  await show(['instance', 'list']);

  const port = web.ports?.find((each) => each.instancePort === 80);
  const url = port ? `http://${port.hostAddress}:${port.hostPort}/` : undefined;
  if (driver === 'docker') {
    if (!url) throw new Stop('hello-web has no published port 80.', { hint: './cloud instance get hello-web --output yaml' });
    process.stdout.write(`\n${cyan('$')} ${bold(`curl ${url}`)}\n${await fetchPage(url)}`);
  }

  const network = await find('vpc', 'hello');
  const anew = [...found, existed].every(Boolean) ? ' Everything was there from an earlier run; nothing was made anew.' : '';
  const answers = url && driver === 'docker' ? `answers at ${url}` : 'is only recorded: the memory driver runs nothing, so no request was made';
  process.stdout.write(`
${green('✓')} ${bold(driver === 'docker' ? 'It works.' : 'The control plane works.')} ${dim(`(${seconds(since)})`)}${anew}
  vpc       hello       ${network.cidr}, a network of its own
  volume    hello-data  1 GiB, outlives the instance
  instance  hello-web   ${web.address ?? ''} ${answers}

Try next:
${indent(next(driver).join('\n'))}
`);
}

/** @param {string} driver */
function next(driver) {
  const everywhere = ['./cloud instance list', './cloud event list', './cloud system info', './cloud --help'];
  const real = [
    './cloud instance exec hello-web -- sh',
    './cloud instance stats hello-web',
    './cloud instance delete hello-web --yes && npm start   # a new instance, the same data',
  ];
  const end = './cloud daemon stop                                      # instances go on running';
  if (driver === 'docker') return [...real, ...everywhere, end];
  return [`export CLOUD_DATA_DIR=${quoted(environment.CLOUD_DATA_DIR ?? '')}`, ...everywhere, './cloud daemon stop'];
}

main(process.argv.slice(2)).catch((error) => {
  process.exitCode = report(error);
});
