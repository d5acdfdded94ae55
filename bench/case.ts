// What a benchmark is made of. A case is one line of the table per subject, ours first; its goals compare what ours and the others gave in the same rounds.

/** What one measurement gave. */
export interface Sample {
  /** The result, in the unit of its case. */
  value: number;
  /** Latency in milliseconds. */
  p50?: number;
  p99?: number;
  /** Microseconds of processor time per request. */
  cpu?: number | undefined;
  /** Resident memory in MiB. */
  rss?: number | undefined;
}

export type Figure = keyof Sample;

/** A target of ours: absolute, or with `times` against the same figure of another subject. */
export interface Goal {
  figure?: Figure;
  /** At most so much, or so many times the other's. */
  most?: number;
  /** At least so much, or so many times the other's. */
  least?: number;
  times?: string;
  /** A subject whose whole result is allowed on top: it is taken off ours first. */
  besides?: string;
}

export interface Case {
  name: string;
  unit: 'ms' | '/s' | 'MB/s' | 'MiB';
  /** The first is ours, the second the one that the ratio is against. */
  subjects: readonly [ours: string, ...others: string[]];
  goals: readonly Goal[];
}

export type Take = (subject: string, sample: Sample) => void;

export interface Bench {
  name: string;
  cases: readonly Case[];
  /** Why it cannot run here, in a few words; undefined when it can. */
  obstacle?(): Promise<string | undefined>;
  /** Gets everything ready, and leaves on `stack` how it goes away. What it returns measures each subject of each case, in turns, once or a few times. */
  open(stack: AsyncDisposableStack): Promise<(take: (of: Case) => Take, round: number) => Promise<void>>;
}

/** Each in turn, beginning with another one every round, so that none always runs in the shadow of the same neighbour. */
export async function inTurns(round: number, turns: readonly (() => Promise<void>)[]): Promise<void> {
  for (let index = 0; index < turns.length; index++) await turns[(index + round) % turns.length]?.();
}
