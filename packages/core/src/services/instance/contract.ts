import { z } from 'zod';
import { action, channel, contract, crud, immutable, query, resource, stream } from '../../kernel/contract.ts';
import { commandField, imageReference, withoutZero } from '../image/contract.ts';
import { CATALOG } from '../instance-type/catalog.ts';
import { mountFrom, portFrom } from './notation.ts';

export const Port = z.strictObject({
  hostAddress: z.union([z.ipv4(), z.ipv6()]).default('127.0.0.1').meta({ description: 'Address on the host' }),
  hostPort: z.int().min(0).max(65_535).default(0).meta({ description: 'Port on the host; 0 chooses a free one once and keeps it' }),
  instancePort: z.int().min(1).max(65_535).meta({ description: 'Port inside the instance' }),
  protocol: z.enum(['tcp', 'udp']).default('tcp'),
});
const portField = z
  .union([z.string(), Port])
  .transform((value, context) => portFrom(value, (message) => context.addIssue(message)))
  .pipe(Port);

export const Mount = z.strictObject({
  volume: z.string().min(1).meta({ ref: 'volume', description: 'Volume' }),
  volumeId: z.string().optional(),
  path: z
    .string()
    .max(4096)
    .regex(/^\/[^:\0]*[^:/\0]$/, 'use an absolute path other than /, without a trailing slash'),
  readOnly: z.boolean().default(false),
});
const mountField = z
  .union([z.string(), Mount])
  .transform((value, context): z.input<typeof Mount> => mountFrom(value, (message) => context.addIssue(message)))
  .pipe(Mount);

/** Linux starts no program with a longer one; the name goes off it. */
const MOST_VARIABLE = 131_072 - 1024;

/** Security groups of one instance. */
export const MOST_GROUPS = 16;

const envField = z.record(
  z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'a variable name has letters, digits and _ and does not begin with a digit'),
  withoutZero.refine((text) => new TextEncoder().encode(text).length <= MOST_VARIABLE, `a variable has at most ${MOST_VARIABLE} bytes`),
);

const allowRestart = z.boolean().default(false).meta({
  description: 'A running instance may be stopped and started if the driver needs that; its file system, address and metadata stay',
});

const cloudInit = z.strictObject({
  status: z.enum(['none', 'pending', 'running', 'done', 'error', 'recorded']).meta({ description: 'recorded: this driver runs no programs' }),
  exitCode: z.int().optional(),
  reason: z.string().optional(),
  finishedAt: z.iso.datetime().optional(),
});

/** The service refuses a type that is not in the catalogue; until then it counts nothing. */
const sizeOf = (type: string): { cpus: number; memoryMiB: number } => CATALOG.find(({ name }) => name === type) ?? { cpus: 0, memoryMiB: 0 };

