// Starts the daemon's process: the bundle where there is one, else the modules as they are. What is compiled once is kept compiled.
import { existsSync } from 'node:fs';
import module from 'node:module';

module.enableCompileCache();
const bundle = new URL('./bundle/process.js', import.meta.url);
const { main } = (existsSync(bundle) ? await import(bundle.href) : await import('./process.ts')) as typeof import('./process.ts');
await main();
