// What engines tell of themselves beside S3, each in its own way; read, never changed.
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { DriverError } from '../../kernel/errors.ts';
import type { StoreNode } from '../../services/bucket/driver.ts';
import { textOf } from './answers.ts';

/**
 * `garage`: the admin API, with a token of the scope GetClusterStatus. `seaweedfs`: the HTTP address of a master. `minio`: the health check, which needs neither
 * address nor token; it knows no capacity.
 */
export interface ClusterSource {
  engine: 'garage' | 'seaweedfs' | 'minio';
  /** Default: the endpoint of S3. */
  endpoint?: string | undefined;
  token?: string | undefined;
}

const PATIENCE_MS = 10_000;

/** Rejects with DriverError('unavailable') when it cannot be asked, or answers otherwise than documented. */
export async function nodesOf(source: ClusterSource, s3Endpoint: string, signal: AbortSignal): Promise<StoreNode[]> {
  const endpoint = source.endpoint ?? s3Endpoint;
  if (source.engine === 'minio') return await minio(endpoint, signal);
  const { status, text } = await get(source.engine === 'garage' ? `${endpoint}/v2/GetClusterStatus` : `${endpoint}/dir/status`, source.token, signal);
  if (status !== 200) throw unexpected(source, `it answered ${status}`);
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch (error) {
    throw unexpected(source, (error as Error).message);
  }
  const nodes = source.engine === 'garage' ? garage(answer) : seaweedfs(answer);
  if (nodes === undefined) throw unexpected(source, 'its answer names no nodes');
  return nodes;
}

const unexpected = (source: ClusterSource, why: string): DriverError =>
  new DriverError('unavailable', `Cannot ask ${source.engine} for the state of its nodes: ${why}`);

type Json = Readonly<Record<string, unknown>>;
const record = (value: unknown): Json => (typeof value === 'object' && value !== null ? (value as Json) : {});
const list = (value: unknown): readonly Json[] => (Array.isArray(value) ? value.map(record) : []);
const count = (value: unknown): number | undefined => (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined);
const name = (...values: readonly unknown[]): string => values.find((value): value is string => typeof value === 'string' && value !== '') ?? 'unnamed';

/** `GetClusterStatus`: nodes with their role in the layout and the partition that holds their data. */
function garage(answer: unknown): StoreNode[] | undefined {
  const { nodes } = record(answer);
  if (!Array.isArray(nodes)) return undefined;
  return list(nodes).map((node) => {
    const role = record(node.role);
    const partition = record(node.dataPartition);
    const seen = count(node.lastSeenSecsAgo);
    const zone = typeof role.zone === 'string' ? `zone ${role.zone}` : 'no role in the layout';
    return {
      name: name(node.hostname, node.id),
      state: node.isUp !== true ? 'down' : node.draining === true || role.zone === undefined ? 'degraded' : 'up',
      bytesTotal: count(partition.total),
      bytesFree: count(partition.available),
      detail:
        node.isUp === true ? (node.draining === true ? `${zone}; draining` : zone) : `${zone}; last seen ${seen === undefined ? 'never' : `${seen} s ago`}`,
    };
  });
}

/** `/dir/status`: data centres, racks, volume servers. A server that is away is not among them; capacity is counted in volumes, not bytes. */
function seaweedfs(answer: unknown): StoreNode[] | undefined {
  const { DataCenters } = record(record(answer).Topology);
  if (!Array.isArray(DataCenters)) return undefined;
  return list(DataCenters).flatMap((centre) =>
    list(centre.Racks).flatMap((rack) =>
      list(rack.DataNodes).map((node): StoreNode => {
        const [volumes, most] = [count(node.Volumes), count(node.Max)];
        const full = volumes !== undefined && most !== undefined && volumes >= most;
        return {
          name: name(node.PublicUrl, node.Url),
          state: full ? 'degraded' : 'up',
          bytesTotal: undefined,
          bytesFree: undefined,
          detail: `${name(centre.Id)}/${name(rack.Id)}; ${volumes ?? '?'} of ${most ?? '?'} volumes`,
        };
      }),
    ),
  );
}

/** 200 with enough servers to write, 503 without. */
async function minio(endpoint: string, signal: AbortSignal): Promise<StoreNode[]> {
  const write = await get(`${endpoint}/minio/health/cluster`, undefined, signal);
  const read = write.status === 200 ? write : await get(`${endpoint}/minio/health/cluster/read`, undefined, signal);
  return [
    {
      name: new URL(endpoint).host,
      state: write.status === 200 ? 'up' : read.status === 200 ? 'degraded' : 'down',
      bytesTotal: undefined,
      bytesFree: undefined,
      detail: write.status === 200 ? 'enough servers to write' : read.status === 200 ? 'enough servers to read, too few to write' : 'too few servers',
    },
  ];
}

function get(address: string, token: string | undefined, signal: AbortSignal): Promise<{ status: number; text: string }> {
  const url = new URL(address);
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(
      url,
      { headers: token === undefined ? {} : { authorization: `Bearer ${token}` }, signal, timeout: PATIENCE_MS },
      (response) => {
        textOf(response).then((text) => resolve({ status: response.statusCode as number, text }), reject);
      },
    );
    request.on('timeout', () => request.destroy(new Error(`nothing came for ${PATIENCE_MS / 1000} seconds`)));
    request.on('error', (error) =>
      reject(signal.aborted ? (signal.reason as Error) : new DriverError('unavailable', `Cannot ask ${url.origin}: ${error.message}`, { cause: error })),
    );
    request.end();
  });
}
