// What a cut-over makes of the records of keyspaces and partitions (R37): who is frozen for it, who is thawed behind one that was
// given up, and what names mean when it is done.
import type { CutOver, KeyspaceSpec, PartitionRecord, VersionedRecord, WriteRecord } from '@atoll/core-membership';
import { sourcePartitionsOf } from '@atoll/core-placement';
import { randomHex, type Random } from '@atoll/core-runtime';
import { retiredBy, type CopyJob } from './copy-job.ts';
import type { BarrierPlace, CopiedPair } from './cut-over.ts';
import { takePlace, type Places } from './take-place.ts';

/**
 * Each partition of a copy with those of its source that have keys of it. `appliedOf`: up to where it has what is there, as its
 * leader last said; undefined while that is not known, or it does not follow.
 */
export function copiedPairs(counts: { readonly sourceCount: number; readonly targetCount: number }, appliedOf: (target: number, source: number) => BarrierPlace | undefined): readonly CopiedPair[] {
  const { sourceCount, targetCount } = counts;
  return Array.from({ length: sourceCount === 0 ? 0 : targetCount }, (_, target) =>
    sourcePartitionsOf(target, { sourceCount, targetCount, tokens: undefined }).map((source): CopiedPair => ({ source, target, applied: appliedOf(target, source) })),
  ).flat();
}

/** Source and copy behind the cut-over: the copy takes writes, by the names of the source, which has none any more. */
export const switchedSpecs = ({ source, target }: Places, cutOver: CutOver): Places => takePlace({ source, target: { ...target, copyOf: undefined, cutOver } });

/** The record, frozen for a cut-over, frozen with its keyspace, or thawed. */
export function withFrozen({ record, modRevision }: VersionedRecord, cutOver: string | undefined, random: Random): WriteRecord {
  const { frozen: _frozen, ...rest } = record;
  const changed: PartitionRecord = { ...rest, ...(cutOver !== undefined && { frozen: cutOver }), changeId: randomHex(random, 8) };
  return { kind: 'writeRecord', decision: cutOver === undefined ? 'THAW' : 'FREEZE', record: changed, modRevision };
}

/**
 * Whether a keyspace of this cluster went with it for good. That of a standby is kept, and may have its place again: what etcd says
 * of it counts. But what was read of it from before the promotion does not, which says that the standby is a copy still.
 */
const hasTaken = ({ id, state, isStandby, target }: CopyJob, keyspaces: ReadonlyMap<string, KeyspaceSpec>): boolean =>
  state === 'SUCCEEDED' && (isStandby !== true || keyspaces.get(target)?.copyOf?.job === id);

/** By the id of each keyspace whose place was taken, the name of that which has it. */
const takenOf = (jobs: readonly CopyJob[], keyspaces: ReadonlyMap<string, KeyspaceSpec>): ReadonlyMap<string | undefined, string> =>
  new Map(jobs.filter((job) => hasTaken(job, keyspaces)).map((job) => [retiredBy(job)?.id, job.target]));

/**
 * Records that say FROZEN for no cut-over that is under way: whoever gave it up, and whatever was written late (R7). Never of a
 * source whose place was taken, nor of a keyspace that is frozen itself, however old what is known of keyspaces is; whether an
 * operator has frozen it meanwhile is still to be asked. `holds`: for other clusters.
 */
export function frozenForNothing(options: {
  readonly jobs: readonly CopyJob[];
  readonly holds: Iterable<string>;
  readonly keyspaces: ReadonlyMap<string, KeyspaceSpec>;
  readonly recordsOf: (keyspace: string) => readonly VersionedRecord[];
}): readonly VersionedRecord[] {
  const { jobs, holds, keyspaces, recordsOf } = options;
  const underWay = new Set([...jobs.map(({ state, cutOver }) => (state === 'CUTTING_OVER' ? cutOver?.id : undefined)), ...holds]);
  const taken = takenOf(jobs, keyspaces);
  return [...keyspaces.values()]
    .filter(({ id, movedTo, freeze }) => movedTo === undefined && freeze === undefined && !taken.has(id))
    .flatMap(({ name }) => recordsOf(name))
    .filter(({ record }) => record.frozen !== undefined && !underWay.has(record.frozen) && !taken.has(record.keyspaceId));
}

/**
 * The keyspaces as decisions may rest on them: those whose place was taken say so, also where the record that was read is older.
 * Nobody is given an office in one of them any more:
 *
 *   1. the leaders of the source are sealed, and the copy takes its place
 *   2. a leader of the source dies, and another replica is promoted, which nobody has sealed
 *   3. a router that has not heard of it reads from there what the copy has changed since
 */
export function withPlacesTaken(keyspaces: ReadonlyMap<string, KeyspaceSpec>, jobs: readonly CopyJob[]): ReadonlyMap<string, KeyspaceSpec> {
  const taken = takenOf(jobs, keyspaces);
  return new Map([...keyspaces].map(([name, spec]) => [name, spec.movedTo === undefined && taken.has(spec.id) ? { ...spec, movedTo: taken.get(spec.id)! } : spec]));
}
