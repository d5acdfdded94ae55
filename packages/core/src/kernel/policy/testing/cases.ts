// What AWS documents about policies, as data: one row is one decision. Names of sections are those of the IAM user guide.
import { cloudKeys, type Vocabulary } from '../vocabulary.ts';

type Statement = Readonly<Record<string, unknown>>;

export interface Case {
  readonly name: string;
  /** Section of the AWS documentation. */
  readonly source: string;
  /** Each a list of statements. */
  readonly policies: readonly (readonly Statement[])[];
  readonly action: string;
  readonly resources: readonly string[];
  readonly context: Readonly<Record<string, string | number | boolean | readonly string[]>>;
  readonly expected: 'allow' | 'deny' | 'none';
}

/** Ours, and keys of the types that ours has none of. */
export const vocabulary: Vocabulary = {
  actions: [
    ...['create', 'get', 'list', 'update', 'delete', 'start', 'stop'].map((operation) => `instance:${operation}`),
    ...['create', 'get', 'list', 'delete'].flatMap((operation) => [`vpc:${operation}`, `ssh-key:${operation}`, `volume:${operation}`]),
    ...['add', 'list', 'remove'].map((operation) => `tenant-member:${operation}`),
  ],
  services: ['instance', 'vpc', 'ssh-key', 'volume', 'tenant-member'],
  keys: [
    ...cloudKeys,
    { name: 'test:Name', types: ['string'], meaning: 'text' },
    { name: 'test:Names', types: ['string'], many: true, meaning: 'texts' },
    { name: 'test:Count', types: ['numeric'], meaning: 'number' },
    { name: 'test:Counts', types: ['numeric'], many: true, meaning: 'numbers' },
    { name: 'test:When', types: ['date'], meaning: 'moment' },
    { name: 'test:Flag', types: ['bool'], meaning: 'yes or no' },
    { name: 'test:Bytes', types: ['binary'], meaning: 'bytes' },
    { name: 'test:Addresses', types: ['ip'], many: true, meaning: 'addresses' },
  ],
};

const TENANT = 'tnt-0000000000000000';
export const crn = (service: string, name: string): string => `crn:cloud:${TENANT}:${service}:${service}/${name}`;
const WEB = [crn('instance', 'ins-1'), crn('instance', 'web')];

const LOGIC = 'Policy evaluation logic';
const ACTION = 'IAM JSON policy elements: Action';
const NOT_ACTION = 'IAM JSON policy elements: NotAction';
const RESOURCE = 'IAM JSON policy elements: Resource';
const NOT_RESOURCE = 'IAM JSON policy elements: NotResource';
const VARIABLES = 'IAM policy elements: Variables and tags';
const MULTIVALUED = 'Set operators for multivalued context keys';
const SEVERAL = 'Conditions with multiple context keys or values';
const operators = (kind: string): string => `IAM JSON policy elements: Condition operators, ${kind}`;
const STRING = operators('String');
const NUMERIC = operators('Numeric');
const DATE = operators('Date');
const BOOLEAN = operators('Boolean');
const BINARY = operators('Binary');
const ADDRESS = operators('IP address');
const ARN = operators('Amazon Resource Name (ARN)');
const IF_EXISTS = operators('...IfExists');
const NULL = operators('Null');
const MISSING = operators('Important: a key that is not present');

const allow = (action: unknown = '*', more: Statement = {}): Statement => ({ Effect: 'Allow', Action: action, Resource: '*', ...more });
const deny = (action: unknown = '*', more: Statement = {}): Statement => ({ Effect: 'Deny', Action: action, Resource: '*', ...more });

type Logic = readonly [name: string, source: string, policies: Case['policies'], expected: Case['expected'], request?: Partial<Case>];

