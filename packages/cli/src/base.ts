// What every command stands on: the two outputs, the exit codes, and how an error is told.
import { ERRORS, Fault, type FaultBody, type FieldProblem } from '@thecloud/core/contracts';
import { printable, structuredText } from './print/printable.ts';
import type { Command } from './table.ts';

/** Exit codes; those of errors come from the error table. Nothing else in the CLI knows a number. */
export const EXIT = { done: 0, failed: 1, usage: ERRORS.invalid_input.exit, unavailable: ERRORS.unavailable.exit, interrupted: 130 } as const;

/** Ends the command with this code; whatever there was to say has been said. */
export class Exit extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}

/** Accepted, and then the thing itself failed. */
export class OperationFailed extends Error {
  readonly body: FaultBody;
  constructor(message: string, body: FaultBody) {
    super(message);
    this.body = body;
  }
}

export const usage = (message: string, hint?: string): Fault => new Fault('invalid_input', message, hint === undefined ? {} : { hint });

export const out = (text: string): void => {
  process.stdout.write(text);
};
export const err = (text: string): void => {
  process.stderr.write(text);
};

/** Resolves when everything written to standard output has left this process: before a large answer is followed by an exit. */
export const flushed = (): Promise<void> => new Promise((resolve) => process.stdout.write('', () => resolve()));

/** Colours only where somebody sees them, and where nobody said no. */
export function colours(stream: { isTTY?: boolean }): boolean {
  const { NO_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM } = process.env;
  if (NO_COLOR !== undefined && NO_COLOR !== '') return false;
  if (CLICOLOR_FORCE !== undefined && CLICOLOR_FORCE !== '0' && CLICOLOR_FORCE !== '') return true;
  return stream.isTTY === true && CLICOLOR !== '0' && TERM !== 'dumb';
}

const CODES = { red: 31, green: 32, yellow: 33, grey: 90, bold: 1 } as const;
export const paint = (colour: keyof typeof CODES, text: string, on: boolean): string => (on ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text);

/** A reader that went away (`| head`) is no error: there is nobody left to tell. */
export function quietOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(EXIT.done);
      throw error;
    });
  }
}

export interface Telling {
  command?: Command | undefined;
  json: boolean;
}

/** Says what went wrong on standard error and answers with the exit code. */
export function tell(error: unknown, { command, json }: Telling): number {
  if (error instanceof Exit) return error.code;
  if (error instanceof OperationFailed) {
    if (json) err(structuredText(`${JSON.stringify({ error: error.body }, undefined, 2)}\n`));
    else printError(error.message, error.body.hint);
    return EXIT.failed;
  }
  if (error instanceof Fault) {
    if (json) err(structuredText(`${JSON.stringify({ error: error }, undefined, 2)}\n`));
    else {
      printError(sentence(error, command), error.hint ?? hintFor(error, command));
      if (error.code === 'internal' && error.requestId !== undefined)
        err(`Request: ${error.requestId} (the daemon's log has the details: cloud daemon logs)\n`);
    }
    return ERRORS[error.code].exit;
  }
  const text = error instanceof Error ? error.message : String(error);
  if (json) err(`${JSON.stringify({ error: { code: 'internal', message: text } }, undefined, 2)}\n`);
  else {
    printError(`${text}`, undefined);
    err(`This is a bug of the command itself.${process.env['CLOUD_DEBUG'] ? '' : ' CLOUD_DEBUG=1 shows where.'}\n`);
    if (process.env['CLOUD_DEBUG'] && error instanceof Error) err(`${error.stack ?? ''}\n`);
  }
  return ERRORS.internal.exit;
}

function printError(message: string, hint: string | undefined): void {
  err(`${paint('red', 'Error:', colours(process.stderr))} ${printable(message)}\n`);
  if (hint) err(`Hint: ${printable(hint)}\n`);
}

/** The error in the words of the command line: fields by the flags that set them. */
function sentence(fault: Fault, command: Command | undefined): string {
  const problems = problemsOf(fault);
  if (problems === undefined || command === undefined) return withReason(fault);
  const lines = problems.map(({ path, message }) => `${flagFor(command, path)}${message}`);
  if (lines.length === 1) return lines[0] as string;
  return `${lines.length} things are not right:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

/** What to type next where the daemon said nothing of it. */
function hintFor({ code, details }: Fault, command: Command | undefined): string | undefined {
  // A login that was refused is not helped by a login.
  if (code === 'unauthenticated') return command?.group === 'auth' ? undefined : 'cloud auth login';
  if (code === 'forbidden' && command?.operation?.administrators) return 'cloud auth whoami';
  const permission = code === 'forbidden' ? (details as { permission?: unknown } | undefined)?.permission : undefined;
  return typeof permission === 'string' ? `cloud auth can-i ${permission}` : undefined;
}

/** Why it is forbidden stands in the details, for those who may know. */
function withReason({ code, message, details }: Fault): string {
  const reason = code === 'forbidden' ? (details as { reason?: unknown } | undefined)?.reason : undefined;
  return typeof reason === 'string' && !message.includes(reason) ? (message.includes(': ') ? `${message} (${reason})` : `${message}: ${reason}`) : message;
}

function problemsOf(fault: Fault): FieldProblem[] | undefined {
  if (fault.code !== 'invalid_input' || !Array.isArray(fault.details) || fault.details.length === 0) return undefined;
  const details = fault.details as Partial<FieldProblem>[];
  return details.every((one) => typeof one?.path === 'string' && typeof one.message === 'string') ? (details as FieldProblem[]) : undefined;
}

function flagFor(command: Command, path: string): string {
  if (path === '') return '';
  const [field = '', ...rest] = path.split('.');
  const positional = command.positionals.find((one) => one.field === field);
  if (positional !== undefined) return `<${positional.label}>: `;
  const flag = command.flags.find((one) => (one.field ?? one.name) === field);
  if (flag === undefined) return `${path}: `;
  // The place in a list helps only where the command line has several; keys of maps always do.
  const place = flag.type === 'json' ? pathText(rest) : rest.filter((part) => !/^\d+$/.test(part)).join('.');
  return `--${flag.name}${place === '' ? '' : ` (${place})`}: `;
}

/** `Statement[0].Effect`: where in a document. */
export const pathText = (parts: readonly string[]): string =>
  parts.reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : path === '' ? part : `${path}.${part}`), '');
