// The list of implementations, in the order in which their schemas are made.
import type { ServiceDefinition } from './kernel/service.ts';
import { apiKeyService } from './services/api-key/service.ts';
import { auditService } from './services/audit/service.ts';
import { authService } from './services/auth/service.ts';
import { objectService } from './services/bucket/object-service.ts';
import { s3KeyService } from './services/bucket/s3-key-service.ts';
import { bucketService, s3Service } from './services/bucket/service.ts';
import { elasticIpService } from './services/elastic-ip/service.ts';
import { eventService } from './services/event/service.ts';
import { imageService } from './services/image/service.ts';
import { instanceService } from './services/instance/service.ts';
import { instanceTypeService } from './services/instance-type/service.ts';
import { internetGatewayService } from './services/internet-gateway/service.ts';
import { kmsKeyService } from './services/kms-key/service.ts';
import { natGatewayService } from './services/nat-gateway/service.ts';
import { operationService } from './services/operation/service.ts';
import { peeringService } from './services/peering/service.ts';
import { policyService } from './services/policy/service.ts';
import { queueService } from './services/queue/service.ts';
import { quotaService } from './services/quota/service.ts';
import { roleService } from './services/role/service.ts';
import { routeTableService } from './services/route-table/service.ts';
import { secretService } from './services/secret/service.ts';
import { securityGroupService } from './services/security-group/service.ts';
import { serviceAccountService } from './services/service-account/service.ts';
import { snapshotService } from './services/snapshot/service.ts';
import { sshKeyService } from './services/ssh-key/service.ts';
import { subnetService } from './services/subnet/service.ts';
import { systemService } from './services/system/service.ts';
import { tenantService } from './services/tenant/service.ts';
import { tenantMemberService } from './services/tenant-member/service.ts';
import { userService } from './services/user/service.ts';
import { volumeService } from './services/volume/service.ts';
import { networkService } from './services/vpc/network-service.ts';
import { vpcService } from './services/vpc/service.ts';
import { dnsService } from './services/zone/dns-service.ts';
import { recordService } from './services/zone/record-service.ts';
import { zoneService } from './services/zone/service.ts';

export const services: readonly ServiceDefinition[] = [
  systemService,
  tenantService,
  userService,
  tenantMemberService,
  roleService,
  policyService,
  serviceAccountService,
  apiKeyService,
  authService,
  auditService,
  quotaService,
  eventService,
  operationService,
  vpcService,
  internetGatewayService,
  elasticIpService,
  natGatewayService,
  routeTableService,
  subnetService,
  peeringService,
  securityGroupService,
  networkService,
  sshKeyService,
  secretService,
  imageService,
  instanceTypeService,
  instanceService,
  zoneService,
  recordService,
  dnsService,
  volumeService,
  snapshotService,
  queueService,
  kmsKeyService,
  bucketService,
  objectService,
  s3KeyService,
  s3Service,
];
