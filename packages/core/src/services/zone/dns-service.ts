// Questions, asked as an instance of a VPC asks them: through the same code, without its network.
import { parseAddress } from '../../kernel/cidr.ts';
import { parseIpv6, valueOf } from '../../kernel/dns/rdata.ts';
import { Malformed, type Name, nameOf, rcodeName, TYPES, textOf, typeName, type WireRecord } from '../../kernel/dns/wire.ts';
import { Fault } from '../../kernel/errors.ts';
import { tableName } from '../../kernel/migrate.ts';
import { service } from '../../kernel/service.ts';
import { reverseName } from './content.ts';
import { dnsContract } from './contract.ts';
import { namingOf } from './naming.ts';
import { questionFor } from './resolver.ts';

const PATIENCE_MS = 6000;

const shown = (record: WireRecord) => ({ name: textOf(record.name), ttl: record.ttl, type: typeName(record.type), value: valueOf(record) });

/** An address stands for the name under which its names are found. */
function asked(text: string): { name: string; reverse: boolean } {
  if (parseAddress(text) !== undefined) return { name: reverseName(text), reverse: true };
  const bytes = parseIpv6(text);
  if (bytes === undefined) return { name: text, reverse: false };
  return { name: `${bytes.toString('hex').split('').reverse().join('.')}.ip6.arpa`, reverse: true };
}

export const dnsService = service(dnsContract, (context) => {
  const naming = namingOf(context);
  return {
    handlers: {
      async dig(call) {
        const [vpc] = call.refs['vpc'] ?? [];
        const view = vpc === undefined ? undefined : await naming.view(call.tenantId, vpc.id);
        if (view === undefined) throw new Fault('conflict', `The VPC ${call.input.vpc} is being deleted`);
        const { name: text, reverse } = asked(call.input.name);
        let name: Name;
        try {
          name = nameOf(text);
        } catch (error) {
          if (error instanceof Malformed) throw new Fault('invalid_input', `name: ${error.message}`, { details: [{ path: 'name', message: error.message }] });
          throw error;
        }
        const type = call.input.type ?? (reverse ? 'PTR' : 'A');
        const begun = performance.now();
        const signal = AbortSignal.any([call.signal, AbortSignal.timeout(PATIENCE_MS)]);
        const { message, from } = await naming.resolver.resolve(view, questionFor(name, TYPES[type as keyof typeof TYPES]), undefined, signal);
        return {
          status: rcodeName(message.rcode),
          from,
          answers: message.answers.map(shown),
          authority: message.authority.map(shown),
          milliseconds: Math.round((performance.now() - begun) * 100) / 100,
        };
      },
      async servers({ input }) {
        const row = await context.db.selectFrom(tableName('vpc')).select('status').where('id', '=', input.vpcId).executeTakeFirst();
        const { gateway } = (row === undefined ? {} : JSON.parse(row.status)) as { gateway?: string };
        return { addresses: await naming.serversAt(gateway) };
      },
    },
  };
});
