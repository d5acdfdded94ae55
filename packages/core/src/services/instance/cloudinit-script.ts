// From user data to what first boot does: a shell script of numbered steps and the files it needs. User text enters the script only
// between single quotes or as a file, and secrets only as a file.

import type { Command, FileToWrite, UserData, UserToAdd } from './cloudinit-data.ts';
import { emptyUserData } from './cloudinit-data.ts';
import { FUNCTIONS, PACKAGE_FUNCTIONS } from './cloudinit-shell.ts';
import { USER_FUNCTIONS } from './cloudinit-shell-users.ts';
import { randomSalt, sha512crypt } from './crypt.ts';

export const LOG_PATH = '/var/log/cloud-init-output.log';
/** What the script says on its standard output once it is the one run of this instance. */
export const STARTED = 'started';

/** A file beside the script. */
export interface StagedFile {
  name: string;
  executable: boolean;
  content: () => Buffer;
}

export interface Boot {
  /** Nothing to do: no program need run in the instance. */
  readonly empty: boolean;
  readonly script: string;
  readonly files: readonly StagedFile[];
  /** What must never be shown in a reason. */
  readonly secrets: readonly string[];
}

/** The word for a POSIX shell that stands for exactly this text (which has no zero byte). */
export const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

const words = (parts: readonly string[]): string => parts.map(quote).join(' ');

/**
 * What first boot does for this user data and these SSH keys of root. Cheap; equal input gives equal steps.
 * Order as in cloud-init, so a later step finds what an earlier one made.
 */
