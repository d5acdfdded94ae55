// User data is judged before anything is made: what is good is read as cloud-init means it, what is not names its place and the way out.
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { Fault, type FieldProblem } from '../../kernel/errors.ts';
import { readUserData } from './cloudinit.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4m1kHmWkVyPk0jb0RW5mEPYJ0s6Hq8H1JXZ9o7Qm1a me@laptop';
const HASH = '$6$saltsalt$abcdefgh';
const config = (yaml: string) => readUserData(`#cloud-config\n${yaml}`);

function problems(text: string): FieldProblem[] {
  try {
    readUserData(text);
  } catch (error) {
    expect(error).toBeInstanceOf(Fault);
    expect(error).toMatchObject({ code: 'invalid_input' });
    return (error as Fault).details as FieldProblem[];
  }
  return [];
}

describe('the form', () => {
  test.each([
    ['', /it is empty/],
    ['echo hi', /first line must be #cloud-config, or #!/],
    ['#cloud-confg\n', /must be #cloud-config and nothing else/],
    ['#cloud-config: yes\n', /must be #cloud-config and nothing else/],
    ['# cloud-config\n', /must be #cloud-config and nothing else/],
    ['#cloud-config-archive\n- x', /#cloud-config-archive is not supported/],
    ['#cloud-boothook\n', /#cloud-boothook is not supported/],
    ['#include-once\nhttp://x', /#include .* is not supported/],
    ['## template: jinja\n#cloud-config\n', /jinja template is not supported/],
    ['Content-Type: multipart/mixed; boundary="x"\n', /MIME multipart user data is not supported/],
    ['MIME-Version: 1.0\n', /MIME multipart/],
    ['\n#!/bin/sh\n', /very first characters/],
    ['#!/bin/sh\r\necho\r\n', /CR LF/],
    ['#!sh\n', /absolute path of a program/],
    [Buffer.from('#cloud-config\nhostname: x\n').toString('base64'), /base64; give it decoded/],
  ])('%j is refused', (text, message) => {
    expect(problems(text)).toEqual([{ path: 'userData', message: expect.stringMatching(message) }]);
  });

  test('a program is kept to the letter', () => {
    const script = '#! /usr/bin/env bash\necho "it\'s $HOME"\n\0\u00e4';
    expect(readUserData(script)).toMatchObject({ script, runcmd: [] });
  });

  test('blank lines, a byte order mark, CR LF and a document without content', () => {
    expect(readUserData('\uFEFF#cloud-config\r\nruncmd:\r\n  - ls\r\n').runcmd).toEqual(['ls']);
    expect(readUserData('\n\n#cloud-config\nruncmd: [ls]').runcmd).toEqual(['ls']);
    expect(readUserData('#cloud-config').runcmd).toEqual([]);
    expect(config('runcmd:\npackages:\n').packages).toEqual([]);
  });

  test.each([
    ['a: [b\nc: d', /^line 3: /],
    ['hostname: a\nhostname: b', /^line 3: Map keys must be unique/],
    ['hostname: !vault x', /^line 2: Unresolved tag/],
    ['- ls', /must be a YAML mapping/],
    ['just text', /must be a YAML mapping/],
    ['a: &x [1]\n---\nb: 2', /multiple documents/],
  ])('YAML %j is refused', (yaml, message) => {
    expect(problems(`#cloud-config\n${yaml}`)[0]).toMatchObject({ path: 'userData', message: expect.stringMatching(message) });
  });

  test('aliases that grow without end are refused', () => {
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...'bcdefg'.split('').map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefg'[index]}`).join(',')}]`),
    ];
    expect(problems(`#cloud-config\n${bomb.join('\n')}`)[0]?.message).toMatch(/aliases/);
  });
});

describe('names of hosts', () => {
  test.each([
    ['hostname: web', { hostname: 'web' }],
    ['hostname: web.example.com', { hostname: 'web', fqdn: 'web.example.com' }],
    ['fqdn: web.example.com', { hostname: 'web', fqdn: 'web.example.com' }],
    ['hostname: a\nfqdn: web.example.com', { hostname: 'a', fqdn: 'web.example.com' }],
    ['hostname: a\nfqdn: web.example.com\nprefer_fqdn_over_hostname: true', { hostname: 'web.example.com' }],
    ['hostname: 007', { hostname: '007' }],
    ['manage_etc_hosts: localhost', { manageHosts: true }],
  ])('%j', (yaml, data) => expect(config(yaml)).toMatchObject(data));
});

describe('commands', () => {
  test('words are what was written, not what YAML makes of them', () => {
    expect(config('runcmd:\n - [echo, 0123, 1.10, true, ~x, 2001-01-01, 12:30:45]\n - ls\n - |\n  a\n  b\n').runcmd).toEqual([
      ['echo', '0123', '1.10', 'true', '~x', '2001-01-01', '12:30:45'],
      'ls',
      'a\nb\n',
    ]);
    expect(config('bootcmd: [[a, &x b], [*x, "\\n"]]').bootcmd).toEqual([
      ['a', 'b'],
      ['b', '\n'],
    ]);
  });
});

describe('files', () => {
  test('contents and permissions in every notation', () => {
    const packed = gzipSync('packed').toString('base64');
    const { files } = config(`write_files:
  - {path: /a, content: "x", permissions: "0644"}
  - {path: /b//c/../d, content: aGk=, encoding: b64, permissions: 0755, owner: "33:33"}
  - {path: /c, content: ${packed}, encoding: gz+b64, permissions: '0o600', owner: www-data, append: true, defer: yes}
  - {path: /d, content: !!binary ${packed}, encoding: gzip, permissions: "4755"}
  - {path: /e, content: !!binary /wD+}
  - {path: /f}
`);
    expect(files.map(({ path, content, mode, owner }) => [path, content.toString('latin1'), mode, owner])).toEqual([
      ['/a', 'x', 0o644, undefined],
      ['/b/d', 'hi', 0o755, '33:33'],
      ['/c', 'packed', 0o600, 'www-data'],
      ['/d', 'packed', 0o4755, undefined],
      ['/e', '\u00ff\u0000\u00fe', 0o644, undefined],
      ['/f', '', 0o644, undefined],
    ]);
    expect(files[2]).toMatchObject({ append: true, defer: true });
  });

  test('something that unpacks to more than a file may be is refused', () => {
    const packed = gzipSync(Buffer.alloc(17 * 1024 * 1024)).toString('base64');
    expect(problems(`#cloud-config\nwrite_files: [{path: /x, encoding: gz+b64, content: ${packed}}]`)[0]?.message).toMatch(/larger than 16 MiB/);
  });
});

describe('users', () => {
  test('read as cloud-init means them', () => {
    const data = config(`users:
  - default
  - alice, bob
  - {name: carol, uid: "1200", groups: "ops, adm", sudo: false, homedir: /srv/carol, system: true, passwd: ${HASH}}
  - {name: dave, sudo: [ALL, "ALL=(ALL) NOPASSWD:ALL"], ssh_authorized_keys: ${KEY}, lock_passwd: false, plain_text_passwd: 12345}
groups: {ops: [alice, bob], empty: }
ssh_authorized_keys: [' ${KEY} ']
chpasswd: {users: [{name: alice, password: x, type: text}, {name: bob, password: ${HASH}}]}
`);
    expect(data.users.map(({ name, lock, home }) => [name, lock, home])).toEqual([
      ['alice', true, '/home/alice'],
      ['bob', true, '/home/bob'],
      ['carol', true, '/srv/carol'],
      ['dave', false, '/home/dave'],
    ]);
    expect(data.users[2]).toMatchObject({ uid: 1200, groups: ['ops', 'adm'], sudo: [], createHome: false, hash: HASH });
    expect(data.users[3]).toMatchObject({ sudo: ['ALL', 'ALL=(ALL) NOPASSWD:ALL'], keys: [KEY], password: { secret: '12345', hashed: false } });
    expect(data.groups).toEqual([
      { name: 'ops', members: ['alice', 'bob'] },
      { name: 'empty', members: [] },
    ]);
    expect(data.keys).toEqual([KEY]);
    expect(data.passwords).toEqual([
      { user: 'alice', secret: 'x', hashed: false, expire: true },
      { user: 'bob', secret: HASH, hashed: true, expire: false },
    ]);
    expect(config('users: default').users).toEqual([]);
    expect(config('users: {name: eve}').users).toMatchObject([{ name: 'eve' }]);
  });
});

describe('what is wrong names its place and what would be right', () => {
  test.each([
    ['run_cmd: [ls]', 'run_cmd', /did you mean runcmd\? Supported: hostname, /],
    ['power_state: {mode: reboot}', 'power_state', /^is not a supported key\. Supported: .*runcmd/],
    ['hostname: under_score', 'hostname', /letters, digits and hyphens/],
    [`hostname: ${'a'.repeat(64)}`, 'hostname', /at most 63/],
    ['manage_etc_hosts: template', 'manage_etc_hosts', /templates are not supported/],
    ['runcmd: ls', 'runcmd', /must be a list; it is text/],
    ['runcmd: [echo a: b]', 'runcmd.0', /mapping.*quotes/],
    ['runcmd: [[]]', 'runcmd.0', /must name a program/],
    ['runcmd: [~]', 'runcmd.0', /must be text; it is empty/],
    ['runcmd: [[ls, [x]]]', 'runcmd.0.1', /it is a list/],
    ['runcmd: ["a\\0b"]', 'runcmd.0', /zero byte/],
    ['write_files: [{content: x}]', 'write_files.0.path', /is required/],
    ['write_files: [{path: etc/x}]', 'write_files.0.path', /absolute path/],
    ['write_files: [{path: /etc/}]', 'write_files.0.path', /absolute path/],
    ['write_files: [{path: "/a\\nb"}]', 'write_files.0.path', /one line/],
    ['write_files: [{path: /x, contents: y}]', 'write_files.0.contents', /did you mean content\?/],
    ['write_files: [{path: /x, permissions: 644}]', 'write_files.0.permissions', /'0644' in quotes/],
    ['write_files: [{path: /x, permissions: "rw-r--r--"}]', 'write_files.0.permissions', /octal digits/],
    ['write_files: [{path: /x, encoding: b46, content: x}]', 'write_files.0.encoding', /did you mean b64\?/],
    ['write_files: [{path: /x, encoding: b64, content: "a*b"}]', 'write_files.0.content', /not valid base64/],
    ['write_files: [{path: /x, encoding: gz+b64, content: aGk=}]', 'write_files.0.content', /not valid gzip/],
    ['write_files: [{path: /x, encoding: gz, content: aGk=}]', 'write_files.0.content', /!!binary.*gz\+b64/],
    ['write_files: [{path: /x, owner: "a b"}]', 'write_files.0.owner', /user:group/],
    ['write_files: [{path: /x, append: "maybe"}]', 'write_files.0.append', /true or false/],
    ['write_files: {path: /x}', 'write_files', /must be a list; it is a mapping/],
    ['packages: ["--force"]', 'packages.0', /package name/],
    ['packages: ["a; rm -rf /"]', 'packages.0', /package name/],
    ['packages: [[a, 1, 2]]', 'packages.0', /name or \[name, version\]/],
    ['packages: [{apt: [a]}]', 'packages.0', /per package manager/],
    ['users: [{gecos: x}]', 'users.0.name', /is required/],
    ['users: ["Big Name"]', 'users.0', /lower-case/],
    ['users: [{name: "a:b"}]', 'users.0.name', /lower-case/],
    ['users: [{name: a, shell: bash}]', 'users.0.shell', /absolute path/],
    ['users: [{name: a, uid: -1}]', 'users.0.uid', /whole number/],
    ['users: [{name: a, passwd: hunter2}]', 'users.0.passwd', /crypt hash.*plain_text_passwd/],
    ['users: [{name: a, ssh-authorized-keys: []}]', 'users.0.ssh-authorized-keys', /did you mean ssh_authorized_keys/],
    ['users: [{name: a, ssh_authorized_keys: [ssh-rsa]}]', 'users.0.ssh_authorized_keys.0', /not an SSH public key/],
    [`users: [{name: a, system: true, ssh_authorized_keys: ['${KEY}']}]`, 'users.0.ssh_authorized_keys', /no home directory/],
    ['users: [{name: a, sudo: "ALL\\nroot ALL"}]', 'users.0.sudo', /one line/],
    ['ssh_authorized_keys: ["-----BEGIN OPENSSH PRIVATE KEY-----\\nx"]', 'ssh_authorized_keys.0', /private key/],
    ['chpasswd: {list: "a:b"}', 'chpasswd.list', /use users/],
    ['chpasswd: {users: [{name: a, password: hunter2}]}', 'chpasswd.users.0.password', /type: text/],
    ['chpasswd: {users: [{name: a, type: RANDOM}]}', 'chpasswd.users.0.type', /would stand in the log/],
    ['disable_root: true', 'disable_root', /root is the user/],
    ['ssh_pwauth: maybe', 'ssh_pwauth', /true, false or unchanged/],
    ['timezone: ../../etc/passwd', 'timezone', /Europe\/Berlin/],
  ])('%j', (yaml, path, message) => {
    expect(problems(`#cloud-config\n${yaml}`)).toContainEqual({ path: `userData.${path}`, message: expect.stringMatching(message) });
  });

  test('all problems at once, the first in the sentence, and no secret in any', () => {
    const text =
      '#cloud-config\nhostnam: x\nruncmd: 5\nusers: [{name: a, passwd: hunter2222, hashed_passwd: "hunter3333"}]\nssh_authorized_keys: [hunter4444]\n';
    expect(problems(text)).toHaveLength(5);
    expect(() => readUserData(text)).toThrow(
      /^The user data is no good #cloud-config: hostnam: is not a supported key; did you mean hostname\?.*\(and 4 more\)$/,
    );
    expect(JSON.stringify(problems(text))).not.toMatch(/hunter/);
  });
});
