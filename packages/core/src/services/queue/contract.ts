import { z } from 'zod';
import { action, contract, crud, query, resource } from '../../kernel/contract.ts';

const HOURS_12 = 43_200;
const MOST_BYTES = 262_144;

export const queue = resource('queue', {
  summary: 'Message queues with a visibility timeout',
  description:
    'A message that is received stays hidden from others for the visibility timeout; whoever received it acknowledges it, or it comes back. So every message is handed out at least once.',
  spec: {
    visibilityTimeout: z
      .int()
      .min(0)
      .max(HOURS_12)
      .default(30)
      .meta({ description: 'Seconds that a received message stays hidden from others', example: 60, cli: { seconds: true } }),
    delay: z
      .int()
      .min(0)
      .max(900)
      .default(0)
      .meta({ description: 'Seconds until a new message can be received', example: 5, cli: { seconds: true } }),
    retention: z
      .int()
      .min(60)
      .max(1_209_600)
      .default(345_600)
      .meta({ description: 'Seconds after which a message that nobody acknowledged is dropped; 4 days unless given', example: 86_400, cli: { seconds: true } }),
    maxReceives: z
      .int()
      .min(1)
      .max(1000)
      .optional()
      .meta({ description: 'Receives without acknowledgement after which a message goes to the dead-letter queue' }),
    deadLetterQueue: z.string().min(1).optional().meta({ ref: 'queue', description: 'Where messages go that were received too often' }),
    maxMessageBytes: z
      .int()
      .min(1024)
      .max(MOST_BYTES)
      .default(MOST_BYTES)
      .meta({ description: 'Most bytes of a message: body and attributes together, as UTF-8', example: 65_536 }),
  },
  status: {
    depth: z.int().meta({ description: 'Messages that can be received now' }),
    inFlight: z.int().meta({ description: 'Messages that somebody has received and not yet acknowledged' }),
    delayed: z.int().meta({ description: 'Messages that can be received later' }),
  },
  columns: ['name', 'depth', 'inFlight', 'delayed', 'visibilityTimeout', 'deadLetterQueue', 'createdAt'],
  wide: ['id', 'delay', 'retention', 'maxReceives', 'maxMessageBytes'],
  quota: { queues: 1 },
});

const body = z
  .string()
  .min(1)
  .max(MOST_BYTES)
  .refine((text) => text.isWellFormed(), 'this is not valid Unicode; encode bytes as base64')
  .meta({ description: 'Text of the message', example: 'resize photo-17', cli: { positional: true, file: true } });

const attributes = z
  .record(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'an attribute has a name of 1 to 128 letters, digits, and . _ - inside'),
    z.string().refine((text) => text.isWellFormed(), 'this is not valid Unicode; encode bytes as base64'),
  )
  .refine((all) => Object.keys(all).length <= 10, 'at most 10 attributes');

const facts = {
  id: z.string().meta({ description: 'Id of the message, the same in a dead-letter queue' }),
  body: z.string(),
  attributes: z.record(z.string(), z.string()),
  receiveCount: z.int().meta({ description: 'Times that it was received from this queue' }),
  sentAt: z.iso.datetime(),
  firstReceivedAt: z.iso.datetime().optional(),
  visibleAt: z.iso.datetime().meta({ description: 'When it can be received, again or for the first time' }),
  deadLetterFrom: z.string().optional().meta({ description: 'Name of the queue from which it came here as a dead letter' }),
};

export const Received = z.strictObject({
  id: facts.id,
  receipt: z.string().meta({ description: 'What ack, release and extend want; good until the message is received again' }),
  body: facts.body,
  attributes: facts.attributes,
  receiveCount: facts.receiveCount,
  sentAt: facts.sentAt,
  firstReceivedAt: z.iso.datetime(),
  visibleAt: facts.visibleAt,
  deadLetterFrom: facts.deadLetterFrom,
});

export const Peeked = z.strictObject({
  id: facts.id,
  state: z.enum(['visible', 'in-flight', 'delayed']),
  body: facts.body,
  attributes: facts.attributes,
  receiveCount: facts.receiveCount,
  sentAt: facts.sentAt,
  firstReceivedAt: facts.firstReceivedAt,
  visibleAt: facts.visibleAt,
  deadLetterFrom: facts.deadLetterFrom,
});

const receipt = z
  .string()
  .min(1)
  .max(200)
  .meta({ description: 'The receipt that came with the message', cli: { positional: true } });

/** Of calls that a worker makes all day: long enough for any repetition of a lost answer, too short for messages to pile up as answers. */
const SHORTLY = 300;

