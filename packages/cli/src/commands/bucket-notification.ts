// `cloud bucket notification`: one rule in flags, many as a document, none with --none.
import { Fault } from '@thecloud/core/contracts';
import { EXIT, out, usage } from '../base.ts';
import { inputOf } from '../input.ts';
import { amount } from '../objects/work.ts';
import { printOne } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { runOperation, viewOf } from '../run.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { flag, isSet, type Words } from '../words.ts';

const ONE = ['queue', 'webhook', 'event', 'prefix', 'suffix', 'id'] as const;

export async function run(words: Words): Promise<number> {
  const given = ONE.filter((name) => words.flags.has(name));
  const ways = [words.flags.has('rules'), isSet(words, 'none'), given.length > 0, words.flags.has('from')].filter(Boolean).length;
  if (ways === 0) {
    throw usage(
      'Say where events go: --queue <name> or --webhook <address>; --rules for several rules, --none to end it',
      'cloud bucket configuration <bucket> shows what is set',
    );
  }
  if (ways > 1) throw usage('Give one rule in flags, or --rules, or --none, not several of them: each replaces all rules');
  const whole = words.flags.has('rules') || words.flags.has('from');
  const rules = whole ? undefined : JSON.stringify(isSet(words, 'none') ? [] : [ruleOf(words)]);
  const ruled: Words = rules === undefined ? words : { ...words, flags: new Map([...words.flags, ['rules', [rules]]]) };
  const settings = settingsOf(words);
  if (isSet(words, 'dry-run')) return runOperation(ruled);
  const { targets, input } = await inputOf(ruled);
  const operation = words.command.operation as OperationSpec;
  const { value } = await new Remote(settings).call(operation, { target: targets[0], input }).catch((error: unknown) => {
    throw rules === undefined ? error : ofFlags(error);
  });
  if (settings.output !== 'table') {
    await printOne(viewOf(operation), value, settings.output);
    return EXIT.done;
  }
  const count = Array.isArray(input['rules']) ? input['rules'].length : 0;
  if (!settings.quiet) out(`bucket ${printable(targets[0] ?? '')} ${count === 0 ? 'sends no events any more' : `sends events by ${amount(count, 'rule')}`}\n`);
  return EXIT.done;
}

export function ruleOf(words: Words): Record<string, unknown> {
  const [queue, webhook] = [flag(words, 'queue'), flag(words, 'webhook')];
  if ((queue === undefined) === (webhook === undefined)) throw usage('A rule has one place that events go to: --queue or --webhook');
  const rule: Record<string, unknown> = queue === undefined ? { webhook } : { queue };
  const events = words.flags.get('event')?.flatMap((value) => value.split(','));
  if (events !== undefined) rule['events'] = events.map((event) => (event.startsWith('s3:') ? event : `s3:${event}`));
  for (const name of ['prefix', 'suffix', 'id'] as const) {
    const value = flag(words, name);
    if (value !== undefined) rule[name] = value;
  }
  return rule;
}

/** The daemon names fields of the first rule; here they are flags. */
export function ofFlags(error: unknown): unknown {
  if (!(error instanceof Fault)) return error;
  const { details, ...body } = error.toJSON();
  const named = (path: string): string => path.replace(/^rules\.0\.(?:events\.\d+|(\w+))/, (_, field: string | undefined) => field ?? 'event');
  const problems = Array.isArray(details)
    ? (details as { path?: unknown }[]).map((one) => (typeof one.path === 'string' ? { ...one, path: named(one.path) } : one))
    : details;
  const message = body.message.replace(/^rules\.0\.[\w.]+(?=: )/, (path) => `--${named(path)}`);
  return Fault.from({ ...body, message, ...(problems === undefined ? {} : { details: problems }) });
}
