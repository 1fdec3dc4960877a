// How far a partition of a copy has what a partition of its source holds: the origin of all that came from there (R37).
// A key belongs to one partition of the source, and what comes from there comes in order, so one origin for each
// partition of the source says of every key what one for each key would, deleted keys included: a change is news if,
// and only if, it is behind this place. docs/adr/0010 has the reasons.
import type { Hash64 } from '@atoll/core-runtime';
import type { EntryVersion } from '@atoll/core-store';

/**
 * EMPTYING   what came before is removed: the source's log does not go back that far any more, or its data is another
 * COPYING    keys below `next`, in key-hash order, are as the source had them at `origin`; of the others some may be here, as
 *            they were then
 * COMPARING  as COPYING, of a keyspace that had data before: of the keys from `next` on the source has not said yet which differ
 * FOLLOWING  all keys are as the source had them at `origin`
 * ENDED      it is no copy any more: what comes from a source is refused. Of `origin` only `seq` says something: fencing
 *            tokens below it were given out for the source, which alone knows which of them are outdated; and `stampMs` is
 *            the time of this partition since which it has the results of all writes to the source (R21), 0 where it has none
 * RESUMED    it is a copy again, or with all that it has: what clients write is refused. Of `origin` only `seq` says
 *            something, the number of this copy, above the `seq` of every ENDED before; and `stampMs` is the end of this
 *            partition's own log before the entry
 */
export type CopyPhase = 'EMPTYING' | 'COPYING' | 'FOLLOWING' | 'ENDED' | 'COMPARING' | 'RESUMED';

export interface CopyPosition {
  /** Partition of the source. */
  readonly source: number;
  readonly phase: CopyPhase;
  /** Place in the source's log, with the counter of its generation. */
  readonly origin: EntryVersion;
  /** The source's time there (R23). */
  readonly stampMs: number;
  /** First key hash that is not copied yet; undefined unless COPYING or COMPARING. */
  readonly next: Hash64 | undefined;
}

const PHASES: readonly CopyPhase[] = ['EMPTYING', 'COPYING', 'FOLLOWING', 'ENDED', 'COMPARING', 'RESUMED'];
const HIGH = 2 ** 32;
/** u32 source, u8 phase, u32 generation, u32 epoch, u48 seq, f64 stampMs, u32 u32 next. */
export const COPY_POSITION_BYTES = 4 + 1 + 4 + 4 + 6 + 8 + 4 + 4;

/** The copy is over: of all partitions of the source. */
export const endOfCopy = (fencesBelow: number, resultsSinceMs = 0): CopyPosition => ({ source: 0, phase: 'ENDED', origin: { generation: 0, epoch: 0, seq: fencesBelow }, stampMs: resultsSinceMs, next: undefined });

/** It becomes a copy with what it has, behind `endSeq` of its own log: of all partitions of the source. */
export const resumptionOfCopy = (run: number, endSeq: number): CopyPosition => ({ source: 0, phase: 'RESUMED', origin: { generation: 0, epoch: 0, seq: run }, stampMs: endSeq, next: undefined });

/** Whether it says of the whole partition, not of a partition of its source. */
export const isTurn = ({ phase }: CopyPosition): boolean => phase === 'ENDED' || phase === 'RESUMED';

/** Writes COPY_POSITION_BYTES at `at` and returns the offset behind them. */
export function encodeCopyPosition({ source, phase, origin, stampMs, next }: CopyPosition, target: Buffer, at: number): number {
  let offset = target.writeUInt32LE(source, at);
  target[offset++] = PHASES.indexOf(phase);
  offset = target.writeUInt32LE(origin.generation, offset);
  offset = target.writeUInt32LE(origin.epoch, offset);
  offset = target.writeUInt32LE(origin.seq % HIGH >>> 0, offset);
  offset = target.writeUInt16LE(Math.floor(origin.seq / HIGH), offset);
  offset = target.writeDoubleLE(stampMs, offset);
  offset = target.writeUInt32LE(next?.high ?? 0, offset);
  return target.writeUInt32LE(next?.low ?? 0, offset);
}

/** Throws RangeError on damage. */
export function decodeCopyPosition(source: Buffer, at: number): CopyPosition {
  const phase = PHASES[source.readUInt8(at + 4)];
  if (phase === undefined) throw new RangeError(`position of a copy in an unknown phase ${source[at + 4]}`);
  const origin = {
    generation: source.readUInt32LE(at + 5),
    epoch: source.readUInt32LE(at + 9),
    seq: source.readUInt32LE(at + 13) + source.readUInt16LE(at + 17) * HIGH,
  };
  const next = phase === 'COPYING' || phase === 'COMPARING' ? { high: source.readUInt32LE(at + 27), low: source.readUInt32LE(at + 31) } : undefined;
  return { source: source.readUInt32LE(at), phase, origin, stampMs: source.readDoubleLE(at + 19), next };
}
