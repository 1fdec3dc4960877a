// What a reset or an unclean recovery gives up, as far as anybody knows.
import type { PartitionRecord } from '@atoll/core-membership';
import type { SeenReplica } from './last-seen.ts';

export interface Loss {
  /** Entries of the replicas that are given up, as they last said; undefined when none of them said, or when some are kept. */
  readonly entries: number | undefined;
  /** Positions in the log behind what is kept; undefined when nobody knows. */
  readonly writes: number | undefined;
}

/** @param former The record before; its in-sync and eligible replicas had every committed write. */
export function lossOf(record: PartitionRecord, former: PartitionRecord | undefined, seen: (replica: string) => SeenReplica | undefined): Loss {
  const given = [...(former?.inSync ?? []), ...(former?.eligible ?? [])].flatMap(({ replica }) => seen(replica) ?? []);
  const kept = record.continues === undefined || record.leader === undefined ? undefined : seen(record.leader.replica);
  return lossBetween(given, kept);
}

/** What `given` had at most, beyond what `kept` has. */
export function lossBetween(given: readonly SeenReplica[], kept: SeenReplica | undefined): Loss {
  if (given.length === 0) return { entries: undefined, writes: undefined };
  const end = Math.max(...given.map(({ seq }) => seq));
  if (kept !== undefined) return { entries: undefined, writes: Math.max(0, end - kept.seq) };
  return { entries: Math.max(...given.map(({ entries }) => entries)), writes: end };
}

/** For people: what several partitions lose together. */
export function lossText(losses: readonly Loss[]): string {
  const known = losses.filter(({ writes }) => writes !== undefined);
  if (known.length === 0) return 'nobody knows how much';
  const sum = (field: keyof Loss): number => known.reduce((total, loss) => total + (loss[field] ?? 0), 0);
  const entries = known.some((loss) => loss.entries !== undefined) ? `${sum('entries')} entries, ` : '';
  const unknown = losses.length - known.length;
  return `${entries}${sum('writes')} writes of the log at least, as last reported${unknown === 0 ? '' : `; unknown for ${unknown} of them`}`;
}
