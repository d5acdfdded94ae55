// Where in the networks an instance is: its subnet and its security groups, which must all be of one VPC.
import { Fault } from '../../kernel/errors.ts';
import type { Call, RowOf } from '../../kernel/service.ts';
import type { Row } from '../../kernel/table.ts';
import { type instances, MOST_GROUPS } from './contract.ts';

type InstanceRow = RowOf<typeof instances>;
type GroupCall = Call<typeof instances, { group: string }>;

/** A subnet says which VPC it is; one that is named besides must be that. */
export function vpcOf({ name, spec }: Row, vpc: string | undefined, vpcId: string | undefined): { vpc: string; vpcId: string } {
  const of = spec as { vpc: string; vpcId: string };
  if (vpcId !== undefined && vpcId !== of.vpcId) {
    const message = `${name} is a subnet of the VPC ${of.vpc}, not of ${vpc}`;
    throw new Fault('invalid_input', `subnet: ${message}`, {
      details: [{ path: 'subnet', message: `${message}; name one of ${vpc}, or no VPC` }],
      hint: 'cloud subnet list',
    });
  }
  return { vpc: of.vpc, vpcId: of.vpcId };
}

/** Refuses security groups of other VPCs, and the same one twice. */
export function groupsOf(groups: readonly Row[], vpc: { id: string; name: string }): void {
  const refuse = (index: number, message: string): never => {
    const path = `securityGroups.${index}`;
    throw new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }], hint: 'cloud security-group list' });
  };
  const seen = new Set<string>();
  for (const [index, { id, name, spec }] of groups.entries()) {
    if (spec['vpcId'] !== vpc.id) refuse(index, `${name} is a security group of the VPC ${String(spec['vpc'])}; use one of ${vpc.name}`);
    if (seen.has(id)) refuse(index, `${name} is given twice; give each group once`);
    seen.add(id);
  }
}

const idsOf = (row: InstanceRow): readonly string[] => (row.spec as { securityGroupIds?: string[] }).securityGroupIds ?? [];

export async function attachGroup(call: GroupCall, row: InstanceRow): Promise<InstanceRow> {
  const group = call.refs['group']?.[0];
  if (group === undefined) throw new Error('the security group was not resolved');
  const ids = idsOf(row);
  if (ids.includes(group.id)) return row;
  if (group.spec['vpcId'] !== row.spec.vpcId) {
    const message = `${row.name} is in the VPC ${row.spec.vpc}, and the security group ${group.name} is of ${String(group.spec['vpc'])}`;
    throw new Fault('invalid_input', `instance: ${message}`, {
      details: [{ path: 'instance', message: `${message}; name one of ${String(group.spec['vpc'])}` }],
      hint: 'cloud instance list',
    });
  }
  if (ids.length >= MOST_GROUPS) {
    throw new Fault('conflict', `${row.name} has ${MOST_GROUPS} security groups, the most that there can be: ${row.spec.securityGroups.join(', ')}`, {
      hint: `cloud security-group detach ${row.spec.securityGroups[0]} ${row.name}`,
    });
  }
  return call.rows.update(row, {
    spec: { securityGroups: [...row.spec.securityGroups, group.name], securityGroupIds: [...ids, group.id] },
    message: `Security group ${group.name} is to be attached to ${row.name}`,
  });
}

export async function detachGroup(call: GroupCall, row: InstanceRow): Promise<InstanceRow> {
  const group = call.refs['group']?.[0];
  if (group === undefined) throw new Error('the security group was not resolved');
  const ids = idsOf(row);
  if (!ids.includes(group.id)) {
    const has = row.spec.securityGroups.length === 0 ? 'is in the default group only' : `has ${row.spec.securityGroups.join(', ')}`;
    throw new Fault('conflict', `${group.name} is not attached to ${row.name}, which ${has}`, { hint: `cloud instance get ${row.name}` });
  }
  return call.rows.update(row, {
    spec: { securityGroups: row.spec.securityGroups.filter((_, index) => ids[index] !== group.id), securityGroupIds: ids.filter((id) => id !== group.id) },
    message: `Security group ${group.name} is to be detached from ${row.name}`,
  });
}
