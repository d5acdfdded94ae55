// --dry-run: the whole check of the contract on this side, and what would be sent. Loads zod, so only from here and only when asked.
import { type Contract, contracts, Fault, type FieldProblem } from '@thecloud/core/contracts';
import { out } from './base.ts';
import { nameOf, structured } from './print/index.ts';
import { pathOf, type Remote } from './remote.ts';
import { type Command, loadGroup, type OperationSpec, spoken } from './table.ts';

export async function dryRun(command: Command, remote: Remote, targets: readonly string[], input: Record<string, unknown>): Promise<void> {
  const operation = command.operation as OperationSpec;
  const contract = (Object.values(contracts) as Contract[]).find((one) => one.resource.name === operation.resource);
  const result = contract?.operations[operation.name]?.input.safeParse(input);
  if (result?.success === false) {
    const problems: FieldProblem[] = result.error.issues.map((issue) => ({ path: issue.path.map(String).join('.'), message: issue.message }));
    throw new Fault('invalid_input', problems[0]?.message ?? 'The input is not right', { details: problems, hint: `cloud ${spoken(command.id)} --help` });
  }
  const secrets = new Set(command.flags.flatMap((one) => (one.secret && one.field !== undefined ? [one.field] : [])));
  const shown = Object.fromEntries(Object.entries(input).map(([field, value]) => [field, secrets.has(field) ? '[REDACTED]' : value]));
  const get = loadGroup(operation.resource).commands.find((one) => one.operation?.standard === 'get')?.operation;
  const { output } = remote.settings;
  const requests: { method: string; path: string; body?: Record<string, unknown>; target?: unknown }[] = [];
  for (const target of targets.length === 0 ? [undefined] : targets) {
    // What is named must be there: a dry run that would fail for that reason fails for that reason.
    const found = target === undefined || get === undefined ? undefined : ((await remote.call(get, { target })).value as Record<string, unknown>);
    const inBody = operation.method === 'POST' || operation.method === 'PATCH';
    requests.push({
      method: operation.method,
      path: pathOf(operation, target, shown),
      ...(inBody ? { body: shown } : {}),
      ...(found === undefined ? {} : { target: found }),
    });
  }
  if (output === 'json' || output === 'yaml') {
    const list = requests.map((request) => ({ dryRun: true, ...request }));
    return out(await structured(list.length === 1 ? list[0] : { items: list }, output));
  }
  for (const { method, path, body, target } of requests) {
    const row = target as Record<string, unknown> | undefined;
    const what = row === undefined ? String(input['name'] ?? input['reference'] ?? '') : `${nameOf(row)} (${String(row['id'])}, ${String(row['state'])})`;
    out(`Would ${operation.name} ${operation.resource} ${what}`.trimEnd());
    out(`\n  ${method} ${path}\n`);
    if (body !== undefined && Object.keys(body).length > 0) {
      const text = JSON.stringify(body, undefined, 2);
      out(`${text.replace(/^/gm, '  ')}\n`);
    }
  }
}
