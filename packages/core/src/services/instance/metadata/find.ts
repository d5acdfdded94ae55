// From a VPC and an address to what is told to the instance that has it. Who asks is known by the address it asks from, which the network rules
// let nobody forge.
import type { Kysely } from 'kysely';
import { parseAddress } from '../../../kernel/cidr.ts';
import { Fault } from '../../../kernel/errors.ts';
import type { ServiceContext, SpecOf } from '../../../kernel/service.ts';
import { rowOf } from '../../../kernel/table.ts';
import { s3s } from '../../bucket/contract.ts';
import { sshKeys } from '../../ssh-key/contract.ts';
import { vpcs } from '../../vpc/contract.ts';
import { hardwareAddress } from '../../vpc/driver.ts';
import { readUserData } from '../cloudinit.ts';
import type { instances } from '../contract.ts';
import type { Subject } from './subject.ts';

/** Of other services: which address is whose. They have no call that is asked by address. */
interface AddressTables {
  vpc_address: { vpc_id: string; address: number; owner: string };
  elastic_ip: { address: string; instance_id: string | null };
}

type Spec = SpecOf<typeof instances> & { sshKeyIds?: string[]; securityGroups?: string[]; securityGroupIds?: string[] };

/** A change of one of these may change what an instance is told. */
const CONCERNED = new Set(['instance', 'vpc', 'subnet', 'ssh-key', 'elastic-ip', 'security-group']);
/** Instances that are remembered. Each may have 64 KiB of user data. */
const MOST_REMEMBERED = 1_000;

/** Remembers what it found until something changes, for instances may ask often, and each look is several queries. */
export class Finder {
  readonly #context: ServiceContext;
  readonly #remembered = new Map<string, Subject>();
  readonly #unfollow: () => void;
  /** Counts changes. */
  #version = 0;
  #region: string | undefined;

  constructor(context: ServiceContext) {
    this.#context = context;
    this.#unfollow = context.onCommit(({ rows }) => {
      if (!rows.some(({ resource }) => CONCERNED.has(resource))) return;
      this.#version += 1;
      this.#remembered.clear();
    });
  }

  close(): void {
    this.#unfollow();
  }

  /** undefined: no instance of this VPC has the address. */
  async find(vpcId: string, source: string): Promise<Subject | undefined> {
    const key = `${vpcId} ${source}`;
    const known = this.#remembered.get(key);
    if (known !== undefined) return known;
    const version = this.#version;
    const found = await this.#look(vpcId, source);
    if (found !== undefined && version === this.#version) {
      if (this.#remembered.size >= MOST_REMEMBERED) this.#remembered.delete(this.#remembered.keys().next().value as string);
      this.#remembered.set(key, found);
    }
    return found;
  }

  async #look(vpcId: string, source: string): Promise<Subject | undefined> {
    const { db, resources, client } = this.#context;
    const addresses = db as unknown as Kysely<AddressTables>;
    const number = parseAddress(source);
    if (number === undefined) return undefined;
    const held = await addresses.selectFrom('vpc_address').select('owner').where('vpc_id', '=', vpcId).where('address', '=', number).executeTakeFirst();
    if (held === undefined) return undefined;
    const record = await db.selectFrom('r_instance').selectAll().where('id', '=', held.owner).executeTakeFirst();
    if (record === undefined) return undefined;
    const { id, tenantId, name, labels, createdAt, ...row } = rowOf(record);
    const spec = row.spec as Spec;
    if (spec.vpcId !== vpcId) return undefined;

    const { vpc, sshKey } = client(tenantId, { vpc: vpcs, sshKey: sshKeys });
    const network = await vpc.get(vpcId);
    const part =
      spec.subnetId === undefined ? undefined : await db.selectFrom('r_subnet').select(['id', 'spec']).where('id', '=', spec.subnetId).executeTakeFirst();
    const keys: Subject['keys'][number][] = [];
    for (const keyId of spec.sshKeyIds ?? []) {
      try {
        const key = await sshKey.get(keyId);
        keys.push({ name: key.name, publicKey: key.publicKey });
      } catch (error) {
        // Deleted meanwhile.
        if (!(error instanceof Fault) || error.code !== 'not_found') throw error;
      }
    }
    const elastic = resources.includes('elastic-ip')
      ? await addresses.selectFrom('elastic_ip').select('address').where('instance_id', '=', id).executeTakeFirst()
      : undefined;
    return {
      id,
      tenantId,
      name,
      hostname: (spec.userData === undefined ? undefined : readUserData(spec.userData).hostname) ?? name,
      image: spec.image,
      type: spec.type,
      region: await this.#regionOf(tenantId),
      createdAt,
      address: source,
      hardwareAddress: hardwareAddress(source),
      gateway: network.gateway ?? '',
      vpc: { id: vpcId, cidr: network.cidr },
      subnet: part === undefined ? undefined : { id: part.id, cidr: (JSON.parse(part.spec) as { cidr: string }).cidr },
      publicAddress: elastic?.address,
      groups: (spec.securityGroupIds ?? []).map((groupId, index) => ({ id: groupId, name: spec.securityGroups?.[index] ?? groupId })),
      keys,
      labels,
      metadata: spec.metadata,
      userData: spec.userData,
      // Rows of before there was a choice.
      tokens: spec.metadataTokens ?? 'except-cloud-init',
    };
  }

  /** The same that object storage signs for: there is one. */
  async #regionOf(tenantId: string): Promise<string> {
    this.#region ??= (await this.#context.client(tenantId, { s3: s3s }).s3.status({})).region;
    return this.#region;
  }
}
