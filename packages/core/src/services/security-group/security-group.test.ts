// Security groups: rules that can be right or wrong, and instances that they are attached to.
import { expect, test } from 'vitest';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

async function prod(b: Bench): Promise<void> {
  await b.ready(b.cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/16' }));
}
const instance = (b: Bench, name: string, more: object = {}) => b.ready(b.cloud.instance.create({ name, image: 'busybox', vpc: 'prod', ...more }));
const rulesOf = async (b: Bench, name: string) => (await b.cloud.securityGroup.ruleList(name)).items;

test('a new group lets nothing in and everything out; rules come and go', async () => {
  await using b = await bench();
  await prod(b);
  const web = await b.ready(b.cloud.securityGroup.create({ name: 'web', vpc: 'prod' }));
  expect(web).toMatchObject({ state: 'ready', vpc: 'prod', rules: [{ direction: 'egress', protocol: 'all', cidr: '0.0.0.0/0' }] });
  expect(web.id).toMatch(/^sg-/);
  const [out] = web.rules;
  await b.ready(b.cloud.securityGroup.ruleRemove('web', { rule: out?.id ?? '' }));
  expect(await rulesOf(b, 'web')).toEqual([]);

  await b.ready(b.cloud.securityGroup.ruleAdd('web', { port: '80', cidr: '0.0.0.0/0', description: 'everybody' }));
  await b.ready(b.cloud.securityGroup.ruleAdd('web', { port: 443, cidr: '0.0.0.0/0' }));
  await b.ready(b.cloud.securityGroup.ruleAdd('web', { direction: 'egress', protocol: 'udp', port: '8000-8100', cidr: '10.0.0.0/8' }));
  await b.ready(b.cloud.securityGroup.ruleAdd('web', { protocol: 'icmp', self: true }));
  const db = await b.ready(b.cloud.securityGroup.create({ name: 'db', vpc: 'prod' }));
  await b.ready(b.cloud.securityGroup.ruleAdd('web', { protocol: 'all', group: 'db' }));
  expect(await rulesOf(b, 'web')).toEqual([
    { id: expect.stringMatching(/^rule-/), direction: 'ingress', protocol: 'tcp', fromPort: 80, toPort: 80, cidr: '0.0.0.0/0', description: 'everybody' },
    { id: expect.stringMatching(/^rule-/), direction: 'ingress', protocol: 'tcp', fromPort: 443, toPort: 443, cidr: '0.0.0.0/0' },
    { id: expect.stringMatching(/^rule-/), direction: 'egress', protocol: 'udp', fromPort: 8000, toPort: 8100, cidr: '10.0.0.0/8' },
    { id: expect.stringMatching(/^rule-/), direction: 'ingress', protocol: 'icmp', group: 'web', groupId: web.id },
    { id: expect.stringMatching(/^rule-/), direction: 'ingress', protocol: 'all', group: 'db', groupId: db.id },
  ]);
  // Referred to by a rule it stays; that it refers to itself keeps nothing.
  expect(await faultOf(b.cloud.securityGroup.delete('db'))).toMatchObject({
    code: 'conflict',
    message: 'The security group db is in use by security group web',
  });
  await b.ended(b.cloud.securityGroup.delete('web'));
  await b.ended(b.cloud.securityGroup.delete('db'));
});

test('a rule that cannot be is refused with what would be right', async () => {
  await using b = await bench();
  await prod(b);
  await b.ready(b.cloud.vpc.create({ name: 'test', cidr: '10.30.0.0/24' }));
  const web = await b.ready(b.cloud.securityGroup.create({ name: 'web', vpc: 'prod' }));
  await b.cloud.securityGroup.create({ name: 'far', vpc: 'test' });
  const told = async (rule: object, path: string, code = 'invalid_input') => {
    const fault = await faultOf(b.cloud.securityGroup.ruleAdd('web', rule));
    expect(fault, JSON.stringify(rule)).toMatchObject({ code, details: [{ path }] });
    return fault.message;
  };
  expect(await told({ port: '80' }, 'cidr')).toBe('cidr: say whence it may come: a cidr (0.0.0.0/0 is everywhere), a group, or self');
  expect(await told({ cidr: '10.0.0.0/8', self: true }, 'self')).toContain('give only one of cidr and self');
  expect(await told({ cidr: '10.1.2.3/8' }, 'cidr')).toBe('cidr: 10.1.2.3/8 has host bits set; did you mean 10.0.0.0/8, or 10.1.2.3/32?');
  expect(await told({ cidr: '10.0.0.300/8' }, 'cidr')).toContain('is not an IPv4 network');
  expect(await told({ port: '80-70', cidr: '0.0.0.0/0' }, 'port')).toContain('"80-70" is no port');
  expect(await told({ port: 'http', cidr: '0.0.0.0/0' }, 'port')).toContain('such as 8000-8100');
  expect(await told({ port: 0, cidr: '0.0.0.0/0' }, 'port')).toContain('"0" is no port from 1 to 65535');
  expect(await told({ protocol: 'icmp', port: '80', cidr: '0.0.0.0/0' }, 'port')).toBe('port: icmp has no ports; leave them out, or use tcp or udp');
  expect(await told({ group: 'far' }, 'group')).toBe(
    'group: far is a security group of the VPC test, which no active peering joins with prod; use a group of prod',
  );
  expect(await told({ group: 'nobody' }, 'group', 'not_found')).toContain('There is no security group "nobody"');
  await b.cloud.securityGroup.ruleAdd('web', { port: 80, cidr: '0.0.0.0/0' });
  expect(await faultOf(b.cloud.securityGroup.ruleAdd('web', { port: '80-80', cidr: '0.0.0.0/0', description: 'again' }))).toMatchObject({
    code: 'conflict',
    message: 'web has this rule already: ingress tcp 80 from 0.0.0.0/0',
  });
  expect(await faultOf(b.cloud.securityGroup.ruleRemove('web', { rule: 'rule-0' }))).toMatchObject({ code: 'not_found', details: [{ path: 'rule' }] });
  expect((await b.cloud.securityGroup.get(web.id)).rules).toHaveLength(2);
});

test('all rules at once, with a group that names itself; the same ones keep their ids', async () => {
  await using b = await bench();
  await prod(b);
  const peer = { direction: 'ingress' as const, protocol: 'all' as const, self: true };
  const web = await b.ready(b.cloud.securityGroup.create({ name: 'web', vpc: 'prod', rules: [peer, { fromPort: 22, cidr: '10.20.0.0/16' }] }));
  expect(web.rules).toMatchObject([
    { direction: 'ingress', protocol: 'all', group: 'web', groupId: web.id },
    { direction: 'ingress', protocol: 'tcp', fromPort: 22, toPort: 22, cidr: '10.20.0.0/16' },
  ]);
  const changed = await b.ready(b.cloud.securityGroup.update('web', { rules: [{ fromPort: 23, cidr: '10.20.0.0/16' }, ...web.rules] }));
  expect(changed.rules.slice(1)).toEqual(web.rules);
  // What was read can be written back.
  expect((await b.cloud.securityGroup.update('web', { rules: changed.rules })).generation).toBe(changed.generation);
  const told = async (rules: object[]) => (await faultOf(b.cloud.securityGroup.update('web', { rules }))).message;
  expect(await told([peer, peer])).toBe('rules.1: this rule is given twice: ingress all from web; give it once');
  expect(await told([{ id: 'rule-1', cidr: '0.0.0.0/0' }])).toContain('rules.0.id: web has no rule rule-1');
  expect(await told([{ toPort: 80, cidr: '0.0.0.0/0' }])).toBe('rules.0.fromPort: give the first port too');
  // An id that nobody looked up is no reference.
  expect(await told([{ groupId: web.id }])).toContain('rules.0.cidr: say whence');
  const many = Array.from({ length: 200 }, (_, n) => ({ fromPort: n + 1, cidr: '0.0.0.0/0' }));
  expect((await b.ready(b.cloud.securityGroup.update('web', { rules: many }))).rules).toHaveLength(200);
  expect(await faultOf(b.cloud.securityGroup.ruleAdd('web', { self: true }))).toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('200 rules'),
  });
});

