// The installation's master key and what is derived from it. Nothing is ever sealed with the master key itself: each purpose, tenant and user has a key of its own,
// so that what one of them could give away opens nothing of another's.
import { createCipheriv, createDecipheriv, createHmac, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type Db, databaseFault, type Tx } from './db.ts';
import { Fault } from './errors.ts';
import { renameWhole } from './files.ts';
import {
  keyFile,
  keyIdOf,
  type MasterKeySource,
  newMasterKey,
  nextKeyFile,
  type OutsideSource,
  type ReadCommand,
  readOutside,
  readOwn,
  removeOwn,
  writeOwn,
} from './master-key.ts';

/** Whose key it is: the installation's, a tenant's, or one user's in a tenant. */
export interface Scope {
  tenant?: string | undefined;
  user?: string | undefined;
}

/** What can be done with one master key. */
export interface Keys {
  /** Tells master keys apart; no secret. */
  readonly id: string;
  /** For what `seal` and `mac` do not do. Equal arguments, equal keys. */
  key(purpose: string, scope: Scope): KeyObject;
  /** To be called in the transaction that keeps the result, or a rotation in between makes it unreadable. `aad` says what the value is the value of. */
  seal(purpose: string, scope: Scope, plaintext: Uint8Array, aad: string): string;
  /** `conflict` for what was changed, or sealed for another purpose, scope or `aad`, or with another master key. */
  open(purpose: string, scope: Scope, sealed: string, aad: string): Buffer;
  /** HMAC-SHA256. */
  mac(purpose: string, scope: Scope, data: string | Uint8Array): Buffer;
}

/** Opens everything with the first and seals it with the second, in the transaction. */
export type Reseal = (tx: Tx, from: Keys, to: Keys) => Promise<void>;

export interface KeyringOptions {
  dataDir: string;
  source: MasterKeySource;
  /** To rotate to at this start, unless that is done. */
  next?: OutsideSource | undefined;
  db: Db;
  installation: string;
  readCommand: ReadCommand;
}

const FORMAT = 1;
const KEY_ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + KEY_ID_BYTES + NONCE_BYTES;
/** Derived keys kept at hand. */
const MOST_KEYS = 512;
const PURPOSE = /^[a-z][a-z0-9-]*$/;

const META_ID = 'master-key-id';
const META_SOURCE = 'master-key-source';
/** As `meta` keeps it: all that matters later is whether the key lies in the data directory. */
type Place = 'local' | 'outside';
const placeOf = ({ kind }: MasterKeySource): Place => (kind === 'local' ? 'local' : 'outside');

/** One master key, and the keys derived from it. */
class Derived implements Keys {
  readonly id: string;
  readonly #master: KeyObject;
  readonly #installation: string;
  readonly #keys = new Map<string, KeyObject>();

  constructor(master: KeyObject, installation: string) {
    this.id = keyIdOf(master);
    this.#master = master;
    this.#installation = installation;
  }

  key(purpose: string, { tenant = '', user }: Scope): KeyObject {
    // A slash would let one scope be written as another.
    if (!PURPOSE.test(purpose) || tenant.includes('/') || user?.includes('/') || user === '-' || user === '') throw new Error('this is no purpose or scope');
    const info = `thecloud/v1/${purpose}/${tenant}/${user ?? '-'}`;
    let key = this.#keys.get(info);
    if (key === undefined) {
      key = createSecretKey(Buffer.from(hkdfSync('sha256', this.#master, this.#installation, info, 32)));
      if (this.#keys.size >= MOST_KEYS) this.#keys.delete(this.#keys.keys().next().value as string);
    } else this.#keys.delete(info);
    this.#keys.set(info, key); // last used, last to go
    return key;
  }

  seal(purpose: string, scope: Scope, plaintext: Uint8Array, aad: string): string {
    const nonce = randomBytes(NONCE_BYTES);
    const header = Buffer.concat([Buffer.of(FORMAT), Buffer.from(this.id, 'hex'), nonce]);
    const cipher = createCipheriv('aes-256-gcm', this.key(purpose, scope), nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(boundTo(header, purpose, scope, aad));
    return Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]).toString('base64url');
  }

  open(purpose: string, scope: Scope, sealed: string, aad: string): Buffer {
    const envelope = envelopeOf(sealed);
    if (envelope === undefined) throw changed(undefined);
    if (envelope.keyId !== this.id) {
      throw new Fault('conflict', `This sealed value was written with another master key (key id ${envelope.keyId}; in use is ${this.id})`, {
        hint: 'restore the data directory and the master key from the same backup',
      });
    }
    const { header, bytes } = envelope;
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.key(purpose, scope), header.subarray(1 + KEY_ID_BYTES), { authTagLength: TAG_BYTES });
      decipher.setAAD(boundTo(header, purpose, scope, aad));
      decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
      return Buffer.concat([decipher.update(bytes.subarray(HEADER_BYTES, bytes.length - TAG_BYTES)), decipher.final()]);
    } catch (error) {
      throw changed(error);
    }
  }

  mac(purpose: string, scope: Scope, data: string | Uint8Array): Buffer {
    return createHmac('sha256', this.key(purpose, scope)).update(data).digest();
  }
}

const changed = (cause: unknown): Fault =>
  new Fault('conflict', 'This sealed value was changed, or belongs to something else; it stays closed', {
    hint: 'restore the data directory from a backup',
    cause,
  });

const boundTo = (header: Buffer, purpose: string, { tenant = '', user }: Scope, aad: string): Buffer =>
  Buffer.concat([header, Buffer.from(JSON.stringify([purpose, tenant, user ?? null, aad]))]);

function envelopeOf(sealed: string): { keyId: string; header: Buffer; bytes: Buffer } | undefined {
  const bytes = Buffer.from(sealed, 'base64url');
  // Text that decodes to the same bytes was changed all the same.
  if (bytes.length < HEADER_BYTES + TAG_BYTES || bytes[0] !== FORMAT || bytes.toString('base64url') !== sealed) return undefined;
  return { keyId: bytes.toString('hex', 1, 1 + KEY_ID_BYTES), header: bytes.subarray(0, HEADER_BYTES), bytes };
}

/** The keys of an installation, and the change of its master key. */
export class Keyring implements Keys {
  readonly #options: KeyringOptions;
  #source: MasterKeySource;
  #current: Derived;
  /** While a rotation is in its transaction: the one that will be, or the one that was. */
  #other: Derived | undefined;
  #rotating = false;

