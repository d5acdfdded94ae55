// Every public operation as an HTTP endpoint: the one table behind the router, the upgrades, the answers to unknown paths, and OpenAPI.
import { type Contract, contracts, Fault, nearest, type Operation, type Route, routeOf, targetParameter } from '@thecloud/core/contracts';

export interface Endpoint {
  /** Resource name: `ssh-key`. */
  service: string;
  /** Operation name: `attachVolume`. */
  name: string;
  contract: Contract;
  operation: Operation;
  route: Route;
  /** Name of the path parameter that holds the target. */
  parameter: string | undefined;
}

export const endpoints: readonly Endpoint[] = (Object.values(contracts) as Contract[]).flatMap((contract) =>
  Object.entries(contract.operations)
    .filter(([, operation]) => !operation.internal)
    .map(([name, operation]) => ({
      service: contract.resource.name,
      name,
      contract,
      operation,
      route: routeOf(contract, name, operation),
      parameter: operation.target ? targetParameter(contract.resource.name) : undefined,
    })),
);

/** Endpoints answered by the router. A channel on a collection (`/v1/images/import`) would hide the item of that name, so only its upgrade is served. */
export const routed: readonly Endpoint[] = endpoints.filter(
  ({ operation, contract }) =>
    operation.kind !== 'channel' || operation.target || !Object.values(contract.operations).some((other) => other.standard === 'get'),
);

const segmentsOf = (path: string): string[] => path.split('/').slice(1);
const isParameter = (segment: string): boolean => segment.startsWith('{');
const templates = endpoints.map((endpoint) => ({ endpoint, segments: segmentsOf(endpoint.route.path) }));

function matching(path: string): { endpoint: Endpoint; segments: string[] }[] {
  const given = segmentsOf(path);
  return templates.filter(
    ({ segments }) =>
      segments.length === given.length && segments.every((segment, index) => (isParameter(segment) ? given[index] !== '' : segment === given[index])),
  );
}

/** The stream or channel that an upgrade request means, or undefined. Throws `invalid_input` for a target that is not percent-encoded text. */
export function upgradeOf(path: string): { endpoint: Endpoint; target: string | undefined } | undefined {
  const found = matching(path).find(({ endpoint }) => endpoint.operation.kind === 'stream' || endpoint.operation.kind === 'channel');
  if (found === undefined) return undefined;
  const index = found.segments.findIndex(isParameter);
  return { endpoint: found.endpoint, target: index === -1 ? undefined : decodeSegment(segmentsOf(path)[index] ?? '') };
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new Fault('invalid_input', `"${segment}" in the path is not percent-encoded UTF-8`, { cause });
  }
}

/** Methods that a path takes; none when nothing is there. */
export const methodsOf = (path: string): string[] => [...new Set(matching(path).map(({ endpoint }) => endpoint.route.method))];

/** What to say about a method and path that no route has. */
export function unknownRoute(method: string, path: string): Fault {
  const methods = methodsOf(path);
  if (methods.length > 0) return new Fault('invalid_input', `${path} takes ${methods.join(' or ')}, not ${method}`);
  const given = segmentsOf(path);
  const candidates = new Set(['/healthz', '/metrics', '/openapi.json']);
  for (const { segments } of templates) {
    if (segments.length !== given.length) continue;
    candidates.add(`/${segments.map((segment, index) => (isParameter(segment) ? given[index] : segment)).join('/')}`);
  }
  const near = nearest(path, candidates);
  return new Fault(
    'not_found',
    near === undefined ? `There is nothing at ${path}; /openapi.json lists what there is` : `There is nothing at ${path}; did you mean ${near}?`,
  );
}