test('attached and detached without a restart; in use it stays', async () => {
  await using b = await bench();
  await prod(b);
  await b.ready(b.cloud.vpc.create({ name: 'test', cidr: '10.30.0.0/24' }));
  const web = await b.ready(b.cloud.securityGroup.create({ name: 'web', vpc: 'prod' }));
  const ssh = await b.ready(b.cloud.securityGroup.create({ name: 'ssh', vpc: 'prod' }));
  await b.ready(b.cloud.securityGroup.create({ name: 'far', vpc: 'test' }));
  const made = await instance(b, 'front', { securityGroups: ['web'] });
  expect(made).toMatchObject({ securityGroups: ['web'], securityGroupIds: [web.id] });
  expect(await b.ended(b.cloud.securityGroup.attach('ssh', { instance: 'front' }))).toMatchObject({ state: 'succeeded' });
  expect(await b.ended(b.cloud.securityGroup.attach('ssh', { instance: 'front' }))).toMatchObject({ state: 'succeeded' });
  expect(await b.cloud.instance.get('front')).toMatchObject({
    state: 'running',
    startedAt: made.startedAt,
    securityGroups: ['web', 'ssh'],
    securityGroupIds: [web.id, ssh.id],
  });
  expect(await faultOf(b.cloud.securityGroup.delete('ssh'))).toMatchObject({ code: 'conflict', message: 'The security group ssh is in use by instance front' });
  await b.ended(b.cloud.securityGroup.detach('web', { instance: 'front' }));
  await b.ended(b.cloud.securityGroup.delete('web'));
  expect(await faultOf(b.cloud.securityGroup.attach('far', { instance: 'front' }))).toMatchObject({
    code: 'invalid_input',
    message: 'instance: front is in the VPC prod, and the security group far is of test',
    details: [{ path: 'instance' }],
  });
  expect(await faultOf(b.cloud.securityGroup.detach('far', { instance: 'front' }))).toMatchObject({
    code: 'conflict',
    message: 'far is not attached to front, which has ssh',
  });
  const updated = await b.ready(b.cloud.instance.update('front', { securityGroups: [] }));
  expect(updated).toMatchObject({ securityGroups: [], startedAt: made.startedAt });
  await b.ended(b.cloud.securityGroup.delete('ssh'));
});