  constructor(options: KeyringOptions, source: MasterKeySource, master: KeyObject) {
    this.#options = options;
    this.#source = source;
    this.#current = new Derived(master, options.installation);
  }

  get id(): string {
    return this.#current.id;
  }

  key(purpose: string, scope: Scope): KeyObject {
    return this.#current.key(purpose, scope);
  }

  seal(purpose: string, scope: Scope, plaintext: Uint8Array, aad: string): string {
    return this.#current.seal(purpose, scope, plaintext, aad);
  }

  open(purpose: string, scope: Scope, sealed: string, aad: string): Buffer {
    const other = this.#other;
    return (other !== undefined && envelopeOf(sealed)?.keyId === other.id ? other : this.#current).open(purpose, scope, sealed, aad);
  }

  mac(purpose: string, scope: Scope, data: string | Uint8Array): Buffer {
    return this.#current.mac(purpose, scope, data);
  }

  /**
   * Seals everything anew with another master key. One transaction decides: before it everything is as it was, after it everything is as it will be, whenever the process ends.
   * Without `next` the new key comes from where this one came: made here, or read again from its file or command.
   * `conflict` when the key is the one in use, or another rotation is under way. Must not be called inside a transaction.
   */
  async rotate(next: MasterKeySource | 'generate' | undefined, reseal: Reseal): Promise<{ from: string; to: string }> {
    const { dataDir, db, installation, readCommand } = this.#options;
    if (this.#rotating) throw new Fault('conflict', 'The master key is being rotated already', { hint: 'wait for the other rotation' });
    this.#rotating = true;
    const from = this.#current;
    try {
      const source = next === 'generate' ? ({ kind: 'local' } as const) : (next ?? again(this.#source));
      const place = placeOf(source);
      const before = await remembered(db);
      // After a commit that failed without telling whether it happened, only the next start knows which key it is.
      if (before?.id !== from.id) throw new Fault('unavailable', 'The master key in use is not the one of the database', { hint: 'restart the daemon' });
      settleFiles(dataDir, before);
      const master = source.kind === 'local' ? newMasterKey() : await readOutside(source, readCommand);
      const to = new Derived(master, installation);
      if (to.id === from.id) throw new Fault('conflict', `This is the master key in use already (key id ${to.id})`, { hint: 'put another in its place first' });
      if (place === 'local') writeOwn(nextKeyFile(dataDir), master);
      this.#other = to;
      try {
        await db.transaction().execute(async (tx) => {
          await reseal(tx, from, to);
          await remember(tx, { id: to.id, place });
          // Before the commit: whoever gets the database next must seal with the new key.
          this.#current = to;
          this.#other = from;
        });
      } catch (error) {
        this.#current = from;
        const now = await remembered(db).catch(() => undefined);
        if (now?.id === from.id) settleFiles(dataDir, now);
        throw databaseFault(error) ?? error;
      }
      this.#source = source;
      settleFiles(dataDir, { id: to.id, place });
      return { from: from.id, to: to.id };
    } finally {
      this.#other = undefined;
      this.#rotating = false;
    }
  }
}

function again(source: MasterKeySource): MasterKeySource {
  if (source.kind !== 'value') return source;
  throw new Fault('conflict', 'The master key was given as a value, which cannot change while the daemon runs', {
    hint: 'start it once with the old key in CLOUD_MASTER_KEY and the new one in CLOUD_MASTER_KEY_NEXT',
  });
}

interface Remembered {
  id: string;
  place: Place;
}

async function remembered(db: Db): Promise<Remembered | undefined> {
  const rows = await db.selectFrom('meta').select(['key', 'value']).where('key', 'in', [META_ID, META_SOURCE]).execute();
  const id = rows.find(({ key }) => key === META_ID)?.value;
  return id === undefined ? undefined : { id, place: rows.find(({ key }) => key === META_SOURCE)?.value === 'outside' ? 'outside' : 'local' };
}

async function remember(tx: Tx, { id, place }: Remembered): Promise<void> {
  for (const [key, value] of [
    [META_ID, id],
    [META_SOURCE, place],
  ] as const) {
    await tx
      .insertInto('meta')
      .values({ key, value })
      .onConflict((on) => on.column('key').doUpdateSet({ value }))
      .execute();
  }
}

/** Finishes what a rotation began with files: the one that the database speaks of is `master-key`, and there is no other. Twice is once. */
function settleFiles(dataDir: string, { id, place }: Remembered): void {
  const [file, next] = [keyFile(dataDir), nextKeyFile(dataDir)];
  if (place === 'outside') {
    removeOwn(next);
    removeOwn(file);
    return;
  }
  const is = (path: string): boolean => {
    const key = readOwn(path);
    return key !== undefined && keyIdOf(key) === id;
  };
  if (!is(file) && is(next)) {
    try {
      renameWhole(next, file);
    } catch (error) {
      throw new Fault('unavailable', `The new master key cannot take its place: ${(error as Error).message}`, { hint: `mv ${next} ${file}`, cause: error });
    }
  } else if (is(file)) removeOwn(next);
}

/**
 * Opens the keyring of a data directory. At first use the key is remembered (its id, never itself); from then on another key, or none, is a `conflict`
 * that changes nothing. `pending` is what to rotate to. `invalid_input` for what is no key, `unavailable` for a source that cannot be read.
 */
export async function openKeyring(options: KeyringOptions): Promise<{ keyring: Keyring; pending: OutsideSource | undefined }> {
  const { dataDir, source, next, db, readCommand } = options;
  const known = await remembered(db);
  if (next !== undefined) {
    const master = await readOutside(next, readCommand);
    const id = keyIdOf(master);
    // Rotated already, or nothing to rotate.
    if (known === undefined || known.id === id) {
      if (known === undefined) await db.transaction().execute((tx) => remember(tx, { id, place: 'outside' }));
      else settleFiles(dataDir, known);
      return { keyring: new Keyring(options, next, master), pending: undefined };
    }
  }
  const place = placeOf(source);
  if (known !== undefined && known.place !== place) throw misplaced(known);
  const master = source.kind !== 'local' ? await readOutside(source, readCommand) : known === undefined ? firstKey(dataDir) : keptKey(dataDir, known);
  const id = keyIdOf(master);
  if (known === undefined) await db.transaction().execute((tx) => remember(tx, { id, place }));
  else if (known.id !== id) throw wrongKey(known.id, id);
  else settleFiles(dataDir, known);
  return { keyring: new Keyring(options, source, master), pending: next };
}

/** Nothing was sealed yet: the file that is there (a start that did not come far made it), else a new one. */
function firstKey(dataDir: string): KeyObject {
  const path = keyFile(dataDir);
  const found = readOwn(path);
  if (found !== undefined) return found;
  if (existsSync(path)) throw new Fault('conflict', `${path} is there and holds no master key. Nothing was changed`, { hint: `mv ${path} ${path}.bad` });
  const made = newMasterKey();
  writeOwn(path, made);
  return made;
}

function keptKey(dataDir: string, { id }: Remembered): KeyObject {
  const found = [keyFile(dataDir), nextKeyFile(dataDir)].map(readOwn).filter((key) => key !== undefined);
  const kept = found.find((key) => keyIdOf(key) === id);
  if (kept !== undefined) return kept;
  if (found[0] !== undefined) throw wrongKey(id, keyIdOf(found[0]));
  throw new Fault(
    'conflict',
    `The master key that this data directory was written with (key id ${id}) is missing: ${keyFile(dataDir)} is not there, or holds no key. Nothing was changed`,
    { hint: `put ${keyFile(dataDir)} back from a backup; without it what was sealed stays closed` },
  );
}

const wrongKey = (wanted: string, given: string): Fault =>
  new Fault('conflict', `This is not the master key that this data directory was written with (key id ${wanted}; this one has ${given}). Nothing was changed`, {
    hint: 'start it with the key that it was written with, or use another --data-dir',
  });

const misplaced = ({ id, place }: Remembered): Fault =>
  place === 'outside'
    ? new Fault('conflict', `This data directory was written with a master key from outside (key id ${id}), and none was given. Nothing was changed`, {
        hint: 'set CLOUD_MASTER_KEY, CLOUD_MASTER_KEY_FILE or CLOUD_MASTER_KEY_COMMAND',
      })
    : new Fault(
        'conflict',
        `This data directory has a master key of its own (key id ${id}); one from outside takes its place only by rotation. Nothing was changed`,
        { hint: 'start it once with CLOUD_MASTER_KEY_NEXT, CLOUD_MASTER_KEY_NEXT_FILE or CLOUD_MASTER_KEY_NEXT_COMMAND in place of CLOUD_MASTER_KEY…' },
      );
