// Where S3 clients find the endpoint, and what they call its region.
import type { ServiceContext } from '../../kernel/service.ts';

/** The one that there is: clients must name one in what they sign, and take this when nobody tells them. */
export const REGION = 'us-east-1';

const EVERY_ADDRESS: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '[::1]' };

/** Undefined: nothing listens. */
export function endpointOf(context: Pick<ServiceContext, 'listening'>): string | undefined {
  const at = context.listening('s3');
  if (at === undefined) return undefined;
  const host = EVERY_ADDRESS[at.host] ?? (at.host.includes(':') ? `[${at.host}]` : at.host);
  return `http://${host}:${at.port}`;
}
