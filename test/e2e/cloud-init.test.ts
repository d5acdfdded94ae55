// First boot in real containers: what user data says is so afterwards, once and only once, whatever is killed in between.
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import Dockerode from 'dockerode';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerDrivers } from '../../packages/core/src/drivers/docker/index.ts';
import { dockerMissing, TestInstallation } from '../../packages/core/src/drivers/docker/testbench.ts';
import { silent } from '../../packages/core/src/kernel/log.ts';
import { readUserData } from '../../packages/core/src/services/instance/cloudinit.ts';
import { advanceBoot, type BootProgress, bootLog } from '../../packages/core/src/services/instance/cloudinit-run.ts';
import { type Boot, bootOf, quote } from '../../packages/core/src/services/instance/cloudinit-script.ts';
import { run } from '../../packages/core/src/services/instance/driver.conformance.ts';
import type { ComputeDriver, InstanceSpec } from '../../packages/core/src/services/instance/driver.ts';

const signal = new AbortController().signal;
const go = { signal, allowRestart: true };
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4m1kHmWkVyPk0jb0RW5mEPYJ0s6Hq8H1JXZ9o7Qm1a me@laptop';
const OTHER_KEY = KEY.replace('AAAAIJ4m', 'AAAAIJ4n');
const HOME = '/var/lib/thecloud/cloud-init';

const missing = await dockerMissing();
const suite = describe.skipIf(missing !== undefined);

/** False when the tests of this image may be left out; throws when they may not. */
async function hasImage(name: string): Promise<boolean> {
  if (missing !== undefined) return false;
  const found = (await new Dockerode().listImages({ filters: { reference: [name] } })).length > 0;
  if (!found && (process.env.CLOUD_REQUIRED ?? '').split(',').includes('docker'))
    throw new Error(`Docker tests are required: there is no image ${name}; npm run setup`);
  return found;
}

const hasDebian = await hasImage('debian:trixie');
const hasSsh = await hasImage('debian-ssh:trixie');

const timezonesIn = (listing: string): boolean => listing.trim() !== '';

