// Who may import whom, read from every source file. The tables are those of docs/architecture.md; where a rule says more than the table there, its reason stands here.
import { readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

interface Source {
  /** From the repository's root: `packages/core/src/kernel/near.ts`. */
  path: string;
  text: string;
  imports: Import[];
}
interface Import {
  /** A path from the root for our own files, else the specifier. */
  to: string;
  /** `import()`: loaded only when needed. */
  dynamic: boolean;
  /** Gone after compilation. */
  typeOnly: boolean;
}

const files = (directory: string): string[] =>
  readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name === 'dist' ? [] : files(path);
    return /\.tsx?$/.test(entry.name) && !entry.name.endsWith('.d.ts') ? [path] : [];
  });

function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  const add = (specifier: string, dynamic: boolean, typeOnly: boolean) =>
    found.push({ to: specifier.startsWith('.') ? relative(root, join(root, dirname(path), specifier)) : specifier, dynamic, typeOnly });
  for (const [, kind, names, specifier] of text.matchAll(/^(?:import|export)(\s+type)?\s+((?:[\w*{}\s,$]|\bas\b)+?)\s+from\s+'([^']+)'/gm)) {
    const named = /^\{([^}]*)\}$/s.exec((names ?? '').trim())?.[1];
    const allTypes = named !== undefined && named.split(',').every((name) => name.trim() === '' || name.trim().startsWith('type '));
    add(specifier as string, false, kind !== undefined || allTypes);
  }
  for (const [, specifier] of text.matchAll(/^import\s+'([^']+)'/gm)) add(specifier as string, false, false);
  for (const [, specifier] of text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)) add(specifier as string, true, false);
  return found;
}

const sources: Source[] = readdirSync(join(root, 'packages'))
  .flatMap((name) => files(`packages/${name}/src`))
  .map((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    return { path, text, imports: importsOf(path, text) };
  });
