import { expect, it } from 'vitest';
import { amount, meterText } from './work.ts';

it('a bar says how much, how fast and how long', () => {
  const MIB = 2 ** 20;
  expect(meterText(25 * MIB, 100 * MIB, 10 * MIB)).toBe('█████░░░░░░░░░░░░░░░ 25%, 25 MiB of 100 MiB, 10 MiB/s, 8 s left');
  expect(meterText(0, 100, 0)).toBe('░░░░░░░░░░░░░░░░░░░░ 0%, 0 B of 100 B');
  expect(meterText(120, 100, 50)).toBe('████████████████████ 100%, 120 B of 100 B, 50 B/s');
  expect(meterText(5 * MIB, undefined, MIB)).toBe('5 MiB, 1 MiB/s');
  expect(meterText(MIB, 100 * MIB, MIB / 100)).toContain('2.8 h left');
  expect(meterText(MIB, 100 * MIB, MIB / 10)).toContain('17 min left');
});

it('things are counted as people count them', () => {
  expect([amount(1, 'object'), amount(0, 'object'), amount(2, 'directory'), amount(3, 'key')]).toEqual(['1 object', '0 objects', '2 directories', '3 keys']);
});
