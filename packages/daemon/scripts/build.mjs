// After tsc: the daemon's process in a few files in place of six hundred. That is most of its start and a fifth of its memory.
import { rmSync } from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What dockerode loads at its start and we never use: its BuildKit client. */
const UNUSED = ['@grpc/grpc-js', '@grpc/proto-loader', 'protobufjs'];
/** What it loads at its start and only DOCKER_HOST=ssh://… needs; it cannot be bundled, having native code of its own. */
const SSH = `import { createRequire } from 'node:module';
const load = ['@thecloud/core', 'dockerode', 'docker-modem'].reduce((from, name) => createRequire(from.resolve(name)), createRequire(import.meta.url));
export function Client(...args) { return new (load('ssh2').Client)(...args); }`;

/** `import 'node:http'` reads everything that the module has, and so loads Node's own fetch, which nobody here calls: 30 ms and 5 MB. Taken whole, it does not. */
const HTTP = [
  "const http = process.getBuiltinModule('node:http');",
  'export default http;',
  ...Object.entries(Object.getOwnPropertyDescriptors(http)).flatMap(([name, { value }]) => (value === undefined ? [] : `export const ${name} = http.${name};`)),
].join('\n');

const bundle = await rolldown({
  input: { process: `${root}/dist/process.js` },
  platform: 'node',
  // Native, or needed by few: loaded when it comes to it.
  external: ['bcrypt', 'better-sqlite3', 'prom-client', 'bufferutil', 'utf-8-validate'],
  plugins: [
    {
      name: 'light-dockerode',
      resolveId: (id) => (UNUSED.includes(id) ? '\0unused' : id === 'ssh2' ? '\0ssh2' : undefined),
      load: (id) => (id === '\0unused' ? 'export {};' : id === '\0ssh2' ? SSH : undefined),
    },
    {
      name: 'light-http',
      resolveId: (id, _importer, { kind }) => (id === 'node:http' && kind === 'import-statement' ? '\0http' : undefined),
      load: (id) => (id === '\0http' ? HTTP : undefined),
    },
  ],
  onLog: (level, log, handle) => (log.code === 'INEFFECTIVE_DYNAMIC_IMPORT' ? undefined : handle(level, log)),
});
rmSync(`${root}/dist/bundle`, { recursive: true, force: true });
await bundle.write({
  dir: `${root}/dist/bundle`,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: '[name]-[hash].js',
  minify: true,
  sourcemap: true,
});
await bundle.close();
