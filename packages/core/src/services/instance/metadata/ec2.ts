// The tree that EC2's instance metadata service has, as far as there is something true to say in it.

import type { Subject } from './subject.ts';
import { type Branch, branch, nameInPath } from './tree.ts';

/** What clients ask for by date; all of them have the whole tree. */
export const VERSIONS: readonly string[] = [
  '1.0',
  '2007-01-19',
  '2007-03-01',
  '2007-08-29',
  '2007-10-10',
  '2007-12-15',
  '2008-02-01',
  '2008-09-01',
  '2009-04-04',
  '2011-01-01',
  '2011-05-01',
  '2012-01-12',
  '2014-02-25',
  '2014-11-05',
  '2015-10-20',
  '2016-04-19',
  '2016-06-30',
  '2016-09-02',
  '2018-03-28',
  '2018-08-17',
  '2018-09-24',
  '2019-10-01',
  '2020-10-27',
  '2021-01-03',
  '2021-03-23',
  '2021-07-15',
  '2022-09-24',
  '2024-04-11',
  'latest',
];

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'arm64' };

/** EC2 says the zone, cloud-init takes off the last letter for the region. */
const zoneOf = ({ region }: Subject): string => `${region}a`;

const texts = (record: Readonly<Record<string, string>>): Branch | undefined => {
  const entries = Object.entries(record).map(([key, value]) => [nameInPath(key), value] as const);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
};

function metaData(subject: Subject): Branch {
  const { address, hardwareAddress, hostname, publicAddress, groups, vpc, subnet } = subject;
  const groupNames = groups.length === 0 ? 'default' : groups.map(({ name }) => name).join('\n');
  const tags = branch({ instance: texts(subject.labels), metadata: texts(subject.metadata) });
  return branch({
    'ami-id': subject.image,
    'ami-launch-index': '0',
    hostname,
    'instance-action': 'none',
    'instance-id': subject.id,
    'instance-life-cycle': 'on-demand',
    'instance-type': subject.type,
    'local-hostname': hostname,
    'local-ipv4': address,
    mac: hardwareAddress,
    network: {
      interfaces: {
        macs: {
          [hardwareAddress]: branch({
            'device-number': '0',
            'ipv4-associations': publicAddress === undefined ? undefined : { [publicAddress]: address },
            'local-hostname': hostname,
            'local-ipv4s': address,
            mac: hardwareAddress,
            'owner-id': subject.tenantId,
            'public-ipv4s': publicAddress,
            'security-group-ids': groups.length === 0 ? undefined : groups.map(({ id }) => id).join('\n'),
            'security-groups': groupNames,
            'subnet-id': subnet?.id,
            // Outside every subnet its neighbours are those of the whole network.
            'subnet-ipv4-cidr-block': subnet?.cidr ?? vpc.cidr,
            'vpc-id': vpc.id,
            'vpc-ipv4-cidr-block': vpc.cidr,
            'vpc-ipv4-cidr-blocks': vpc.cidr,
          }),
        },
      },
    },
    placement: { 'availability-zone': zoneOf(subject), region: subject.region },
    'public-ipv4': publicAddress,
    'public-keys':
      subject.keys.length === 0 ? undefined : Object.fromEntries(subject.keys.map(({ publicKey }, index) => [String(index), { 'openssh-key': publicKey }])),
    'reservation-id': `r-${subject.id.replace(/^[a-z]+-/, '')}`,
    'security-groups': groupNames,
    services: { domain: 'internal' },
    tags: Object.keys(tags).length === 0 ? undefined : tags,
  });
}

function identityDocument(subject: Subject): string {
  return JSON.stringify(
    {
      accountId: subject.tenantId,
      architecture: ARCHITECTURES[process.arch] ?? process.arch,
      availabilityZone: zoneOf(subject),
      billingProducts: null,
      devpayProductCodes: null,
      imageId: subject.image,
      instanceId: subject.id,
      instanceType: subject.type,
      kernelId: null,
      marketplaceProductCodes: null,
      pendingTime: new Date(subject.createdAt).toISOString().replace(/\.\d+Z$/, 'Z'),
      privateIp: subject.address,
      ramdiskId: null,
      region: subject.region,
      version: '2017-09-30',
    },
    undefined,
    2,
  );
}

/** What is below a version. */
export const ec2Tree = (subject: Subject): Branch =>
  branch({
    dynamic: { 'instance-identity': { document: identityDocument(subject) } },
    'meta-data': metaData(subject),
    'user-data': subject.userData,
  });

/** How a listing of the public keys names them. */
export const keyLabels = ({ keys }: Subject): Readonly<Record<string, string>> =>
  Object.fromEntries(keys.map(({ name }, index) => [String(index), `${index}=${name}`]));
