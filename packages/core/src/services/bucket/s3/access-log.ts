// Server access logs: a line for each request to a bucket that wants them, kept in memory for a minute and then written as an object into the bucket that it
// names. As with AWS, a line may be lost: what is in memory when the process dies is gone.
import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { evaluate } from '../../../kernel/policy/index.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { engineOf } from '../engine/objects.ts';
import type { Acl, Actor, Bucket } from '../engine/types.ts';
import { enforcesOwner } from './acl.ts';
import { type LoggingStatus, loggingOf } from './logging-xml.ts';
import { LOGGING_SERVICE, objectArn, policyOf, serviceName } from './policy.ts';
import type { S3Request } from './types.ts';
import { urlEncoded } from './xml.ts';

const EVERY_MS = 60_000;
/** Of one bucket, before it is written early. */
const MOST_BYTES = 1024 * 1024;
/** Of all together: beyond, lines are lost. */
const MOST_HELD = 64 * 1024 * 1024;
const WRITE_MS = 30_000;

/** A request that was answered. */
export interface Answered {
  readonly request: Pick<
    S3Request,
    'requestId' | 'method' | 'bucketName' | 'key' | 'rawPath' | 'query' | 'headers' | 'caller' | 'source' | 'startedAt' | 'host'
  >;
  readonly status: number;
  /** Of the error, if it was one. */
  readonly code: string | undefined;
  /** Sent, without headers. */
  readonly bytes: number | undefined;
  readonly hostId: string;
}

interface Held {
  lines: string[];
  bytes: number;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const two = (value: number): string => String(value).padStart(2, '0');
const clockOf = (at: Date): string =>
  `${two(at.getUTCDate())}/${MONTHS[at.getUTCMonth()]}/${at.getUTCFullYear()}:${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`;
const stampOf = (at: Date): string => at.toISOString().slice(0, 19).replace(/[T:]/g, '-');

/** Without what would end the field or the line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not come through
const plain = (text: string): string =>
  text.replace(/[\x00-\x1f\x7f"\\]/g, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`);
const quoted = (text: string | undefined): string => (text === undefined ? '"-"' : `"${plain(text)}"`);
const or = (value: string | number | undefined): string => (value === undefined || value === '' ? '-' : plain(String(value)).replaceAll(' ', '%20'));

/** Parts of a bucket or object by their parameter, as the operation is called in logs. */
const PARTS: readonly string[] = [
  ...['acl', 'cors', 'lifecycle', 'location', 'logging', 'notification', 'object-lock', 'policy', 'policyStatus', 'publicAccessBlock', 'ownershipControls'],
  ...[
    'requestPayment',
    'tagging',
    'versioning',
    'versions',
    'website',
    'encryption',
    'replication',
    'accelerate',
    'uploads',
    'delete',
    'retention',
    'legal-hold',
  ],
];

function operationOf({ method, key, query, headers }: Answered['request']): string {
  const part = PARTS.find((name) => query.has(name));
  if (part === 'delete') return `REST.${method}.MULTI_OBJECT_DELETE`;
  if (part !== undefined) return `REST.${method}.${part.toUpperCase().replace('-', '_')}`;
  if (query.has('uploadId')) return `REST.${method}.${query.has('partNumber') ? 'PART' : 'UPLOAD'}`;
  if (headers['x-amz-copy-source'] !== undefined) return 'REST.COPY.OBJECT';
  return `REST.${method}.${key === undefined ? 'BUCKET' : 'OBJECT'}`;
}

const one = (headers: IncomingHttpHeaders, name: string): string | undefined => {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
};

/** "Amazon S3 server access log format", field by field. */
function lineOf({ request, status, code, bytes, hostId }: Answered, bucket: Bucket, now: number): string {
  const { caller, headers } = request;
  const auth = { 'REST-HEADER': 'AuthHeader', 'REST-QUERY-STRING': 'QueryString', POST: 'AuthHeader', ANONYMOUS: undefined }[caller.authType];
  return [
    ...[bucket.tenantId, bucket.name, `[${clockOf(new Date(request.startedAt))}]`, or(request.source), or(caller.principal?.id), request.requestId],
    // Twice, as AWS does, so that a key is one field whatever is in it.
    ...[operationOf(request), request.key === undefined ? '-' : urlEncoded(urlEncoded(request.key)), quoted(`${request.method} ${request.rawPath} HTTP/1.1`)],
    ...[status, or(code), or(bytes), '-', now - request.startedAt, '-', quoted(one(headers, 'referer')), quoted(one(headers, 'user-agent'))],
    ...[or(request.query.get('versionId')), or(hostId), auth === undefined ? '-' : 'SigV4', '-', or(auth), or(request.host), '-', '-', '-'],
  ].join(' ');
}

/** What a policy says for whom the service asks. */
const FOR_WHOM: ReadonlySet<string> = new Set(['aws:sourceaccount', 'aws:sourcearn']);

/**
 * Whether logs of one bucket may go into another: its policy lets the logging service write there, or its ACL lets log delivery in the same account. Into another
 * account only where the policy says for whom: most that let the service in do not, and anybody could write lines among theirs.
 */
export function mayDeliver(source: Bucket, target: Bucket, prefix: string, now: number): boolean {
  const foreign = source.tenantId !== target.tenantId;
  const found = policyOf(target);
  const service = serviceName(LOGGING_SERVICE);
  // What is allowed to all accounts is not allowed to the service, which is none; what is denied to all is denied to it.
  const policies = (found?.policies ?? []).map((policy) => ({
    ...policy,
    statements: policy.statements.filter(
      ({ effect, principals, conditions }) =>
        effect === 'Deny' || (principals?.has(service) === true && (!foreign || conditions.some(({ key }) => FOR_WHOM.has(key.toLowerCase())))),
    ),
  }));
  const { effect } = evaluate(policies, {
    action: 's3:PutObject',
    resources: [objectArn(target.name, prefix)],
    principal: { names: [service], groups: [] },
    context: {
      ...{
        'aws:SourceArn': objectArn(source.name),
        'aws:SourceAccount': source.tenantId,
        'aws:PrincipalIsAWSService': true,
        'aws:PrincipalServiceName': LOGGING_SERVICE,
      },
      ...{ 'aws:CurrentTime': new Date(now).toISOString(), 'aws:EpochTime': Math.floor(now / 1000), 'aws:SecureTransport': true },
      ...{ 'aws:ResourceAccount': target.tenantId, 's3:ResourceAccount': target.tenantId },
    },
  });
  if (effect !== 'none') return effect === 'allow';
  if (foreign || enforcesOwner(target)) return false;
  return (
    target.config.acl?.grants.some(
      ({ grantee, permission }) => grantee.kind === 'log-delivery' && (permission === 'WRITE' || permission === 'FULL_CONTROL'),
    ) === true
  );
}

export class AccessLog {
  readonly #service: ServiceContext;
  readonly #region: string;
  readonly #held = new Map<string, Held>();
  readonly #stop = new AbortController();
  #bytes = 0;
  #lost = 0;
  #waiting = false;

