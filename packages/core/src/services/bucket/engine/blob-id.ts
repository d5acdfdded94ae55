// Names of blobs: the time first, so that what was written together lies together and lists come in order of age.
import { randomPortion } from './random.ts';

/** 12 hex digits of Unix milliseconds and 12 random ones. */
export const newBlobId = (now: number): string => now.toString(16).padStart(12, '0') + randomPortion(6).toString('hex');
