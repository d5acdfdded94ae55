// After tsc: the table from the contracts, the bundle, and oclif's manifest. `node scripts/build.mjs`.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));

const { buildTables } = await import('../dist/build/table.js');
const { index, groups } = buildTables();
rmSync(`${root}/dist/table`, { recursive: true, force: true });
mkdirSync(`${root}/dist/table`, { recursive: true });
writeFileSync(`${root}/dist/table/index.json`, JSON.stringify(index));
for (const [name, table] of Object.entries(groups)) writeFileSync(`${root}/dist/table/group-${name === '' ? 'top' : name}.json`, JSON.stringify(table));

// Contracts are data that the table already holds: importing an error code from them must not bring zod along.
const pure = /[\\/](?:packages[\\/](?:core|sdk)|node_modules[\\/]@thecloud[\\/](?:core|sdk)|node_modules[\\/]zod)[\\/]/;
const bundle = await rolldown({
  input: { main: `${root}/dist/main.js`, 'oclif-commands': `${root}/dist/oclif-commands.js` },
  platform: 'node',
  external: ['@thecloud/daemon', 'tar-stream', 'bufferutil', 'utf-8-validate'],
  treeshake: { moduleSideEffects: (id) => !pure.test(id) },
  transform: { define: { __VERSION__: JSON.stringify(version) } },
  preserveEntrySignatures: 'allow-extension',
  logLevel: 'warn',
});
rmSync(`${root}/dist/bundle`, { recursive: true, force: true });
const { output } = await bundle.write({
  dir: `${root}/dist/bundle`,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: '[name]-[hash].js',
  // What a plain command needs in one file: each further one costs a millisecond.
  codeSplitting: {
    includeDependenciesRecursively: false,
    groups: [
      {
        name: 'plain',
        test: /(?:cli[\\/]dist[\\/](?:start|run|base|words|common-flags|contexts|settings|http|remote|input|table|help|wait|progress|ask|print[\\/]\w+)|core[\\/]dist[\\/]kernel[\\/](?:errors|near|paths|wire))\.js$/,
        priority: 2,
      },
      { name: 'oclif', test: /node_modules[\\/](?!zod|yaml|ws)/ },
    ],
  },
});
await bundle.close();

// What every command loads stays light: the start-up time depends on it.
const chunks = new Map(output.filter((one) => one.type === 'chunk').map((one) => [one.fileName, one]));
const loaded = new Set();
const visit = (file) => {
  if (loaded.has(file) || !chunks.has(file)) return;
  loaded.add(file);
  for (const next of chunks.get(file).imports) visit(next);
};
const plain = output.filter(
  (one) => one.type === 'chunk' && one.moduleIds.some((id) => /dist[\\/](?:main|start|run|help|commands[\\/]complete)\.js$/.test(id)),
);
for (const chunk of plain) visit(chunk.fileName);
for (const file of loaded) {
  const heavy = chunks.get(file).moduleIds.find((id) => /node_modules/.test(id));
  if (heavy !== undefined) throw new Error(`${file}, which every command loads, contains ${heavy}`);
}

rmSync(`${root}/oclif.manifest.json`, { force: true });
const { Config } = await import('@oclif/core');
const config = await Config.load({ root });
const plugin = config.plugins.get(config.pjson.name);
writeFileSync(`${root}/oclif.manifest.json`, `${JSON.stringify(plugin.manifest)}\n`);
process.stdout.write(`cli: ${plugin.commandIDs.length} commands, ${readdirSync(`${root}/dist/bundle`).length} files\n`);