test('of an instance: groups of its VPC, each once, at most sixteen', async () => {
  await using b = await bench();
  await prod(b);
  await b.ready(b.cloud.vpc.create({ name: 'test', cidr: '10.30.0.0/24' }));
  await b.cloud.securityGroup.create({ name: 'far', vpc: 'test' });
  const names = Array.from({ length: 17 }, (_, n) => `g-${n}`);
  for (const name of names) await b.cloud.securityGroup.create({ name, vpc: 'prod' });
  const told = async (securityGroups: string[]) => (await faultOf(instance(b, 'n', { securityGroups }))).message;
  expect(await told(['g-0', 'far'])).toBe('securityGroups.1: far is a security group of the VPC test; use one of prod');
  expect(await told(['g-0', 'g-0'])).toBe('securityGroups.1: g-0 is given twice; give each group once');
  await instance(b, 'web', { securityGroups: names.slice(0, 16) });
  expect(await faultOf(b.cloud.securityGroup.attach('g-16', { instance: 'web' }))).toMatchObject({ code: 'conflict', message: expect.stringContaining('16') });
  expect(await faultOf(b.cloud.instance.update('web', { securityGroups: ['far'] }))).toMatchObject({ details: [{ path: 'securityGroups.0' }] });
});

test('many at once: no rule and no attachment is lost', async () => {
  await using b = await bench();
  await prod(b);
  const names = Array.from({ length: 8 }, (_, n) => `g-${n}`);
  for (const name of names) await b.cloud.securityGroup.create({ name, vpc: 'prod' });
  await instance(b, 'web');
  await Promise.all([
    ...Array.from({ length: 30 }, (_, n) => b.cloud.securityGroup.ruleAdd('g-0', { port: n + 1, cidr: '0.0.0.0/0' })),
    ...names.map((name) => b.cloud.securityGroup.attach(name, { instance: 'web' })),
  ]);
  expect(await rulesOf(b, 'g-0')).toHaveLength(31);
  expect([...(await b.cloud.instance.get('web')).securityGroups].sort()).toEqual(names);
});

test('another tenant’s is not there', async () => {
  await using b = await bench();
  await prod(b);
  await b.tenant('other');
  const theirs = { tenant: 'other' };
  await b.cloud.vpc.create({ name: 'theirs', cidr: '10.30.0.0/24' }, theirs);
  const far = await b.cloud.securityGroup.create({ name: 'far', vpc: 'theirs' }, theirs);
  await b.cloud.securityGroup.create({ name: 'web', vpc: 'prod' });
  await instance(b, 'front');
  for (const name of ['far', far.id]) {
    expect((await faultOf(b.cloud.securityGroup.ruleAdd('web', { group: name }))).code).toBe('not_found');
    expect((await faultOf(b.cloud.securityGroup.attach(name, { instance: 'front' }))).code).toBe('not_found');
    expect((await faultOf(b.cloud.securityGroup.create({ name: 'n', vpc: 'prod', rules: [{ group: name }] }))).code).toBe('not_found');
    expect((await faultOf(b.cloud.instance.create({ name: 'n', image: 'busybox', vpc: 'prod', securityGroups: [name] }))).code).toBe('not_found');
  }
});
