import { z } from 'zod';
import { contract, crud, resource } from '../../kernel/contract.ts';

export const instanceType = resource('instance-type', {
  summary: 'Sizes that an instance can have',
  stored: false,
  spec: {
    cpus: z.number().meta({ description: 'CPU cores; 0.5 is half of one' }),
    memoryMiB: z.int().meta({ description: 'Memory, MiB' }),
    pids: z.int().meta({ description: 'Most processes and threads' }),
  },
  columns: ['name', 'cpus', 'memoryMiB', 'pids'],
  states: ['ready', 'too-large'],
});

const { list, get } = crud(instanceType);
export const instanceTypes = contract(instanceType, { list, get });
