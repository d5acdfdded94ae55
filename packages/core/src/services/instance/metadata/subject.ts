// What is told about one instance, as plain data. Both forms of the metadata service (EC2, NoCloud) are made from it.
import type { z } from 'zod';
import type { instance } from '../contract.ts';

export type TokenRule = z.output<(typeof instance.spec)['metadataTokens']>;

export interface Subject {
  readonly id: string;
  readonly tenantId: string;
  readonly name: string;
  /** What the instance is told to call itself. */
  readonly hostname: string;
  readonly image: string;
  readonly type: string;
  readonly region: string;
  readonly createdAt: number;
  readonly address: string;
  readonly hardwareAddress: string;
  readonly gateway: string;
  readonly vpc: { readonly id: string; readonly cidr: string };
  readonly subnet: { readonly id: string; readonly cidr: string } | undefined;
  /** Elastic IP. */
  readonly publicAddress: string | undefined;
  readonly groups: readonly { readonly id: string; readonly name: string }[];
  readonly keys: readonly { readonly name: string; readonly publicKey: string }[];
  readonly labels: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly userData: string | undefined;
  readonly tokens: TokenRule;
}
