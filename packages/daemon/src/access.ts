// Who calls: the owner of the data directory over the socket, whoever has the token over TCP.
import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { Principal } from '@thecloud/core';
import { Fault, FILES } from '@thecloud/core/contracts';
import { writeFileWhole } from './files.ts';

export interface Caller {
  principal: Principal;
  /** For the audit: `socket`, or the peer's address. */
  source: string;
}

/** Throws `unauthenticated`. */
export type Authenticate = (request: IncomingMessage) => Caller;

/** Whoever could open the socket is the data directory's owner. */
export const overSocket =
  (principal: Principal): Authenticate =>
  () => ({ principal, source: 'socket' });

/** The command that makes the next call one with the token. */
const TOKEN_HINT = `export CLOUD_TOKEN="$(cat <data directory>/${FILES.adminToken})"`;

const digest = (text: string): Buffer => hash('sha256', text, 'buffer');

/** The token's bearer, whatever the peer. Hashed first, so that the comparison takes the same time for every wrong token of every length. */
export function overTcp(principal: Principal, token: string): Authenticate {
  const expected = digest(token);
  return (request) => {
    const bearer = /^Bearer +([\w\-.~+/=]+) *$/i.exec(request.headers.authorization ?? '')?.[1];
    if (bearer === undefined) {
      throw new Fault('unauthenticated', 'A call over TCP needs the header `Authorization: Bearer <token>`', {
        hint: TOKEN_HINT,
      });
    }
    if (!timingSafeEqual(digest(bearer), expected)) throw new Fault('unauthenticated', 'This token is not valid here', { hint: TOKEN_HINT });
    return { principal, source: request.socket.remoteAddress ?? 'tcp' };
  };
}

const SHORTEST_TOKEN = 16;

/** The installation's token, made at the first call (32 random bytes, readable by the owner only). */
export async function adminToken(dataDir: string): Promise<string> {
  const path = join(dataDir, FILES.adminToken);
  try {
    const token = (await readFile(path, 'utf8')).trim();
    if (token.length >= SHORTEST_TOKEN && /^[\w\-.~+/=]+$/.test(token)) return token;
    throw new Fault('invalid_input', `${path} holds no token of at least ${SHORTEST_TOKEN} URL-safe characters`, { hint: `rm ${path}` });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const token = randomBytes(32).toString('base64url');
  await writeFileWhole(path, `${token}\n`);
  return token;
}
