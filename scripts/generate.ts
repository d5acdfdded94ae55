// Writes the files under docs/ that are made from the sources, or with --check says which of them are not up to date.
// Run it from anywhere: npm run generate
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { API_PREFIX, ERRORS } from '@thecloud/core/contracts';
import { openapi } from '@thecloud/daemon';
import { cliReference } from '../packages/cli/src/build/reference.ts';

const ROOT = join(import.meta.dirname, '..');

/** By path from the root: the whole content. A new generated file is a line here. */
export const generators: Readonly<Record<string, () => string | Promise<string>>> = {
  'docs/openapi.json': () => `${JSON.stringify(openapi(), null, 2)}\n`,
  'docs/errors.md': errors,
  'docs/cli.md': cliReference,
};

function errors(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, { status, exit, retry, meaning }]) => `| \`${code}\` | ${status} | ${exit} | ${retry ? 'yes' : 'no'} | ${meaning} |`,
  );
  return `<!-- Made by \`npm run generate\`; do not edit. -->
# Errors

Every error has one code, the same from the CLI, over HTTP (\`${API_PREFIX}/…\`) and from the SDK.

| code | HTTP status | exit code of \`cloud\` | may succeed when repeated | meaning |
|---|---|---|---|---|
${rows.join('\n')}

Three more exit codes of \`cloud\`: 0 when done, 1 when what was accepted failed afterwards, and 130 after Ctrl-C.

Over HTTP the body of an error is

\`\`\`json
{
  "error": {
    "code": "not_found",
    "message": "There is no vpc \\"prdo\\"; did you mean prod?",
    "requestId": "req-5bd9a3c1-0c2f-4f7a-9e0e-2f4d8f1f6f0a"
  }
}
\`\`\`

- \`message\` is one sentence for people; it may change. Programs look at \`code\`.
- \`details\`, where present, is for programs. Of \`invalid_input\` it is a list of \`{ "path", "message" }\`, one for each field that is wrong.
- \`hint\`, where present, says what to do next, often as a command to type.
- \`requestId\` stands in the daemon's log and in the header \`X-Request-Id\`.
- Codes that may succeed when repeated come with the header \`Retry-After\`, in seconds. A write that carries an \`Idempotency-Key\` may be repeated safely; the CLI and the SDK always send one.
`;
}

/** Paths whose content on disk is not what the sources say. */
export async function outdated(): Promise<string[]> {
  const paths: string[] = [];
  for (const [path, generate] of Object.entries(generators)) {
    const committed = await readFile(join(ROOT, path), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (committed !== (await generate())) paths.push(path);
  }
  return paths;
}

if (import.meta.main) {
  const paths = await outdated();
  if (process.argv.includes('--check')) {
    for (const path of paths) process.stderr.write(`${path} is not up to date: npm run generate\n`);
    process.exitCode = paths.length === 0 ? 0 : 1;
  } else {
    for (const path of paths) {
      await writeFile(join(ROOT, path), (await generators[path]?.()) ?? '');
      process.stdout.write(`wrote ${path}\n`);
    }
  }
}
