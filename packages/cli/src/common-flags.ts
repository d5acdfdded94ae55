// Flags that many commands share, as data: the parser, the help and the completion read them here.
import type { Flag } from './table.ts';

export const OUTPUTS = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type Output = (typeof OUTPUTS)[number];

export const COMMON: Readonly<Record<string, Flag>> = {
  output: { name: 'output', char: 'o', type: 'string', values: OUTPUTS, description: 'How to print: table, wide, json, yaml or name' },
  columns: { name: 'columns', type: 'string', description: 'Only these columns, comma separated' },
  header: { name: 'no-header', type: 'boolean', description: 'Leave out the line of column names' },
  watch: { name: 'watch', type: 'boolean', description: 'Go on and show changes, until Ctrl-C' },
  wait: { name: 'no-wait', type: 'boolean', description: 'Return as soon as the change is accepted' },
  'wait-timeout': { name: 'wait-timeout', type: 'string', seconds: true, description: 'Wait at most so long; default 10m', example: '90s or 5m' },
  yes: { name: 'yes', char: 'y', type: 'boolean', description: 'Ask nothing: delete, and restart where that is needed' },
  'dry-run': { name: 'dry-run', type: 'boolean', description: 'Check and show what would be sent, change nothing' },
  from: { name: 'from', type: 'string', description: 'Read fields from this YAML or JSON file (- for standard input); flags win', example: 'web.yaml' },
  unset: { name: 'unset', type: 'string', many: true, description: 'Take this field away' },
  tenant: { name: 'tenant', type: 'string', ref: 'tenant', description: 'Act in this tenant' },
  context: { name: 'context', type: 'string', ref: 'context', description: 'Use this context (`cloud context list`)' },
  quiet: { name: 'quiet', char: 'q', type: 'boolean', description: 'No progress and no notes, only the answer' },
  socket: { name: 'socket', type: 'string', description: "The daemon's Unix socket" },
  url: { name: 'url', type: 'string', description: "The daemon's address, http://… or https://…" },
  verbose: { name: 'verbose', type: 'boolean', description: 'Show each request on standard error' },
  help: { name: 'help', char: 'h', type: 'boolean', description: 'Show this help' },
};

/** Taken by every command, and allowed before it. */
export const GLOBAL = ['output', 'tenant', 'context', 'quiet', 'socket', 'url', 'verbose', 'help'] as const;
