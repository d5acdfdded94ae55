// The seed of cloud-init's NoCloud source: four files, always all of them, for one that is missing is asked for again and again.
import { stringify as toYaml } from 'yaml';
import type { Subject } from './subject.ts';

/** Cloud-init reads YAML 1.1, where a name like `on` and an address like 02:42:10:14:00:04 are no text unless quoted. */
const stringify = (value: unknown): string => toYaml(value, { version: '1.1', lineWidth: 0, defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN' });

const prefixOf = (cidr: string): string => cidr.slice(cidr.indexOf('/') + 1);

export const seedOf = (subject: Subject): Readonly<Record<string, string>> => ({
  'meta-data': stringify({
    'instance-id': subject.id,
    'local-hostname': subject.hostname,
    ...(subject.keys.length === 0 ? {} : { 'public-keys': subject.keys.map(({ publicKey }) => publicKey) }),
    'cloud-name': 'thecloud',
    region: subject.region,
    'availability-zone': `${subject.region}a`,
  }),
  'user-data': subject.userData ?? '',
  'vendor-data': '',
  'network-config': stringify({
    version: 2,
    ethernets: {
      primary: {
        match: { macaddress: subject.hardwareAddress },
        addresses: [`${subject.address}/${prefixOf(subject.vpc.cidr)}`],
        routes: [{ to: '0.0.0.0/0', via: subject.gateway }],
        nameservers: { addresses: [subject.gateway] },
      },
    },
  }),
});
