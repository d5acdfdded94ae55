// The list of contracts, and all that a client needs: it loads without Node, a database or a driver.

import type { Client } from './kernel/client.ts';
import { apiKeys } from './services/api-key/contract.ts';
import { audits } from './services/audit/contract.ts';
import { auths } from './services/auth/contract.ts';
import { buckets, s3Keys, s3s } from './services/bucket/contract.ts';
import { objects } from './services/bucket/object-contract.ts';
import { elasticIps } from './services/elastic-ip/contract.ts';
import { events } from './services/event/contract.ts';
import { images } from './services/image/contract.ts';
import { instances } from './services/instance/contract.ts';
import { instanceTypes } from './services/instance-type/contract.ts';
import { internetGateways } from './services/internet-gateway/contract.ts';
import { kmsKeys } from './services/kms-key/contract.ts';
import { natGateways } from './services/nat-gateway/contract.ts';
import { operations } from './services/operation/contract.ts';
import { peerings } from './services/peering/contract.ts';
import { policies } from './services/policy/contract.ts';
import { queues } from './services/queue/contract.ts';
import { quotas } from './services/quota/contract.ts';
import { roles } from './services/role/contract.ts';
import { routeTables } from './services/route-table/contract.ts';
import { secrets } from './services/secret/contract.ts';
import { securityGroups } from './services/security-group/contract.ts';
import { serviceAccounts } from './services/service-account/contract.ts';
import { snapshots } from './services/snapshot/contract.ts';
import { sshKeys } from './services/ssh-key/contract.ts';
import { subnets } from './services/subnet/contract.ts';
import { systems } from './services/system/contract.ts';
import { tenants } from './services/tenant/contract.ts';
import { tenantMembers } from './services/tenant-member/contract.ts';
import { users } from './services/user/contract.ts';
import { volumes } from './services/volume/contract.ts';
import { vpcs } from './services/vpc/contract.ts';
import { networks } from './services/vpc/network-contract.ts';
import { dnsContract, records, zones } from './services/zone/contract.ts';

export const contracts = {
  user: users,
  tenantMember: tenantMembers,
  tenant: tenants,
  serviceAccount: serviceAccounts,
  role: roles,
  peering: peerings,
  policy: policies,
  auth: auths,
  apiKey: apiKeys,
  audit: audits,
  bucket: buckets,
  elasticIp: elasticIps,
  event: events,
  image: images,
  instance: instances,
  instanceType: instanceTypes,
  internetGateway: internetGateways,
  kmsKey: kmsKeys,
  natGateway: natGateways,
  network: networks,
  object: objects,
  operation: operations,
  queue: queues,
  quota: quotas,
  routeTable: routeTables,
  s3: s3s,
  s3Key: s3Keys,
  secret: secrets,
  securityGroup: securityGroups,
  snapshot: snapshots,
  sshKey: sshKeys,
  subnet: subnets,
  system: systems,
  volume: volumes,
  vpc: vpcs,
  zone: zones,
  record: records,
  dns: dnsContract,
} as const;

/** The typed client of the whole cloud, the same embedded and over a socket. */
export type Cloud = Client<typeof contracts>;

export * from './kernel/channel.ts';
export * from './kernel/client.ts';
export * from './kernel/contract.ts';
export * from './kernel/errors.ts';
export { nearest } from './kernel/near.ts';
export * from './kernel/paths.ts';
export * from './kernel/wire.ts';
