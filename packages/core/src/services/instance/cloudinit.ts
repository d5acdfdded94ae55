// Cloud-init for instances whose driver can run programs in them: user data is checked here, turned into a boot by
// cloudinit-script.ts and carried out once, at first boot, by cloudinit-run.ts.
import { Fault } from '../../kernel/errors.ts';
import { nearest } from '../../kernel/near.ts';
import { readCloudConfig } from './cloudinit-config.ts';
import { emptyUserData, type UserData } from './cloudinit-data.ts';

export type { UserData } from './cloudinit-data.ts';

const CONFIG = '#cloud-config';

/** How other forms begin, and what they are. Those of one beginning: the longer one first. */
const UNSUPPORTED: [string, string][] = [
  ['content-type: multipart', 'MIME multipart user data'],
  ['mime-version:', 'MIME multipart user data'],
  ['#include', '#include (user data from a URL)'],
  ['## template: jinja', 'a jinja template'],
  ['#cloud-config-archive', '#cloud-config-archive'],
  ['#cloud-config-jsonp', '#cloud-config-jsonp'],
  ['#cloud-boothook', '#cloud-boothook'],
  ['#part-handler', '#part-handler'],
  ['#upstart-job', '#upstart-job'],
];

/**
 * Checks user data and reads it: a program that begins with `#!`, or YAML that begins with `#cloud-config`.
 * Throws Fault('invalid_input') whose details name each wrong field from `userData` on.
 */
export function readUserData(text: string): UserData {
  if (text.startsWith('#!')) return readScript(text);
  const body = text.replace(/^\uFEFF/, '').trimStart();
  const [firstLine = ''] = body.split(/\r?\n/, 1);
  if (new RegExp(`^${CONFIG}\\s*$`, 'i').test(firstLine)) return readCloudConfig(text.replace(/^\uFEFF/, ''));
  const [, form] = UNSUPPORTED.find(([start]) => body.toLowerCase().startsWith(start)) ?? [];
  if (form !== undefined) return refuse(`${form} is not supported; begin with ${CONFIG} or with #! and a program`);
  if (body === '') return refuse(`it is empty; begin with ${CONFIG} or with #! and a program`);
  if (body.startsWith('#!')) return refuse('#! must be the very first characters, without spaces, empty lines or a byte order mark before it');
  if (isEncoded(body)) return refuse('it is base64; give it decoded');
  const near = nearest(firstLine.trim(), [CONFIG]);
  if (near !== undefined || firstLine.startsWith(CONFIG)) return refuse(`the first line must be ${CONFIG} and nothing else`);
  return refuse(`the first line must be ${CONFIG}, or #! and a program such as #!/bin/sh`);
}

function readScript(script: string): UserData {
  const [line = ''] = script.split('\n', 1);
  if (line.endsWith('\r')) refuse('its lines end with CR LF, as on Windows; a #! line must end with LF alone');
  if (!/^#![ \t]*\/\S+/.test(line)) refuse('after #! comes the absolute path of a program, such as #!/bin/sh');
  return { ...emptyUserData(), script };
}

function refuse(message: string): never {
  throw new Fault('invalid_input', `The user data cannot be used: ${message}`, { details: [{ path: 'userData', message }] });
}

/** Whether it would be one of our two forms after base64. */
function isEncoded(body: string): boolean {
  const compact = body.replace(/\s+/g, '');
  return /^[A-Za-z0-9+/]{8,}={0,2}$/.test(compact) && /^(?:#!|#cloud-config)/.test(Buffer.from(compact, 'base64').toString('latin1'));
}
