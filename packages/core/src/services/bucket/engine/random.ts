// Random bytes in small portions: each object takes four of them, and asking the system for each costs more than the cipher does.
import { randomFillSync } from 'node:crypto';

const stock = Buffer.allocUnsafeSlow(4096);
let at = stock.length;

/** At most a few dozen. Nothing of what is given stays behind. */
export function randomPortion(length: number): Buffer {
  if (at + length > stock.length) {
    randomFillSync(stock);
    at = 0;
  }
  const portion = Buffer.from(stock.subarray(at, at + length));
  stock.fill(0, at, at + length);
  at += length;
  return portion;
}
