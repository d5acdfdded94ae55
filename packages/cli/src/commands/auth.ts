// `cloud auth …`: who one is. Passwords are asked for without echo, or come from standard input or a file; tokens go to the context's credentials.
import { resolve } from 'node:path';
import { Fault, socketPathOf } from '@thecloud/core/contracts';
import { askLine, askNewSecret, askSecret, someoneIsThere } from '../ask.ts';
import { EXIT, err, out, usage } from '../base.ts';
import { type Context, DEFAULT_CONTEXT, readContexts } from '../contexts.ts';
import { type Credential, endpointName, readCredentials, Session, type SessionAnswer, tokensFrom, type Who, writeCredential } from '../credentials.ts';
import { LOOPBACK } from '../http.ts';
import { inputOf } from '../input.ts';
import { printOne, structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { viewOf } from '../run.ts';
import { API_KEY_VARIABLE, endpointOfUrl, type Settings, settingsOf } from '../settings.ts';
import { commandOf, type OperationSpec } from '../table.ts';
import { flag, type Words } from '../words.ts';
import { changeContexts, checkedName, useContext } from './context.ts';

export async function run(words: Words): Promise<number> {
  switch (words.command.id) {
    case 'auth login':
      return login(words);
    case 'auth logout':
      return logout(words);
    case 'auth token':
      return token(words);
    case 'auth register':
      return register(words);
    case 'auth reset-password':
      return resetPassword(words);
    case 'auth change-password':
      return changePassword(words);
    default:
      return whoami(words);
  }
}

const operation = (id: string): OperationSpec => commandOf(id).operation as OperationSpec;

interface Place {
  settings: Settings;
  name: string;
  /** Undefined: it is there already. */
  made: Context | undefined;
}

const endpointOfContext = ({ url, socket, dataDir }: Context): string | undefined =>
  url !== undefined
    ? endpointName(endpointOfUrl(url))
    : socket !== undefined
      ? resolve(socket)
      : dataDir === undefined
        ? undefined
        : resolve(socketPathOf(dataDir));

/** The context that a login goes into: the named one, else one for the address that was given, else the one in force. */
function placeFor(words: Words): Place {
  const settings = settingsOf(words, { newContext: true });
  const { contexts } = readContexts();
  const here = 'url' in settings.endpoint ? settings.endpoint.url : undefined;
  const name = settings.context ?? DEFAULT_CONTEXT;
  const wanted = endpointName(settings.endpoint);
  const where: Context = here !== undefined ? { url: here } : { socket: wanted };
  const kept = contexts[name];
  const own = kept === undefined ? undefined : endpointOfContext(kept);
  if (words.flags.has('context')) {
    if (own !== undefined && own !== wanted) {
      throw new Fault('conflict', `The context ${name} is for ${own}, not for ${wanted}`, {
        hint: `cloud auth login --url ${wanted} --context <another name>`,
      });
    }
    return { settings, name, made: kept !== undefined || name === DEFAULT_CONTEXT ? undefined : where };
  }
  const elsewhere = words.flags.has('url') || words.flags.has('socket') || (own !== undefined && own !== wanted);
  if (!elsewhere) return { settings, name, made: undefined };
  const known = Object.entries(contexts).find(([, one]) => endpointOfContext(one) === wanted);
  if (known !== undefined) return { settings, name: known[0], made: undefined };
  const host = here === undefined ? 'socket' : new URL(here).host.replaceAll(/[^A-Za-z0-9.-]+/g, '-').replaceAll(/^[.-]+|[.-]+$/g, '');
  let free = host;
  for (let count = 2; Object.hasOwn(contexts, free); count++) free = `${host}-${count}`;
  return { settings, name: free, made: where };
}

async function login(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const place = placeFor(words);
  if (place.made !== undefined) checkedName(place.name);
  const tenant = flag(words, 'tenant');
  const key = input['apiKey'];
  if (typeof key === 'string') {
    if (input['email'] !== undefined || input['password'] !== undefined) throw usage('With --api-key there is no e-mail address and no password');
    const remote = new Remote({ ...place.settings, tenant: undefined, proof: { token: key.trim() } });
    const who = (await remote.call(operation('auth whoami'), {})).value as Whoami;
    await keep(place, tenant, (endpoint) => ({ kind: 'api-key', endpoint, principal: { id: who.id, name: who.name }, key: key.trim() }));
    return welcome(words, place, who, who.tenant);
  }
  const email = await emailFrom(input);
  warnOpenly(place.settings);
  const password = typeof input['password'] === 'string' ? input['password'] : await asked(words, 'password', (what) => askSecret(`${what}: `));
  const remote = new Remote({ ...place.settings, tenant: undefined, proof: undefined });
  const answer = (await remote.call(operation('auth login'), { input: { email, password } })).value as SessionAnswer;
  return enter(words, place, answer);
}

async function enter(words: Words, place: Place, answer: SessionAnswer): Promise<number> {
  await keep(place, flag(words, 'tenant'), (endpoint) => tokensFrom(answer, endpoint));
  return welcome(words, place, answer.principal, answer.tenant);
}

/** Context and credential in one step, and the context becomes the current one. */
async function keep({ settings, name, made }: Place, tenant: string | undefined, credential: (endpoint: string) => Credential): Promise<void> {
  const endpoint = endpointName(settings.endpoint);
  await changeContexts((all) => {
    const earlier = readCredentials()[name];
    const next = credential(endpoint);
    writeCredential(name, next);
    const { tenant: kept, ...where } = all.contexts[name] ?? made ?? {};
    // Another person may belong elsewhere, and a key is for one tenant only.
    const stays = next.kind === 'session' && (earlier === undefined || earlier.principal.id === next.principal.id) ? kept : undefined;
    const context = { ...where, ...((tenant ?? stays) === undefined ? {} : { tenant: tenant ?? stays }) };
    return useContext({ ...all, contexts: { ...all.contexts, [name]: context } }, name);
  });
}

async function welcome(words: Words, { settings, name }: Place, who: Who, tenant: Who | undefined): Promise<number> {
  const { output, quiet } = settings;
  const chosen = flag(words, 'tenant') ?? tenant?.name;
  if (output === 'json' || output === 'yaml')
    out(await structured({ context: name, principal: { id: who.id, name: who.name }, ...(tenant === undefined ? {} : { tenant }) }, output));
  else if (output === 'name') out(`${who.name}\n`);
  else if (!quiet) err(`Logged in as ${printable(who.name)}${chosen === undefined ? '' : `, in the tenant ${printable(chosen)}`}; the context is ${name}.\n`);
  // Whoever was the administrator of his own daemon a moment ago may miss that.
  if (name === DEFAULT_CONTEXT && 'socket' in settings.endpoint && !quiet) err('After `cloud auth logout` you are the local administrator again.\n');
  for (const variable of ['CLOUD_TOKEN', API_KEY_VARIABLE]) if (process.env[variable] && !quiet) err(`${variable} is set and goes before it.\n`);
  return EXIT.done;
}

async function emailFrom(input: Record<string, unknown>): Promise<string> {
  if (typeof input['email'] === 'string') return input['email'];
  if (!someoneIsThere()) throw usage('<email> is missing', 'cloud auth login ann@example.com --password -');
  return askLine('E-mail: ');
}

/** A secret that was not given: asked for where somebody sits, refused elsewhere. */
async function asked(words: Words, name: string, ask: (what: string) => Promise<string>, what = 'Password'): Promise<string> {
  if (someoneIsThere()) return ask(what);
  throw usage(`--${name} is missing, and nobody is there to ask for it`, ['cloud', words.command.id, ...words.positionals, `--${name} -`].join(' '));
}

/** http:// to another machine shows the password to everything between. */
function warnOpenly({ endpoint, quiet }: Settings): void {
  if (quiet || !('url' in endpoint) || endpoint.secure || LOOPBACK.test(endpoint.host)) return;
  err(`${endpoint.url} is not encrypted: whoever is between can read the password. Use https:// or a tunnel.\n`);
}

async function logout(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const settings = settingsOf(words);
  const name = settings.context ?? DEFAULT_CONTEXT;
  const credential = readCredentials()[name];
  if (credential === undefined) {
    if (!settings.quiet) err('Nobody is logged in here.\n');
    return EXIT.done;
  }
  // A key has no session; it is only forgotten here.
  if (credential.kind === 'session') {
    try {
      await new Remote({ ...settings, tenant: undefined, proof: { context: name } }).call(operation('auth logout'), { input });
    } catch (error) {
      if (!(error instanceof Fault) || (error.code !== 'unauthenticated' && error.code !== 'unavailable')) throw error;
      // One that has ended already is what was wanted; of a daemon that is away the user must know.
      if (error.code === 'unavailable') err(`${error.message}. The session is forgotten here; there it goes on until it expires.\n`);
    }
  }
  await changeContexts((all) => {
    writeCredential(name, undefined);
    const { [DEFAULT_CONTEXT]: plain, ...contexts } = all.contexts;
    // Without credentials and without a tenant of its own it is as if nothing were kept.
    return name === DEFAULT_CONTEXT && plain !== undefined && Object.keys(plain).length === 0 ? { ...all, contexts } : all;
  });
  if (!settings.quiet) err(`${printable(credential.principal.name)} is logged out of ${name}.\n`);
  return EXIT.done;
}

async function token(words: Words): Promise<number> {
  await inputOf(words);
  const settings = settingsOf(words);
  const { proof } = settings;
  const bearer = proof === undefined ? undefined : 'token' in proof ? proof.token : await new Session(proof.context, settings).bearer();
  if (bearer === undefined) throw new Fault('unauthenticated', 'Nobody is logged in here', { hint: 'cloud auth login' });
  out(settings.output === 'json' ? await structured({ token: bearer }, 'json') : `${bearer}\n`);
  return EXIT.done;
}

async function register(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const place = placeFor(words);
  if (place.made !== undefined) checkedName(place.name);
  const email = await emailFrom(input);
  warnOpenly(place.settings);
  const password = typeof input['password'] === 'string' ? input['password'] : await asked(words, 'password', askNewSecret);
  const remote = new Remote({ ...place.settings, tenant: undefined, proof: undefined });
  await remote.call(operation('auth register'), { input: { ...input, email, password } });
  const answer = (await remote.call(operation('auth login'), { input: { email, password } })).value as SessionAnswer;
  return enter(words, place, answer);
}

async function resetPassword(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const settings = settingsOf(words);
  const email = await emailFrom(input);
  warnOpenly(settings);
  const once = typeof input['token'] === 'string' ? input['token'] : await asked(words, 'token', (what) => askSecret(`${what}: `), 'One-time token');
  const password = typeof input['password'] === 'string' ? input['password'] : await asked(words, 'password', askNewSecret, 'New password');
  await new Remote({ ...settings, tenant: undefined, proof: undefined }).call(operation('auth reset-password'), {
    input: { email, token: once.trim(), password },
  });
  if (!settings.quiet) err(`The password of ${printable(email)} is set. To log in: cloud auth login ${printable(email)}\n`);
  return EXIT.done;
}

async function changePassword(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const settings = settingsOf(words);
  warnOpenly(settings);
  const current =
    typeof input['current'] === 'string' ? input['current'] : await asked(words, 'current', (what) => askSecret(`${what}: `), 'Password in force');
  const password = typeof input['password'] === 'string' ? input['password'] : await asked(words, 'password', askNewSecret, 'New password');
  const { ended } = (await new Remote(settings).call(operation('auth change-password'), { input: { current, password } })).value as { ended: number };
  if (!settings.quiet) err(`The password is changed${ended === 0 ? '' : `; ${ended} other session${ended === 1 ? ' was' : 's were'} ended`}.\n`);
  return EXIT.done;
}

interface Whoami extends Who {
  kind: string;
  administrator: boolean;
  tenant?: Who;
  roles: string[];
  policies: string[];
  tenants: (Who & { roles: string[] })[];
  credential: { kind: string; id?: string; expiresAt?: string };
}

async function whoami(words: Words): Promise<number> {
  await inputOf(words);
  const settings = settingsOf(words);
  const who = (await new Remote(settings).call(words.command.operation as OperationSpec, {})).value as Whoami;
  const { output } = settings;
  if (output !== 'table' && output !== 'wide') {
    await printOne(viewOf(words.command.operation as OperationSpec), who, output);
    return EXIT.done;
  }
  const { credential } = who;
  const facts: [string, string][] = [
    ['Name', who.name === who.id ? who.name : `${who.name} (${who.id})`],
    ['Kind', `${who.kind}${who.administrator ? ', administrator of the installation' : ''}`],
    [
      'Credential',
      `${credential.kind}${credential.id === undefined ? '' : ` ${credential.id}`}${credential.expiresAt === undefined ? '' : `, until ${credential.expiresAt}`}`,
    ],
    ['Context', settings.context ?? DEFAULT_CONTEXT],
    ['Tenant', who.tenant === undefined ? 'none' : `${who.tenant.name} (${who.tenant.id})`],
    ...(who.roles.length === 0 ? [] : [['Roles', who.roles.join(', ')] as [string, string]]),
    ...(who.policies.length === 0 ? [] : [['Policies', who.policies.join(', ')] as [string, string]]),
    ...(who.tenants.length === 0
      ? []
      : [['Tenants', who.tenants.map(({ name, roles }) => `${name}${roles.length === 0 ? '' : ` (${roles.join(', ')})`}`).join('; ')] as [string, string]]),
  ];
  out(facts.map(([name, text]) => `${`${name}:`.padEnd(12)} ${printable(text)}\n`).join(''));
  return EXIT.done;
}
