// Security groups: rules with ids, in one row each, so that a change of many is one change. What they let pass is decided by the network's rules.
import type { Kysely } from 'kysely';
import { Fault } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import type { Row } from '../../kernel/table.ts';
import { instances } from '../instance/contract.ts';
import { networkPort } from '../vpc/driver.ts';
import { networks } from '../vpc/network-contract.ts';
import { MOST_RULES, securityGroups } from './contract.ts';
import { added, EVERYTHING_OUT, inWords, type Kept, keep, refused, replaced } from './rules.ts';

type Group = RowOf<typeof securityGroups>;
type GroupCall = Call<typeof securityGroups, unknown>;

/** What is read here of the tables of `peering`. */
type Peerings = Kysely<{ vpc_peering: { vpc_a: string; vpc_b: string; state: string } }>;

/** A rule names groups of its own VPC, or of one that is joined with it. */
async function reachable(call: GroupCall, groups: readonly Row[], vpc: { id: string; name: string }, path: (group: Row) => string): Promise<void> {
  for (const group of groups) {
    const of = group.spec['vpcId'] as string;
    if (of === vpc.id) continue;
    const joined = await (call.sql as unknown as Peerings)
      .selectFrom('vpc_peering')
      .select('state')
      .where('state', '=', 'active')
      .where((where) =>
        where.or([where.and([where('vpc_a', '=', of), where('vpc_b', '=', vpc.id)]), where.and([where('vpc_a', '=', vpc.id), where('vpc_b', '=', of)])]),
      )
      .executeTakeFirst();
    if (joined !== undefined) continue;
    const its = String(group.spec['vpc']);
    throw refused(
      path(group),
      `${group.name} is a security group of the VPC ${its}, which no active peering joins with ${vpc.name}; use a group of ${vpc.name}`,
      `cloud peering create <name> --vpc ${vpc.name} --peer-vpc ${its} --accept`,
    );
  }
}

const rulesOf = (row: Group): readonly Kept[] => row.spec.rules as readonly Kept[];

function instanceOf(call: GroupCall): Row {
  const instance = call.refs['instance']?.[0];
  if (instance === undefined) throw new Error('the instance was not resolved');
  return instance;
}

export const securityGroupService = service(securityGroups, () => {
  /** Where in `rules` a group is named, for its path. */
  const inRules = (rules: readonly { groupId?: string | undefined }[]) => (group: Row) =>
    `rules.${rules.findIndex(({ groupId }) => groupId === group.id)}.group`;

  return {
    needs: [networkPort],
    prepare: {
      async create(call) {
        await call.client({ network: networks }).network.require({ what: 'Security groups' });
      },
    },
    handlers: {
      async create(call) {
        const { name, labels, rules = [EVERYTHING_OUT], ...spec } = call.input as typeof call.input & { vpcId: string };
        const id = newId('sg');
        await reachable(call, call.refs['rules'] ?? [], { id: spec.vpcId, name: spec.vpc }, inRules(rules));
        return call.rows.insert({ id, name, labels, spec: { ...spec, rules: replaced([], rules, { id, name }) } });
      },
      async update(call) {
        const { labels, rules, ...spec } = call.input;
        const row = call.target;
        if (rules === undefined) return call.rows.update(row, { labels, spec });
        await reachable(call, call.refs['rules'] ?? [], { id: row.spec.vpcId as string, name: row.spec.vpc }, inRules(rules));
        return call.rows.update(row, { labels, spec: { ...spec, rules: replaced(rulesOf(row), rules, row) } });
      },

      async ruleAdd(call) {
        const { port, ...rule } = call.input as typeof call.input & { groupId?: string };
        const row = call.target;
        await reachable(call, call.refs['group'] ?? [], { id: row.spec.vpcId as string, name: row.spec.vpc }, () => 'group');
        const kept = keep({ ...rule, ...port }, row, '', 'port');
        const rules = added(rulesOf(row), kept, row.name);
        if (rules.length > MOST_RULES) {
          throw new Fault('conflict', `${row.name} has ${MOST_RULES} rules, the most that there can be; use ranges and groups, or another security group`, {
            hint: `cloud security-group rule list ${row.name}`,
          });
        }
        return call.rows.update(row, { spec: { rules }, message: `Security group ${row.name} has another rule: ${inWords(kept)}` });
      },
      async ruleRemove(call) {
        const row = call.target;
        const gone = rulesOf(row).find(({ id }) => id === call.input.rule);
        if (gone === undefined) {
          throw new Fault('not_found', `The security group ${row.name} has no rule ${JSON.stringify(call.input.rule)}`, {
            details: [{ path: 'rule', message: 'give the id of one of its rules' }],
            hint: `cloud security-group rule list ${row.name}`,
          });
        }
        return call.rows.update(row, {
          spec: { rules: rulesOf(row).filter(({ id }) => id !== gone.id) },
          message: `Security group ${row.name} has a rule less: ${inWords(gone)}`,
        });
      },
      async ruleList(call) {
        return { items: [...rulesOf(call.target)] };
      },

      async attach(call) {
        const instance = instanceOf(call);
        await call.client({ instance: instances }).instance.attachGroup(instance.id, { group: call.target.id });
        call.follow('instance', instance.id);
        return call.rows.get(call.target.id);
      },
      async detach(call) {
        const instance = instanceOf(call);
        await call.client({ instance: instances }).instance.detachGroup(instance.id, { group: call.target.id });
        call.follow('instance', instance.id);
        return call.rows.get(call.target.id);
      },
    },
    controller: {
      async reconcile(_row, { client, report }) {
        await client({ network: networks }).network.settle({});
        await report({ state: 'ready', reason: null });
      },
      async remove(_row, { client }) {
        await client({ network: networks }).network.settle({});
      },
    },
  };
});
