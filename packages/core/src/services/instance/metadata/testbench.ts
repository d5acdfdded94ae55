// A core on the memory driver and a metadata server on loopback, to which a test says from which address of a VPC it asks.
import { request } from 'node:http';
import type { ServiceContext } from '../../../kernel/service.ts';
import { services } from '../../../services.ts';
import { type Bench, type BenchOptions, bench } from '../../../testing/bench.ts';
import { instanceService } from '../service.ts';
import { answerTo, stranger } from './answer.ts';
import { Finder } from './find.ts';
import { type Limits, MetadataServer } from './server.ts';

export interface Got {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

export interface MetadataBench extends AsyncDisposable {
  readonly b: Bench;
  readonly port: number;
  /** Who asks from now on. */
  asks(vpcId: string, address: string): void;
  get(path: string, headers?: Record<string, string>, method?: string): Promise<Got>;
  /** A token of who asks. */
  token(seconds?: number): Promise<string>;
}

export async function metadataBench(options: BenchOptions = {}, limits: Partial<Limits> = {}): Promise<MetadataBench> {
  let context: ServiceContext | undefined;
  const definitions = services.map((definition) =>
    definition === instanceService
      ? {
          ...definition,
          make: (given: ServiceContext) => {
            context = given;
            return definition.make(given);
          },
        }
      : definition,
  );
  const b = await bench({ ...options, definitions });
  if (context === undefined) throw new Error('there is no instance service');
  const { keyring, clock, log } = context;
  const finder = new Finder(context);
  let asking = { vpcId: '', address: '' };
  const server = new MetadataServer({
    clock,
    log,
    limits,
    sourceOf: () => asking.address,
    async answer(source, question) {
      const subject = await finder.find(asking.vpcId, source);
      return subject === undefined ? stranger() : answerTo(subject, question, { keys: keyring, now: clock.now() });
    },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  const get: MetadataBench['get'] = (path, headers = {}, method = 'GET') =>
    new Promise((resolve, reject) => {
      const sent = request({ host: '127.0.0.1', port, path, method, headers, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body })).on('error', reject);
      });
      sent.on('error', reject).end();
    });
  return {
    b,
    port,
    asks(vpcId, address) {
      asking = { vpcId, address };
    },
    get,
    async token(seconds = 60) {
      const { status, body } = await get('/latest/api/token', { 'X-aws-ec2-metadata-token-ttl-seconds': String(seconds) }, 'PUT');
      if (status !== 200) throw new Error(`no token: ${status} ${body}`);
      return body;
    },
    async [Symbol.asyncDispose]() {
      await server.close();
      finder.close();
      await b.close();
    },
  };
}
