// Who people and tenants are, for the kernel, which asks at every call. Everything it was asked about is kept in memory, and forgotten as soon as a row behind it
// changes: the next call sees the change, and until then nothing is looked up.
import { type Directory, type Grants, INSTALLATION, type Principal, type TenantFacts } from '../../kernel/authorize.ts';
import { permissionsOf } from '../../kernel/contract.ts';
import type { Db } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { type CompiledPolicy, compilePolicy, type Vocabulary, vocabularyOf } from '../../kernel/policy/index.ts';
import { permissionsFor } from '../../kernel/roles.ts';
import { secretDigest } from '../../kernel/secret-text.ts';
import type { ServiceContext } from '../../kernel/service.ts';
import { rowOf } from '../../kernel/table.ts';
import { isKeyId, type Keys } from './keys.ts';
import type { Sessions } from './sessions.ts';
import { isToken, type Tokens } from './tokens.ts';

/** Rows of these decide who may do what. */
const BEHIND = new Set(['user', 'tenant', 'tenant-member', 'role', 'policy', 'api-key', 's3-key', 'service-account']);
/** Entries of one kind; beyond, all of that kind go and come back as they are asked for. */
const MOST = 10_000;
/** Times that something is found anew because what it was found from changed meanwhile. */
const MOST_TRIES = 5;

const refused = (why: string): Fault => new Fault('unauthenticated', why, { details: { reason: 'invalid_token' }, hint: 'cloud auth login' });

class Memory<T> {
  readonly #entries = new Map<string, T>();
  #age = 0;

  /** What was known of the key, or what is found now; kept unless something changed while it was being found. */
  async of(key: string, find: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const known = this.#entries.get(key);
      if (known !== undefined) return known;
      const age = this.#age;
      const found = await find();
      // Half of it may be from before the change and half from after.
      if (age !== this.#age && tries < MOST_TRIES) continue;
      if (age === this.#age && found !== undefined) {
        if (this.#entries.size >= MOST) this.#entries.clear();
        this.#entries.set(key, found);
      }
      return found;
    }
  }
  forget(): void {
    this.#age++;
    this.#entries.clear();
  }
}

export class CloudDirectory implements Directory {
  readonly #db: Db;
  readonly #context: ServiceContext;
  readonly #tokens: Tokens;
  readonly #sessions: Sessions;
  readonly #keys: Keys;
  readonly #tenants = new Memory<TenantFacts | undefined>();
  readonly #principals = new Memory<Principal | undefined>();
  readonly #grants = new Memory<Grants>();
  readonly #roles = new Memory<ReadonlyMap<string, ReadonlySet<string>>>();
  readonly #policies = new Memory<ReadonlyMap<string, CompiledPolicy>>();
  #vocabulary: Vocabulary | undefined;

  constructor(context: ServiceContext, parts: { tokens: Tokens; sessions: Sessions; keys: Keys }) {
    this.#db = context.db;
    this.#context = context;
    this.#tokens = parts.tokens;
    this.#sessions = parts.sessions;
    this.#keys = parts.keys;
    context.onCommit(({ rows }) => {
      if (rows.some(({ resource }) => BEHIND.has(resource))) this.forget();
    });
  }

  forget(): void {
    for (const memory of [this.#tenants, this.#principals, this.#grants, this.#roles, this.#policies]) memory.forget();
  }

  tenant(nameOrId: string): Promise<TenantFacts | undefined> {
    return this.#tenants.of(nameOrId, async () => {
      const found = await this.#db
        .selectFrom('r_tenant')
        .select(['id', 'name', 'deleted_at'])
        .where((where) => where.or([where('id', '=', nameOrId), where('name', '=', nameOrId)]))
        .executeTakeFirst();
      return found === undefined ? undefined : { id: found.id, name: found.name, closing: found.deleted_at !== null };
    });
  }

  async current(principal: Principal): Promise<Principal> {
    const { credential } = principal;
    if (credential !== undefined) await this.#stillGood(credential);
    const found = await this.#known(principal.id, credential?.kind === 'api-key' ? credential.tenantId : undefined);
    if (found === undefined) throw refused('This account is disabled or no more');
    return credential === undefined ? found : { ...found, credential };
  }

