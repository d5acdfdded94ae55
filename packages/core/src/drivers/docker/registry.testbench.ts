// A registry of one image for tests, on the loopback interface, where engines want no TLS. What a tag means can change.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import tar from 'tar-stream';

const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';

export interface TestRegistry {
  /** `127.0.0.1:<port>/acme/app` */
  readonly repository: string;
  /** From now on the tag is an image with this text in it; returns its digest. */
  push(tag: string, text: string): Promise<string>;
  close(): Promise<void>;
}

export async function testRegistry(): Promise<TestRegistry> {
  const blobs = new Map<string, Buffer>();
  const manifests = new Map<string, Buffer>();
  const add = (bytes: Buffer): { digest: string; size: number } => {
    blobs.set(digestOf(bytes), bytes);
    return { digest: digestOf(bytes), size: bytes.length };
  };
  const server = createServer((request, response) => {
    const [, kind, name = ''] = /^\/v2\/acme\/app\/(manifests|blobs)\/(.+)$/.exec(request.url ?? '') ?? [];
    response.setHeader('docker-distribution-api-version', 'registry/2.0');
    if (kind === undefined) {
      response.writeHead(request.url === '/v2/' ? 200 : 404).end();
      return;
    }
    const bytes = (kind === 'manifests' ? manifests : blobs).get(name);
    if (bytes === undefined) {
      response
        .writeHead(404, { 'content-type': 'application/json' })
        .end(JSON.stringify({ errors: [{ code: kind === 'manifests' ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN', message: 'manifest unknown' }] }));
      return;
    }
    response.writeHead(200, {
      'content-type': kind === 'manifests' ? MANIFEST : 'application/octet-stream',
      'content-length': bytes.length,
      'docker-content-digest': digestOf(bytes),
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    repository: `127.0.0.1:${(server.address() as AddressInfo).port}/acme/app`,
    async push(tag, text) {
      const pack = tar.pack();
      pack.entry({ name: 'motd' }, text);
      pack.finalize();
      const layer = await buffer(pack);
      const architecture = { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? process.arch;
      const config = { architecture, os: 'linux', config: { Cmd: ['/bin/true'] }, rootfs: { type: 'layers', diff_ids: [digestOf(layer)] } };
      const manifest = Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: MANIFEST,
          config: { mediaType: 'application/vnd.docker.container.image.v1+json', ...add(Buffer.from(JSON.stringify(config))) },
          layers: [{ mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip', ...add(gzipSync(layer)) }],
        }),
      );
      manifests.set(tag, manifest);
      manifests.set(digestOf(manifest), manifest);
      return digestOf(manifest);
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
