import { z } from 'zod';
import { action, contract, crud, immutable, query, resource } from '../../kernel/contract.ts';

const LABEL = String.raw`(?!-)[a-z0-9_-]{1,63}(?<!-)`;
/** With the name of the VPC behind it in the server, a name must still be one: 255 bytes, of which that takes 21. */
export const MAX_NAME = 230;
const ZONE = new RegExp(String.raw`^(?:${LABEL}\.)*${LABEL}(?:@[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)?$`);

const MAX_TTL = 604_800;
const ttlField = z.int().min(0, 'use 0 seconds or more').max(MAX_TTL, `use at most ${MAX_TTL} seconds, a week`);

export const RECORD_TYPES = ['A', 'AAAA', 'CNAME', 'MX', 'TXT', 'SRV', 'CAA', 'NS', 'PTR'] as const;
export type RecordType = (typeof RECORD_TYPES)[number];

export const zoneNameField = z
  .string()
  .max(MAX_NAME, `use at most ${MAX_NAME} characters`)
  .regex(ZONE, 'use a domain in lower case without a last dot, such as prod.internal; add @ and a word where two VPCs have the same one')
  .refine((name) => !/^zone-[0-9a-hjkmnp-tv-z]{16}$/.test(name), 'this looks like an id; choose another name')
  .meta({ immutable: true, description: 'Domain; prod.internal@staging is the domain prod.internal of a second VPC', example: 'prod.internal' });