suite(`cloud-init in containers${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let installation: TestInstallation;
  let dataDir: string;
  let networkId: string;
  let subnet: string;
  let next = 1;
  const made: { driver: ComputeDriver; id: string }[] = [];

  /** As another process would see the same engine: nothing that one driver remembers is known to the next. */
  const freshDriver = async (): Promise<ComputeDriver> => {
    const set = await dockerDrivers({ installation: installation.client.installation, dataDir, log: silent });
    return set.drivers.compute as ComputeDriver;
  };

  beforeAll(async () => {
    installation = await TestInstallation.create();
    dataDir = await mkdtemp(join(tmpdir(), 'thecloud-test-'));
    subnet = installation.freeCidr();
    networkId = `vpc-ci-${Math.random().toString(36).slice(2, 9)}`;
    await installation.client.docker.createNetwork({ Name: networkId, Internal: true, IPAM: { Driver: 'default', Config: [{ Subnet: subnet }] } });
  });

  afterAll(async () => {
    for (const { driver, id } of made) await driver.remove(id, { signal, stopTimeout: 0 });
    await installation.client.docker.getNetwork(networkId).remove();
    await installation.close();
    await rm(dataDir, { recursive: true });
  });

  async function launch(image = 'busybox', changes: Partial<InstanceSpec> = {}) {
    const driver = await freshDriver();
    const id = `inst-ci${Math.random().toString(36).slice(2, 9)}`;
    next += 1;
    const spec: InstanceSpec = {
      id,
      name: `ci-${id.slice(7)}`,
      image,
      command: ['sleep', '100000'],
      entrypoint: undefined,
      env: {},
      cpus: 1,
      memoryBytes: 512 * 1024 * 1024,
      pids: 256,
      networkId,
      address: subnet.replace(/0\/24$/, String(next)),
      ports: [],
      mounts: [],
      power: 'running',
      restartToken: '',
      stopTimeout: 0,
      ...changes,
    };
    made.push({ driver, id });
    await driver.ensure(spec, go);
    const sh = async (script: string) => (await run(driver, id, ['sh', '-c', script], { user: '0' })).stdout;
    return { driver, id, spec, sh };
  }

  async function finish(driver: ComputeDriver, id: string, boot: Boot): Promise<BootProgress> {
    for (;;) {
      const progress = await advanceBoot(driver, id, boot);
      if (progress.status !== 'running') return progress;
      await sleep(50);
    }
  }

  const log = async (driver: ComputeDriver, id: string, follow = false): Promise<string[]> => {
    const lines: string[] = [];
    for await (const { text } of bootLog(driver, id, { follow, signal })) lines.push(text);
    return lines;
  };

  async function bootWith(userData: string | undefined, options: { image?: string; keys?: string[]; spec?: Partial<InstanceSpec> } = {}) {
    const data = userData === undefined ? undefined : readUserData(userData);
    const instance = await launch(options.image, { ...(data?.hostname === undefined ? {} : { hostname: data.hostname }), ...options.spec });
    const boot = bootOf(data, options.keys ?? []);
    const progress = await finish(instance.driver, instance.id, boot);
    return { ...instance, boot, progress };
  }

  describe('busybox: a shell and applets, no user tools', () => {
    test('every module of an image without any package', async () => {
      const packed = gzipSync('packed\n').toString('base64');
      const { driver, id, sh, progress } = await bootWith(
        `#cloud-config
fqdn: box.example.com
manage_etc_hosts: true
groups: [ops, { crew: [deploy] }]
users:
  - default
  - name: deploy
    uid: 4242
    gecos: It's Deploy & Co
    groups: ops, extra
    sudo: ['ALL=(ALL) NOPASSWD:ALL']
    ssh_authorized_keys: ['${KEY}']
  - { name: daemon1, system: true, no_user_group: true }
  - { name: held, plain_text_passwd: "p'w $x", lock_passwd: false }
ssh_authorized_keys: ['${OTHER_KEY}']
chpasswd:
  users:
    - { name: root, password: 's3cret-of-root', type: text }
    - { name: deploy, password: '$6$saltsalt$abcdefgh' }
write_files:
  - { path: /srv/deep/plain, content: "two\\nlines", permissions: '0640', owner: deploy:ops, defer: true }
  - { path: /srv/b64, content: aGk=, encoding: b64 }
  - { path: /srv/gz, content: ${packed}, encoding: gz+b64, permissions: 0600 }
  - { path: /srv/binary, content: !!binary /wD+, permissions: '0755' }
  - { path: /srv/empty }
  - { path: /srv/log, content: "a\\n" }
  - { path: /srv/log, content: "b\\n", append: true }
  - { path: "/srv/it's \\"odd\\" $(touch /pwned)", content: odd }
bootcmd:
  - 'test ! -e /srv/b64 && echo early >/early'
runcmd:
  - cd /srv && X=kept
  - 'echo "$PWD $X $HOME" >/srv/state'
  - [printf, '[%s]\\n', "it's", '$HOME', 'a  b', 5, true]
  - [sh, -c, 'id -un >/srv/who']
final_message: All done
`,
        { keys: [KEY, OTHER_KEY] },
      );
      expect(await log(driver, id)).toContain("[it's]");
      expect(progress).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh('hostname; cat /etc/hostname; grep 127.0.1.1 /etc/hosts')).toBe('box\nbox\n127.0.1.1 box.example.com box\n');
      expect(await sh('cat /etc/passwd')).toMatch(/^deploy:x:4242:4242:It's Deploy & Co:\/home\/deploy:\/bin\/sh$/m);
      expect(await sh('cat /etc/group')).toMatch(/^crew:x:\d+:deploy$/m);
      expect(await sh('cat /etc/group')).toMatch(/^extra:x:\d+:deploy$/m);
      expect(await sh('id deploy')).toMatch(/uid=4242\(deploy\) gid=4242\(deploy\) groups=.*ops.*crew/s);
      expect(await sh('id daemon1')).toMatch(/uid=1\d\d\(daemon1\) gid=\d+\(users\)/);
      const shadow = await sh('cat /etc/shadow');
      expect(shadow).toMatch(/^deploy:\$6\$saltsalt\$abcdefgh:/m);
      expect(shadow).toMatch(/^root:\$6\$[^:]+:0:/m);
      expect(shadow).toMatch(/^daemon1:\*:/m);
      expect(shadow).toMatch(/^held:\$6\$[^:]+::/m);
      expect(await sh('stat -c "%a %U" /etc/shadow /etc/sudoers.d/90-cloud-init-users; cat /etc/sudoers.d/*')).toBe(
        '600 root\n440 root\ndeploy ALL=(ALL) NOPASSWD:ALL\n',
      );
      expect(await sh('stat -c "%a %U" /root/.ssh /root/.ssh/authorized_keys; cat /root/.ssh/authorized_keys')).toBe(
        `700 root\n600 root\n${KEY}\n${OTHER_KEY}\n`,
      );
      expect(await sh('stat -c "%a %U:%G" /home/deploy /home/deploy/.ssh /home/deploy/.ssh/authorized_keys')).toBe(
        '750 deploy:deploy\n700 deploy:deploy\n600 deploy:deploy\n',
      );
      expect(await sh('stat -c "%a %U:%G" /srv/deep /srv/deep/plain /srv/gz /srv/binary /srv/empty; cat /srv/deep/plain /srv/b64 /srv/gz /srv/log')).toBe(
        '755 deploy:ops\n640 deploy:ops\n600 root:UNKNOWN\n755 root:UNKNOWN\n644 root:UNKNOWN\ntwo\nlineshipacked\na\nb\n',
      );
      expect(await sh('od -An -tx1 /srv/binary; cat "/srv/it\'s \\"odd\\" \\$(touch /pwned)"; ls /pwned 2>&1; cat /early /srv/state /srv/who')).toBe(
        ' ff 00 fe\noddls: /pwned: No such file or directory\nearly\n/srv kept /root\nroot\n',
      );
      expect((await log(driver, id)).slice(-8)).toEqual(
        ['cloud-init: runcmd 3', "[it's]", '[$HOME]', '[a  b]', '[5]', '[true]', 'cloud-init: runcmd 4', 'All done']
          .concat('cloud-init: finished with exit code 0')
          .slice(-8),
      );
      // Nothing that was a secret is left, and nobody but root sees what is.
      expect(await sh(`ls ${HOME}; ls ${HOME}/${id}; stat -c %a ${HOME}/${id} /var/log/cloud-init-output.log`)).toBe(`${id}\nresult\nstarted\n700\n640\n`);
      expect((await log(driver, id)).join('\n')).not.toMatch(/s3cret|p'w/);
    });

    test('a #! program runs with its own interpreter and keeps its exit code', async () => {
      const script = (body: string) => `#!/bin/sh -u\n${body}\n`;
      const good = await bootWith(script('echo "to $0" >&2; umask >/umask; exit 0'));
      expect(good.progress).toEqual({ status: 'done', exitCode: 0 });
      expect(await good.sh('cat /umask')).toBe('0022\n');
      const bad = await bootWith(script('echo one; echo two >&2; echo $undefined_here; exit 3'));
      expect(bad.progress).toMatchObject({ status: 'error', exitCode: 2 });
      expect(bad.progress.reason).toMatch(/^script failed with exit code 2: one \| two \| .*undefined_here/);
      const gone = await bootWith('#!/usr/bin/python3\nprint(1)\n');
      expect(gone.progress).toEqual({ status: 'error', exitCode: 127, reason: 'script failed with exit code 127: There is no /usr/bin/python3 in this image' });
    });

    test('a failing step is told with its output, later steps still run', async () => {
      const { progress, sh, driver, id } = await bootWith(`#cloud-config
write_files:
  - { path: /etc, content: no }
runcmd:
  - echo fine
  - echo why; ls /nowhere; (exit 7)
  - touch /after
packages: [curl]
chpasswd: { users: [{ name: nobody-here, password: hunter2222, type: text }] }
`);
      expect(progress).toMatchObject({ status: 'error' });
      expect(progress.reason).toMatch(/^write_files 1 \(\/etc\) failed with exit code \d+: .*also failed: chpasswd nobody-here, packages, runcmd 2$/);
      expect(await sh('ls /after')).toBe('/after\n');
      const text = (await log(driver, id)).join('\n');
      expect(text).toContain('There is no package manager in this image');
      expect(text).toContain('runcmd 2 failed with exit code 7');
      expect(text).toContain('There is no user nobody-here');
      expect(text).not.toContain('hunter2222');
    });

    test('the reason shows the output of the step that failed, without passwords', async () => {
      const { progress } = await bootWith(`#cloud-config
chpasswd: { users: [{ name: root, password: hunter2222, type: text }] }
runcmd:
  - echo the password is hunter2222; printf '\\033[31mred\\033[0m\\tend'; false
  - seq 1 500
`);
      expect(progress).toEqual({ status: 'error', exitCode: 1, reason: 'runcmd 1 failed with exit code 1: the password is *** | red end' });
    });

    test('runcmd is one shell: exit ends it, a syntax error is told', async () => {
      const left = await bootWith('#cloud-config\nruncmd: ["exit 0", "touch /after"]\n');
      expect(left.progress).toEqual({ status: 'done', exitCode: 0 });
      expect(await left.sh('ls /after 2>&1')).toContain('No such file');
      expect(await log(left.driver, left.id)).toContain('cloud-init: runcmd 1 ended the shell; what follows it in runcmd is not run');
      const strict = await bootWith('#cloud-config\nruncmd: ["set -e", "echo in 2; false; echo no", "touch /after"]\n');
      expect(strict.progress).toEqual({ status: 'error', exitCode: 1, reason: 'runcmd 2 failed with exit code 1: in 2' });
      const broken = await bootWith('#cloud-config\nruncmd: ["echo (oops"]\n');
      expect(broken.progress).toMatchObject({ status: 'error', exitCode: 2, reason: expect.stringContaining('runcmd 1 failed with exit code 2') });
    });

    test('the quoted word is exactly the text, whatever it holds', async () => {
      const { driver, id } = await launch();
      await fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.string({ unit: 'binary', maxLength: 30 }).map((text) => text.replaceAll('\0', '')),
            { minLength: 20, maxLength: 20 },
          ),
          async (texts) => {
            const { stdout } = await run(driver, id, ['sh', '-c', texts.map((text) => `printf '%s\\n--\\n' ${quote(text)}`).join('\n')]);
            expect(stdout).toBe(texts.map((text) => `${Buffer.from(text).toString()}\n--\n`).join(''));
          },
        ),
        { numRuns: 10 },
      );
    });

    test('a host name that the instance did not get is told', async () => {
      const { progress } = await bootWith('#cloud-config\nhostname: other\n', { spec: { hostname: 'first' } });
      expect(progress).toMatchObject({ status: 'error', reason: expect.stringContaining('The host name is first and cannot be changed from inside') });
    });

    test('keys alone', async () => {
      const { progress, sh } = await bootWith(undefined, { keys: [KEY] });
      expect(progress).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh('cat /root/.ssh/authorized_keys')).toBe(`${KEY}\n`);
    });

    test('programs left in the background neither hold it up nor end with it', async () => {
      const { progress, sh } = await bootWith('#cloud-config\nruncmd: ["sleep 777 & echo on"]\n');
      expect(progress).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh('pidof sleep | wc -w')).toBe('2\n');
    });
  });

  describe.skipIf(!hasDebian)('debian: useradd, apt, sudo', () => {
    test('users by the tools of the distribution, packages from a repository of its own', async () => {
      const { progress, sh, driver, id } = await bootWith(
        `#cloud-config
bootcmd:
  # A package and a repository that hold without any network.
  - |
    set -e
    mkdir -p /repo/build/DEBIAN /repo/build/usr/share/hello-cloud
    printf 'Package: hello-cloud\\nVersion: %s\\nArchitecture: all\\nMaintainer: me <me@example.com>\\nDescription: says hello\\n' 1.0 >/repo/build/DEBIAN/control
    printf '#!/bin/sh\\nuseradd --system hello-daemon\\necho "frontend $DEBIAN_FRONTEND"\\n' >/repo/build/DEBIAN/postinst
    chmod 755 /repo/build/DEBIAN/postinst
    cd /repo && dpkg-deb --build build hello-cloud_1.0_all.deb >/dev/null
    sum=$(sha256sum hello-cloud_1.0_all.deb) size=$(stat -c %s hello-cloud_1.0_all.deb)
    { cat build/DEBIAN/control; echo "Filename: ./hello-cloud_1.0_all.deb"; echo "Size: $size"; echo "SHA256: \${sum%% *}"; } >Packages
    rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
    echo 'deb [trusted=yes] file:/repo ./' >/etc/apt/sources.list
groups: [ops]
users:
  - { name: deploy, groups: [ops, sudo], shell: /bin/bash, gecos: 'Deploy User', uid: 4242, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['${KEY}'] }
  - { name: worker, primary_group: crew, no_create_home: true, lock_passwd: false, passwd: '$6$saltsalt$abcdefgh' }
  - { name: games, groups: ops }
chpasswd: { expire: false, users: [{ name: deploy, password: 'correct horse', type: text }] }
packages: [[hello-cloud, 1.0]]
write_files:
  - { path: /etc/hello, content: hi, owner: hello-daemon, defer: true, permissions: 0400 }
timezone: UTC
ssh_pwauth: false
runcmd: [[su, deploy, -c, 'id -un; pwd; echo $HOME >/tmp/home'], 'env | sort >/tmp/env']
`,
        { image: 'debian:trixie', spec: { env: { MODE: 'dev' } } },
      );
      const text = (await log(driver, id)).join('\n');
      expect(progress, text).toMatchObject(
        timezonesIn(await sh('ls /usr/share/zoneinfo/UTC'))
          ? { status: 'done' }
          : { reason: expect.stringMatching(/^timezone failed with exit code 1: There is no time zone UTC/) },
      );
      expect(progress.reason ?? '').not.toContain('also failed');
      expect(await sh('getent passwd deploy worker')).toMatch(
        /^deploy:x:4242:4242:Deploy User:\/home\/deploy:\/bin\/bash\nworker:x:\d+:\d+::\/home\/worker:\/bin\/sh\n$/,
      );
      expect(await sh('id -nG deploy; id -nG worker; id -nG games')).toBe('deploy sudo ops\ncrew\ngames ops\n');
      expect(await sh('stat -c %U /home/deploy/.bashrc; ls -d /home/worker 2>&1')).toMatch(/^deploy\n.*No such file/);
      expect(await sh('getent shadow worker deploy games | cut -d: -f1,2')).toMatch(/^worker:\$6\$saltsalt\$abcdefgh\ndeploy:\$6\$[^:]{100,}\ngames:\*\n$/);
      // The distribution's own crypt agrees with the hash that was made here.
      expect(await sh(`su games -s /bin/sh -c 'echo correct horse | su deploy -c "id -un"' 2>&1`)).toContain('deploy');
      expect(await sh(`su games -s /bin/sh -c 'echo wrong horse | su deploy -c "id -un"' 2>&1`)).toContain('Authentication failure');
      expect(await sh('dpkg-query -W hello-cloud; stat -c "%a %U" /etc/hello')).toBe('hello-cloud\t1.0\n400 hello-daemon\n');
      expect(text).toContain('frontend noninteractive');
      expect(await sh('cat /tmp/home; grep -E "^(HOME|MODE|DEBIAN)" /tmp/env')).toBe('/home/deploy\nHOME=/root\nMODE=dev\n');
    });
  });

  describe.skipIf(!hasSsh)('an image with sshd and sudo', () => {
    test('keys let in, passwords do not as asked, sudo is allowed, a running sshd hears of it', async () => {
      const { progress, sh } = await bootWith(
        `#cloud-config
users:
  - { name: deploy, sudo: 'ALL=(ALL) NOPASSWD:ALL' }
ssh_pwauth: false
bootcmd: ['until [ -f /run/sshd.pid ]; do sleep 0.1; done']
runcmd:
  - ssh-keygen -q -t ed25519 -N '' -f /root/id && mkdir -p ~deploy/.ssh && cp /root/id.pub ~deploy/.ssh/authorized_keys && chown -R deploy ~deploy/.ssh
`,
        { image: 'debian-ssh:trixie', spec: { command: undefined } },
      );
      expect(progress).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh('head -1 /etc/ssh/sshd_config; sshd -T | grep ^passwordauth')).toBe('PasswordAuthentication no\npasswordauthentication no\n');
      expect(await sh('ssh -o StrictHostKeyChecking=no -o BatchMode=yes -i /root/id deploy@127.0.0.1 sudo -n id -un 2>/dev/null')).toBe('root\n');
      // What a client is offered comes from the running server, not from the file.
      expect(await sh('ssh -o StrictHostKeyChecking=no -o BatchMode=yes deploy@127.0.0.1 true 2>&1')).toContain('Permission denied (publickey).');
    });

    test('a sudo rule that sudo does not understand is refused before it locks everybody out', async () => {
      const { progress, sh } = await bootWith(`#cloud-config\nusers: [{ name: deploy, sudo: 'NOT A RULE' }]\n`, { image: 'debian-ssh:trixie' });
      expect(progress.reason).toMatch(/^users: sudo failed with exit code 1/);
      expect(await sh('ls /etc/sudoers.d/90-cloud-init-users 2>&1; sudo -n id -un')).toMatch(/No such file.*\nroot\n/);
    });
  });

  describe('once and only once', () => {
    const SLOW = '#!/bin/sh\necho run >>/runs\nsleep "$(cat /wait 2>/dev/null || echo 1)"\necho end >>/runs\n';

    test('a process that is killed after each single call finds the same run', async () => {
      const { id, sh } = await launch();
      const boot = () => bootOf(readUserData(SLOW), []);
      let progress: BootProgress = { status: 'running' };
      for (let calls = 0; progress.status === 'running' && calls < 100; calls += 1) {
        progress = await advanceBoot(await freshDriver(), id, boot());
        await sleep(50);
      }
      expect(progress).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh('cat /runs')).toBe('run\nend\n');
      expect(await sh(`ls ${HOME}`)).toBe(`${id}\n`);
    });

    test('kill -9 of the process that started it: the run goes on and is found again', async () => {
      const { id, sh, driver } = await launch();
      await sh('echo 2 >/wait');
      const core = (file: string) => JSON.stringify(join(import.meta.dirname, '../../packages/core/src', file));
      const daemon = `
        import { dockerDrivers } from ${core('drivers/docker/index.ts')};
        import { silent } from ${core('kernel/log.ts')};
        import { readUserData } from ${core('services/instance/cloudinit.ts')};
        import { advanceBoot } from ${core('services/instance/cloudinit-run.ts')};
        import { bootOf } from ${core('services/instance/cloudinit-script.ts')};
        const set = await dockerDrivers({ installation: ${JSON.stringify(installation.client.installation)}, dataDir: ${JSON.stringify(dataDir)}, log: silent });
        await advanceBoot(set.drivers.compute, ${JSON.stringify(id)}, bootOf(readUserData(${JSON.stringify(SLOW)}), []));
        process.kill(process.pid, 'SIGKILL');`;
      const { signal: endedBy } = spawnSync(process.execPath, ['--input-type=module', '--eval', daemon], { stdio: 'inherit' });
      expect(endedBy).toBe('SIGKILL');
      expect(await advanceBoot(driver, id, bootOf(readUserData(SLOW), []))).toEqual({ status: 'running' });
      expect(await finish(driver, id, bootOf(readUserData(SLOW), []))).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh('cat /runs')).toBe('run\nend\n');
    });

    test('killed between starting and hearing of it, and racing with itself: one run', async () => {
      const { id, sh, driver } = await launch();
      const all = await Promise.all(Array.from({ length: 4 }, async () => advanceBoot(await freshDriver(), id, bootOf(readUserData(SLOW), []))));
      expect(all).toEqual(all.map(() => ({ status: 'running' })));
      expect(await finish(driver, id, bootOf(readUserData(SLOW), []))).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh('cat /runs')).toBe('run\nend\n');
    });

    test('what was staged but never started is taken over and cleaned up', async () => {
      const { id, sh, driver } = await launch();
      const dying = new Proxy(driver, {
        get(target, key) {
          if (key === 'exec') return () => Promise.reject(new Error('killed'));
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
      await expect(advanceBoot(dying, id, bootOf(readUserData(SLOW), []))).rejects.toThrow('killed');
      expect(await sh(`ls ${HOME}`)).toMatch(/staged-/);
      expect(await finish(driver, id, bootOf(readUserData(SLOW), []))).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh(`cat /runs; ls ${HOME}`)).toBe(`run\nend\n${id}\n`);
    });

    test('an instance that is stopped meanwhile: interrupted, told while stopped, not run again, secrets gone', async () => {
      const { id, sh, driver, spec } = await launch();
      const boot = bootOf(
        readUserData('#cloud-config\nwrite_files: [{path: /x, content: top-secret, defer: true}]\nbootcmd: [echo run >>/runs, sleep 60]\n'),
        [],
      );
      expect(await advanceBoot(driver, id, boot)).toEqual({ status: 'running' });
      while (!(await log(driver, id)).includes('cloud-init: bootcmd 2')) await sleep(50);
      await driver.ensure({ ...spec, power: 'stopped' }, go);
      const interrupted = { status: 'error', reason: expect.stringMatching(/^interrupted during bootcmd 2: .*not run again$/) };
      expect(await finish(driver, id, boot)).toEqual(interrupted);
      await driver.ensure(spec, go);
      expect(await finish(await freshDriver(), id, boot)).toEqual(interrupted);
      expect(await sh(`cat /runs; grep -r top-secret ${HOME} /var/log`)).toBe('run\n');
      expect(await log(driver, id, true)).toContain('cloud-init: bootcmd 2');
    });

    test('a run that is killed is noticed while the instance lives on', async () => {
      const { id, sh, driver } = await launch();
      const boot = bootOf(readUserData('#cloud-config\nruncmd: [sleep 61]\n'), []);
      await advanceBoot(driver, id, boot);
      await sh(`kill -9 $(cut -d' ' -f1 ${HOME}/${id}/started)`);
      expect(await finish(await freshDriver(), id, boot)).toMatchObject({ status: 'error', reason: expect.stringContaining('interrupted') });
    });

    test('stop and start after the end: done as before', async () => {
      const { id, sh, driver, spec, boot } = await bootWith('#!/bin/sh\necho run >>/runs\n');
      await driver.ensure({ ...spec, power: 'stopped' }, go);
      expect(await finish(driver, id, boot)).toEqual({ status: 'done', exitCode: 0 });
      await driver.ensure(spec, go);
      expect(await finish(await freshDriver(), id, boot)).toEqual({ status: 'done', exitCode: 0 });
      expect(await sh('cat /runs')).toBe('run\n');
    });

    test('an instance that does not run yet is waited for; a paused one keeps its run', async () => {
      const { id, driver, spec } = await launch('busybox', { power: 'stopped' });
      const boot = bootOf(readUserData(SLOW), []);
      expect(await advanceBoot(driver, id, boot)).toEqual({ status: 'running' });
      await driver.ensure(spec.power === 'stopped' ? { ...spec, power: 'running' } : spec, go);
      expect(await advanceBoot(driver, id, boot)).toEqual({ status: 'running' });
      await driver.ensure({ ...spec, power: 'paused' }, go);
      expect(await advanceBoot(await freshDriver(), id, boot)).toEqual({ status: 'running' });
      await driver.ensure({ ...spec, power: 'running' }, go);
      expect(await finish(driver, id, boot)).toEqual({ status: 'done', exitCode: 0 });
    });

    test('an image without /bin/sh: a clear reason, and nothing of the user data is left', async () => {
      const { id, driver } = await launch();
      await run(driver, id, ['busybox', 'rm', '/bin/sh']);
      const boot = bootOf(readUserData('#!/bin/sh\n# top-secret\n'), []);
      const refused = { status: 'error', exitCode: 127, reason: expect.stringMatching(/^this image has no usable \/bin\/sh/) };
      expect(await advanceBoot(driver, id, boot)).toEqual(refused);
      expect(await advanceBoot(await freshDriver(), id, boot)).toEqual(refused);
      expect((await run(driver, id, ['busybox', 'grep', '-r', 'top-secret', HOME])).stdout).toBe('');
      expect(await log(driver, id, true)).toEqual([]);
    });

    test('the log is followed while it grows', async () => {
      const { id, driver } = await launch();
      const boot = bootOf(readUserData('#!/bin/sh\nfor i in 1 2 3; do echo "line $i"; sleep 0.6; done; printf unended\n'), []);
      const before = Date.now();
      const times: number[] = [];
      const lines: string[] = [];
      await advanceBoot(driver, id, boot);
      for await (const line of bootLog(driver, id, { follow: true, signal })) {
        lines.push(line.text);
        times.push(Date.now() - before);
        expect(Math.abs(Date.parse(line.time) - Date.now())).toBeLessThan(60_000);
      }
      expect(lines).toEqual(['cloud-init: script', 'line 1', 'line 2', 'line 3', 'unendedcloud-init: finished with exit code 0']);
      expect(times[3]! - times[1]!).toBeGreaterThan(500);
      const aborted = new AbortController();
      const endless = await launch();
      setTimeout(() => aborted.abort(), 300);
      for await (const line of bootLog(endless.driver, endless.id, { follow: true, signal: aborted.signal })) expect.fail(line.text);
    });
  });
});