export const instance = resource('instance', {
  summary: 'Machines: containers or virtual machines',
  prefix: 'inst',
  reconciled: true,
  states: ['pending', 'running', 'stopped', 'paused', 'deleting', 'error'],
  spec: {
    image: immutable(imageReference.meta({ description: 'Image to start from', example: 'busybox', cli: { char: 'i' } })),
    type: immutable(
      z
        .string()
        .default('small')
        .meta({ description: 'Instance type, see `cloud instance-type list`', example: 'small', cli: { char: 't' } }),
    ),
    vpc: immutable(z.string().min(1).meta({ ref: 'vpc', description: 'VPC to be in' })),
    subnet: immutable(z.string().min(1).optional().meta({ ref: 'subnet', description: 'Subnet to be in; outside of all when absent' })),
    privateAddress: immutable(
      z.ipv4('use an IPv4 address such as 10.20.1.10').optional().meta({ description: 'Private address to have, one that is free; any when absent' }),
    ),
    securityGroups: z
      .array(z.string())
      .max(MOST_GROUPS)
      .default([])
      .meta({
        ref: 'security-group',
        description: 'Security groups of its VPC; changed without a restart. In the default group of the VPC when there are none',
        cli: { flag: 'security-group' },
      }),
    command: commandField
      .optional()
      .meta({ description: "Replaces the image's command; split into words as a shell does, without a shell", example: 'sleep 1h' }),
    entrypoint: commandField.optional().meta({ description: "Replaces the image's entrypoint" }),
    env: envField.default({}).meta({
      description: 'Environment, NAME=value; the value of a secret is written @secret:name, or @secret:name#version',
      example: { MODE: 'dev' },
      cli: { char: 'e' },
    }),
    ports: z
      .array(portField)
      .max(100)
      .default([])
      .meta({
        description: 'Publish [address:][hostPort:]port[/udp] on the host; address 127.0.0.1 and a free port when absent',
        example: ['8080:80'],
        cli: { flag: 'publish', char: 'p' },
      }),
    volumes: immutable(
      z
        .array(mountField)
        .max(26)
        .default([])
        .meta({ description: 'Attach volume:/path[:ro]', example: ['data:/data'], cli: { flag: 'volume', char: 'v' } }),
    ),
    sshKeys: immutable(
      z
        .array(z.string())
        .max(64)
        .default([])
        .meta({ ref: 'ssh-key', weak: true, description: 'SSH keys that may log in as root', cli: { flag: 'ssh-key' } }),
    ),
    metadata: z
      .record(z.string().min(1).max(128), z.string().max(4096))
      .default({})
      .meta({ description: 'Metadata, key=value', example: { owner: 'ops' } }),
    metadataTokens: z.enum(['required', 'except-cloud-init', 'optional']).default('except-cloud-init').meta({
      description:
        'Who must show a session token to 169.254.169.254: required: everybody; except-cloud-init: everybody but cloud-init, which knows tokens on AWS only; optional: nobody',
    }),
    userData: immutable(
      z
        .string()
        .max(65_536)
        .optional()
        .meta({ description: 'Cloud-init user data: a #! script or #cloud-config, run once at first boot', cli: { file: true } }),
    ),
    restartPolicy: z.enum(['always', 'on-failure', 'never']).default('always').meta({ description: 'What to do when the program ends by itself' }),
    stopTimeout: z
      .int()
      .min(0)
      .max(3600)
      .default(10)
      .meta({ description: 'Seconds between the stop signal and the kill', cli: { seconds: true } }),
    desiredState: immutable(
      z
        .enum(['running', 'stopped', 'paused'])
        .default('running')
        .meta({ description: 'What the instance is meant to be', cli: { hidden: true } }),
    ),
  },
  status: {
    address: z.string().optional().meta({ description: 'Private address' }),
    cpus: z.number().optional().meta({ description: 'CPU cores it may use' }),
    memoryMiB: z.int().optional().meta({ description: 'Memory it may use, MiB' }),
    exitCode: z.int().optional().meta({ description: 'Exit code of the last run' }),
    startedAt: z.iso.datetime().optional().meta({ description: 'Start of the present run' }),
    restarts: z.int().optional().meta({ description: 'Restarts by self-healing' }),
    cloudInit: cloudInit.optional().meta({ description: 'How first boot went' }),
  },
  columns: ['name', 'state', 'type', 'image', 'address', 'ports', 'vpc', 'createdAt'],
  wide: ['id', 'subnet', 'securityGroups', 'restarts', 'volumes', 'reason'],
  // One that is stopped counts as well: it may be started at any time.
  quota: { instances: 1, vcpus: ({ type }) => sizeOf(type).cpus, memoryMiB: ({ type }) => sizeOf(type).memoryMiB },
});

const standard = crud(instance, {
  create: {
    description:
      'Answers when the instance is running (with --no-wait: when it is accepted). Without --vpc and --subnet it is in the VPC `default`, which is made when needed.',
    input: { vpc: z.string().min(1).optional().meta({ ref: 'vpc', description: "VPC to be in; the subnet's, or else `default`, when absent" }) },
    examples: [
      ['instance create web --image busybox --command "httpd -f -h /www" --publish 8080:80', ''],
      ['instance create db --image postgres:17 --vpc prod --volume data:/var/lib/postgresql/data --env POSTGRES_PASSWORD=@secret:db-password', ''],
      ['instance create app --image busybox --subnet apps', 'in the VPC of that subnet'],
      ['instance create vm --image debian:trixie --type medium --ssh-key laptop --user-data @setup.yaml', ''],
    ],
  },
  update: {
    input: { allowRestart },
    examples: [
      ['instance update web --env MODE=prod --yes', 'restart it if that is needed'],
      ['instance update web --label tier=front', ''],
    ],
  },
});

const verb = (name: string, summary: string, meaning: string) => action(instance, { summary, async: true, examples: [[`instance ${name} web`, meaning]] });

export const LogEntry = z.strictObject({
  time: z.iso.datetime(),
  stream: z.enum(['stdout', 'stderr']),
  text: z.string(),
});
export const StatsSample = z.strictObject({
  time: z.iso.datetime(),
  cpu: z.number().meta({ description: 'Cores in use' }),
  memoryBytes: z.number(),
  memoryLimitBytes: z.number(),
  networkReceivedBytes: z.number(),
  networkSentBytes: z.number(),
  blockReadBytes: z.number(),
  blockWrittenBytes: z.number(),
  pids: z.int(),
});

