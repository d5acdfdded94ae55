import { z } from 'zod';
import { action, contract, crud, immutable, query, resource } from '../../kernel/contract.ts';
import { portsFrom } from './notation.ts';

/** Rules of one group. */
export const MOST_RULES = 200;

const directionField = z.enum(['ingress', 'egress']);
const protocolField = z.enum(['tcp', 'udp', 'icmp', 'all']);
const cidrField = z.string().regex(/^(\d{1,3})(\.\d{1,3}){3}\/\d{1,2}$/, 'use an IPv4 network such as 10.0.0.0/8, or 0.0.0.0/0 for everywhere');
const groupField = z.string().min(1);
const ruleText = z.string().max(255);

export const Rule = z.strictObject({
  id: z
    .string()
    .regex(/^rule-[0-9a-z]+$/, 'leave it out; it is given')
    .optional()
    .meta({ description: 'Id of the rule; given when absent' }),
  direction: directionField.default('ingress').meta({ description: 'ingress: to the instances of the group; egress: from them' }),
  protocol: protocolField.default('tcp').meta({ description: 'Protocol' }),
  fromPort: z.int().min(1).max(65_535).optional().meta({ description: 'First destination port, of tcp and udp; all ports when absent' }),
  toPort: z.int().min(1).max(65_535).optional().meta({ description: 'Last destination port; the first when absent' }),
  cidr: cidrField.optional().meta({ description: 'Whence it may come, or whereto it may go' }),
  group: groupField.optional().meta({ ref: 'security-group', description: 'The same, by security group' }),
  groupId: z.string().optional(),
  self: z.boolean().optional().meta({ description: 'The same: the group of the rule itself' }),
  description: ruleText.optional().meta({ description: 'Free text' }),
});

const rulesField = z
  .array(Rule)
  .max(MOST_RULES)
  .meta({ description: 'Rules: direction, protocol, fromPort and toPort, and one of cidr, group and self', cli: { file: true } });

export const securityGroup = resource('security-group', {
  summary: 'What may reach instances, and what they may reach',
  description:
    'A security group is a set of rules for the instances that it is attached to. Nothing passes that no rule allows, but answers pass always. Of several groups each may allow. Instances without a group are in the default group of their VPC: they are reached by each other only, and reach everything.',
  prefix: 'sg',
  reconciled: true,
  spec: {
    vpc: immutable(z.string().min(1).meta({ ref: 'vpc', description: 'VPC whose instances it is for' })),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
    rules: rulesField,
  },
  columns: ['name', 'vpc', 'state', 'description', 'createdAt'],
  wide: ['id', 'rules', 'reason'],
  quota: { securityGroups: 1 },
});

const instanceField = z
  .string()
  .min(1)
  .meta({ ref: 'instance', description: 'Instance', example: 'web', cli: { positional: true } });

export const securityGroups = contract(securityGroup, {
  ...crud(securityGroup, {
    create: {
      description: 'A new group lets nothing in and everything out.',
      input: {
        rules: rulesField.optional().meta({
          description: 'Rules: direction, protocol, fromPort and toPort, and one of cidr, group and self; one that lets everything out when absent',
          cli: { file: true },
        }),
      },
      examples: [
        ['security-group create web --vpc prod', ''],
        ['security-group create web --vpc prod --rules @rules.yaml', ''],
      ],
    },
    update: { input: { rules: rulesField.optional().meta({ description: 'Rules; replaces all of them', cli: { file: true } }) } },
  }),
  ruleAdd: action(securityGroup, {
    summary: 'Add a rule to a security group',
    description: 'It holds at once, and with its removal open connections end. Exactly one of --cidr, --group and --self says with whom.',
    async: true,
    input: {
      direction: directionField.default('ingress').meta({ description: 'ingress: to the instances of the group; egress: from them' }),
      protocol: protocolField.default('tcp').meta({ description: 'Protocol', cli: { char: 'p' } }),
      port: z
        .union([z.string(), z.int()])
        .transform((value, context) => portsFrom(value, (message) => context.addIssue(message)))
        .optional()
        .meta({ description: 'Destination port, or ports: 80 or 8000-8100; all when absent', example: '80' }),
      cidr: cidrField.optional().meta({ description: 'IPv4 network that it may come from (ingress) or go to (egress)', example: '0.0.0.0/0' }),
      group: groupField.optional().meta({ ref: 'security-group', description: 'The same, by security group, of this VPC or of one that it is peered with' }),
      self: z.boolean().default(false).meta({ description: 'The same: the group itself' }),
      description: ruleText.optional().meta({ description: 'Free text' }),
    },
    examples: [
      ['security-group rule add web --port 80 --cidr 0.0.0.0/0', ''],
      ['security-group rule add db --port 5432 --group web', 'from the instances of another group'],
      ['security-group rule add web --direction egress --protocol udp --port 8000-8100 --cidr 10.0.0.0/8', ''],
    ],
  }),
  ruleRemove: action(securityGroup, {
    summary: 'Remove a rule from a security group',
    description: 'What only it allowed ends, also on connections that are open.',
    async: true,
    input: {
      rule: z
        .string()
        .min(1)
        .meta({ description: 'Id of the rule, see `cloud security-group rule list`', cli: { positional: true } }),
    },
    examples: [['security-group rule remove web rule-0abc…', '']],
  }),
  ruleList: query(securityGroup, {
    summary: 'List the rules of a security group',
    output: z.strictObject({ items: z.array(Rule.required({ id: true })) }),
    examples: [['security-group rule list web', '']],
  }),
  attach: action(securityGroup, {
    summary: 'Attach a security group to an instance',
    description: 'Its rules hold from then on, without a restart. With its first group an instance leaves the default group of its VPC.',
    async: true,
    input: { instance: instanceField },
    examples: [['security-group attach web my-instance', '']],
  }),
  detach: action(securityGroup, {
    summary: 'Detach a security group from an instance',
    description: 'Without its last group an instance is in the default group of its VPC again.',
    async: true,
    input: { instance: instanceField },
    examples: [['security-group detach web my-instance', '']],
  }),
});
