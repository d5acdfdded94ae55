// What goes on, on standard error: one living line on a terminal, a line for each change elsewhere, nothing when quiet.
import { colours, err, paint } from './base.ts';
import { printable } from './print/printable.ts';
import { cut } from './print/width.ts';

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'] as const;

/** Those on the terminal; the first has the line, the others are counted in it. */
const shown: Progress[] = [];

export class Progress {
  readonly #live: boolean;
  readonly #quiet: boolean;
  readonly #began = Date.now();
  #title: string;
  #text = '';
  readonly #said = new Set<string>();
  #frame = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(title: string, quiet: boolean) {
    this.#title = title;
    this.#quiet = quiet;
    this.#live = process.stderr.isTTY === true && process.env['TERM'] !== 'dumb';
    if (quiet) return;
    if (this.#live) {
      // The first fifth of a second stays silent: what is done by then needs no line.
      shown.push(this);
      this.#timer = setInterval(() => this.#draw(), 100);
      this.#timer.unref();
    } else this.#line();
  }

  update(text: string | undefined): void {
    this.#text = text === undefined ? '' : printable(text);
    if (this.#quiet || this.#live) return;
    this.#line();
  }

  /** Ends the line; a done thing is told with its time. */
  end(done?: string): void {
    clearInterval(this.#timer);
    if (this.#quiet) return;
    if (this.#live) err('\r\x1b[2K');
    if (shown.includes(this)) shown.splice(shown.indexOf(this), 1);
    if (done === undefined) return;
    const mark = this.#live ? `${paint('green', '✓', colours(process.stderr))} ` : '';
    err(`${mark}${done} (${this.#seconds()})\n`);
  }

  #seconds(): string {
    const seconds = (Date.now() - this.#began) / 1000;
    return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)}m${Math.round(seconds % 60)}s`;
  }

  #line(): void {
    const line = this.#text === '' ? this.#title : `${this.#title}: ${this.#text}`;
    // What comes again and again (a retry, a step of it) is said once.
    if (this.#said.has(line)) return;
    this.#said.add(line);
    err(`${line}\n`);
  }

  #draw(): void {
    if (shown[0] !== this) return;
    const frame = FRAMES[this.#frame++ % FRAMES.length] as string;
    const line = `${frame} ${this.#title}${this.#text === '' ? '' : `: ${this.#text}`}${shown.length > 1 ? `, and ${shown.length - 1} more` : ''} (${this.#seconds()})`;
    err(`\r\x1b[2K${cut(line, (process.stderr.columns || 80) - 1)}`);
  }
}

/** Of what a thing consists of: said the other way round. */
const OF_PARTS: Readonly<Record<string, string>> = { add: 'to', remove: 'from' };

/** `create` → `Creating`, `rule-add` → `Adding a rule to`. */
export function doing(verb: string): string {
  const [first = '', ...rest] = verb.split('-');
  const [last = ''] = rest.slice(-1);
  const toward = OF_PARTS[last];
  if (toward !== undefined) return `${doing(last)} a ${[first, ...rest.slice(0, -1)].join(' ')} ${toward}`;
  const stem = first.endsWith('e') ? first.slice(0, -1) : /[^aeiou][aeiou][bdgmnpt]$/.test(first) ? `${first}${first.at(-1)}` : first;
  return [`${stem.charAt(0).toUpperCase()}${stem.slice(1)}ing`, ...rest].join(' ');
}

const PARTICLES = new Set(['out', 'in', 'off', 'on', 'up', 'down']);

/** `create` → `created`, `sign-out` → `signed out`, `delete-version` → `version deleted`, `rule-add` → `rule added`. */
export function done(verb: string): string {
  const [first = '', ...rest] = verb.split('-');
  const [last = ''] = rest.slice(-1);
  if (OF_PARTS[last] !== undefined) return [first, ...rest.slice(0, -1), done(last)].join(' ');
  const stem = first.endsWith('e') ? `${first}d` : /[^aeiou][aeiou][bdgmnpt]$/.test(first) ? `${first}${first.at(-1)}ed` : `${first}ed`;
  return (PARTICLES.has(rest.at(-1) ?? '') ? [stem, ...rest] : [...rest, stem]).join(' ');
}
