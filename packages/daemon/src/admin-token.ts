// The token of the installation itself: for the first call over TCP, before there is anybody who could log in.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, FILES } from '@thecloud/core/contracts';
import { writeFileWhole } from './files.ts';

const SHORTEST_TOKEN = 16;

/** Undefined: there is none yet. Throws `invalid_input` for a file that holds none. */
export async function readAdminToken(dataDir: string): Promise<string | undefined> {
  const path = join(dataDir, FILES.adminToken);
  try {
    const token = (await readFile(path, 'utf8')).trim();
    if (token.length >= SHORTEST_TOKEN && /^[\w\-.~+/]+=*$/.test(token)) return token;
    throw new Fault('invalid_input', `${path} holds no token of at least ${SHORTEST_TOKEN} URL-safe characters`, { hint: `rm ${path}` });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return undefined;
  }
}

/** The installation's token, made at the first call (32 random bytes, readable by the owner only). */
export async function adminToken(dataDir: string): Promise<string> {
  const known = await readAdminToken(dataDir);
  if (known !== undefined) return known;
  const token = randomBytes(32).toString('base64url');
  await writeFileWhole(join(dataDir, FILES.adminToken), `${token}\n`);
  return token;
}
