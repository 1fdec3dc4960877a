// The cut-over of a copy (R37): what is to be done next, by what is known. Writes to the source are held back from the first
// record that says FROZEN until the end, so every step is either taken at once or waited for, and the wait is bounded.
//
//   FREEZE   records of the source name the cut-over; leaders that read them write no more, and put a barrier into the log
//   DRAIN    each barrier is committed, and applied by every partition of the copy that has keys of that partition
//   COMMIT   leaders of the source are sealed, then one transaction: the source's name means the copy from then on
//
// The same facts give the same step whoever asks, and however often: what was lost on the way is done again.

/** A place in the log of a partition of the source. */
export interface BarrierPlace {
  /** Counter of the generation. */
  readonly generation: number;
  readonly seq: number;
}

/** A partition of the source. */
export interface FrozenSource {
  readonly partition: number;
  /** Whether its record names this cut-over. */
  readonly isFrozen: boolean;
  /**
   * False: a write of its record may yet be carried out whose answer was lost, and which may name another leader (R7). The
   * record is written once more then, whatever it says, before leaders are sealed. Default true.
   */
  readonly isSettled?: boolean | undefined;
  /** Of its record. */
  readonly generation: number;
  /** As some leader confirmed it: committed, with all that was acknowledged before it. */
  readonly barrier: BarrierPlace | undefined;
}

/** A partition of the copy, and one of the source that has keys of it. */
export interface CopiedPair {
  readonly source: number;
  readonly target: number;
  /** Up to where the copy holds what its source held; undefined while that is not known, or not whole. */
  readonly applied: BarrierPlace | undefined;
}

export interface CutOverFacts {
  readonly sources: readonly FrozenSource[];
  /** At least one for each partition of the source and each of the copy. */
  readonly pairs: readonly CopiedPair[];
  /** Since the first record was frozen, in ms of a monotonic clock. */
  readonly heldMs: number;
  /** Longest time for which writes may be held, in ms. */
  readonly maxPauseMs: number;
}

export type CutOverStep =
  | { readonly kind: 'freeze'; readonly partitions: readonly number[] }
  /** Barriers are asked for, and followed. `missing`: for people. */
  | { readonly kind: 'drain'; readonly unconfirmed: readonly number[]; readonly missing: string }
  | { readonly kind: 'commit' }
  | { readonly kind: 'abort'; readonly reason: string };

export function nextCutOverStep({ sources, pairs, heldMs, maxPauseMs }: CutOverFacts): CutOverStep {
  // What was frozen in a generation that is gone says nothing of the data that is there now (R3).
  const reset = sources.find(({ barrier, generation }) => barrier !== undefined && barrier.generation !== generation);
  if (reset !== undefined) return { kind: 'abort', reason: `partition ${reset.partition} of the source began a new generation` };
  const thawed = sources.filter(({ isFrozen }) => !isFrozen);
  // Behind its barrier there may be writes again.
  const broken = thawed.find(({ barrier }) => barrier !== undefined);
  if (broken !== undefined) return { kind: 'abort', reason: `partition ${broken.partition} of the source takes writes again` };
  const doubtful = sources.filter(({ isFrozen, isSettled }) => isFrozen && isSettled === false);
  const unconfirmed = sources.filter(({ barrier }) => barrier === undefined);
  const barriers = new Map(sources.map(({ partition, barrier }) => [partition, barrier]));
  const behind = pairs.filter(({ source, applied }) => !isReached(barriers.get(source), applied));
  const isReady = thawed.length === 0 && doubtful.length === 0 && unconfirmed.length === 0 && behind.length === 0 && sources.length > 0 && pairs.length > 0;
  if (isReady) return { kind: 'commit' };
  const missing = missingText([...thawed, ...doubtful], unconfirmed, behind);
  if (heldMs >= maxPauseMs) return { kind: 'abort', reason: `writes were held for ${Math.round(heldMs)} ms, of at most ${maxPauseMs}: ${missing}` };
  if (thawed.length + doubtful.length > 0) return { kind: 'freeze', partitions: [...thawed, ...doubtful].map(({ partition }) => partition) };
  return { kind: 'drain', unconfirmed: unconfirmed.map(({ partition }) => partition), missing };
}

const isReached = (barrier: BarrierPlace | undefined, applied: BarrierPlace | undefined): boolean =>
  barrier !== undefined && applied !== undefined && applied.generation === barrier.generation && applied.seq >= barrier.seq;

function missingText(thawed: readonly FrozenSource[], unconfirmed: readonly FrozenSource[], behind: readonly CopiedPair[]): string {
  if (thawed.length > 0) return `${count(thawed.length, 'partition')} of the source could not be frozen, ${names(thawed)}`;
  if (unconfirmed.length > 0) return `${count(unconfirmed.length, 'partition')} of the source did not confirm that nothing more is written, ${names(unconfirmed)}`;
  const targets = [...new Set(behind.map(({ target }) => target))];
  return `${count(targets.length, 'partition')} of the copy did not come to the end of the source, ${targets.slice(0, 5).join(', ')}`;
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;
const names = (sources: readonly FrozenSource[]): string => sources.slice(0, 5).map(({ partition }) => partition).join(', ');

/** How a copy stands before its cut-over; as the job tells it. */
export interface CopyStanding {
  readonly isFollowing: boolean;
  /** Partitions of the copy, and those of them that follow. */
  readonly partitions: number;
  readonly following: number;
  /** Undefined while some partition does not say. */
  readonly lagMs: number | undefined;
  /** Of the latest comparison; undefined until every partition was compared since its node leads it. */
  readonly comparedEntries: number | undefined;
  readonly differing: number;
}

/** A copy that is further behind, in ms, is not cut over: what it has to take is part of the pause. */
export const CUT_OVER_LAG_MS_MAX = 1000;

/** Why a cut-over cannot begin now; undefined when it can. */
export function refusalOfCutOver({ isFollowing, partitions, following, lagMs, comparedEntries, differing }: CopyStanding): string | undefined {
  if (!isFollowing) return `${partitions - following} of ${partitions} partitions do not follow yet`;
  if (lagMs === undefined) return 'how far the copy is behind its source is not known';
  if (lagMs > CUT_OVER_LAG_MS_MAX) return `the copy is ${Math.round(lagMs)} ms behind its source, and ${CUT_OVER_LAG_MS_MAX} are allowed`;
  if (comparedEntries === undefined) return 'not every partition has been compared with its source since its node leads it';
  return differing > 0 ? `${differing} sub-ranges of the copy differ from the source` : undefined;
}
