// The memory backend's object store under the conformance suite, and its faults.
import { expect, test } from 'vitest';
import { inPieces, newId, objectStoreConformance } from '../../services/bucket/driver.conformance.ts';
import { memoryDrivers } from './index.ts';

const signal = new AbortController().signal;

objectStoreConformance('memory', async () => {
  const backend = memoryDrivers();
  return { driver: backend.drivers['object-store'], close: () => backend.close() };
});

test('faults reach it by name', async () => {
  const backend = memoryDrivers();
  const store = backend.drivers['object-store'];
  backend.faults.fail('object-store.put');
  const id = newId();
  await expect(store.put(id, inPieces(Buffer.from('a')), { size: 1, signal })).rejects.toMatchObject({ code: 'unavailable' });
  expect(store.ids).toEqual([]);
  backend.faults.lose('object-store.put');
  await expect(store.put(id, inPieces(Buffer.from('a')), { size: 1, signal })).rejects.toMatchObject({ code: 'unavailable' });
  expect(store.ids).toEqual([id]);
});
