// Instance types: a fixed catalogue, and whether this host is large enough for each.
import { pageOf } from '../../kernel/page.ts';
import { service } from '../../kernel/service.ts';
import { notFound } from '../../kernel/table.ts';
import { computePort } from '../instance/driver.ts';
import { CATALOG } from './catalog.ts';
import { instanceTypes } from './contract.ts';

export const instanceTypeService = service(instanceTypes, (context) => {
  const driver = context.driver(computePort);
  const at = new Date(context.startedAt).toISOString();
  const view = ({ name, cpus, memoryMiB, pids }: (typeof CATALOG)[number]) => {
    const { maxCpus, maxMemoryBytes } = driver.capabilities;
    const reason =
      maxCpus !== undefined && cpus > maxCpus
        ? `this host has ${maxCpus} CPUs`
        : maxMemoryBytes !== undefined && memoryMiB * 2 ** 20 > maxMemoryBytes
          ? `this host has ${Math.floor(maxMemoryBytes / 2 ** 20)} MiB of memory`
          : undefined;
    return {
      id: `type-${name}`,
      name: name as string,
      labels: {},
      createdAt: at,
      updatedAt: at,
      generation: 1,
      state: reason === undefined ? 'ready' : 'too-large',
      ...(reason === undefined ? {} : { reason }),
      cpus,
      memoryMiB,
      pids,
    };
  };
  return {
    handlers: {
      list: async (call) => pageOf(CATALOG.map(view), ({ name }) => String(CATALOG.findIndex((type) => type.name === name)).padStart(4, '0'), call.input),
      async get(call) {
        const found = CATALOG.find(({ name }) => name === call.targetName || `type-${name}` === call.targetName);
        if (found === undefined)
          throw notFound(
            'instance-type',
            call.targetName,
            CATALOG.map(({ name }) => name),
          );
        return view(found);
      },
    },
  };
});
