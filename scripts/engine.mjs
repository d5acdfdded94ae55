// The few calls to the Docker Engine API that setting up needs, over its socket: the engine is always there when
// instances can run, the `docker` command is not (Debian packages it apart).

import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { Stop } from './terminal.mjs';

export const defaultSocket = '/var/run/docker.sock';

/**
 * Where the engine listens: DOCKER_HOST (unix:// or tcp://), else the system's socket, else this user's rootless one.
 * @returns {{ socketPath: string } | { host: string, port: number }}
 */
export function engineAddress() {
  const given = process.env.DOCKER_HOST;
  if (!given) {
    const rootless = `${process.env.XDG_RUNTIME_DIR ?? ''}/docker.sock`;
    return { socketPath: !existsSync(defaultSocket) && process.env.XDG_RUNTIME_DIR && existsSync(rootless) ? rootless : defaultSocket };
  }
  if (given.startsWith('unix://')) return { socketPath: given.slice('unix://'.length) };
  const match = /^(?:tcp|http):\/\/([^:/]+):(\d+)\/?$/.exec(given);
  if (!match?.[1]) throw new Stop(`DOCKER_HOST is "${given}", which is neither unix:///path nor tcp://host:port.`, { hint: 'unset DOCKER_HOST', exit: 2 });
  return { host: match[1], port: Number(match[2]) };
}

/**
 * One request; the answer's body as text. Rejects only when there is no answer.
 * @param {'GET' | 'POST' | 'DELETE'} method
 * @param {string} path
 * @param {{ body?: NodeJS.ReadableStream, headers?: Record<string, string>, onData?: (text: string) => void, timeout?: number }} [options]
 * @returns {Promise<{ status: number, body: string }>}
 */
function call(method, path, options = {}) {
  return new Promise((resolve, reject) => {
    const outgoing = request({ ...engineAddress(), method, path, headers: options.headers, timeout: options.timeout }, (answer) => {
      let body = '';
      answer.setEncoding('utf8');
      answer.on('data', (text) => {
        body += text;
        options.onData?.(text);
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
      answer.on('error', reject);
    });
    outgoing.on('error', reject);
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer in ${options.timeout} ms`)));
    if (options.body) {
      options.body.on('error', (error) => outgoing.destroy(error));
      options.body.pipe(outgoing);
    } else {
      outgoing.end();
    }
  });
}

/**
 * Is the engine there? `absent`: nothing listens; `forbidden`: it listens, but not to this user.
 * @returns {Promise<{ state: 'ready', version: string } | { state: 'absent' | 'forbidden', reason: string }>}
 */
export async function probe() {
  try {
    const { status, body } = await call('GET', '/version', { timeout: 10_000 });
    if (status !== 200) return { state: 'absent', reason: `answered ${status}: ${body.trim()}` };
    return { state: 'ready', version: JSON.parse(body).Version };
  } catch (error) {
    if (error instanceof Stop) throw error;
    const code = /** @type {NodeJS.ErrnoException} */ (error).code;
    const reason = error instanceof Error && error.message ? error.message : String(code);
    return { state: code === 'EACCES' || code === 'EPERM' ? 'forbidden' : 'absent', reason };
  }
}

/**
 * The image of that name, or undefined.
 * @param {string} name
 * @returns {Promise<{ id: string, labels: Record<string, string> } | undefined>}
 */
export async function inspectImage(name) {
  const { status, body } = await call('GET', `/images/${name}/json`);
  if (status === 404) return undefined;
  const image = answered(status, body);
  return { id: image.Id, labels: image.Config?.Labels ?? {} };
}

/**
 * Makes an image of one layer from a tar stream; `changes` are Dockerfile instructions (CMD, ENV, LABEL, …). Returns its id.
 * @param {NodeJS.ReadableStream} tar
 * @param {readonly string[]} changes
 */
export async function importImage(tar, changes) {
  const query = new URLSearchParams({ fromSrc: '-' });
  for (const change of changes) query.append('changes', change);
  const { status, body } = await call('POST', `/images/create?${query}`, { body: tar, headers: { 'content-type': 'application/x-tar' } });
  answered(status, '{}', body);
  const last = progressLines(body).at(-1)?.status;
  if (!last?.startsWith('sha256:')) throw new Stop('Docker Engine did not say which image it made.', { detail: body });
  return String(last);
}

/**
 * Builds a Dockerfile whose context is the tar stream, without a name. Returns the image's id.
 * @param {NodeJS.ReadableStream} context
 * @param {Record<string, string>} labels
 */
export async function buildImage(context, labels) {
  const query = new URLSearchParams({ labels: JSON.stringify(labels), rm: '1', forcerm: '1' });
  const { status, body } = await call('POST', `/build?${query}`, { body: context, headers: { 'content-type': 'application/x-tar' } });
  answered(status, '{}', body);
  const lines = progressLines(body);
  const id = lines.find((line) => line.aux?.ID)?.aux?.ID;
  if (!id) throw new Stop('Docker Engine did not say which image it built.', { detail: lines.map((line) => line.stream ?? '').join('') });
  return String(id);
}

/** Fetches an image from the registry that the engine knows. @param {string} name */
export async function pullImage(name) {
  const { status, body } = await call('POST', `/images/create?${new URLSearchParams({ fromImage: name })}`);
  answered(status, '{}', body);
  progressLines(body);
}

/** Gives an image a further name, which another image may have had. @param {string} id @param {string} name */
export async function tagImage(id, name) {
  const at = name.lastIndexOf(':');
  const query = new URLSearchParams({ repo: name.slice(0, at), tag: name.slice(at + 1) });
  const { status, body } = await call('POST', `/images/${id}/tag?${query}`);
  answered(status, '{}', body);
}

/** Removes an image that nothing uses; one in use, or with a further name, stays. @param {string} id */
export async function removeImage(id) {
  const { status, body } = await call('DELETE', `/images/${id}`);
  if (status !== 404 && status !== 409) answered(status, '{}', body);
}

/** @param {number} status @param {string} json @param {string} [body] */
function answered(status, json, body = json) {
  if (status < 300) return JSON.parse(json || '{}');
  let message = body.trim();
  try {
    message = JSON.parse(body).message ?? message;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error; // a proxy's HTML page: shown as it is
  }
  throw new Stop(`Docker Engine answered ${status}: ${message}`);
}

/**
 * The engine's progress: one JSON object per line, failures among them although the status said 200.
 * @param {string} body
 * @returns {{ status?: string, stream?: string, aux?: { ID?: string } }[]}
 */
function progressLines(body) {
  const lines = body
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line));
  const failed = lines.find((line) => line.error);
  if (failed) throw new Stop(`Docker Engine: ${failed.error}`, { detail: lines.map((line) => line.stream ?? '').join('') });
  return lines;
}
