import { z } from 'zod';
import { action, contract, crud, query, resource } from '../../kernel/contract.ts';

export const role = resource('role', {
  summary: 'Roles: named sets of permissions',
  description: 'admin, developer and viewer are built in and cannot be changed; custom roles belong to the tenant.',
  restricted: 'changes',
  spec: {
    permissions: z
      .array(z.string().min(1).max(128))
      .min(1)
      .max(500)
      .meta({ description: 'What it allows: <resource>:<operation>, with * and ? anywhere', example: ['instance:*', 'vpc:list'], cli: { flag: 'permission' } }),
    description: z.string().min(1).max(1024).optional().meta({ description: 'What it is for', example: 'Runs the web servers' }),
  },
  status: { builtIn: z.boolean().meta({ description: 'Comes with The Cloud and cannot be changed' }) },
  columns: ['name', 'builtIn', 'permissions', 'description'],
  wide: ['id', 'createdAt'],
  quota: { roles: 1 },
});

export const Binding = z.strictObject({
  role: z.string(),
  kind: z.enum(['user', 'service-account']),
  id: z.string(),
  name: z.string(),
});

const who = {
  user: z.string().min(1).max(254).optional().meta({ description: 'E-mail address or id of a member', example: 'ann@example.com' }),
  serviceAccount: z.string().min(1).max(64).optional().meta({ description: 'Name or id of a service account' }),
};

export const roles = contract(role, {
  ...crud(role, {
    create: {
      description: 'You give only what you have yourself, for everything of its kind.',
      examples: [['role create web-ops --permission "instance:*" --permission vpc:list', '']],
    },
    update: { examples: [['role update web-ops --permission "instance:*"', '']] },
    delete: { description: 'Refused while it is bound to somebody or has policies.' },
  }),
  bind: action(role, {
    summary: 'Give a role to a member or service account',
    description:
      'Binding twice is binding once. You give only roles whose permissions you have yourself: whoever may bind and has everything can make administrators.',
    input: who,
    output: Binding,
    examples: [
      ['role bind developer --user ann@example.com', ''],
      ['role bind web-ops --service-account ci', ''],
    ],
  }),
  unbind: action(role, {
    summary: 'Take a role away',
    description:
      "A member's last role cannot be taken: remove the member. The last administrator of a tenant stays one, unless an administrator of the installation says so.",
    input: who,
    output: Binding,
    examples: [['role unbind developer --user ann@example.com', '']],
  }),
  bindings: query(role, {
    summary: 'Show who has a role',
    output: z.strictObject({ items: z.array(Binding) }),
    examples: [['role bindings developer', '']],
  }),
});