export const instances = contract(instance, {
  ...standard,
  list: {
    ...standard.list,
    examples: [
      ['instance list', ''],
      ['instance list --label tier=front --output json', ''],
      ['instance list --watch', 'until Ctrl-C'],
    ],
  },
  start: verb('start', 'Start a stopped instance', ''),
  stop: action(instance, {
    summary: 'Stop an instance; it keeps its address, volumes and file system',
    async: true,
    input: {
      timeout: z
        .int()
        .min(0)
        .max(3600)
        .optional()
        .meta({ description: 'Seconds before it is killed; default: its stopTimeout', cli: { seconds: true } }),
    },
    examples: [['instance stop web', '']],
  }),
  restart: verb('restart', 'Stop and start an instance', ''),
  pause: verb('pause', 'Freeze an instance in memory', ''),
  resume: verb('resume', 'Let a paused instance go on', ''),
  resize: action(instance, {
    summary: 'Change the instance type',
    async: true,
    input: { type: z.string().meta({ description: 'New instance type', example: 'medium', cli: { char: 't' } }), allowRestart },
    examples: [['instance resize web --type medium', '']],
  }),
  attachVolume: action(instance, {
    summary: 'Add a volume',
    internal: true,
    async: true,
    input: { volume: z.string().meta({ ref: 'volume' }), path: Mount.shape.path, readOnly: z.boolean().default(false), allowRestart },
  }),
  detachVolume: action(instance, {
    summary: 'Take a volume away',
    internal: true,
    async: true,
    input: { volume: z.string().meta({ ref: 'volume' }), allowRestart },
  }),
  attachGroup: action(instance, { summary: 'Add a security group', internal: true, async: true, input: { group: z.string().meta({ ref: 'security-group' }) } }),
  detachGroup: action(instance, {
    summary: 'Take a security group away',
    internal: true,
    async: true,
    input: { group: z.string().meta({ ref: 'security-group' }) },
  }),
  wait: query(instance, {
    summary: 'Wait until an instance is in a state',
    input: {
      for: z
        .enum(['running', 'stopped', 'paused', 'error', 'deleted', 'cloud-init'])
        .default('running')
        .meta({ description: 'State to wait for; cloud-init: first boot is done' }),
      timeout: z
        .int()
        .min(0)
        .max(86_400)
        .default(300)
        .meta({ description: 'Wait at most so long, seconds', cli: { seconds: true } }),
    },
    examples: [['instance wait web --for cloud-init --timeout 120', '']],
  }),
  exec: channel(instance, {
    summary: 'Run a program inside an instance',
    input: {
      command: z
        .array(withoutZero)
        .min(1)
        .meta({ description: 'Program and arguments', example: ['sh'], cli: { positional: true } }),
      tty: z
        .boolean()
        .default(false)
        .meta({ description: 'Give it a terminal', cli: { hidden: true } }),
      stdin: z
        .boolean()
        .default(true)
        .meta({ description: 'Connect standard input', cli: { hidden: true } }),
      env: envField.default({}).meta({ description: 'Environment, NAME=value', cli: { char: 'e' } }),
      user: withoutZero.optional().meta({ description: 'User name or id', cli: { char: 'u' } }),
      workdir: withoutZero.optional().meta({ description: 'Working directory', cli: { char: 'w' } }),
      columns: z
        .int()
        .min(1)
        .max(10_000)
        .optional()
        .meta({ description: 'Width of the terminal, characters', cli: { hidden: true } }),
      rows: z
        .int()
        .min(1)
        .max(10_000)
        .optional()
        .meta({ description: 'Height of the terminal, lines', cli: { hidden: true } }),
    },
    output: z.strictObject({ exitCode: z.int() }),
    examples: [
      ['instance exec web -- ls -l /', ''],
      ['instance exec web -- sh', 'an interactive shell'],
    ],
  }),
  connect: channel(instance, {
    summary: 'Open a TCP connection to a port of an instance',
    input: {
      port: z
        .int()
        .min(1)
        .max(65_535)
        .meta({ description: 'Port inside the instance', cli: { positional: true } }),
    },
    output: z.strictObject({}),
    examples: [['instance connect db 5432', 'standard input and output are the connection']],
  }),
  upload: channel(instance, {
    summary: 'Unpack a tar archive inside an instance',
    input: { path: withoutZero.min(1).meta({ description: 'Directory to unpack in' }) },
    output: z.strictObject({}),
  }),
  download: channel(instance, {
    summary: 'Read a path inside an instance as a tar archive',
    input: { path: withoutZero.min(1).meta({ description: 'File or directory' }) },
    output: z.strictObject({}),
  }),
  logs: stream(instance, {
    summary: "Show what an instance's program wrote",
    input: {
      follow: z
        .boolean()
        .default(false)
        .meta({ description: 'Go on until Ctrl-C', cli: { char: 'f' } }),
      tail: z
        .int()
        .min(0)
        .max(1_000_000)
        .optional()
        .meta({ description: 'Only the last n lines', cli: { char: 'n' } }),
      since: z
        .string()
        .regex(/^(\d+(ms|s|m|h|d)|\d{4}-\d{2}-\d{2}T.+)$/, 'use a duration such as 10m, or a time such as 2026-01-31T10:00:00Z')
        .optional()
        .meta({ description: 'Only since a duration ago (10m) or a time (RFC 3339)' }),
      cloudInit: z.boolean().default(false).meta({ description: "Cloud-init's output at first boot instead" }),
    },
    output: LogEntry,
    examples: [
      ['instance logs web --follow', ''],
      ['instance logs web --cloud-init', 'what first boot did'],
    ],
  }),
  stats: stream(instance, {
    summary: 'Show what an instance uses',
    input: { samples: z.int().min(1).optional().meta({ description: 'End after so many samples, about one a second' }) },
    output: StatsSample,
    examples: [['instance stats web --samples 1', '']],
  }),
});