  constructor(service: ServiceContext, region: string) {
    this.#service = service;
    this.#region = region;
  }

  /** Never rejects, and nobody waits for it. */
  async note(answered: Answered): Promise<void> {
    try {
      const bucket = await engineOf(this.#service).find(answered.request.bucketName ?? '');
      if (bucket?.config.logging === undefined) return;
      const line = `${lineOf(answered, bucket, this.#service.clock.now())}\n`;
      if (this.#bytes + line.length > MOST_HELD) {
        this.#lost++;
        return;
      }
      const held = this.#held.get(bucket.id) ?? { lines: [], bytes: 0 };
      this.#held.set(bucket.id, held);
      held.lines.push(line);
      held.bytes += line.length;
      this.#bytes += line.length;
      if (held.bytes >= MOST_BYTES) await this.#write(bucket.id);
      else if (!this.#waiting) await this.#later();
    } catch (error) {
      this.#failed(answered.request.bucketName ?? '', error);
    }
  }

  async #later(): Promise<void> {
    this.#waiting = true;
    await this.#service.clock.sleep(EVERY_MS, this.#stop.signal).catch(() => undefined); // closing: `close` writes the rest
    this.#waiting = false;
    if (!this.#stop.signal.aborted) await this.flush();
  }

  /** Writes all that is held. */
  async flush(): Promise<void> {
    for (const id of [...this.#held.keys()]) await this.#write(id).catch((error: unknown) => this.#failed(id, error));
    if (this.#lost > 0) this.#service.log.error({ lines: this.#lost }, 'lines of access logs were lost: there were too many to hold');
    this.#lost = 0;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.flush();
  }

  async #write(bucketId: string): Promise<void> {
    const held = this.#held.get(bucketId);
    if (held === undefined) return;
    this.#held.delete(bucketId);
    this.#bytes -= held.bytes;
    const { log, clock } = this.#service;
    const engine = engineOf(this.#service);
    const source = await engine.byId(bucketId);
    if (source?.config.logging === undefined) return;
    const { targetBucket, targetPrefix, xml } = source.config.logging;
    const target = await engine.find(targetBucket);
    const now = clock.now();
    if (target === undefined || !mayDeliver(source, target, targetPrefix, now)) {
      log.error(
        { bucket: source.name, target: targetBucket, lines: held.lines.length },
        'an access log cannot be delivered: the bucket that it goes to is gone, or does not let it in',
      );
      return;
    }
    const status = loggingOf(xml);
    const acl = status === undefined ? undefined : aclOf(target, status);
    const bytes = Buffer.from(held.lines.join(''));
    await engine.put(target, this.#keyFor(source, targetPrefix, status, new Date(now)), once(bytes), {
      attributes: { headers: { 'content-type': 'text/plain' }, metadata: {}, owner: target.tenantId, ...(acl === undefined ? {} : { acl }) },
      expected: { size: bytes.length },
      actor: DELIVERY,
      signal: AbortSignal.timeout(WRITE_MS),
    });
  }

  #keyFor(source: Bucket, prefix: string, status: LoggingStatus | undefined, at: Date): string {
    const unique = randomBytes(8).toString('hex').toUpperCase();
    // By the day of events, the time of day says nothing.
    const name = status?.partitioned === 'EventTime' ? `${stampOf(at).slice(0, 10)}-00-00-00-${unique}` : `${stampOf(at)}-${unique}`;
    if (status?.partitioned === undefined) return `${prefix}${name}`;
    const day = [at.getUTCFullYear(), two(at.getUTCMonth() + 1), two(at.getUTCDate())].join('/');
    return `${prefix}${source.tenantId}/${this.#region}/${source.name}/${day}/${name}`;
  }

  #failed(bucket: string, error: unknown): void {
    this.#service.log.error({ bucket, error: String(error) }, 'an access log could not be written');
  }
}

const DELIVERY: Actor = {
  ...{ principal: 'system', principalName: LOGGING_SERVICE, tenantId: '', credential: undefined, source: 'internal', requestId: '' },
};

async function* once(bytes: Buffer): AsyncIterable<Buffer> {
  yield bytes;
}

const aclOf = ({ tenantId }: Bucket, { grants }: LoggingStatus): Acl | undefined =>
  grants.length === 0 ? undefined : { owner: tenantId, grants: [{ grantee: { kind: 'tenant', id: tenantId }, permission: 'FULL_CONTROL' }, ...grants] };
