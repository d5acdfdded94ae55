// What one may know of oneself: who one is, where, and what one may do there.
import { INSTALLATION } from '../../kernel/authorize.ts';
import { Fault } from '../../kernel/errors.ts';
import type { Handlers, ServiceContext } from '../../kernel/service.ts';
import { verdictOf } from '../../kernel/verdict.ts';
import type { auths } from './contract.ts';
import type { CloudDirectory } from './directory.ts';

export const oneself = (context: ServiceContext, directory: CloudDirectory): Pick<Handlers<typeof auths>, 'whoami' | 'canI'> => ({
  async whoami(call) {
    const { principal } = call;
    const names = new Map<string, string>();
    for (const id of Object.keys(principal.roles)) {
      const found = id === '*' ? undefined : await directory.tenant(id);
      if (found !== undefined) names.set(id, found.name);
    }
    const acting = call.actingIn === INSTALLATION ? undefined : await directory.tenant(call.actingIn);
    const grants = acting === undefined ? undefined : (await context.access.rule(principal, acting.id, { permission: 'vpc:list' })).grants;
    const { credential } = principal;
    return {
      id: principal.id,
      name: principal.name ?? principal.id,
      kind: principal.kind,
      administrator: principal.administrator === true,
      ...(acting === undefined ? {} : { tenant: { id: acting.id, name: acting.name } }),
      roles: [...(grants?.roles ?? [])],
      policies: [...(grants?.policies ?? []), ...(grants?.bounds ?? [])].map(({ name }) => name),
      tenants: [...names].map(([id, name]) => ({ id, name, roles: [...(principal.roles[id] ?? [])] })),
      credential:
        credential === undefined
          ? { kind: 'local' as const }
          : {
              kind: credential.kind,
              id: credential.id,
              ...(credential.expiresAt === undefined ? {} : { expiresAt: new Date(credential.expiresAt).toISOString() }),
            },
    };
  },
  async canI(call) {
    const { action, resource } = call.input;
    if (call.actingIn === INSTALLATION)
      throw new Fault('forbidden', `${call.principal.name ?? call.principal.id} belongs to no tenant`, { hint: 'cloud tenant list' });
    const ask = (permission: string, target?: string) => context.access.rule(call.principal, call.actingIn, { permission, target, source: call.source });
    const detail = (await ask('policy:get')).ruling.allowed;
    return verdictOf(await ask(action, resource), detail);
  },
});
