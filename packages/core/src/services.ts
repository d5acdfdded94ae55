// The list of implementations, in the order in which their schemas are made.
import type { ServiceDefinition } from './kernel/service.ts';
import { auditService } from './services/audit/service.ts';
import { eventService } from './services/event/service.ts';
import { imageService } from './services/image/service.ts';
import { instanceService } from './services/instance/service.ts';
import { instanceTypeService } from './services/instance-type/service.ts';
import { operationService } from './services/operation/service.ts';
import { queueService } from './services/queue/service.ts';
import { quotaService } from './services/quota/service.ts';
import { secretService } from './services/secret/service.ts';
import { snapshotService } from './services/snapshot/service.ts';
import { sshKeyService } from './services/ssh-key/service.ts';
import { systemService } from './services/system/service.ts';
import { volumeService } from './services/volume/service.ts';
import { vpcService } from './services/vpc/service.ts';

export const services: readonly ServiceDefinition[] = [
  systemService,
  auditService,
  quotaService,
  eventService,
  operationService,
  vpcService,
  sshKeyService,
  secretService,
  imageService,
  instanceTypeService,
  instanceService,
  volumeService,
  snapshotService,
  queueService,
];
