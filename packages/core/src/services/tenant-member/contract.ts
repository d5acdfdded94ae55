import { z } from 'zod';
import { contract, crud, resource } from '../../kernel/contract.ts';

const roles = z
  .array(z.string().min(1).max(63))
  .min(1)
  .max(16)
  .meta({ description: 'Roles in this tenant', example: ['developer'], cli: { flag: 'role' } });

export const tenantMember = resource('tenant-member', {
  summary: 'Members of the tenant and their roles',
  restricted: 'changes',
  prefix: 'mbr',
  nameField: z
    .string()
    .trim()
    .min(3)
    .max(254)
    .meta({ immutable: true, description: 'E-mail address or id of the user', example: 'ann@example.com' }) as z.ZodType<string>,
  spec: { roles },
  status: { userId: z.string().meta({ description: 'Id of the user' }) },
  columns: ['name', 'roles', 'createdAt'],
  wide: ['id', 'userId'],
});

const {
  create,
  list,
  get,
  update,
  delete: remove,
} = crud(tenantMember, {
  create: {
    summary: 'Add a user to the tenant',
    description: 'You give only roles whose permissions you have yourself.',
    examples: [['tenant-member add ann@example.com --role developer', '']],
  },
  list: { summary: 'List the members of the tenant', examples: [['tenant-member list', '']] },
  update: { summary: "Change a member's roles", examples: [['tenant-member update ann@example.com --role viewer', '']] },
  delete: {
    summary: 'Remove a user from the tenant',
    description:
      "The user's keys for this tenant, and policies attached to them here, go too. The last administrator of a tenant cannot be removed by a member.",
    examples: [['tenant-member remove ann@example.com', '']],
  },
});
export const tenantMembers = contract(tenantMember, { add: create, list, get, update, remove });