export const queues = contract(queue, {
  ...crud(queue, {
    create: {
      examples: [
        ['queue create jobs', ''],
        ['queue create jobs --visibility-timeout 120 --max-receives 5 --dead-letter-queue failed-jobs', 'messages that fail five times are set aside'],
      ],
    },
    update: {
      examples: [
        ['queue update jobs --visibility-timeout 300', ''],
        ['queue update jobs --unset max-receives,dead-letter-queue', 'set nothing aside any more'],
      ],
    },
    delete: { summary: 'Delete a queue and the messages in it' },
  }),
  send: action(queue, {
    summary: 'Send a message',
    input: {
      body,
      attributes: attributes
        .default({})
        .meta({ description: 'Attributes of the message, key=value', example: { type: 'resize' }, cli: { flag: 'attribute', char: 'a' } }),
      delay: z
        .int()
        .min(0)
        .max(900)
        .optional()
        .meta({ description: "Seconds until it can be received; the queue's own when absent", example: 30, cli: { seconds: true } }),
    },
    output: z.strictObject({ id: facts.id, sentAt: facts.sentAt, visibleAt: facts.visibleAt }),
    answerKept: SHORTLY,
    examples: [
      ["queue send jobs 'resize photo-17'", ''],
      ['queue send jobs @order.json --attribute type=order --delay 60', 'a file, to be received in a minute'],
      ['queue send jobs -', 'from standard input'],
    ],
  }),
  receive: action(queue, {
    summary: 'Receive messages',
    description:
      'Hands out messages and hides them from others until they are acknowledged or the visibility timeout runs out. Those that became visible first come first. With `wait`, an empty queue is answered for only when that time is over.',
    input: {
      max: z.int().min(1).max(10).default(1).meta({ description: 'Most messages to receive' }),
      wait: z
        .number()
        .min(0)
        .max(20)
        .default(0)
        .meta({ description: 'Seconds to wait for a message when there is none', cli: { seconds: true } }),
      visibilityTimeout: z
        .int()
        .min(0)
        .max(HOURS_12)
        .optional()
        .meta({ description: "Seconds to hide them from others; the queue's own when absent", example: 60, cli: { seconds: true } }),
    },
    output: z.strictObject({ items: z.array(Received) }),
    answerKept: SHORTLY,
    examples: [
      ['queue receive jobs', ''],
      ['queue receive jobs --max 10 --wait 20 --output json', 'up to ten, as soon as there is one'],
    ],
  }),
  ack: action(queue, {
    summary: 'Acknowledge a received message: it is done and goes',
    description: 'Answers `acked: false` when the message is there no longer: acknowledged before, purged, or dropped by its age.',
    input: { receipt },
    output: z.strictObject({ id: facts.id, acked: z.boolean() }),
    answerKept: SHORTLY,
    examples: [['queue ack jobs <receipt>', '']],
  }),
  release: action(queue, {
    summary: 'Give a received message back',
    description: 'Others may receive it now, or after `delay`. Its receipt is void from then on.',
    input: {
      receipt,
      delay: z
        .int()
        .min(0)
        .max(HOURS_12)
        .default(0)
        .meta({ description: 'Seconds until it can be received again', cli: { seconds: true } }),
    },
    output: z.strictObject({ id: facts.id, visibleAt: facts.visibleAt }),
    answerKept: SHORTLY,
    examples: [['queue release jobs <receipt> --delay 60', 'try again in a minute']],
  }),
  extend: action(queue, {
    summary: 'Keep a received message hidden for longer',
    input: {
      receipt,
      seconds: z
        .int()
        .min(1)
        .max(HOURS_12)
        .meta({ description: 'Seconds from now until others may receive it', example: 120, cli: { seconds: true } }),
    },
    output: z.strictObject({ id: facts.id, visibleAt: facts.visibleAt }),
    answerKept: SHORTLY,
    examples: [['queue extend jobs <receipt> --seconds 600', 'ten more minutes']],
  }),
  peek: query(queue, {
    summary: 'Look at messages without receiving them',
    description: 'In the order in which they can be received, then those that somebody has received and those that are delayed.',
    input: { limit: z.int().min(1).max(100).default(10).meta({ description: 'At most so many' }) },
    output: z.strictObject({ items: z.array(Peeked) }),
    examples: [['queue peek jobs --limit 3', '']],
  }),
  purge: action(queue, {
    summary: 'Remove all messages of a queue',
    description: 'Also those that are delayed or that somebody has received.',
    destructive: true,
    output: z.strictObject({ purged: z.int().meta({ description: 'Messages that were removed' }) }),
    examples: [['queue purge jobs --yes', '']],
  }),
});