const logic: readonly Logic[] = [
  ['no policy is an implicit deny', LOGIC, [], 'none'],
  ['a statement about something else is an implicit deny', LOGIC, [[allow('vpc:*')]], 'none'],
  ['an allow overrides the implicit deny', LOGIC, [[allow('instance:get')]], 'allow'],
  ['an explicit deny overrides an allow of the same policy', LOGIC, [[allow(), deny('instance:get')]], 'deny'],
  ['an explicit deny overrides an allow, written before it', LOGIC, [[deny('instance:get'), allow()]], 'deny'],
  ['an explicit deny overrides an allow of another policy', LOGIC, [[allow()], [deny('instance:*')]], 'deny'],
  ['an explicit deny of the first policy overrides an allow of the second', LOGIC, [[deny('instance:*')], [allow()]], 'deny'],
  ['a deny about something else does not matter', LOGIC, [[allow(), deny('vpc:*')]], 'allow'],
  ['a deny about another resource does not matter', LOGIC, [[allow(), deny('*', { Resource: crn('instance', 'db') })]], 'allow'],
  ['a deny whose condition does not hold does not matter', LOGIC, [[allow(), deny('*', { Condition: { StringEquals: { 'test:Name': 'x' } } })]], 'allow'],
  ['one allow among several policies is enough', LOGIC, [[allow('vpc:*')], [allow('ssh-key:*')], [allow('instance:get')]], 'allow'],
  ['a deny alone is a deny', LOGIC, [[deny()]], 'deny'],
  ['a deny on everything overrides everything', LOGIC, [[allow(), allow('instance:get')], [deny()]], 'deny'],
  ['statements of a policy are a logical OR', LOGIC, [[allow('vpc:get'), allow('instance:get')]], 'allow'],

  ['action by its whole name', ACTION, [[allow('instance:get')]], 'allow'],
  ['another operation of the same resource', ACTION, [[allow('instance:list')]], 'none'],
  ['a list of actions', ACTION, [[allow(['vpc:get', 'instance:get'])]], 'allow'],
  ['a list without it', ACTION, [[allow(['vpc:get', 'instance:list'])]], 'none'],
  ['case of the prefix and name does not matter', ACTION, [[allow('INSTANCE:Get')]], 'allow'],
  ['case of the request does not matter', ACTION, [[allow('instance:get')]], 'allow', { action: 'Instance:GET' }],
  ['case does not matter with wildcards', ACTION, [[allow('Inst*:G?T')]], 'allow'],
  ['star for all operations', ACTION, [[allow('instance:*')]], 'allow'],
  ['star for all actions', ACTION, [[allow('*')]], 'allow'],
  ['star in the middle', ACTION, [[allow('inst*:get')]], 'allow'],
  ['star at the front', ACTION, [[allow('*:get')]], 'allow'],
  ['star at the front, other operation', ACTION, [[allow('*:list')]], 'none'],
  ['star is also no letter', ACTION, [[allow('instance:get*')]], 'allow'],
  ['question mark is one letter', ACTION, [[allow('instance:?et')]], 'allow'],
  ['question mark is not two letters', ACTION, [[allow('instance:?t*')]], 'none', { action: 'instance:list' }],
  ['question mark is not no letter', ACTION, [[allow('instance:?ist')]], 'none', { action: 'instance:get' }],
  ['stars around a word', ACTION, [[allow('*ta*')]], 'allow', { action: 'instance:start' }],
  ['hyphens are letters', ACTION, [[allow('tenant-member:*')]], 'allow', { action: 'tenant-member:add', resources: [crn('tenant-member', '*')] }],

  ['NotAction with Allow allows others', NOT_ACTION, [[{ Effect: 'Allow', NotAction: 'vpc:*', Resource: '*' }]], 'allow'],
  ['NotAction with Allow does not allow those', NOT_ACTION, [[{ Effect: 'Allow', NotAction: 'instance:*', Resource: '*' }]], 'none'],
  ['NotAction with Allow does not deny those', NOT_ACTION, [[{ Effect: 'Allow', NotAction: 'instance:*', Resource: '*' }, allow('instance:get')]], 'allow'],
  ['NotAction with Deny denies others', NOT_ACTION, [[allow(), { Effect: 'Deny', NotAction: 'vpc:*', Resource: '*' }]], 'deny'],
  ['NotAction with Deny spares those', NOT_ACTION, [[allow(), { Effect: 'Deny', NotAction: 'instance:get', Resource: '*' }]], 'allow'],
  ['NotAction with Deny allows nothing by itself', NOT_ACTION, [[{ Effect: 'Deny', NotAction: 'instance:get', Resource: '*' }]], 'none'],
  ['NotAction with a list spares each', NOT_ACTION, [[{ Effect: 'Allow', NotAction: ['vpc:get', 'instance:get'], Resource: '*' }]], 'none'],
  ['NotAction without regard to case', NOT_ACTION, [[{ Effect: 'Allow', NotAction: 'Instance:GET', Resource: '*' }]], 'none'],
  ['NotAction star leaves nothing', NOT_ACTION, [[{ Effect: 'Allow', NotAction: '*', Resource: '*' }]], 'none'],

  ['resource by its name', RESOURCE, [[allow('*', { Resource: crn('instance', 'web') })]], 'allow'],
  ['the same resource by its id', RESOURCE, [[allow('*', { Resource: crn('instance', 'ins-1') })]], 'allow'],
  ['a deny by id holds for a call by name', RESOURCE, [[allow(), deny('*', { Resource: crn('instance', 'ins-1') })]], 'deny'],
  ['a deny by name holds for a call by id', RESOURCE, [[allow(), deny('*', { Resource: crn('instance', 'web') })]], 'deny'],
  ['another resource', RESOURCE, [[allow('*', { Resource: crn('instance', 'db') })]], 'none'],
  ['case of a resource matters', RESOURCE, [[allow('*', { Resource: crn('instance', 'WEB') })]], 'none'],
  ['a list of resources', RESOURCE, [[allow('*', { Resource: [crn('instance', 'db'), crn('instance', 'web')] })]], 'allow'],
  ['all of a type', RESOURCE, [[allow('*', { Resource: crn('instance', '*') })]], 'allow'],
  ['all of another type', RESOURCE, [[allow('*', { Resource: crn('vpc', '*') })]], 'none'],
  ['star within a name', RESOURCE, [[allow('*', { Resource: crn('instance', 'w*b') })]], 'allow'],
  ['question mark within a name', RESOURCE, [[allow('*', { Resource: crn('instance', 'w?b') })]], 'allow'],
  ['as many question marks as letters', RESOURCE, [[allow('*', { Resource: crn('instance', '???') })]], 'allow'],
  ['more question marks than letters', RESOURCE, [[allow('*', { Resource: crn('instance', '????????') })]], 'none'],
  ['any tenant', RESOURCE, [[allow('*', { Resource: 'crn:cloud:*:instance:instance/web' })]], 'allow'],
  ['an empty tenant is this one', RESOURCE, [[allow('*', { Resource: 'crn:cloud::instance:instance/web' })]], 'allow'],
  ['another tenant', RESOURCE, [[allow('*', { Resource: 'crn:cloud:tnt-1111111111111111:instance:instance/web' })]], 'none'],
  ['a last star reaches over colons', RESOURCE, [[allow('*', { Resource: 'crn:cloud:*' })]], 'allow'],
  ['a name that only begins like it', RESOURCE, [[allow('*', { Resource: crn('instance', 'we') })]], 'none'],
  ['a call about all of a type is not covered by one of them', RESOURCE, [[allow('*', { Resource: WEB[1] })]], 'none', { resources: [crn('instance', '*')] }],
  [
    'a call about all of a type is covered by a star',
    RESOURCE,
    [[allow('*', { Resource: crn('instance', '*') })]],
    'allow',
    { resources: [crn('instance', '*')] },
  ],

  ['NotResource with Allow allows others', NOT_RESOURCE, [[{ Effect: 'Allow', Action: '*', NotResource: crn('instance', 'db') }]], 'allow'],
  ['NotResource with Allow does not allow it', NOT_RESOURCE, [[{ Effect: 'Allow', Action: '*', NotResource: crn('instance', 'web') }]], 'none'],
  ['NotResource knows all names', NOT_RESOURCE, [[{ Effect: 'Allow', Action: '*', NotResource: crn('instance', 'ins-1') }]], 'none'],
  ['NotResource with Deny denies others', NOT_RESOURCE, [[allow(), { Effect: 'Deny', Action: '*', NotResource: crn('instance', 'db') }]], 'deny'],
  ['NotResource with Deny spares it', NOT_RESOURCE, [[allow(), { Effect: 'Deny', Action: '*', NotResource: crn('instance', 'web') }]], 'allow'],
  [
    'NotResource with a list spares each',
    NOT_RESOURCE,
    [[allow(), { Effect: 'Deny', Action: '*', NotResource: [crn('vpc', '*'), crn('instance', 'w*')] }]],
    'allow',
  ],
  ['NotResource with NotAction', NOT_RESOURCE, [[allow(), { Effect: 'Deny', NotAction: 'vpc:*', NotResource: crn('instance', 'db') }]], 'deny'],

  [
    'a variable in a resource',
    VARIABLES,
    [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${test:Name}' })]],
    'allow',
    { context: { 'test:Name': 'web' } },
  ],
  [
    'a variable with another value',
    VARIABLES,
    [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${test:Name}' })]],
    'none',
    { context: { 'test:Name': 'db' } },
  ],
  ['a variable and a star', VARIABLES, [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${test:Name}*' })]], 'allow', { context: { 'test:Name': 'w' } }],
  ['a variable without a value fits nothing', VARIABLES, [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${test:Name}' })]], 'none'],
  [
    'a variable without a value beside a pattern that fits',
    VARIABLES,
    [[allow('*', { Resource: ['crn:cloud:*:instance:instance/${test:Name}', WEB[1]] })]],
    'allow',
  ],
  [
    'a variable without a value in NotResource',
    VARIABLES,
    [[{ Effect: 'Allow', Action: '*', NotResource: 'crn:cloud:*:instance:instance/${test:Name}' }]],
    'none',
  ],
  ['a default', VARIABLES, [[allow('*', { Resource: "crn:cloud:*:instance:instance/${test:Name, 'web'}" })]], 'allow'],
  [
    'a default where there is a value',
    VARIABLES,
    [[allow('*', { Resource: "crn:cloud:*:instance:instance/${test:Name, 'web'}" })]],
    'none',
    { context: { 'test:Name': 'db' } },
  ],
  [
    'wildcards in a value are letters',
    VARIABLES,
    [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${test:Name}' })]],
    'none',
    { context: { 'test:Name': '*' } },
  ],
  [
    'variables in a value are letters',
    VARIABLES,
    [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${test:Name}' })]],
    'none',
    { context: { 'test:Name': '${cloud:TenantId}' } },
  ],
  [
    'case of a variable does not matter',
    VARIABLES,
    [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${TEST:name}' })]],
    'allow',
    { context: { 'test:Name': 'web' } },
  ],
  [
    'a label as a variable',
    VARIABLES,
    [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${cloud:RequestLabel/who}' })]],
    'allow',
    { context: { 'cloud:RequestLabel/who': 'web' } },
  ],
  [
    'case of the key of a label matters',
    VARIABLES,
    [[allow('*', { Resource: 'crn:cloud:*:instance:instance/${cloud:RequestLabel/Who}' })]],
    'none',
    { context: { 'cloud:RequestLabel/who': 'web' } },
  ],
  ['an escaped star is a letter', VARIABLES, [[allow('*', { Resource: crn('instance', '${*}') })]], 'none'],
  ['an escaped star fits a star', VARIABLES, [[allow('*', { Resource: crn('instance', '${*}') })]], 'allow', { resources: [crn('instance', '*')] }],
  ['an escaped question mark is a letter', VARIABLES, [[allow('*', { Resource: crn('instance', 'we${?}') })]], 'none'],
  ['an escaped dollar', VARIABLES, [[allow('*', { Resource: crn('instance', '${$}x') })]], 'allow', { resources: [crn('instance', '$x')] }],
  [
    'a variable in Deny',
    VARIABLES,
    [[allow(), deny('*', { Resource: 'crn:cloud:*:instance:instance/${test:Name}' })]],
    'deny',
    { context: { 'test:Name': 'web' } },
  ],
];

type Row = readonly [name: string, source: string, condition: Statement, context: Case['context'], holds: boolean];

const name = (value: unknown): Statement => ({ 'test:Name': value });
const names = (value: unknown): Statement => ({ 'test:Names': value });
const count = (value: unknown): Statement => ({ 'test:Count': value });
const when = (value: unknown): Statement => ({ 'test:When': value });
const ip = (value: unknown): Statement => ({ 'cloud:SourceIp': value });
const from = (address: string): Case['context'] => ({ 'cloud:SourceIp': address });
const NOON = '2026-11-23T12:00:00Z';

/** Each as the condition of a statement that allows. */
const conditions: readonly Row[] = [
  ['StringEquals', STRING, { StringEquals: name('a') }, { 'test:Name': 'a' }, true],
  ['StringEquals, another', STRING, { StringEquals: name('a') }, { 'test:Name': 'b' }, false],
  ['StringEquals minds case', STRING, { StringEquals: name('a') }, { 'test:Name': 'A' }, false],
  ['StringEquals knows no star', STRING, { StringEquals: name('a*') }, { 'test:Name': 'ab' }, false],
  ['StringEquals with the letter star', STRING, { StringEquals: name('a*') }, { 'test:Name': 'a*' }, true],
  ['StringEquals, any of several', STRING, { StringEquals: name(['a', 'b']) }, { 'test:Name': 'b' }, true],
  ['StringEquals, none of several', STRING, { StringEquals: name(['a', 'b']) }, { 'test:Name': 'c' }, false],
  ['StringEquals of the empty text', STRING, { StringEquals: name('') }, { 'test:Name': '' }, true],
  ['StringNotEquals', STRING, { StringNotEquals: name('a') }, { 'test:Name': 'b' }, true],
  ['StringNotEquals, the same', STRING, { StringNotEquals: name('a') }, { 'test:Name': 'a' }, false],
  ['StringNotEquals minds case', STRING, { StringNotEquals: name('a') }, { 'test:Name': 'A' }, true],
  ['StringNotEquals, none of several (NOR)', SEVERAL, { StringNotEquals: name(['a', 'b']) }, { 'test:Name': 'c' }, true],
  ['StringNotEquals, one of several', SEVERAL, { StringNotEquals: name(['a', 'b']) }, { 'test:Name': 'b' }, false],
  ['StringEqualsIgnoreCase', STRING, { StringEqualsIgnoreCase: name('aB') }, { 'test:Name': 'Ab' }, true],
  ['StringEqualsIgnoreCase, another', STRING, { StringEqualsIgnoreCase: name('aB') }, { 'test:Name': 'ac' }, false],
  ['StringNotEqualsIgnoreCase', STRING, { StringNotEqualsIgnoreCase: name('aB') }, { 'test:Name': 'ab' }, false],
  ['StringNotEqualsIgnoreCase, another', STRING, { StringNotEqualsIgnoreCase: name('aB') }, { 'test:Name': 'ac' }, true],
  ['StringLike with a star', STRING, { StringLike: name('a*c') }, { 'test:Name': 'abbc' }, true],
  ['StringLike, star as nothing', STRING, { StringLike: name('a*c') }, { 'test:Name': 'ac' }, true],
  ['StringLike with a question mark', STRING, { StringLike: name('a?c') }, { 'test:Name': 'abc' }, true],
  ['StringLike, question mark is one letter', STRING, { StringLike: name('a?c') }, { 'test:Name': 'ac' }, false],
  ['StringLike without wildcards', STRING, { StringLike: name('abc') }, { 'test:Name': 'abc' }, true],
  ['StringLike fits the whole text', STRING, { StringLike: name('b') }, { 'test:Name': 'abc' }, false],
  ['StringLike minds case', STRING, { StringLike: name('A*') }, { 'test:Name': 'abc' }, false],
  ['StringLike with an escaped star', VARIABLES, { StringLike: name('a${*}') }, { 'test:Name': 'ab' }, false],
  ['StringLike with an escaped star, the letter', VARIABLES, { StringLike: name('a${*}') }, { 'test:Name': 'a*' }, true],
  ['StringNotLike', STRING, { StringNotLike: name('a*') }, { 'test:Name': 'ba' }, true],
  ['StringNotLike, fits', STRING, { StringNotLike: name('a*') }, { 'test:Name': 'ab' }, false],
  ['StringNotLike, one of several fits', SEVERAL, { StringNotLike: name(['a*', 'b*']) }, { 'test:Name': 'bb' }, false],

  ['NumericEquals', NUMERIC, { NumericEquals: count(10) }, { 'test:Count': 10 }, true],
  ['NumericEquals of texts', NUMERIC, { NumericEquals: count('10') }, { 'test:Count': '10.0' }, true],
  ['NumericEquals, another', NUMERIC, { NumericEquals: count('10') }, { 'test:Count': 11 }, false],
  ['NumericEquals, any of several', NUMERIC, { NumericEquals: count([9, 10]) }, { 'test:Count': 10 }, true],
  ['NumericEquals of what is no number', NUMERIC, { NumericEquals: count(10) }, { 'test:Count': 'ten' }, false],
  ['NumericNotEquals', NUMERIC, { NumericNotEquals: count(10) }, { 'test:Count': 11 }, true],
  ['NumericNotEquals, the same', NUMERIC, { NumericNotEquals: count(10) }, { 'test:Count': 10 }, false],
  ['NumericLessThan', NUMERIC, { NumericLessThan: count(10) }, { 'test:Count': 9 }, true],
  ['NumericLessThan, equal', NUMERIC, { NumericLessThan: count(10) }, { 'test:Count': 10 }, false],
  ['NumericLessThan compares numbers, not texts', NUMERIC, { NumericLessThan: count('10') }, { 'test:Count': '9' }, true],
  ['NumericLessThanEquals', NUMERIC, { NumericLessThanEquals: count(10) }, { 'test:Count': 10 }, true],
  ['NumericLessThanEquals, more', NUMERIC, { NumericLessThanEquals: count(10) }, { 'test:Count': 10.5 }, false],
  ['NumericGreaterThan', NUMERIC, { NumericGreaterThan: count(10) }, { 'test:Count': 10.5 }, true],
  ['NumericGreaterThan, equal', NUMERIC, { NumericGreaterThan: count(10) }, { 'test:Count': 10 }, false],
  ['NumericGreaterThanEquals', NUMERIC, { NumericGreaterThanEquals: count(10) }, { 'test:Count': 10 }, true],
  ['NumericGreaterThanEquals, less', NUMERIC, { NumericGreaterThanEquals: count(-10) }, { 'test:Count': -11 }, false],

  ['DateEquals', DATE, { DateEquals: when(NOON) }, { 'test:When': NOON }, true],
  ['DateEquals in another zone', DATE, { DateEquals: when('2026-11-23T13:00:00+01:00') }, { 'test:When': NOON }, true],
  ['DateEquals of seconds', DATE, { DateEquals: when('1795435200') }, { 'test:When': '2026-11-23T12:00:00Z' }, Date.parse(NOON) === 1_795_435_200_000],
  ['DateEquals, a second later', DATE, { DateEquals: when(NOON) }, { 'test:When': '2026-11-23T12:00:01Z' }, false],
  ['DateNotEquals', DATE, { DateNotEquals: when(NOON) }, { 'test:When': '2026-11-23T12:00:01Z' }, true],
  ['DateLessThan', DATE, { DateLessThan: when(NOON) }, { 'test:When': '2026-11-23T11:59:59Z' }, true],
  ['DateLessThan, equal', DATE, { DateLessThan: when(NOON) }, { 'test:When': NOON }, false],
  ['DateLessThan a day', DATE, { DateLessThan: when('2026-11-23') }, { 'test:When': '2026-11-22T23:59:59Z' }, true],
  ['DateLessThanEquals', DATE, { DateLessThanEquals: when(NOON) }, { 'test:When': NOON }, true],
  ['DateGreaterThan', DATE, { DateGreaterThan: when(NOON) }, { 'test:When': '2026-11-23T12:00:01Z' }, true],
  ['DateGreaterThan, before', DATE, { DateGreaterThan: when(NOON) }, { 'test:When': '2026-11-23T11:00:00Z' }, false],
  ['DateGreaterThanEquals', DATE, { DateGreaterThanEquals: when(NOON) }, { 'test:When': NOON }, true],
  ['between two dates', DATE, { DateGreaterThan: when('2026-11-01'), DateLessThan: when('2026-12-01') }, { 'test:When': NOON }, true],
  ['after the second of two dates', DATE, { DateGreaterThan: when('2026-11-01'), DateLessThan: when('2026-11-23') }, { 'test:When': NOON }, false],
  ['the time as a number', DATE, { NumericGreaterThan: { 'cloud:EpochTime': 1000 } }, { 'cloud:EpochTime': 1001 }, true],
  [
    'the time in seconds as a date',
    DATE,
    { DateGreaterThan: { 'cloud:EpochTime': '2026-11-23T00:00:00Z' } },
    { 'cloud:EpochTime': Date.parse(NOON) / 1000 },
    true,
  ],
  ['the time as it comes', DATE, { DateLessThan: { 'cloud:CurrentTime': NOON } }, { 'cloud:CurrentTime': '2026-11-23T11:59:59.999Z' }, true],

  ['Bool', BOOLEAN, { Bool: { 'test:Flag': 'true' } }, { 'test:Flag': true }, true],
  ['Bool, a boolean in the document', BOOLEAN, { Bool: { 'test:Flag': true } }, { 'test:Flag': 'true' }, true],
  ['Bool, the other', BOOLEAN, { Bool: { 'test:Flag': 'true' } }, { 'test:Flag': false }, false],
  ['Bool false', BOOLEAN, { Bool: { 'test:Flag': 'false' } }, { 'test:Flag': false }, true],
  ['BinaryEquals', BINARY, { BinaryEquals: { 'test:Bytes': 'QmluYXJ5' } }, { 'test:Bytes': 'QmluYXJ5' }, true],
  ['BinaryEquals, other bytes', BINARY, { BinaryEquals: { 'test:Bytes': 'QmluYXJ5' } }, { 'test:Bytes': 'QmluYXJ6' }, false],
  ['BinaryEquals minds case', BINARY, { BinaryEquals: { 'test:Bytes': 'QmluYXJ5' } }, { 'test:Bytes': 'qmluyxj5' }, false],

  ['IpAddress in a block', ADDRESS, { IpAddress: ip('203.0.113.0/24') }, from('203.0.113.255'), true],
  ['IpAddress outside a block', ADDRESS, { IpAddress: ip('203.0.113.0/24') }, from('203.0.114.0'), false],
  ['IpAddress, one', ADDRESS, { IpAddress: ip('203.0.113.7') }, from('203.0.113.7'), true],
  ['IpAddress, another one', ADDRESS, { IpAddress: ip('203.0.113.7') }, from('203.0.113.8'), false],
  ['IpAddress, a prefix inside a byte', ADDRESS, { IpAddress: ip('10.0.16.0/20') }, from('10.0.31.255'), true],
  ['IpAddress, behind a prefix inside a byte', ADDRESS, { IpAddress: ip('10.0.16.0/20') }, from('10.0.32.0'), false],
  ['IpAddress, all of IPv4', ADDRESS, { IpAddress: ip('0.0.0.0/0') }, from('8.8.8.8'), true],
  ['IpAddress, all of IPv4 is not IPv6', ADDRESS, { IpAddress: ip('0.0.0.0/0') }, from('2001:db8::1'), false],
  ['IpAddress in an IPv6 block', ADDRESS, { IpAddress: ip('2001:db8:1234:5678::/64') }, from('2001:db8:1234:5678:9::1'), true],
  ['IpAddress outside an IPv6 block', ADDRESS, { IpAddress: ip('2001:db8:1234:5678::/64') }, from('2001:db8:1234:5679::1'), false],
  ['IpAddress, IPv6 written otherwise', ADDRESS, { IpAddress: ip('2001:DB8:0:0::1') }, from('2001:db8::1'), true],
  ['IpAddress, IPv4 inside IPv6', ADDRESS, { IpAddress: ip('10.0.0.0/8') }, from('::ffff:10.1.2.3'), true],
  ['IpAddress, any of several', ADDRESS, { IpAddress: ip(['192.0.2.0/24', '2001:db8::/32']) }, from('2001:db8::5'), true],
  ['IpAddress of what is no address', ADDRESS, { IpAddress: ip('0.0.0.0/0') }, from('nowhere'), false],
  ['NotIpAddress outside', ADDRESS, { NotIpAddress: ip('203.0.113.0/24') }, from('203.0.114.1'), true],
  ['NotIpAddress inside', ADDRESS, { NotIpAddress: ip('203.0.113.0/24') }, from('203.0.113.1'), false],
  ['NotIpAddress, inside one of several', SEVERAL, { NotIpAddress: ip(['192.0.2.0/24', '203.0.113.0/24']) }, from('203.0.113.1'), false],

  ['ArnEquals', ARN, { ArnEquals: name('crn:cloud:t:vpc:vpc/a') }, { 'test:Name': 'crn:cloud:t:vpc:vpc/a' }, true],
  ['ArnEquals knows wildcards', ARN, { ArnEquals: name('crn:cloud:*:vpc:vpc/*') }, { 'test:Name': 'crn:cloud:t:vpc:vpc/a' }, true],
  ['ArnLike', ARN, { ArnLike: name('crn:cloud:*:vpc:vpc/a?') }, { 'test:Name': 'crn:cloud:t:vpc:vpc/ab' }, true],
  ['ArnLike minds case', ARN, { ArnLike: name('crn:cloud:*:vpc:vpc/A*') }, { 'test:Name': 'crn:cloud:t:vpc:vpc/ab' }, false],
  ['a star of ArnLike stays in its part', ARN, { ArnLike: name('crn:cloud:*:vpc:vpc/x') }, { 'test:Name': 'crn:cloud:t:u:vpc:vpc/x' }, false],
  ['the last part has the colons that remain', ARN, { ArnLike: name('crn:cloud:*:vpc:vpc/*') }, { 'test:Name': 'crn:cloud:t:vpc:vpc/a:b' }, true],
  ['ArnLike of what is no name', ARN, { ArnLike: name('crn:cloud:*:vpc:*') }, { 'test:Name': 'vpc/a' }, false],
  ['ArnNotEquals', ARN, { ArnNotEquals: name('crn:cloud:t:vpc:vpc/a') }, { 'test:Name': 'crn:cloud:t:vpc:vpc/b' }, true],
  ['ArnNotLike', ARN, { ArnNotLike: name('crn:cloud:*:vpc:*') }, { 'test:Name': 'crn:cloud:t:vpc:vpc/b' }, false],
  [
    'a variable in ArnLike',
    VARIABLES,
    { ArnLike: name('crn:cloud:${cloud:TenantId}:vpc:*') },
    { 'test:Name': 'crn:cloud:t:vpc:vpc/b', 'cloud:TenantId': 't' },
    true,
  ],
  [
    'a star in the value of a variable in ArnLike is a letter',
    VARIABLES,
    { ArnLike: name('crn:cloud:t:vpc:vpc/${cloud:PrincipalName}') },
    { 'test:Name': 'crn:cloud:t:vpc:vpc/b', 'cloud:PrincipalName': '*' },
    false,
  ],
  [
    'a colon in the value of a variable in ArnLike stays in its part',
    VARIABLES,
    { ArnLike: name('crn:cloud:${cloud:PrincipalName}:vpc:vpc/b') },
    { 'test:Name': 'crn:cloud:t:vpc:vpc:vpc/b', 'cloud:PrincipalName': 't:vpc' },
    false,
  ],
  ['an escaped star in ArnLike is a letter', VARIABLES, { ArnLike: name('crn:cloud:t:vpc:vpc/${*}') }, { 'test:Name': 'crn:cloud:t:vpc:vpc/b' }, false],

  ['a missing key: StringEquals', MISSING, { StringEquals: name('a') }, {}, false],
  ['a missing key: StringLike star', MISSING, { StringLike: name('*') }, {}, false],
  ['a missing key: NumericLessThan', MISSING, { NumericLessThan: count(10) }, {}, false],
  ['a missing key: DateGreaterThan', MISSING, { DateGreaterThan: when(NOON) }, {}, false],
  ['a missing key: Bool false', MISSING, { Bool: { 'test:Flag': 'false' } }, {}, false],
  ['a missing key: BinaryEquals', MISSING, { BinaryEquals: { 'test:Bytes': '' } }, {}, false],
  ['a missing key: IpAddress', MISSING, { IpAddress: ip('0.0.0.0/0') }, {}, false],
  ['a missing key: ArnLike', MISSING, { ArnLike: name('crn:*:*:*:*') }, {}, false],
  ['a missing key: StringNotEquals', MISSING, { StringNotEquals: name('a') }, {}, true],
  ['a missing key: StringNotEqualsIgnoreCase', MISSING, { StringNotEqualsIgnoreCase: name('a') }, {}, true],
  ['a missing key: StringNotLike', MISSING, { StringNotLike: name('*') }, {}, true],
  ['a missing key: NumericNotEquals', MISSING, { NumericNotEquals: count(1) }, {}, true],
  ['a missing key: DateNotEquals', MISSING, { DateNotEquals: when(NOON) }, {}, true],
  ['a missing key: NotIpAddress', MISSING, { NotIpAddress: ip('0.0.0.0/0') }, {}, true],
  ['a missing key: ArnNotLike', MISSING, { ArnNotLike: name('crn:*:*:*:*') }, {}, true],

  ['StringEqualsIfExists without the key', IF_EXISTS, { StringEqualsIfExists: name('a') }, {}, true],
  ['StringEqualsIfExists with it', IF_EXISTS, { StringEqualsIfExists: name('a') }, { 'test:Name': 'a' }, true],
  ['StringEqualsIfExists with another', IF_EXISTS, { StringEqualsIfExists: name('a') }, { 'test:Name': 'b' }, false],
  ['StringLikeIfExists', IF_EXISTS, { StringLikeIfExists: name(['t1.*', 't2.*']) }, { 'test:Name': 'm1.x' }, false],
  ['StringNotEqualsIfExists without the key', IF_EXISTS, { StringNotEqualsIfExists: name('a') }, {}, true],
  ['NumericLessThanIfExists without the key', IF_EXISTS, { NumericLessThanIfExists: count(1) }, {}, true],
  ['DateLessThanIfExists without the key', IF_EXISTS, { DateLessThanIfExists: when(NOON) }, {}, true],
  ['BoolIfExists without the key', IF_EXISTS, { BoolIfExists: { 'test:Flag': 'true' } }, {}, true],
  ['BoolIfExists with the other', IF_EXISTS, { BoolIfExists: { 'test:Flag': 'true' } }, { 'test:Flag': 'false' }, false],
  ['IpAddressIfExists without the key', IF_EXISTS, { IpAddressIfExists: ip('10.0.0.0/8') }, {}, true],
  ['IpAddressIfExists outside', IF_EXISTS, { IpAddressIfExists: ip('10.0.0.0/8') }, from('11.0.0.1'), false],
  ['ArnLikeIfExists without the key', IF_EXISTS, { ArnLikeIfExists: name('crn:cloud:*:vpc:*') }, {}, true],
  ['ForAnyValue with IfExists without the key', IF_EXISTS, { 'ForAnyValue:StringEqualsIfExists': names('a') }, {}, true],
  ['ForAllValues with IfExists and another', IF_EXISTS, { 'ForAllValues:StringEqualsIfExists': names('a') }, { 'test:Names': ['b'] }, false],

  ['Null true without the key', NULL, { Null: name('true') }, {}, true],
  ['Null true with the key', NULL, { Null: name('true') }, { 'test:Name': 'a' }, false],
  ['Null false with the key', NULL, { Null: name('false') }, { 'test:Name': 'a' }, true],
  ['Null false without the key', NULL, { Null: name(false) }, {}, false],
  ['Null with the empty text, which is a value', NULL, { Null: name('false') }, { 'test:Name': '' }, true],
  ['Null of a multivalued key', NULL, { Null: names('false') }, { 'test:Names': ['a'] }, true],
  ['Null of a multivalued key without a value', NULL, { Null: names('true') }, { 'test:Names': [] }, true],

  ['ForAllValues, all of them', MULTIVALUED, { 'ForAllValues:StringEquals': names(['a', 'b']) }, { 'test:Names': ['b', 'a'] }, true],
  ['ForAllValues, some of them', MULTIVALUED, { 'ForAllValues:StringEquals': names(['a', 'b', 'c']) }, { 'test:Names': ['a'] }, true],
  ['ForAllValues, one too many', MULTIVALUED, { 'ForAllValues:StringEquals': names(['a', 'b']) }, { 'test:Names': ['a', 'x'] }, false],
  ['ForAllValues without the key', MULTIVALUED, { 'ForAllValues:StringEquals': names('a') }, {}, true],
  ['ForAllValues of no values', MULTIVALUED, { 'ForAllValues:StringEquals': names('a') }, { 'test:Names': [] }, true],
  ['ForAllValues with Null, without the key', MULTIVALUED, { 'ForAllValues:StringEquals': names('a'), Null: names('false') }, {}, false],
  ['ForAnyValue, one of them', MULTIVALUED, { 'ForAnyValue:StringEquals': names(['a', 'b']) }, { 'test:Names': ['x', 'b'] }, true],
  ['ForAnyValue, none of them', MULTIVALUED, { 'ForAnyValue:StringEquals': names(['a', 'b']) }, { 'test:Names': ['x', 'y'] }, false],
  ['ForAnyValue without the key', MULTIVALUED, { 'ForAnyValue:StringEquals': names('a') }, {}, false],
  ['ForAnyValue of no values', MULTIVALUED, { 'ForAnyValue:StringEquals': names('a') }, { 'test:Names': [] }, false],
  ['ForAllValues negated, none of them', MULTIVALUED, { 'ForAllValues:StringNotEquals': names(['a', 'b']) }, { 'test:Names': ['x', 'y'] }, true],
  ['ForAllValues negated, one of them', MULTIVALUED, { 'ForAllValues:StringNotEquals': names(['a', 'b']) }, { 'test:Names': ['x', 'a'] }, false],
  ['ForAllValues negated without the key', MULTIVALUED, { 'ForAllValues:StringNotEquals': names('a') }, {}, true],
  ['ForAnyValue negated, one is another', MULTIVALUED, { 'ForAnyValue:StringNotEquals': names(['a', 'b']) }, { 'test:Names': ['a', 'x'] }, true],
  ['ForAnyValue negated, all are these', MULTIVALUED, { 'ForAnyValue:StringNotEquals': names(['a', 'b']) }, { 'test:Names': ['a', 'b'] }, false],
  ['ForAnyValue negated without the key', MULTIVALUED, { 'ForAnyValue:StringNotEquals': names('a') }, {}, false],
  ['ForAllValues with StringLike', MULTIVALUED, { 'ForAllValues:StringLike': names('team-*') }, { 'test:Names': ['team-a', 'team-b'] }, true],
  ['ForAnyValue with numbers', MULTIVALUED, { 'ForAnyValue:NumericGreaterThan': { 'test:Counts': 5 } }, { 'test:Counts': ['1', '6'] }, true],
  ['ForAllValues with numbers', MULTIVALUED, { 'ForAllValues:NumericGreaterThan': { 'test:Counts': 5 } }, { 'test:Counts': ['1', '6'] }, false],
  [
    'ForAllValues with addresses',
    MULTIVALUED,
    { 'ForAllValues:IpAddress': { 'test:Addresses': '10.0.0.0/8' } },
    { 'test:Addresses': ['10.0.0.1', '10.9.9.9'] },
    true,
  ],
  ['ForAllValues on a key with one value', MULTIVALUED, { 'ForAllValues:StringEquals': name('a') }, { 'test:Name': 'a' }, true],
  ['label keys', MULTIVALUED, { 'ForAllValues:StringEquals': { 'cloud:LabelKeys': ['team', 'env'] } }, { 'cloud:LabelKeys': ['env'] }, true],

  ['operators are a logical AND', SEVERAL, { StringEquals: name('a'), NumericLessThan: count(5) }, { 'test:Name': 'a', 'test:Count': 4 }, true],
  [
    'operators are a logical AND, one does not hold',
    SEVERAL,
    { StringEquals: name('a'), NumericLessThan: count(5) },
    { 'test:Name': 'a', 'test:Count': 6 },
    false,
  ],
  [
    'keys are a logical AND',
    SEVERAL,
    { StringEquals: { 'test:Name': 'a', 'cloud:TenantName': 'acme' } },
    { 'test:Name': 'a', 'cloud:TenantName': 'acme' },
    true,
  ],
  [
    'keys are a logical AND, one does not hold',
    SEVERAL,
    { StringEquals: { 'test:Name': 'a', 'cloud:TenantName': 'acme' } },
    { 'test:Name': 'a', 'cloud:TenantName': 'x' },
    false,
  ],
  ['case of a key does not matter', 'IAM JSON policy elements: Condition', { StringEquals: { 'TEST:NAME': 'a' } }, { 'test:Name': 'a' }, true],
  [
    'case of a label key matters',
    'IAM JSON policy elements: Condition',
    { StringEquals: { 'cloud:ResourceLabel/Team': 'a' } },
    { 'cloud:ResourceLabel/team': 'a' },
    false,
  ],
  [
    'a label of the resource',
    'IAM JSON policy elements: Condition',
    { StringEquals: { 'Cloud:resourceLabel/team': 'a' } },
    { 'cloud:ResourceLabel/team': 'a' },
    true,
  ],

  [
    'a variable in StringEquals',
    VARIABLES,
    { StringEquals: { 'cloud:ResourceLabel/owner': '${cloud:PrincipalName}' } },
    { 'cloud:ResourceLabel/owner': 'ann', 'cloud:PrincipalName': 'ann' },
    true,
  ],
  [
    'a variable in StringEquals, another',
    VARIABLES,
    { StringEquals: { 'cloud:ResourceLabel/owner': '${cloud:PrincipalName}' } },
    { 'cloud:ResourceLabel/owner': 'bob', 'cloud:PrincipalName': 'ann' },
    false,
  ],
  ['a variable without a value in StringEquals', VARIABLES, { StringEquals: name('${cloud:PrincipalName}') }, { 'test:Name': 'x' }, false],
  ['a variable without a value in StringNotEquals', VARIABLES, { StringNotEquals: name('${cloud:PrincipalName}') }, { 'test:Name': 'x' }, false],
  ['a variable without a value in StringNotLike', VARIABLES, { StringNotLike: name('${cloud:PrincipalName}-*') }, { 'test:Name': 'x' }, false],
  [
    'a variable without a value in ArnNotLike',
    VARIABLES,
    { ArnNotLike: name('crn:cloud:${cloud:TenantId}:vpc:*') },
    { 'test:Name': 'crn:cloud:t:vpc:vpc/x' },
    false,
  ],
  ['a variable without a value beside a value that fits', VARIABLES, { StringEquals: name(['${cloud:PrincipalName}', 'x']) }, { 'test:Name': 'x' }, true],
  ['a default in a condition', VARIABLES, { StringEquals: name("${cloud:PrincipalName, 'nobody'}") }, { 'test:Name': 'nobody' }, true],
  [
    'a star in the value of a variable in StringLike is a letter',
    VARIABLES,
    { StringLike: name('${cloud:PrincipalName}') },
    { 'test:Name': 'anything', 'cloud:PrincipalName': '*' },
    false,
  ],
  [
    'a variable and a star in StringLike',
    VARIABLES,
    { StringLike: name('${cloud:PrincipalName}/*') },
    { 'test:Name': 'ann/x', 'cloud:PrincipalName': 'ann' },
    true,
  ],
  [
    'a variable in StringEqualsIgnoreCase',
    VARIABLES,
    { StringEqualsIgnoreCase: name('${cloud:PrincipalName}') },
    { 'test:Name': 'ANN', 'cloud:PrincipalName': 'ann' },
    true,
  ],
];

export const cases: readonly Case[] = [
  ...logic.map(
    ([title, source, policies, expected, request = {}]): Case => ({
      name: title,
      source,
      policies,
      action: 'instance:get',
      resources: WEB,
      context: {},
      ...request,
      expected,
    }),
  ),
  ...conditions.flatMap(([title, source, condition, context, holds]): Case[] => [
    {
      name: title,
      source,
      policies: [[allow('instance:get', { Condition: condition })]],
      action: 'instance:get',
      resources: WEB,
      context,
      expected: holds ? 'allow' : 'none',
    },
  ]),
];