  async authenticate(bearer: string, source: string): Promise<Principal> {
    if (!isToken(bearer)) {
      const key = await this.#keys.find(bearer);
      if (key === undefined) throw refused('This token is not valid here');
      const principal = await this.#known(key.ownerId, key.tenantId);
      if (principal === undefined) throw refused('The owner of this key is disabled or no more');
      this.#keys.used(key.id, source);
      const credential = {
        kind: 'api-key' as const,
        id: key.id,
        tenantId: key.tenantId,
        digest: secretDigest(bearer),
        ...(key.expiresAt === undefined ? {} : { expiresAt: key.expiresAt }),
      };
      return { ...principal, credential };
    }
    const claims = await this.#tokens.verify(bearer);
    if (claims === undefined) throw refused('This token is not valid here, or has expired');
    const machine = claims.sub.startsWith('sa-');
    const principal = await this.#known(claims.sub, undefined);
    if (principal === undefined) throw refused('This account is disabled or no more');
    const credential = {
      kind: machine ? ('client' as const) : ('session' as const),
      id: claims.sid,
      expiresAt: claims.exp * 1000,
      ...(machine ? { tenantId: principal.tenantId } : {}),
    };
    await this.#stillGood(credential);
    return { ...principal, credential };
  }

  async #stillGood(credential: NonNullable<Principal['credential']>): Promise<void> {
    // That a token expires was looked at when it came; what it opened lives as long as its session.
    if (credential.kind === 'api-key') {
      const key = await this.#keys.byId(credential.id);
      if (key === undefined) throw refused('This API key was revoked');
      const before = key.previousUntil !== undefined && key.previousUntil > this.#context.clock.now() ? key.previousHash : undefined;
      if (credential.digest !== undefined && credential.digest !== key.hash && credential.digest !== before)
        throw refused('This API key has another secret now');
    } else if (!(await this.#sessions.isLive(credential.id))) throw refused('This session has ended');
  }

  async find(nameOrId: string): Promise<Principal | undefined> {
    if (isKeyId(nameOrId)) {
      const key = await this.#keys.byId(nameOrId);
      const owner = key === undefined ? undefined : await this.#known(key.ownerId, key.tenantId);
      return owner === undefined || key === undefined ? undefined : { ...owner, credential: { kind: 'api-key', id: key.id, tenantId: key.tenantId } };
    }
    if (!nameOrId.includes('@')) return this.#known(nameOrId, undefined);
    const row = await this.#db.selectFrom('r_user').select('id').where('name', '=', nameOrId.trim().toLowerCase()).executeTakeFirst();
    return row === undefined ? undefined : this.#known(row.id, undefined);
  }

  /** `only`: as it is with a credential for one tenant. */
  #known(id: string, only: string | undefined): Promise<Principal | undefined> {
    return this.#principals.of(`${only ?? ''} ${id}`, async () => (id.startsWith('sa-') ? this.#serviceAccount(id, only) : this.#user(id, only)));
  }

  async #user(id: string, only: string | undefined): Promise<Principal | undefined> {
    const record = await this.#db.selectFrom('r_user').selectAll().where('id', '=', id).executeTakeFirst();
    if (record === undefined) return undefined;
    const { name, spec } = rowOf(record);
    if (spec['disabled'] === true) return undefined;
    const members = await this.#db
      .selectFrom('r_tenant_member')
      .innerJoin('r_tenant', 'r_tenant.id', 'r_tenant_member.tenant')
      .select(['r_tenant_member.tenant', 'r_tenant_member.spec'])
      .where('r_tenant_member.name', '=', name)
      .orderBy('r_tenant_member.created_at')
      .orderBy('r_tenant_member.id')
      .execute();
    const roles: Record<string, readonly string[]> = {};
    for (const { tenant, spec: text } of members) if (only === undefined || tenant === only) roles[tenant] = (JSON.parse(text) as { roles: string[] }).roles;
    const administrator = spec['administrator'] === true;
    const home = only ?? members[0]?.tenant ?? (administrator ? (await this.tenant('default'))?.id : undefined) ?? INSTALLATION;
    return { id, kind: 'user', name, tenantId: home, roles, kept: true, ...(administrator ? { administrator } : {}) };
  }