export function bootOf(userData: UserData | undefined, publicKeys: readonly string[]): Boot {
  const data = userData ?? emptyUserData();
  const plan = new Plan();
  commands(plan, 'bootcmd', data.bootcmd);
  writeFiles(plan, data.files, false);
  hostname(plan, data);
  for (const group of data.groups) plan.step(`groups ${group.name}`, 'add_group', group.name, '');
  for (const user of data.users) addUser(plan, user);
  for (const { name, members } of data.groups) for (const member of members) plan.step(`groups ${name}: ${member}`, 'join_group', name, member);
  sudo(plan, data.users);
  authorize(plan, 'ssh_authorized_keys', 'root', [...publicKeys.map((key) => key.trim()), ...data.keys]);
  for (const { user, secret, hashed, expire } of data.passwords) {
    plan.step(`chpasswd ${user}`, 'set_password', user, plan.hash(secret, hashed), expire ? '0' : '');
  }
  if (data.timezone !== undefined) plan.step('timezone', 'set_timezone', data.timezone);
  if (data.packages.length > 0 || data.packageUpdate || data.packageUpgrade) {
    const flag = (set: boolean) => (set ? 'yes' : '');
    plan.step('packages', 'packages', flag(data.packageUpdate), flag(data.packageUpgrade), ...data.packages.flatMap(({ name, version }) => [name, version]));
  }
  // After packages, so that it reaches an sshd that they brought.
  if (data.sshPasswords !== undefined) plan.step('ssh_pwauth', 'ssh_passwords', data.sshPasswords ? 'yes' : 'no');
  writeFiles(plan, data.files, true);
  commands(plan, 'runcmd', data.runcmd);
  if (data.script !== undefined) {
    plan.stage('script', data.script, true);
    plan.step('script', 'script', /^#![ \t]*(\S+)/.exec(data.script)?.[1] ?? '/bin/sh');
  }
  if (data.finalMessage !== undefined) plan.line(`printf '%s\\n' ${quote(data.finalMessage)}`);
  return plan.boot();
}

class Plan {
  readonly #lines: string[] = [];
  readonly #files: StagedFile[] = [];
  readonly #secrets: string[] = [];

  /** A step of the log and of reasons. */
  step(label: string, ...command: [string, ...string[]]): void {
    this.line(`step ${words([label])} ${words(command)}`);
  }

  line(line: string): void {
    this.#lines.push(line);
  }

  /** Puts a file beside the script and returns its name. */
  stage(name: string, content: string | Buffer | (() => Buffer), executable = false): string {
    this.#files.push({ name, executable, content: typeof content === 'function' ? content : () => Buffer.from(content) });
    return name;
  }

  /** Numbers a name that is used more than once. */
  next(kind: string): string {
    return `${kind}-${this.#files.length + 1}`;
  }

  /** A file with the crypt hash; hashing takes its time, so it waits until the file is needed. */
  hash(secret: string, hashed: boolean): string {
    this.#secrets.push(secret);
    return this.stage(this.next('password'), () => Buffer.from(`${hashed ? secret : sha512crypt(secret, randomSalt())}\n`));
  }

  boot(): Boot {
    return { empty: this.#lines.length === 0, script: scriptOf(this.#lines), files: this.#files, secrets: this.#secrets };
  }
}

const scriptOf = (steps: readonly string[]): string => `#!/bin/sh
# First boot of an instance. Argument: the directory that keeps its state.
umask 022
set -f
stage=\${0%/*}
state=$1
${BORN}
${FUNCTIONS}
${USER_FUNCTIONS}
${PACKAGE_FUNCTIONS}
mkdir -p ${LOG_PATH.replace(/\/[^/]*$/, '')} && (umask 027 && printf '' >>${LOG_PATH}) || exit 1
printf '%s %s\\n' "$$" "$(born "$$")" >"$stage/started" || exit 1
# The one step that only one run can make.
if ! ln "$stage/started" "$state/started" 2>"$stage/error"; then
  if [ ! -e "$state/started" ]; then
    cat "$stage/error" >&2
    exit 1
  fi
  rm -rf "$stage"
  echo ${STARTED}
  exit 0
fi
echo ${STARTED}
printf '' >${LOG_PATH}
# The log does not depend on who started us still being there.
exec </dev/null >>${LOG_PATH} 2>&1
cd /
for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
  case :$PATH: in *:"$directory":*) ;; *) PATH=\${PATH:+$PATH:}$directory ;; esac
done
HOME=/root
export PATH HOME

${steps.join('\n')}

code=0
printf '' >>"$stage/failed"
IFS=' ' read -r code rest <"$stage/failed" || code=0
{ printf '%s\\n' "$code"; cat "$stage/failed"; } >"$state/result.new"
printf 'cloud-init: finished with exit code %s\\n' "$code"
# Before the result: whoever sees that knows that no secret is left here.
set +f
rm -rf "$state".staged-*
mv "$state/result.new" "$state/result"
exit "$code"
`;

/** Shell function: when a process began, in the kernel's ticks; with its id that names it for good. */
export const BORN = `
born() {
  { IFS= read -r born_line <"/proc/$1/stat"; } 2>/dev/null || return 1
  born_line=\${born_line##*) }
  set -- $born_line
  shift 19
  printf '%s\\n' "$1"
}`;

/** All items of one list run in one shell, so that `cd` and variables last; each is a file that this shell reads in turn. */
function commands(plan: Plan, kind: 'bootcmd' | 'runcmd', items: readonly Command[]): void {
  if (items.length === 0) return;
  const lines = items.flatMap((item, index) => {
    const label = `${kind} ${index + 1}`;
    const file = plan.stage(`${kind}-${index + 1}`, `${typeof item === 'string' ? item : words(item)}\n`);
    return [`cloud_init_begin ${quote(label)}`, `. "$cloud_init_stage"/${file}`, `cloud_init_end $? ${quote(label)}`];
  });
  plan.stage(`${kind}.sh`, COMMANDS_HEAD + lines.join('\n'));
  plan.line(`commands ${kind}`);
}

const COMMANDS_HEAD = `cloud_init_stage=\${0%/*}
cloud_init_begin() {
  printf '%s\\n' "$1" >"$cloud_init_stage/current"
  printf 'cloud-init: %s\\n' "$1"
}
cloud_init_end() {
  printf '' >"$cloud_init_stage/current"
  if [ "$1" -ne 0 ]; then
    printf 'cloud-init: %s failed with exit code %s\\n' "$2" "$1"
    printf '%s %s\\n' "$1" "$2" >>"$cloud_init_stage/failed"
  fi
}
`;

function writeFiles(plan: Plan, files: readonly FileToWrite[], deferred: boolean): void {
  for (const [index, file] of files.entries()) {
    if (file.defer !== deferred) continue;
    const staged = plan.stage(`file-${index + 1}`, file.content);
    const mode = file.mode.toString(8).padStart(4, '0');
    plan.step(`write_files ${index + 1} (${file.path})`, 'write_file', staged, file.path, file.owner ?? '0:0', mode, file.append ? 'append' : 'write');
  }
}

function hostname(plan: Plan, { hostname, fqdn, manageHosts }: UserData): void {
  if (hostname !== undefined) plan.step('hostname', 'set_hostname', hostname);
  if (!manageHosts || hostname === undefined) return;
  const names = [...new Set([fqdn ?? hostname, hostname, hostname.split('.')[0] ?? hostname])];
  plan.step('manage_etc_hosts', 'name_in_hosts', ['127.0.1.1', ...names].join(' '));
}

function addUser(plan: Plan, user: UserToAdd): void {
  const options = [user.system ? 'system' : '', user.createHome ? '' : 'no-home', user.ownGroup ? '' : 'no-group'].filter((option) => option !== '');
  const hash = user.hash === undefined ? '' : plan.hash(user.hash, true);
  const { name, uid, gecos, home, shell, primaryGroup, groups } = user;
  const fields = [name, uid === undefined ? '' : String(uid), gecos, home, shell, primaryGroup, groups.join(' '), options.join(' '), hash];
  plan.step(`users ${name}`, 'add_user', ...fields);
  if (user.password !== undefined) plan.step(`users ${name}: password`, 'set_password', name, plan.hash(user.password.secret, user.password.hashed), '');
  if (user.lock) plan.step(`users ${name}: lock_passwd`, 'lock_password', name);
  authorize(plan, `users ${name}: ssh_authorized_keys`, name, user.keys);
}

function sudo(plan: Plan, users: readonly UserToAdd[]): void {
  const rules = users.flatMap(({ name, sudo }) => sudo.map((rule) => `${name} ${rule}\n`));
  if (rules.length > 0) plan.step('users: sudo', 'allow_sudo', plan.stage('sudoers', rules.join('')));
}

function authorize(plan: Plan, label: string, user: string, keys: readonly string[]): void {
  if (keys.length > 0) plan.step(label, 'authorize', user, plan.stage(plan.next('keys'), `${[...new Set(keys)].join('\n')}\n`));
}
