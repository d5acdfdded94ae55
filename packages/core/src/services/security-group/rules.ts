// Rules as they are written and as they are kept: each with an id, and with exactly one other side, a network or a group.
import type { z } from 'zod';
import { type Cidr, formatCidr, isNetwork, networkOf, parseCidr } from '../../kernel/cidr.ts';
import { Fault } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import type { Rule } from './contract.ts';

export type Written = z.output<typeof Rule>;
export type Kept = Omit<Written, 'id' | 'self'> & { id: string };

export const EVERYTHING_OUT: Written = { direction: 'egress', protocol: 'all', cidr: '0.0.0.0/0' };

export const refused = (path: string, message: string, hint?: string): Fault =>
  new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }], ...(hint === undefined ? {} : { hint }) });

/** What makes two rules the same rule. */
const sameAs = ({ direction, protocol, fromPort, toPort, cidr, groupId }: Omit<Kept, 'id'>): string =>
  JSON.stringify([direction, protocol, fromPort, toPort, cidr, groupId]);

/** In words, for sentences. */
export function inWords({ direction, protocol, fromPort, toPort, cidr, group }: Omit<Kept, 'id'>): string {
  const ports = fromPort === undefined ? '' : ` ${fromPort === toPort ? fromPort : `${fromPort}-${toPort}`}`;
  return `${direction} ${protocol}${ports} ${direction === 'ingress' ? 'from' : 'to'} ${cidr ?? group}`;
}

/** Checks one rule. `at` is where it stands in the input, with a dot at the end, and `ports` what the field of its ports is called there. */
export function keep(rule: Written, own: { id: string; name: string }, at: string, ports: string): Omit<Kept, 'id'> {
  const { direction, protocol, fromPort, toPort, cidr: text, group, groupId, self, description } = rule;
  const sides = [text !== undefined && 'cidr', group !== undefined && 'group', self === true && 'self'].filter((side) => side !== false);
  const whence = direction === 'ingress' ? 'whence it may come' : 'whereto it may go';
  if (sides.length === 0) throw refused(`${at}cidr`, `say ${whence}: a cidr (0.0.0.0/0 is everywhere), a group, or self`);
  if (sides.length > 1) throw refused(`${at}${sides[1]}`, `give only one of ${sides.join(' and ')}; a rule has one other side, so make a rule for each`);
  if (fromPort !== undefined && protocol !== 'tcp' && protocol !== 'udp')
    throw refused(`${at}${ports}`, `${protocol} has no ports; leave them out, or use tcp or udp`);
  if (fromPort === undefined && toPort !== undefined) throw refused(`${at}fromPort`, 'give the first port too');
  if (fromPort !== undefined && toPort !== undefined && toPort < fromPort) throw refused(`${at}toPort`, `give ${fromPort}, the first port, or more`);
  let cidr: Cidr | undefined;
  if (text !== undefined) {
    cidr = parseCidr(text);
    if (cidr === undefined) throw refused(`${at}cidr`, `${text} is not an IPv4 network; use for example 10.0.0.0/8, or 0.0.0.0/0 for everywhere`);
    if (!isNetwork(cidr)) throw refused(`${at}cidr`, `${text} has host bits set; did you mean ${formatCidr(networkOf(cidr))}, or ${text.split('/')[0]}/32?`);
  }
  return {
    direction,
    protocol,
    ...(fromPort === undefined ? {} : { fromPort, toPort: toPort ?? fromPort }),
    ...(cidr === undefined ? {} : { cidr: formatCidr(cidr) }),
    ...(self === true ? { group: own.name, groupId: own.id } : group === undefined ? {} : { group, groupId: groupId as string }),
    ...(description === undefined ? {} : { description }),
  };
}

/** Gives a new rule its id, unless there is the like. */
export function added(rules: readonly Kept[], rule: Omit<Kept, 'id'>, name: string): Kept[] {
  const there = rules.find((each) => sameAs(each) === sameAs(rule));
  if (there !== undefined) {
    throw new Fault('conflict', `${name} has this rule already: ${inWords(rule)}`, {
      details: { rule: there.id },
      hint: `cloud security-group rule list ${name}`,
    });
  }
  return [...rules, { id: newId('rule'), ...rule }];
}

/** All rules at once. Those that are there already keep their ids. */
export function replaced(before: readonly Kept[], rules: readonly Written[], own: { id: string; name: string }): Kept[] {
  const known = new Map(before.map((rule) => [sameAs(rule), rule.id]));
  const seen = new Set<string>();
  return rules.map((written, index) => {
    const at = `rules.${index}.`;
    const rule = keep(written, own, at, 'fromPort');
    if (written.id !== undefined && !before.some(({ id }) => id === written.id))
      throw refused(`${at}id`, `${own.name} has no rule ${written.id}; leave the id out`);
    const same = sameAs(rule);
    if (seen.has(same)) throw refused(`rules.${index}`, `this rule is given twice: ${inWords(rule)}; give it once`);
    seen.add(same);
    return { id: known.get(same) ?? newId('rule'), ...rule };
  });
}
