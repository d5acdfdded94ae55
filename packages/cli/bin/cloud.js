#!/usr/bin/env node
// Works on the oldest Node that can read it, and hands over to one that is new enough. Nothing here may need Node 22.
import module from 'node:module';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 19)) {
  module.enableCompileCache?.();
  await import('../dist/bundle/main.js');
} else {
  const { spawnSync } = await import('node:child_process');
  let node;
  try {
    node = module.createRequire(import.meta.url).resolve(`node-${process.platform}-${process.arch}/bin/node`);
  } catch {
    node = undefined; // no packaged Node here: said below
  }
  if (node === undefined) {
    process.stderr.write(`Error: cloud needs Node 22.19 or newer; this is ${process.versions.node}.\nHint: npm install --global node@24\n`);
    process.exit(8);
  }
  const { status, signal } = spawnSync(node, process.argv.slice(1), { stdio: 'inherit' });
  if (signal) process.kill(process.pid, signal);
  process.exit(status ?? 70);
}
