// Peerings: one row for each tenant that has a part in it, and one in a table of their own that says how it stands between the two VPCs.
import type { Kysely } from 'kysely';
import { type Cidr, overlap, parseCidr } from '../../kernel/cidr.ts';
import { Fault } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { tableName } from '../../kernel/migrate.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import { vpcs } from '../vpc/contract.ts';
import { networkPort } from '../vpc/driver.ts';
import { networks } from '../vpc/network-contract.ts';
import { peerings } from './contract.ts';
import { migrations, type PeeringState, type PeeringTables, pairOf } from './tables.ts';

type Peering = RowOf<typeof peerings>;
type PeeringCall = Call<typeof peerings, unknown>;
type Link = PeeringTables['vpc_peering'];

/** Kept in rows beside what the contract shows. */
interface Hidden {
  /** Id in `vpc_peering`. */
  link: string;
  /** This tenant was asked by another. */
  asked?: boolean;
  /** Counts a generation, and a quota. */
  decision?: PeeringState;
  /** VPCs that it keeps from being deleted. */
  alsoUses?: string[];
}

interface Vpc {
  id: string;
  name: string;
  tenant: string;
  cidr: string;
  deleting: boolean;
}

const links = (call: PeeringCall) => call.sql as unknown as Kysely<PeeringTables>;
const hidden = (row: Peering): Hidden => row.spec as unknown as Hidden;

async function vpcBy(call: PeeringCall, id: string): Promise<Vpc | undefined> {
  const row = await call.sql.selectFrom(tableName('vpc')).select(['id', 'name', 'tenant', 'spec', 'deleted_at']).where('id', '=', id).executeTakeFirst();
  if (row === undefined) return undefined;
  const { cidr } = JSON.parse(row.spec) as { cidr: string };
  return { id: row.id, name: row.name, tenant: row.tenant, cidr, deleting: row.deleted_at !== null };
}

/** One's own by name, id or its beginning; another tenant's by its whole id only, which nobody guesses. */
async function peerOf(call: PeeringCall, text: string): Promise<Vpc> {
  const own = await call
    .systemClient(call.tenantId, { vpc: vpcs })
    .vpc.get(text)
    .catch((error: unknown) => {
      if (!(error instanceof Fault) || error.code !== 'not_found') throw error;
      return error;
    });
  const found = await vpcBy(call, own instanceof Fault ? text : own.id);
  const details = (message: string) => [{ path: 'peerVpc', message }];
  if (found === undefined) {
    const said = own instanceof Fault ? own.message : `There is no VPC ${text}`;
    throw new Fault('not_found', `${said}; of another tenant give the whole id`, { details: details(said), hint: 'cloud vpc list' });
  }
  if (found.deleting) throw new Fault('conflict', `The VPC ${text} is being deleted`, { details: details('name another') });
  return found;
}

const tenantName = async (call: PeeringCall, id: string): Promise<string> =>
  (await call.sql.selectFrom(tableName('tenant')).select('name').where('id', '=', id).executeTakeFirst())?.name ?? id;

async function linkOf(call: PeeringCall, row: Peering): Promise<Link> {
  const link =
    row.deletedAt !== undefined ? undefined : await links(call).selectFrom('vpc_peering').selectAll().where('id', '=', hidden(row).link).executeTakeFirst();
  if (link === undefined) throw new Fault('conflict', `The peering ${row.name} is being deleted`);
  return link;
}

/** The row on the other side, and whose it is. */
const otherSide = (row: Peering, { id, mirror_id, tenant_a, tenant_b }: Link): { id: string; tenant: string } | undefined =>
  mirror_id === null ? undefined : row.id === id ? { id: mirror_id, tenant: tenant_b } : { id, tenant: tenant_a };

/** Who was asked decides; where both VPCs are of one tenant, that does. */
async function conclude(call: PeeringCall, decision: 'active' | 'rejected'): Promise<Peering> {
  const row = call.target;
  const link = await linkOf(call, row);
  const verb = decision === 'active' ? 'accept' : 'reject';
  if (link.state === decision) return row;
  if (link.state !== 'pending-acceptance') {
    throw link.state === 'rejected'
      ? new Fault('conflict', `${row.name} was rejected; ask for another`, { hint: `cloud peering delete ${row.name}` })
      : new Fault('conflict', `${row.name} is active already; to end it, delete it`, { hint: `cloud peering delete ${row.name}` });
  }
  const other = otherSide(row, link);
  if (other !== undefined && hidden(row).asked !== true) {
    throw new Fault('conflict', `Only the tenant of ${row.spec.peerVpc}, which was asked, can ${verb} ${row.name}`, {
      hint: decision === 'active' ? `cloud peering get ${row.name} --watch` : `cloud peering delete ${row.name}`,
    });
  }
  await links(call).updateTable('vpc_peering').set({ state: decision }).where('id', '=', link.id).execute();
  if (other !== undefined) {
    const peerTenant = await tenantName(call, call.tenantId);
    await call.systemClient(other.tenant, { peering: peerings }).peering.decided(other.id, { decision, peerTenant });
  }
  return call.rows.update(row, {
    spec: { decision, ...(decision === 'rejected' ? { alsoUses: null } : {}) },
    message: `Peering ${row.name} is ${decision === 'active' ? 'accepted' : 'rejected'}`,
  });
}

