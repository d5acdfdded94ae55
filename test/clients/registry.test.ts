// A container registry that keeps its layers in a bucket: uploads in pieces, moved to where they belong by copying on the server.
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClientBench, clientMissing, noise, sha256 } from './bench.ts';

const missing = clientMissing('docker-registry');
const IMAGE = 'application/vnd.oci.image.manifest.v1+json';

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

describe.skipIf(missing !== undefined)(`docker-registry${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let bench: ClientBench;
  let registry: ChildProcess;
  let url = '';
  let said = '';

  beforeAll(async () => {
    bench = await ClientBench.start('registry');
    await bench.daemon.client.bucket.create({ name: 'layers' }, { tenant: 'registry' });
    const port = await freePort();
    url = `http://127.0.0.1:${port}/v2`;
    const { accessKeyId, secretAccessKey } = bench.account;
    const s3 = `accesskey: ${accessKeyId}\n    secretkey: ${secretAccessKey}\n    region: us-east-1\n    regionendpoint: ${bench.endpoint}\n    bucket: layers\n    secure: false\n    v4auth: true\n    chunksize: 5242880`;
    const text = `version: 0.1\nlog:\n  level: warn\nstorage:\n  s3:\n    ${s3}\n  redirect:\n    disable: true\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:${port}\n`;
    writeFileSync(bench.file('registry.yml'), text, { mode: 0o600 });
    registry = spawn('docker-registry', ['serve', bench.file('registry.yml')], { env: bench.env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [registry.stdout, registry.stderr]) {
      stream?.setEncoding('utf8').on('data', (more: string) => {
        said = (said + more).slice(-4_000);
      });
    }
    for (let tries = 0; ; tries++) {
      const up = await fetch(`${url}/`).catch(() => undefined);
      if (up?.ok === true) break;
      if (tries > 100 || registry.exitCode !== null) throw new Error(`the registry does not answer: ${said}`);
      await sleep(100);
    }
  });
  afterAll(async () => {
    if (registry?.exitCode === null) {
      const over = new Promise((done) => registry.once('exit', done));
      registry.kill();
      await over;
    }
    await bench?.[Symbol.asyncDispose]();
  });

  /** In pieces, as container engines do it. */
  async function push(bytes: Buffer, piece: number): Promise<string> {
    const digest = `sha256:${sha256(bytes)}`;
    const begun = await fetch(`${url}/app/blobs/uploads/`, { method: 'POST' });
    expect(begun.status, said).toBe(202);
    let location = begun.headers.get('location') ?? '';
    for (let at = 0; at < bytes.length; at += piece) {
      const body = new Uint8Array(bytes.subarray(at, at + piece));
      const sent = await fetch(location, {
        method: 'PATCH',
        body,
        headers: { 'content-type': 'application/octet-stream', 'content-range': `${at}-${at + body.length - 1}` },
      });
      expect(sent.status, said).toBe(202);
      location = sent.headers.get('location') ?? '';
    }
    const done = await fetch(`${location}&digest=${digest}`, { method: 'PUT' });
    expect(done.status, said).toBe(201);
    return digest;
  }

  test('an image is pushed, pulled, listed and deleted', { timeout: 120_000 }, async () => {
    const layer = noise(23 * 1024 * 1024 + 11);
    const config = Buffer.from('{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}');
    const descriptor = (mediaType: string, digest: string, { length }: Buffer) => ({ mediaType, digest, size: length });
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: IMAGE,
      config: descriptor('application/vnd.oci.image.config.v1+json', await push(config, 1024), config),
      layers: [descriptor('application/vnd.oci.image.layer.v1.tar', await push(layer, 6 * 1024 * 1024), layer)],
    });
    const put = await fetch(`${url}/app/manifests/one`, { method: 'PUT', body: manifest, headers: { 'content-type': IMAGE } });
    expect(put.status, said).toBe(201);

    const pulled = (await (await fetch(`${url}/app/manifests/one`, { headers: { accept: IMAGE } })).json()) as { layers: { digest: string }[] };
    expect(pulled).toEqual(JSON.parse(manifest));
    const blob = await fetch(`${url}/app/blobs/${pulled.layers[0]?.digest}`);
    expect(sha256(new Uint8Array(await blob.arrayBuffer()))).toBe(sha256(layer));
    expect(await (await fetch(`${url}/app/tags/list`)).json()).toEqual({ name: 'app', tags: ['one'] });
    const gone = await fetch(`${url}/app/manifests/${put.headers.get('docker-content-digest')}`, { method: 'DELETE' });
    expect(gone.status, said).toBe(202);
    expect((await fetch(`${url}/app/manifests/one`, { headers: { accept: IMAGE } })).status).toBe(404);
  });
});
