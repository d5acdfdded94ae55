// The part of #cloud-config that says who may log in: users, groups, keys and passwords.

import type { Password, UserData, UserToAdd } from './cloudinit-data.ts';
import { type At, isMapping, kindOf, type Reader } from './cloudinit-reader.ts';

const USER_KEYS = [
  'name',
  'gecos',
  'groups',
  'primary_group',
  'no_user_group',
  'sudo',
  'shell',
  'ssh_authorized_keys',
  'lock_passwd',
  'passwd',
  'hashed_passwd',
  'plain_text_passwd',
  'uid',
  'homedir',
  'no_create_home',
  'system',
] as const;

const NAME = /^[a-z_][a-z0-9_.-]{0,30}\$?$/;
const NAME_RULE = 'a user or group name has up to 32 lower-case letters, digits, _ . and -, and begins with a letter or _';
const ABSOLUTE = /^\/[^:\p{Cc}]*$/u;
const KEY =
  /(?:^|[\s"])(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)(?:-cert-v01@openssh\.com)?\s+AAAA[A-Za-z0-9+/]+={0,3}(?:\s|$)/;
const HASH = /^\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|argon2\w*)\$[^:\s]+$/;
const MAX_ID = 4_294_967_294;

export function readUsers(
  reader: Reader,
  entries: Partial<Record<'users' | 'groups' | 'ssh_authorized_keys' | 'chpasswd' | 'ssh_pwauth' | 'disable_root', At>>,
  data: UserData,
): void {
  const { users } = entries;
  // A lone string or mapping stands for a list of one, as in cloud-init.
  const each = users === undefined || Array.isArray(users.value) ? reader.list(users) : [users];
  for (const at of each) readUser(reader, at, data);
  data.groups = readGroups(reader, entries.groups);
  data.keys = readKeys(reader, entries.ssh_authorized_keys);
  readChpasswd(reader, entries.chpasswd, data);
  const { ssh_pwauth, disable_root } = entries;
  if (ssh_pwauth !== undefined && ssh_pwauth.value !== 'unchanged') {
    if (typeof ssh_pwauth.value === 'boolean') data.sshPasswords = ssh_pwauth.value;
    else reader.say(ssh_pwauth, 'must be true, false or unchanged');
  }
  if (reader.flag(disable_root) === true) {
    reader.say({ path: disable_root?.path ?? [] }, 'cannot be true: root is the user whom the SSH keys of an instance let in');
  }
}

function readUser(reader: Reader, at: At, data: UserData): void {
  if (!isMapping(at.value)) {
    for (const name of namesIn(reader, at)) {
      // The default user of an instance is root, who is there already and gets the keys.
      if (name !== 'default') data.users.push(plainUser(name));
    }
    return;
  }
  const entries = reader.map(at, USER_KEYS);
  if (entries.name === undefined) reader.say({ path: [...at.path, 'name'] }, 'is required: the login name');
  const name = reader.match(entries.name, NAME, NAME_RULE);
  const flag = (key: 'system' | 'no_create_home' | 'no_user_group') => reader.flag(entries[key]) ?? false;
  const [system, noHome, noGroup] = [flag('system'), flag('no_create_home'), flag('no_user_group')];
  const keys = readKeys(reader, entries.ssh_authorized_keys);
  if (keys.length > 0 && (system || noHome)) {
    reader.say({ path: entries.ssh_authorized_keys?.path ?? at.path }, `a user with ${system ? 'system' : 'no_create_home'} has no home directory for them`);
  }
  const hashed = readHash(reader, entries.hashed_passwd);
  const plain = readPlain(reader, entries.plain_text_passwd);
  const user: UserToAdd = {
    name: name ?? '',
    uid: reader.integer(entries.uid, 0, MAX_ID),
    gecos: reader.match(entries.gecos, /^[^:\p{Cc}]*$/u, 'must be one line without a colon') ?? '',
    home: reader.match(entries.homedir, ABSOLUTE, 'must be an absolute path without a colon') ?? (name === 'root' ? '/root' : `/home/${name ?? ''}`),
    shell: reader.match(entries.shell, ABSOLUTE, 'must be the absolute path of a program') ?? '',
    primaryGroup: reader.match(entries.primary_group, NAME, NAME_RULE) ?? '',
    groups: entries.groups === undefined ? [] : namesIn(reader, entries.groups),
    system,
    createHome: !(system || noHome),
    ownGroup: !noGroup,
    hash: readHash(reader, entries.passwd),
    password: hashed !== undefined ? { secret: hashed, hashed: true } : plain !== undefined ? { secret: plain, hashed: false } : undefined,
    lock: reader.flag(entries.lock_passwd) ?? true,
    sudo: readSudo(reader, entries.sudo),
    keys,
  };
  if (name !== undefined) data.users.push(user);
}

const plainUser = (name: string): UserToAdd => ({
  name,
  uid: undefined,
  gecos: '',
  home: `/home/${name}`,
  shell: '',
  primaryGroup: '',
  groups: [],
  system: false,
  createHome: true,
  ownGroup: true,
  hash: undefined,
  password: undefined,
  lock: true,
  sudo: [],
  keys: [],
});

/** "a, b" or [a, b]. */
function namesIn(reader: Reader, at: At): string[] {
  const parts =
    typeof at.value === 'string'
      ? at.value
          .split(',')
          .map((part) => part.trim())
          .filter((part) => part !== '')
          .map((value) => ({ value, path: at.path }))
      : reader.list(at);
  return parts.flatMap((part) => reader.match(part, NAME, NAME_RULE) ?? []);
}

function readGroups(reader: Reader, at: At | undefined): UserData['groups'] {
  if (at === undefined) return [];
  const of = ({ value, path }: At): UserData['groups'] =>
    isMapping(value)
      ? Object.entries(value).flatMap(([name, members]) => {
          const valid = reader.match({ value: name, path: [...path, name] }, NAME, NAME_RULE);
          const inside = members === null ? [] : namesIn(reader, { value: members, path: [...path, name] });
          return valid === undefined ? [] : [{ name: valid, members: inside }];
        })
      : namesIn(reader, { value, path }).map((name) => ({ name, members: [] }));
  return Array.isArray(at.value) ? reader.list(at).flatMap(of) : of(at);
}

function readKeys(reader: Reader, at: At | undefined): string[] {
  const each = typeof at?.value === 'string' ? [at] : reader.list(at);
  return each.flatMap((item) => {
    if (typeof item.value === 'string' && item.value.includes('PRIVATE KEY')) return reader.say(item, 'this is a private key; give the public one') ?? [];
    const key = reader.match(typeof item.value === 'string' ? { ...item, value: item.value.trim() } : item, KEY, 'is not an SSH public key');
    return key ?? [];
  });
}

function readSudo(reader: Reader, at: At | undefined): string[] {
  if (at === undefined || at.value === false) return [];
  const each = typeof at.value === 'string' ? [at] : reader.list(at);
  return each.flatMap((item) => reader.match(item, /^[^\p{Cc}]*\S[^\p{Cc}]*$/u, 'must be a sudo rule such as ALL=(ALL) NOPASSWD:ALL') ?? []);
}

const HASH_RULE = 'must be a crypt hash such as $6$…, made by `openssl passwd -6`';

const readHash = (reader: Reader, at: At | undefined): string | undefined =>
  reader.match(at, HASH, `${HASH_RULE}; plain_text_passwd takes the password itself`);

const readPlain = (reader: Reader, at: At | undefined): string | undefined => reader.match(at, /^\P{Cc}+$/u, 'must be a line without control characters');

function readChpasswd(reader: Reader, at: At | undefined, data: UserData): void {
  if (at === undefined) return;
  if (isMapping(at.value) && 'list' in at.value) {
    reader.say({ path: [...at.path, 'list'] }, 'is not supported; use users: [{ name, password, type }]');
    return;
  }
  const entries = reader.map(at, ['users', 'expire'] as const);
  const expire = reader.flag(entries.expire) ?? true;
  for (const item of reader.list(entries.users)) {
    const password = readPassword(reader, item, expire);
    if (password !== undefined) data.passwords.push(password);
  }
}

function readPassword(reader: Reader, at: At, expire: boolean): Password | undefined {
  const entries = reader.map(at, ['name', 'password', 'type'] as const);
  const user = reader.match(entries.name, NAME, NAME_RULE);
  if (entries.type?.value === 'RANDOM') {
    return reader.say(entries.type, 'random passwords are not supported: they would stand in the log. Give a hash, or use keys');
  }
  const type = entries.type === undefined ? 'hash' : reader.choice(entries.type, ['hash', 'text'] as const);
  for (const key of ['name', 'password'] as const) {
    if (isMapping(at.value) && entries[key] === undefined) reader.say({ path: [...at.path, key] }, `is required; it is ${kindOf(undefined)}`);
  }
  const rule = `${HASH_RULE}; for the password itself add type: text`;
  const secret = type === 'text' ? readPlain(reader, entries.password) : reader.match(entries.password, HASH, rule);
  if (user === undefined || secret === undefined || type === undefined) return undefined;
  // As in cloud-init, a password that came as a hash does not expire.
  return { user, secret, hashed: type === 'hash', expire: expire && type === 'text' };
}