export const peeringService = service(peerings, () => ({
  migrations,
  needs: [networkPort],
  prepare: {
    async create(call) {
      await call.client({ network: networks }).network.require({ what: 'Peerings' });
    },
  },
  handlers: {
    async create(call) {
      const { name, labels, accept, peerVpc: text, ...spec } = call.input as typeof call.input & { vpcId: string };
      const own = (await vpcBy(call, spec.vpcId)) as Vpc;
      const peer = await peerOf(call, text);
      const details = (message: string) => ({ details: [{ path: 'peerVpc', message }] });
      if (peer.id === own.id) throw new Fault('invalid_input', `peerVpc: ${text} is the VPC itself; name another`, details('name another VPC'));
      const theirs = peer.tenant !== call.tenantId;
      const called = theirs ? peer.id : peer.name;
      if (overlap(parseCidr(own.cidr) as Cidr, parseCidr(peer.cidr) as Cidr)) {
        throw new Fault(
          'conflict',
          `The networks of ${own.name} (${own.cidr}) and ${called} (${peer.cidr}) overlap, so that an address would not say which is meant`,
          details('name a VPC whose network does not overlap'),
        );
      }
      if (accept && theirs) {
        const message = `${called} is of another tenant, which alone can accept`;
        throw new Fault('invalid_input', `accept: ${message}`, { details: [{ path: 'accept', message: `${message}; leave it out` }] });
      }
      const there = await links(call)
        .selectFrom('vpc_peering')
        .selectAll()
        .where('pair', '=', pairOf(own.id, peer.id))
        .where('state', '<>', 'rejected')
        .executeTakeFirst();
      if (there !== undefined) {
        const row = (await call.rows.byId(there.id)) ?? (there.mirror_id === null ? undefined : await call.rows.byId(there.mirror_id));
        throw new Fault('conflict', `${own.name} and ${called} have a peering: ${row?.name ?? there.id}, which is ${there.state}`, {
          ...details('name a VPC that has no peering with it'),
          hint: `cloud peering get ${row?.name ?? there.id}`,
        });
      }
      const id = newId('pcx');
      const mirror = theirs
        ? await call.systemClient(peer.tenant, { peering: peerings }).peering.mirror({
            name,
            link: id,
            vpcId: peer.id,
            cidr: peer.cidr,
            peerVpcId: own.id,
            peerCidr: own.cidr,
            peerTenant: await tenantName(call, call.tenantId),
          })
        : undefined;
      await links(call)
        .insertInto('vpc_peering')
        .values({
          id,
          vpc_a: own.id,
          vpc_b: peer.id,
          state: 'pending-acceptance',
          tenant_a: call.tenantId,
          tenant_b: peer.tenant,
          mirror_id: mirror?.id ?? null,
          pair: pairOf(own.id, peer.id),
        })
        .execute();
      const more: Hidden = { link: id, alsoUses: theirs ? [own.id] : [own.id, peer.id] };
      const row = await call.rows.insert({
        id,
        name,
        labels,
        spec: { ...spec, peerVpc: called, ...more },
        state: 'pending-acceptance',
        status: { role: 'requester', cidr: own.cidr, peerVpcId: peer.id, peerCidr: peer.cidr },
      });
      if (!accept) return row;
      await call.client({ peering: peerings }).peering.accept(id);
      return call.rows.get(id);
    },

    accept: (call) => conclude(call, 'active'),
    reject: (call) => conclude(call, 'rejected'),

    async delete(call) {
      const row = call.target;
      if (row.deletedAt !== undefined) return row;
      const link = await linkOf(call, row);
      await links(call).deleteFrom('vpc_peering').where('id', '=', link.id).execute();
      const other = otherSide(row, link);
      if (other !== undefined) await call.systemClient(other.tenant, { peering: peerings }).peering.ended(other.id);
      return call.rows.delete(row);
    },

    async mirror(call) {
      const { name: wanted, link, vpcId, cidr, peerVpcId, peerCidr, peerTenant } = call.input;
      const vpc = (await vpcBy(call, vpcId)) as Vpc;
      // Its name is the requester's word; where that is taken, the end of the id tells them apart.
      const name = (await call.rows.find(wanted)) === undefined ? wanted : `${wanted.slice(0, 46)}-${link.slice(-16)}`;
      const more: Hidden = { link, asked: true, alsoUses: [vpcId] };
      const row = await call.rows.insert({
        name,
        spec: { vpc: vpc.name, vpcId, peerVpc: peerVpcId, ...more },
        state: 'pending-acceptance',
        status: { role: 'accepter', cidr, peerVpcId, peerCidr, peerTenant },
      });
      return { id: row.id };
    },
    async decided(call) {
      const { decision, peerTenant } = call.input;
      const row = await call.rows.update(call.target, {
        spec: { decision, ...(decision === 'rejected' ? { alsoUses: null } : {}) },
        message: `Peering ${call.target.name} was ${decision === 'active' ? 'accepted' : 'rejected'} by the other side`,
      });
      return call.rows.report(row, { status: { peerTenant } });
    },
    ended: (call) => call.rows.delete(call.target),
  },
  controller: {
    async reconcile(row, { client, report }) {
      await client({ network: networks }).network.settle({});
      await report({ state: hidden(row).decision ?? 'pending-acceptance', reason: null });
    },
    async remove(_row, { client }) {
      await client({ network: networks }).network.settle({});
    },
  },
}));