  async #serviceAccount(id: string, only: string | undefined): Promise<Principal | undefined> {
    const record = await this.#db.selectFrom('r_service_account').selectAll().where('id', '=', id).executeTakeFirst();
    if (record === undefined || (only !== undefined && record.tenant !== only)) return undefined;
    const { name, spec, tenantId } = rowOf(record);
    if (spec['disabled'] === true || record.deleted_at !== null) return undefined;
    return { id, kind: 'service-account', name, tenantId, roles: { [tenantId]: spec['roles'] as string[] }, kept: true };
  }

  grants(principal: Principal, tenantId: string): Promise<Grants> {
    const { credential } = principal;
    const byKey = credential?.kind === 'api-key' ? credential : undefined;
    return this.#grants.of(`${tenantId} ${principal.id} ${byKey?.id ?? ''}`, async () => {
      // Looked up again: the caller's may be from before a change, and what comes of it is kept.
      const owner = await this.#known(principal.id, byKey?.tenantId);
      if (owner === undefined) throw refused('This account is disabled or no more');
      const key = byKey === undefined ? undefined : await this.#keys.byId(byKey.id);
      // Without its row nothing tells what bounds it.
      if (byKey !== undefined && key === undefined) throw refused('This API key was revoked or has expired');
      const roles = [...new Set([...(owner.roles[tenantId] ?? []), ...(owner.administrator === true ? ['admin'] : [])])];
      const [custom, policies, attached, bounds] = await Promise.all([
        this.#rolesOf(tenantId),
        this.#policiesOf(tenantId),
        this.#attached(tenantId, [[principal.kind, principal.id], ...roles.map((role) => ['role', role] as [string, string])]),
        key === undefined ? [] : this.#attached(tenantId, [['api-key', key.id]]),
      ]);
      // Those given at its creation stand in the key's row.
      const own = key?.policyIds ?? [];
      const compiled = (ids: Iterable<string>): CompiledPolicy[] => [...new Set(ids)].map((id) => policies.get(id) ?? this.#denying(id, id));
      return {
        roles,
        permits: (role, permission) => custom.get(role)?.has(permission) === true,
        policies: compiled(attached),
        bounds: bounds.length + own.length === 0 ? undefined : compiled([...bounds, ...own]),
      };
    });
  }

  async #attached(tenantId: string, to: readonly (readonly [kind: string, id: string])[]): Promise<string[]> {
    const rows = await this.#db
      .selectFrom('policy_attachment')
      .select('policy_id')
      .where('tenant', '=', tenantId)
      .where((where) => where.or(to.map(([kind, id]) => where.and([where('kind', '=', kind), where('principal_id', '=', id)]))))
      .orderBy('policy_id')
      .execute();
    return rows.map(({ policy_id }) => policy_id);
  }

  #rolesOf(tenantId: string): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
    return this.#roles.of(tenantId, async () => {
      const all = permissionsOf(this.#context.contracts);
      const rows = await this.#db.selectFrom('r_role').select(['name', 'spec']).where('tenant', '=', tenantId).execute();
      return new Map(
        rows.map(({ name, spec }) => [
          name,
          new Set((JSON.parse(spec) as { permissions: string[] }).permissions.flatMap((pattern) => permissionsFor(pattern, all))),
        ]),
      );
    });
  }

  #policiesOf(tenantId: string): Promise<ReadonlyMap<string, CompiledPolicy>> {
    return this.#policies.of(tenantId, async () => {
      const rows = await this.#db.selectFrom('r_policy').select(['id', 'name', 'spec']).where('tenant', '=', tenantId).execute();
      const found = new Map<string, CompiledPolicy>();
      for (const { id, name, spec } of rows) found.set(id, this.#compiled(id, name, (JSON.parse(spec) as { document: unknown }).document));
      return found;
    });
  }

  get #words(): Vocabulary {
    this.#vocabulary ??= vocabularyOf(this.#context.contracts);
    return this.#vocabulary;
  }

  /** In place of what cannot be read (any more) or is not there: what it would have denied is not known. */
  #denying(id: string, name: string): CompiledPolicy {
    return compilePolicy(id, name, { Version: '2012-10-17', Statement: { Sid: 'Unreadable', Effect: 'Deny', Action: '*', Resource: '*' } }, this.#words);
  }

  #compiled(id: string, name: string, document: unknown): CompiledPolicy {
    try {
      return compilePolicy(id, name, document, this.#words);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#context.log.error({ policy: id, error: error.message }, 'a stored policy cannot be read; it denies everything until it is mended');
      return this.#denying(id, name);
    }
  }
}