export const zone = resource('zone', {
  summary: 'Private DNS zones of VPCs',
  description:
    'A zone is a domain that the instances of one VPC resolve, and nobody else. Running instances register themselves in it, unless it is told not to let them. Zones of the same domain in different VPCs, or tenants, have nothing to do with each other.',
  reconciled: true,
  nameField: zoneNameField,
  spec: {
    vpc: immutable(z.string().min(1).meta({ ref: 'vpc', description: 'VPC whose instances resolve it', example: 'prod' })),
    ttl: ttlField.default(60).meta({ description: 'Lifetime of records that say none, and of registered instances', example: 60, cli: { seconds: true } }),
    autoRegister: z.boolean().default(true).meta({ description: 'Running instances of the VPC have an A record here, and a PTR record for their address' }),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  status: {
    domain: z.string().meta({ description: 'What it answers for' }),
    records: z.int().meta({ description: 'Records of yours' }),
    registered: z.int().meta({ description: 'Instances that registered themselves' }),
    shadowed: z.array(z.string()).optional().meta({ description: 'Instances whose name here is taken by a record of yours' }),
  },
  columns: ['name', 'vpc', 'state', 'records', 'registered', 'createdAt'],
  wide: ['id', 'domain', 'ttl', 'autoRegister', 'shadowed', 'description', 'reason'],
  quota: { zones: 1 },
});

export const zones = contract(zone, {
  ...crud(zone, {
    create: {
      examples: [
        ['zone create prod.internal --vpc prod', ''],
        ['zone create prod.internal@staging --vpc staging', 'the same domain in another VPC'],
        ['zone create corp.example --vpc prod --no-auto-register', 'only what you write into it'],
      ],
    },
    delete: {
      input: { force: z.boolean().default(false).meta({ description: 'Also when there are records in it: they go with it' }) },
      examples: [
        ['zone delete prod.internal', ''],
        ['zone delete prod.internal --force', 'with all its records'],
      ],
    },
    update: { examples: [['zone update prod.internal --ttl 5m', '']] },
  }),
  export: query(zone, {
    summary: 'Show a zone as a zone file (RFC 1035)',
    output: z.strictObject({ content: z.string().meta({ description: 'Your records; what instances registered stands in comments' }) }),
    examples: [['zone export prod.internal', '']],
  }),
  import: action(zone, {
    summary: 'Take records from a zone file (RFC 1035)',
    description: 'Records of the same name and type are replaced. The SOA record is left out: each zone has its own. All of it is taken, or nothing.',
    input: {
      content: z
        .string()
        .max(4_194_304)
        .meta({ description: 'Zone file', example: 'www 300 IN A 10.20.0.9', cli: { positional: true, file: true } }),
      replace: z.boolean().default(false).meta({ description: 'Delete records that are not in the file' }),
    },
    output: z.strictObject({
      created: z.int().meta({ description: 'Records that are new' }),
      updated: z.int().meta({ description: 'Records that changed' }),
      unchanged: z.int().meta({ description: 'Records that were so already' }),
      deleted: z.int().meta({ description: 'Records that were not in the file' }),
    }),
    examples: [
      ['zone import prod.internal @prod.zone', ''],
      ['zone import prod.internal @prod.zone --replace', 'and nothing else stays'],
    ],
  }),
});

/** `@`, `*`, `www`, `*.dev`, `_sip._tcp`. */
export const HOST = new RegExp(String.raw`^(?:@|\*|(?:\*\.)?(?:${LABEL}\.)*${LABEL})$`);

export const record = resource('record', {
  summary: 'DNS records in zones',
  description: 'A record has all values of one name and type. It is addressed as `www.prod.internal/A`: its name, a slash, and its type.',
  prefix: 'rec',
  nameField: z.string().max(MAX_NAME + 70),
  spec: {
    zone: immutable(z.string().min(1).meta({ ref: 'zone', description: 'Zone that it is in', example: 'prod.internal' })),
    type: immutable(z.enum(RECORD_TYPES).meta({ description: 'Type', example: 'A' })),
    values: z
      .array(z.string().min(1, 'a value cannot be empty').max(65_000))
      .min(1, 'give at least one value')
      .max(100, 'at most 100 values')
      .meta({ description: 'Values; names in them end with a dot or are relative to the zone', example: ['10.20.0.9'], cli: { flag: 'value' } }),
    ttl: ttlField.optional().meta({ description: "Lifetime; the zone's when absent", example: 300, cli: { seconds: true } }),
  },
  status: {
    host: z.string().meta({ description: 'Name within the zone; @ is the zone itself' }),
    fqdn: z.string().meta({ description: 'Whole name' }),
  },
  columns: ['name', 'type', 'values', 'ttl', 'createdAt'],
  wide: ['id', 'zone', 'host', 'fqdn'],
  quota: { records: 1 },
});

export const records = contract(
  record,
  crud(record, {
    create: {
      input: {
        name: z
          .string()
          .max(MAX_NAME, `use at most ${MAX_NAME} characters`)
          .regex(HOST, 'use a name within the zone in lower case, such as www, *.dev or _sip._tcp; @ for the zone itself, * for all names without records')
          .meta({ description: 'Name within the zone: www, *.dev, @ for the zone itself', example: 'www' }),
      },
      examples: [
        ['record create www --zone prod.internal --type A --value 10.20.0.9 --value 10.20.0.10', 'two addresses'],
        ['record create @ --zone prod.internal --type MX --value "10 mail"', 'for the zone itself; the name is relative'],
        ["record create '*' --zone prod.internal --type CNAME --value www.example.com.", 'for every name without records'],
      ],
    },
    list: {
      input: { zone: z.string().min(1).optional().meta({ ref: 'zone', description: 'Only those of this zone', example: 'prod.internal' }) },
      examples: [['record list --zone prod.internal', '']],
    },
    update: { examples: [['record update www.prod.internal/A --value 10.20.0.11', 'replaces all values']] },
    delete: { examples: [['record delete www.prod.internal/A', '']] },
  }),
);

const dns = resource('dns', {
  summary: 'What instances get when they ask for a name',
  plural: 'dns',
  stored: false,
  columns: ['name'],
});

export const Answer = z.strictObject({
  name: z.string(),
  ttl: z.int(),
  type: z.string(),
  value: z.string(),
});

export const dnsContract = contract(dns, {
  dig: query(dns, {
    summary: 'Ask what an instance of a VPC would get for a name',
    target: false,
    input: {
      name: z
        .string()
        .min(1)
        .max(1000)
        .meta({ description: 'Name, or address for its PTR record', example: 'web.prod.internal', cli: { positional: true } }),
      vpc: z.string().min(1).meta({ ref: 'vpc', description: 'VPC of the instance', example: 'prod' }),
      type: z
        .string()
        .toUpperCase()
        .regex(/^(A|AAAA|CNAME|MX|TXT|SRV|CAA|NS|PTR|SOA|ANY)$/, 'use A, AAAA, CNAME, MX, TXT, SRV, CAA, NS, PTR, SOA or ANY')
        .optional()
        .meta({ description: 'Type; A when absent, PTR for an address', example: 'A' }),
    },
    output: z.strictObject({
      status: z.string().meta({ description: 'NOERROR, NXDOMAIN, REFUSED, …' }),
      from: z.enum(['zone', 'outside', 'nobody']).meta({ description: 'Who answered: a private zone, the resolvers of the host, or nobody was asked' }),
      answers: z.array(Answer),
      authority: z.array(Answer),
      milliseconds: z.number().meta({ description: 'Time that it took' }),
    }),
    examples: [
      ['dns dig web.prod.internal --vpc prod', ''],
      ['dns dig 10.20.0.4 --vpc prod', 'which name an address has'],
      ['dns dig prod.internal --vpc prod --type MX --output json', ''],
    ],
  }),
  servers: query(dns, {
    summary: 'Resolvers of an instance in a VPC',
    internal: true,
    target: false,
    input: { vpcId: z.string() },
    output: z.strictObject({ addresses: z.array(z.string()) }),
  }),
});
