// The commands written by hand, each loaded when it is run. Which id runs which module stands in the table.
import type { Words } from '../words.ts';

type Run = (words: Words) => Promise<number>;

const modules: Readonly<Record<string, () => Promise<{ run: Run }>>> = {
  'daemon-start': () => import('./daemon-start.ts'),
  'daemon-stop': () => import('./daemon-stop.ts'),
  'daemon-status': () => import('./daemon-status.ts'),
  'daemon-logs': () => import('./daemon-logs.ts'),
  auth: () => import('./auth.ts'),
  check: () => import('./check.ts'),
  context: () => import('./context.ts'),
  secret: () => import('./secret.ts'),
  tenant: () => import('./tenant.ts'),
  config: () => import('./config.ts'),
  completion: () => import('./completion.ts'),
  complete: () => import('./complete.ts'),
  version: () => import('./version.ts'),
  system: () => import('./system.ts'),
  'instance-exec': () => import('./instance-exec.ts'),
  'instance-ssh': () => import('./instance-ssh.ts'),
  'instance-connect': () => import('./instance-connect.ts'),
  'instance-logs': () => import('./instance-logs.ts'),
  'instance-stats': () => import('./instance-stats.ts'),
  'instance-cp': () => import('./instance-cp.ts'),
  'instance-wait': () => import('./instance-wait.ts'),
  'image-import': () => import('./image-import.ts'),
  'event-watch': () => import('./event-watch.ts'),
  'ssh-key-create': () => import('./ssh-key-create.ts'),
  'object-put': () => import('./object-put.ts'),
  'object-get': () => import('./object-get.ts'),
  'object-list': () => import('./object-list.ts'),
  'object-copy': () => import('./object-copy.ts'),
  'object-sync': () => import('./object-sync.ts'),
  'object-presign': () => import('./object-presign.ts'),
  s3: () => import('./s3.ts'),
  'bucket-configure': () => import('./bucket-configure.ts'),
  'bucket-verify': () => import('./bucket-verify.ts'),
  'bucket-notification': () => import('./bucket-notification.ts'),
  'zone-names': () => import('./zone-names.ts'),
  'operation-wait': () => import('./operation-wait.ts'),
};

export async function runCommand(words: Words): Promise<number> {
  const load = modules[words.command.module ?? ''];
  if (load === undefined) throw new Error(`No module for \`cloud ${words.command.id}\``);
  return (await load()).run(words);
}