/** Without comments, which may say any word; lines stay where they are. */
const code = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' ')).replace(/(^|\s)\/\/.*$/gm, '$1');
/** Tests and what only tests use may look anywhere inside their package's reach. */
const forTests = (path: string): boolean => /(\.test|\.conformance|\.child|[./]testbench)\.ts$|\/testing\//.test(path);
const product = sources.filter(({ path }) => !forTests(path));
const packageOf = (path: string): string => path.split('/')[1] as string;
const at = (path: string): string => path.replace(/^packages\/core\/src\//, '');

test('the sources are found and read', () => {
  expect(product.length).toBeGreaterThan(80);
  const invoke = sources.find(({ path }) => path.endsWith('kernel/invoke.ts'));
  expect(invoke?.imports.map(({ to }) => to)).toContain('packages/core/src/kernel/authorize.ts');
  expect(invoke?.imports.find(({ to }) => to.endsWith('kernel/clock.ts'))?.typeOnly).toBe(true);
});

describe('packages', () => {
  const allowed: Readonly<Record<string, (specifier: string, from: Source, dynamic: boolean) => boolean>> = {
    core: () => false,
    sdk: (specifier, { path }) => specifier === '@thecloud/core/contracts' || (specifier === '@thecloud/core' && /\/src\/(embed|testing)\b/.test(path)),
    daemon: (specifier) => specifier === '@thecloud/core' || specifier === '@thecloud/core/contracts',
    // `/paths` is the part of the contracts that loads nothing, for the path to the first byte of a fast command.
    cli: (specifier, _, dynamic) =>
      ['@thecloud/sdk', '@thecloud/core/contracts', '@thecloud/core/paths'].includes(specifier) || (specifier === '@thecloud/daemon' && dynamic),
  };
  test.each(Object.keys(allowed))('%s imports only what it may', (name) => {
    const wrong: string[] = [];
    for (const source of product.filter(({ path }) => packageOf(path) === name)) {
      for (const { to, dynamic, typeOnly } of source.imports) {
        const foreign = to.startsWith('@thecloud/') || (to.startsWith('packages/') && packageOf(to) !== name);
        // What the tools of the build read is not in the product.
        if (!foreign || typeOnly || /\/src\/build\//.test(source.path)) continue;
        if (!allowed[name]?.(to, source, dynamic)) wrong.push(`${source.path} → ${to}`);
      }
    }
    expect(wrong).toEqual([]);
  });
  test('every package has its rule', () => {
    expect(
      readdirSync(join(root, 'packages'))
        .filter((name) => product.some(({ path }) => packageOf(path) === name))
        .sort(),
    ).toEqual(Object.keys(allowed).sort());
  });
});

describe('core', () => {
  const core = product
    .filter(({ path }) => packageOf(path) === 'core')
    .map((source) => ({ ...source, path: at(source.path), imports: source.imports.map((each) => ({ ...each, to: at(each.to) })) }));
  const wrong = (where: (path: string) => boolean, may: (to: string, from: string) => boolean): string[] =>
    core.filter(({ path }) => where(path)).flatMap(({ path, imports }) => imports.filter(({ to }) => !may(to, path)).map(({ to }) => `${path} → ${to}`));
  const folder = (path: string): string => path.split('/').slice(0, 2).join('/');

  const CATALOG = 'services/instance-type/catalog.ts';

  test('kernel knows no service and no driver', () => {
    const libraries = new Set(['zod', 'kysely', 'better-sqlite3']);
    expect(
      wrong(
        (path) => path.startsWith('kernel/'),
        (to) => to.startsWith('kernel/') || isBuiltin(to) || libraries.has(to),
      ),
    ).toEqual([]);
  });

  test('contracts are zod, the kernel’s words, and other contracts', () => {
    // A contract may have short forms of its own fields in a file that itself imports nothing of ours (`instance/notation.ts`).
    const leaf = (path: string) => core.find((source) => source.path === path)?.imports.length === 0;
    expect(
      wrong(
        (path) => /^services\/[^/]+\/(?:\w+-)?contract\.ts$/.test(path),
        (to, from) =>
          to === 'zod' ||
          to === 'kernel/contract.ts' ||
          to === CATALOG ||
          /^services\/[^/]+\/contract\.ts$/.test(to) ||
          (folder(to) === folder(from) && leaf(to)),
      ),
    ).toEqual([]);
  });

  test('a service sees of another its contract, and two things more', () => {
    const others = (to: string): boolean =>
      /^services\/[^/]+\/(?:\w+-)?contract\.ts$/.test(to) ||
      // A port is an agreement with backends; that one service owns its text does not make it that service's inside (a snapshot is made by the volume port).
      /^services\/[^/]+\/driver\.ts$/.test(to) ||
      // A constant table, needed where nothing may be awaited: inside a transaction and in pure functions.
      to === CATALOG;
    const libraries = new Set(['zod', 'kysely', 'yaml', 'tar-stream', 'bcrypt', 'jose', 'fast-xml-parser']);
    expect(
      wrong(
        (path) => path.startsWith('services/'),
        (to, from) => to.startsWith('kernel/') || folder(to) === folder(from) || others(to) || isBuiltin(to) || libraries.has(to),
      ),
    ).toEqual([]);
  });

  test('a driver sees its own folder, ports, four files of the kernel, and formats', () => {
    const kernel = new Set(['kernel/errors.ts', 'kernel/log.ts', 'kernel/driver.ts', 'kernel/clock.ts']);
    // The format of messages is an agreement with the outside, as a port is one with backends.
    const format = (to: string): boolean => to.startsWith('kernel/dns/');
    const libraries: Readonly<Record<string, readonly string[]>> = {
      'drivers/docker': ['dockerode', 'execa', 'tar-stream'],
      'drivers/files': ['better-sqlite3'],
      'drivers/memory': ['tar-stream'],
      'drivers/powerdns': ['better-sqlite3'],
    };
    expect(
      wrong(
        (path) => path.startsWith('drivers/'),
        (to, from) =>
          folder(to) === folder(from) ||
          /^services\/[^/]+\/driver\.ts$/.test(to) ||
          kernel.has(to) ||
          format(to) ||
          isBuiltin(to) ||
          libraries[folder(from)]?.includes(to) === true,
      ),
    ).toEqual([]);
  });

  test('a service asks a driver what it can, never what it is called', () => {
    const asked = core
      .filter(({ path, text }) => path.startsWith('services/') && /drivers?\.name\b|=== '(docker|memory|libvirt)'/.test(text))
      .map(({ path }) => path);
    expect(asked).toEqual([]);
  });

  test('what may be done is decided in one place, and nobody in here is whom he says', () => {
    const deciders = core.filter(({ text }) => /\bdecide\(/.test(code(text))).map(({ path }) => path);
    // Over S3 the bucket's owner has a say as well: its policy and ACLs, in the order of AWS. The caller's own part is asked of the kernel.
    expect(deciders.sort()).toEqual(['kernel/access.ts', 'kernel/authorize.ts', 'services/bucket/s3/authorize.ts']);
    // Services act as their caller, or say in which tenant they act as the system: `systemClient`, `context.client`.
    const pretenders = core
      .filter(({ path, text }) => path.startsWith('services/') && /\b(localAdministrator|systemPrincipal)\b/.test(code(text)))
      .map(({ path }) => path);
    expect(pretenders).toEqual([]);
  });

  test('the list of contracts loads where there is no Node', () => {
    const seen = new Set<string>();
    const needs: string[] = [];
    const visit = (path: string) => {
      if (seen.has(path)) return;
      seen.add(path);
      for (const { to, typeOnly } of core.find((source) => source.path === path)?.imports ?? []) {
        if (typeOnly) continue;
        if (/^(kernel|services|drivers)\//.test(to)) visit(to);
        else if (to !== 'zod') needs.push(`${path} → ${to}`);
      }
    };
    visit('contracts.ts');
    expect(seen.size).toBeGreaterThan(10);
    expect(needs).toEqual([]);
  });
});

describe('everywhere', () => {
  test('no circles', () => {
    const edges = new Map(product.map(({ path, imports }) => [path, imports.filter(({ typeOnly, dynamic }) => !typeOnly && !dynamic).map(({ to }) => to)]));
    const circles: string[] = [];
    const done = new Set<string>();
    const visit = (path: string, trail: string[]) => {
      if (trail.includes(path)) {
        circles.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
        return;
      }
      if (done.has(path)) return;
      for (const to of edges.get(path) ?? []) visit(to, [...trail, path]);
      done.add(path);
    };
    for (const path of edges.keys()) visit(path, []);
    expect(circles).toEqual([]);
  });

  const matching = (pattern: RegExp, where: (path: string) => boolean = () => true): string[] =>
    product
      .filter(({ path }) => where(path))
      .map(({ path, text }) => ({ path, text: code(text) }))
      .flatMap(({ path, text }) => [...text.matchAll(pattern)].map(({ 0: found, index }) => `${path}:${text.slice(0, index).split('\n').length} ${found}`));

  test('no printing outside the CLI', () => {
    expect(matching(/\bconsole\.\w+\(/g, (path) => packageOf(path) !== 'cli')).toEqual([]);
  });
  test('no error is swallowed without a word', () => {
    // A comment inside says why, and is enough.
    expect(product.filter(({ text }) => /catch\s*(\([^)]*\))?\s*\{\s*\}/.test(text)).map(({ path }) => path)).toEqual([]);
  });
  test('no loopholes in the types', () => {
    expect(matching(/@ts-(ignore|expect-error|nocheck)|:\s*any\b|\bas any\b|<any>/g)).toEqual([]);
  });
  test('time comes from the clock where a test must be able to move it', () => {
    const elsewhere = [
      'kernel/clock.ts',
      // How long a connection may be silent is time of the network, whatever the clock of the cloud says.
      'services/bucket/s3/inflow.ts',
      'services/bucket/s3/reply.ts',
      'services/bucket/s3/server.ts',
      'services/zone/door.ts',
      // Only lets deletions that come close together go together.
      'services/bucket/engine/garbage.ts',
    ];
    expect(
      matching(
        /\bDate\.now\(\)|\bsetTimeout\(|\bsetInterval\(/g,
        (path) => /core\/src\/(kernel|services)\//.test(path) && !elsewhere.some((end) => path.endsWith(end)),
      ),
    ).toEqual([]);
  });

  /** Files that hold more than a reader can keep in the head. The list may only shrink. */
  const LONG = new Set<string>([
    'packages/core/src/kernel/contract.ts', // types and the builders that infer them, which must see each other
    'packages/core/src/kernel/invoke.ts', // the one way in: its steps are read in one piece
  ]);
  test('files stay short', () => {
    const long = product.filter(({ text }) => text.split('\n').length > 421).map(({ path }) => path);
    expect(long.filter((path) => !LONG.has(path))).toEqual([]);
    expect([...LONG].filter((path) => !long.includes(path))).toEqual([]);
  });
});
