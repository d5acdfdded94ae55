// What becomes of user data before it enters an instance: quoting that a real shell agrees with, and secrets that are in no script.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readUserData } from './cloudinit.ts';
import { bootOf, quote } from './cloudinit-script.ts';
import { FUNCTIONS, PACKAGE_FUNCTIONS } from './cloudinit-shell.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4m1kHmWkVyPk0jb0RW5mEPYJ0s6Hq8H1JXZ9o7Qm1a me@laptop';
const HOSTILE = [
  "'",
  "''",
  "'\\''",
  '$(id)',
  '`id`',
  '${HOME}',
  '\\',
  '\n',
  'a\'b"c',
  ' ',
  '',
  '*',
  '~',
  '!',
  '-n',
  '--',
  ';id',
  '\t',
  '\u00e4\u{1F600}',
  '#x',
  "'; exit 9; '",
];

const echoed = (texts: readonly string[]): Buffer => {
  const { stdout, status } = spawnSync('/bin/sh', ['-s'], { input: texts.map((text) => `printf '%s\\037' ${quote(text)}\n`).join('') });
  expect(status).toBe(0);
  return stdout;
};

describe('quote', () => {
  test('a real shell gives hostile text back unchanged', () => {
    expect(echoed(HOSTILE).toString()).toBe(HOSTILE.map((text) => `${text}\u001f`).join(''));
  });

  test('so it does any text', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(fc.constantFrom(...HOSTILE)).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(
        fc.array(
          text.map((each) => each.replaceAll('\0', '')),
          { minLength: 1, maxLength: 30 },
        ),
        (texts) => {
          expect(echoed(texts)).toEqual(Buffer.from(texts.map((each) => `${each}\u001f`).join('')));
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('bootOf', () => {
  const everything = `#cloud-config
hostname: web
manage_etc_hosts: true
groups: [{ops: [deploy]}]
users: [{name: deploy, gecos: "it's; $(id)", sudo: ALL, passwd: $6$aa$hash1111, plain_text_passwd: plain2222, ssh_authorized_keys: ['${KEY}']}]
chpasswd: {users: [{name: root, password: text3333, type: text}]}
write_files: [{path: "/it's/$(id)", content: content4444}]
runcmd: ["command5555", [a, "word6666"]]
packages: [nginx, [curl, 1.0]]
package_update: true
ssh_pwauth: false
timezone: UTC
final_message: "it's $(done)"
`;

  test('the script is one that shells can read', () => {
    for (const text of [everything, '#!/bin/sh\n']) {
      const { stderr, status } = spawnSync('/bin/sh', ['-n'], { input: bootOf(readUserData(text), [KEY]).script });
      expect([status, stderr.toString()]).toEqual([0, '']);
    }
  });

  test('what may be secret is in files of its own, not in the script', () => {
    const boot = bootOf(readUserData(everything), [KEY]);
    expect(boot.script).not.toMatch(/hash1111|plain2222|text3333|content4444|command5555|word6666|AAAAC3/);
    expect(boot.secrets).toEqual(['$6$aa$hash1111', 'plain2222', 'text3333']);
    const staged = boot.files.map(({ content }) => content().toString()).join('');
    for (const there of ['hash1111', 'content4444', 'command5555', "'a' 'word6666'", KEY]) expect(staged).toContain(there);
    // Passwords go in as hashes only.
    expect(staged).not.toMatch(/plain2222|text3333/);
    expect(staged.match(/^\$6\$[./0-9A-Za-z]{16}\$[./0-9A-Za-z]{86}$/gm)).toHaveLength(2);
  });

  test('the steps are in the order of cloud-init', () => {
    const { script } = bootOf(readUserData(`${everything}bootcmd: [early]\n`.replace('write_files: [', 'write_files: [{path: /late, defer: true}, ')), []);
    const steps = [...script.matchAll(/^(?:step '([a-z_]+)|commands (\w+))/gm)].map(([, step, commands]) => step ?? commands);
    expect(steps.filter((step, index) => step !== steps[index - 1])).toEqual(
      ['bootcmd', 'write_files', 'hostname', 'manage_etc_hosts', 'groups', 'users', 'groups', 'users', 'chpasswd', 'timezone', 'packages', 'ssh_pwauth'].concat(
        'write_files',
        'runcmd',
      ),
    );
  });

  test('one key given twice is one; without anything to do no program is needed', () => {
    const boot = bootOf(readUserData(`#cloud-config\nssh_authorized_keys: ['${KEY}']`), [KEY, `${KEY}\n`]);
    expect(boot.files.map(({ content }) => content().toString())).toEqual([`${KEY}\n`]);
    expect(bootOf(undefined, []).empty).toBe(true);
    expect(bootOf(readUserData('#cloud-config\nusers: [default]'), []).empty).toBe(true);
    expect(bootOf(undefined, [KEY]).empty).toBe(false);
  });
});

describe('packages', () => {
  /** Runs the step on a machine whose only programs are these package managers, which say how they were called. */
  function install(managers: string[], ...step: string[]): { said: string[]; status: number | null } {
    const folder = mkdtempSync(join(tmpdir(), 'cloud-packages-'));
    try {
      for (const manager of managers) {
        writeFileSync(join(folder, manager), `#!/bin/sh\necho ${manager} "$@"\n`);
        chmodSync(join(folder, manager), 0o755);
      }
      const input = `set -f\n${FUNCTIONS}\n${PACKAGE_FUNCTIONS}\npackages ${step.map(quote).join(' ')}\n`;
      const { stdout, status } = spawnSync('/bin/sh', ['-s'], { input, env: { PATH: folder } });
      return { said: stdout.toString().trim().split('\n'), status };
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  const wanted = ['nginx', '', 'curl', '1.0*'];

  test.each([
    [['apk'], ['apk --no-cache add nginx curl=1.0*']],
    [['yum', 'dnf'], ['dnf -y install nginx curl-1.0*']],
    [['yum', 'microdnf'], ['microdnf -y install nginx curl-1.0*']],
    [['yum'], ['yum -y install nginx curl-1.0*']],
    [['zypper'], ['zypper --non-interactive install --auto-agree-with-licenses nginx curl=1.0*']],
  ])('%j: names and versions', (managers, said) => {
    expect(install(managers, '', '', ...wanted)).toEqual({ said, status: 0 });
  });

  test.each([
    ['apk', ['apk update', 'apk --no-cache upgrade']],
    ['dnf', ['dnf -y makecache', 'dnf -y upgrade']],
    ['microdnf', ['microdnf -y makecache', 'microdnf -y upgrade']],
    ['zypper', ['zypper --non-interactive refresh', 'zypper --non-interactive update']],
    ['pacman', ['pacman -Sy --noconfirm -u']],
  ])('%s: update and upgrade', (manager, said) => {
    expect(install([manager], 'yes', 'yes')).toEqual({ said, status: 0 });
  });

  test('pacman takes no versions; without any manager it says which it knows', () => {
    expect(install(['pacman'], '', '', 'nginx', '')).toEqual({ said: ['pacman -Sy --noconfirm', 'pacman -S --noconfirm --needed nginx'], status: 0 });
    expect(install(['pacman'], '', '', ...wanted)).toEqual({ said: ['pacman installs no chosen version: curl 1.0*'], status: 1 });
    expect(install([], '', '', ...wanted)).toEqual({ said: [expect.stringMatching(/^There is no package manager .*apt-get, apk, dnf/)], status: 1 });
  });
});
