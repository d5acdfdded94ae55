// Values as people read them. JSON and YAML never come through here.
import { paint } from '../base.ts';
import type { Format } from '../table.ts';
import { printable } from './printable.ts';

export interface Port {
  hostAddress?: string;
  hostPort?: number;
  instancePort: number;
  protocol?: string;
}

export interface Style {
  colour: boolean;
  now: number;
  /** Room for more: one value per line, exact times. */
  long: boolean;
  /** Of many values the first few: a table is looked over, not read. */
  brief?: boolean;
}

export function cell(format: Format, value: unknown, style: Style): string {
  if (value === undefined || value === null || value === '') return '';
  switch (format) {
    case 'age':
      return style.long ? `${localTime(String(value))} (${since(String(value), style.now)})` : since(String(value), style.now).replace(/ ago$/, '');
    case 'time':
      return localTime(String(value));
    case 'bytes':
      return bytes(Number(value));
    case 'mib':
      return bytes(Number(value) * 2 ** 20);
    case 'gib':
      return `${String(value)} GiB`;
    case 'seconds':
      return period(Number(value));
    case 'boolean':
      return value === true ? 'yes' : 'no';
    case 'state':
      return stateText(String(value), style.colour);
    case 'ports':
      return Array.isArray(value) ? value.map((port) => portText(port as Port)).join(style.long ? '\n' : ', ') : text(value);
    case 'mounts':
      return Array.isArray(value) ? value.map(mountText).join(style.long ? '\n' : ', ') : text(value);
    case 'labels':
      return typeof value === 'object'
        ? Object.entries(value)
            .map(([key, one]) => `${key}=${text(one)}`)
            .join(style.long ? '\n' : ', ')
        : text(value);
    case 'words':
      return Array.isArray(value) ? value.map((word) => (/^[\w@%+=:,./-]+$/.test(String(word)) ? String(word) : JSON.stringify(word))).join(' ') : text(value);
    case 'document':
      return style.long ? JSON.stringify(value, undefined, 2).split('\n').map(printable).join('\n') : text(value);
    case 'list':
      return Array.isArray(value) ? listOf(value.map(text), style) : text(value);
    default:
      return text(value);
  }
}

const FEW = 5;

function listOf(values: readonly string[], { long, brief }: Style): string {
  if (long) return values.join('\n');
  // Saying how many are left out must not be longer than saying them.
  return brief && values.length > FEW + 1 ? `${values.slice(0, FEW).join(', ')} and ${values.length - FEW} more` : values.join(', ');
}

/** One line, and nothing in it that a terminal would obey. */
function text(value: unknown): string {
  const plain = typeof value === 'string' ? value : typeof value === 'object' ? JSON.stringify(value) : String(value);
  return printable(plain);
}

export function portText(port: Port): string {
  const host = port.hostPort === undefined || port.hostPort === 0 ? 'auto' : String(port.hostPort);
  const address = port.hostAddress ?? '127.0.0.1';
  return `${address.includes(':') ? `[${address}]` : address}:${host}->${port.instancePort}/${port.protocol ?? 'tcp'}`;
}

function mountText(mount: unknown): string {
  const { volume, path, readOnly } = mount as { volume?: string; path?: string; readOnly?: boolean };
  return volume === undefined ? text(mount) : `${volume}:${path ?? ''}${readOnly ? ':ro' : ''}`;
}

const GOOD = new Set(['running', 'ready', 'available', 'in-use', 'succeeded', 'done', 'enforced', 'ok']);
const GOING = new Set(['pending', 'deleting', 'starting', 'stopping', 'recorded']);
const BAD = new Set(['error', 'failed']);

export function stateText(state: string, colour: boolean): string {
  const plain = printable(state);
  if (GOOD.has(state)) return paint('green', plain, colour);
  if (GOING.has(state)) return paint('yellow', plain, colour);
  if (BAD.has(state)) return paint('red', plain, colour);
  return paint('grey', plain, colour && state !== 'recorded');
}

const PERIODS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
] as const;

/** Seconds in the largest unit that says them exactly: `90 s`, `12 h`, `4 d`. */
function period(seconds: number): string {
  const [unit, length] = PERIODS.find(([, one]) => seconds >= one && seconds % one === 0) ?? (['s', 1] as const);
  return `${seconds / length} ${unit}`;
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

export function bytes(value: number): string {
  if (!Number.isFinite(value)) return '';
  let power = 0;
  let shown = value;
  while (shown >= 1024 && power < SIZES.length - 1) {
    shown /= 1024;
    power++;
  }
  // 1023.96 would round to "1024.0 KiB".
  if (shown >= 1023.95 && power < SIZES.length - 1) {
    shown = 1;
    power++;
  }
  return `${power === 0 || Number.isInteger(shown) ? shown : shown.toFixed(1)} ${SIZES[power]}`;
}

const STEPS = [
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
] as const;

/** `3m`, `2h10m`, `5d`: the largest unit, and the next one where it says something. */
export function age(time: string, now: number): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(time)) / 1000));
  if (!Number.isFinite(seconds)) return time;
  const index = STEPS.findIndex(([, length]) => seconds >= length);
  if (index < 0) return '0s';
  const [unit, length] = STEPS[index] as (typeof STEPS)[number];
  const count = Math.floor(seconds / length);
  const next = STEPS[index + 1];
  const rest = next === undefined || count >= 10 ? 0 : Math.floor((seconds % length) / next[1]);
  return `${count}${unit}${rest === 0 || next === undefined ? '' : `${rest}${next[0]}`}`;
}

/** `3m ago`, or `in 3m`. The daemon's clock may be a little ahead of ours: two seconds are now. */
function since(time: string, now: number): string {
  const ahead = Date.parse(time) - now;
  return ahead > 2000 ? `in ${age(new Date(now).toISOString(), Date.parse(time))}` : `${age(time, now)} ago`;
}

export function localTime(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return printable(time);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
