// Sessions in a pipe, whole: what is typed, what comes back on both outputs, and the exit code.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Cloud, freePort } from './cloud.ts';

let cloud: Cloud;
beforeAll(async () => {
  cloud = await Cloud.start();
});
afterAll(() => cloud[Symbol.asyncDispose]());

it('of the main job', async () => {
  const [web, db] = [await freePort(), await freePort()];
  writeFileSync(join(cloud.folder, 'db.yaml'), `image: busybox\nvpc: prod\nenv:\n  MODE: dev\nports:\n  - hostPort: ${db}\n    instancePort: 5432\n`);
  const session = await cloud.transcript([
    ['vpc', 'create', 'prod', '--cidr', '10.20.0.0/16', '--label', 'env=dev'],
    ['volume', 'create', 'data', '--size', '20'],
    [
      'instance',
      'create',
      'web',
      '--image',
      'busybox',
      '--vpc',
      'prod',
      '--volume',
      'data:/data',
      '--publish',
      `${web}:80`,
      '--command',
      'httpd -f -h /www',
      '-e',
      'A=b',
    ],
    ['instance', 'create', 'db', '--from', 'db.yaml', '--env', 'MODE=prod', '--quiet'],
    ['instance', 'list'],
    ['instance', 'list', '--columns', 'name,vpc,ports', '--no-header'],
    ['instance', 'list', '-o', 'name'],
    ['instance', 'list', '--label', 'none=there'],
    ['-o', 'json', 'vpc', 'get', 'prod'],
    ['vpc', 'get', 'prod', '-o', 'yaml'],
    ['volume', 'list', '-o', 'wide'],
    ['instance', 'exec', 'web', '--', 'echo', 'a b', '-n'],
    ['instance', 'exec', 'web', '--', 'sh', '-c', 'exit 7'],
    ['instance', 'stop', 'web', 'db'],
    ['instance', 'start', 'web', '--no-wait'],
    ['instance', 'wait', 'web', '--quiet'],
    ['volume', 'snapshot', 'data', '--name', 'nightly'],
    ['snapshot', 'list'],
    ['volume', 'create', 'copy', '--snapshot', 'nightly', '--output', 'name'],
    ['vpc', 'update', 'prod', '--description', 'The first one'],
    ['vpc', 'update', 'prod', '--unset', 'description', '--output', 'name'],
    ['image', 'pull', 'debian:trixie'],
    ['instance', 'delete', 'web', 'db', '--dry-run'],
    ['instance', 'delete', 'web', 'db', '-q'],
    ['instance', 'list'],
    ['event', 'list', '--resource', 'vpc'],
    ['instance-type', 'list'],
  ]);
  // How far a pull is may be told or not: it may be over before anybody asks.
  const settled = session.replace(/^.*Recorded debian:trixie 100 %\n/m, '');
  await expect(settled.replaceAll(String(web), '18080').replaceAll(String(db), '15432')).toMatchFileSnapshot('session.txt');
});

it('of mistakes', async () => {
  await cloud.run(['instance', 'create', 'app', '--image', 'busybox']);
  const session = await cloud.transcript([
    ['instnace', 'list'],
    ['list', 'instances'],
    ['instance', 'ls'],
    ['instance', 'lst'],
    ['instance', 'frobnicate'],
    ['instance', 'create', 'x', '--imgae', 'busybox'],
    ['instance', 'create', 'x'],
    ['instance', 'create', '--image', 'busybox'],
    ['instance', 'create', 'x', '--image'],
    ['instance', 'create', 'x', '--image', 'a', '--image', 'b'],
    ['instance', 'create', 'Web_1', '--image', 'busybox'],
    ['instance', 'create', 'x', '--image', 'busybox', '--publish', '80:a', '--volume', 'data'],
    ['instance', 'create', 'x', '--image', 'busybox', '--restart-policy', 'alway'],
    ['instance', 'create', 'x', '--image', 'busybox', '--stop-timeout', 'soon'],
    ['instance', 'create', 'x', '--image', 'busybox', '--env', 'MODE'],
    ['instance', 'create', 'x', '--image', 'busybox', '--vpc', 'prdo'],
    ['instance', 'create', 'x', '--image', 'busybox', '--user-data', '@none.yaml'],
    ['instance', 'create', 'x', '--from', 'none.yaml'],
    ['instance', 'create', 'app', '--image', 'busybox'],
    ['vpc', 'create', 'x', '--cidr', '10.20.0.0/33', '--dry-run'],
    ['instance', 'get', 'apq'],
    ['instance', 'get', 'apq', '--output', 'json'],
    ['instance', 'get', 'app', 'web'],
    ['instance', 'list', '--columns', 'nmae'],
    ['instance', 'list', '--output', 'jsn'],
    ['instance', 'exec', 'app', 'ls', '-l'],
    ['instance', 'update', 'app', '--env', 'A=b'],
    ['instance', 'update', 'app'],
    ['instance', 'update', 'app', '--image', 'debian:trixie'],
    ['instance', 'wait', 'app', '--timeout', '2x'],
    ['event', 'list', '--resource', 'instanc'],
    ['instance', 'stop', 'app', 'apq'],
    ['instance', 'cp', 'a', 'b'],
    ['instance', 'cp', 'app:relative', 'b'],
    ['vpc', 'delete', 'default'],
    ['operation', 'wait', 'op-0000000000000000'],
    ['config', 'set', 'outptu', 'json'],
    ['config', 'set', 'output', 'jsno'],
    ['completion', 'bsh'],
    ['image', 'import', 'acme/base:1', '--file', 'none.tar'],
  ]);
  await expect(session).toMatchFileSnapshot('mistakes.txt');
});
