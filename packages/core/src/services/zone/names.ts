// Where the zones of a VPC are in the server: below a last label that is the VPC's id. Every name is so written on the way in, and the label taken off on the way
// out, so that a name of one VPC cannot even be spelt in another.

import { lower, type Message, mapNames, type Name, nameOf } from '../../kernel/dns/wire.ts';
import type { ZoneContent } from './driver.ts';

/** The last label, in wire form. */
export const labelOf = (vpcId: string): Name => nameOf(vpcId).slice(0, -1);

/** `www.prod.internal.` → `www.prod.internal.vpc-….` */
export const inside = (name: string, vpcId: string): string => (name === '.' ? `${vpcId}.` : `${name}${vpcId}.`);

/** The VPC whose zone this is. */
export const vpcOf = (name: string): string => name.slice(0, -1).split('.').at(-1) ?? '';

/** The largest name that fits with the label behind it is 255 bytes; undefined for one that is larger. */
export const nameInside = (name: Name, label: Name): Name | undefined => {
  const whole = `${name.slice(0, -1)}${label}\0`;
  return whole.length > 255 ? undefined : whole;
};

/** The message as the VPC sees it. */
export function messageOutside(message: Message, label: Name): Message {
  const end = `${label}\0`;
  const change = (name: Name): Name => {
    if (!lower(name).endsWith(end)) return name;
    const short = `${name.slice(0, -end.length)}\0`;
    return endsAtLabel(name, name.length - end.length) ? short : name;
  };
  return {
    ...message,
    answers: message.answers.map((each) => mapNames(each, change)),
    authority: message.authority.map((each) => mapNames(each, change)),
    additional: message.additional.map((each) => mapNames(each, change)),
  };
}

function endsAtLabel(name: Name, offset: number): boolean {
  for (let at = 0; at <= offset; ) {
    if (at === offset) return true;
    const length = name.charCodeAt(at);
    if (length === 0) return false;
    at += length + 1;
  }
  return false;
}

const TARGETS: Readonly<Record<string, number>> = { CNAME: 0, NS: 0, PTR: 0, MX: 1, SRV: 3 };

/** A zone, names and values, as it is kept in the server. Canonical values have no blanks in them where names are. */
export function zoneInside({ name, negativeTtl, records }: ZoneContent, vpcId: string): ZoneContent {
  return {
    name: inside(name, vpcId),
    negativeTtl,
    records: records.map(({ name: owner, type, ttl, values }) => {
      const at = TARGETS[type];
      return {
        name: inside(owner, vpcId),
        type,
        ttl,
        values:
          at === undefined
            ? values
            : values.map((value) =>
                value
                  .split(' ')
                  .map((word, index) => (index === at ? inside(word, vpcId) : word))
                  .join(' '),
              ),
      };
    }),
  };
}
