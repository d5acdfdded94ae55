// Where the bundle begins. `--version` is answered before anything else is loaded.
import { VERSION } from './version.ts';

const argv = process.argv.slice(2);
if (argv.length === 1 && argv[0] === '--version') process.stdout.write(`cloud ${VERSION}\n`);
else {
  const { main } = await import('./start.ts');
  await main(argv);
}
