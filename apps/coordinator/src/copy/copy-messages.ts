import { CopyPhase, type CopyStatus } from '@atoll/contracts/atoll/v1/copy';
import { MigrationMethod, MigrationState, MigrationStep, type Migration, type MigrationProof, type PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import type { CopyJob } from '@atoll/core-migration';
import { WHOLE_RANGE } from '@atoll/core-placement';
import { parseTraceparent } from '@atoll/platform-telemetry';
import { fromTokenRange, tokenRangeText } from '@atoll/platform-wire';

/** One partition of the target, with the nodes that lead it and its sources. */
export interface CopiedPartition {
  readonly partition: number;
  readonly leader: string | undefined;
  readonly sourceLeaders: readonly string[];
  /** Partitions of the source that have keys of it, 0 where none of these is copied; undefined while it is not known. */
  readonly sources: number | undefined;
  /** What the leader's node last said, at most one for each of those. */
  readonly statuses: readonly CopyStatus[];
}

/** `problem`: why all of it stands still; empty otherwise. */
export function toCopyMigration(job: CopyJob, partitions: readonly PartitionMigration[], restarts: number, problem: string): Migration {
  const following = partitions.filter(({ step }) => step === MigrationStep.MIGRATION_STEP_FOLLOW).length;
  const [tokenFrom, tokenTo] = fromTokenRange(job.tokens ?? WHOLE_RANGE);
  return {
    id: job.id,
    method: MigrationMethod.MIGRATION_METHOD_COPY,
    reason: 'REQUESTED',
    state: MigrationState[`MIGRATION_STATE_${job.state}`],
    createdAtMs: job.createdMs,
    endedAtMs: job.endedMs,
    description: job.cluster?.archive !== undefined ? `restore ${job.cluster.archive} to ${job.target}${job.takesPlaceOf === undefined ? '' : `, in the place of ${job.takesPlaceOf.name}`}` : `copy ${job.source}${job.tokens === undefined ? '' : `, tokens ${tokenRangeText(job.tokens)},`}${job.cluster === undefined ? '' : ` of cluster ${job.cluster.id}`} to ${job.target}`,
    problem: job.problem || problem || commonProblem(partitions),
    partitionsTotal: job.partitionCount,
    partitionsDone: job.state === 'SUCCEEDED' ? job.partitionCount : following,
    partitionsRolledBack: job.state === 'CANCELLED' ? job.partitionCount : 0,
    bytes: job.bytes ?? sum(partitions, ({ bytes }) => bytes),
    entries: job.entries ?? sum(partitions, ({ entries }) => entries),
    pauseMsMax: job.pauseMsMax ?? 0,
    traceId: parseTraceparent(job.traceparent)?.traceId ?? '',
    bytesPerSecond: job.bytesPerSecond,
    fullVerify: false,
    shards: 1,
    partitionsAtOnce: 0,
    methodReason: '',
    copy: {
      source: job.source,
      sourceCluster: job.cluster?.id ?? '',
      sourceRouters: [...(job.cluster?.routers ?? [])],
      sourceArchive: job.cluster?.archive ?? '',
      takesPlaceOf: job.takesPlaceOf?.name ?? '',
      tokenFrom,
      tokenTo,
      target: job.target,
      following: partitions.length > 0 && following === partitions.length,
      pausesMs: [...(job.pausesMs ?? [])],
      lagSeq: worst(partitions.map(({ lagSeq }) => lagSeq), (a, b) => a + b),
      lagMs: worst(partitions.map(({ lagMs }) => lagMs), Math.max),
      restarts,
      comparedEntries: job.comparedEntries ?? worst(partitions.map(({ proof }) => proof?.entries), (a, b) => a + b),
      differing: sum(partitions, ({ proof }) => proof?.differing ?? 0),
    },
  };
}

export function toCopiedPartition(job: CopyJob, { partition, leader, sourceLeaders, sources, statuses }: CopiedPartition): PartitionMigration {
  const failed = statuses.find(({ problem }) => problem !== '');
  const isTold = statuses.length === sources;
  const isFollowing = isTold && statuses.every(({ phase }) => phase === CopyPhase.COPY_PHASE_FOLLOWING);
  // Of what is not copied, the copy has all there is.
  const lags = sources === 0 ? [{ lagSeq: 0, lagMs: 0 }] : isTold ? statuses : [undefined];
  return {
    keyspace: job.target,
    partition,
    from: [...new Set(sourceLeaders)],
    to: leader === undefined ? [] : [leader],
    reason: 'REQUESTED',
    step: isFollowing ? MigrationStep.MIGRATION_STEP_FOLLOW : isTold ? MigrationStep.MIGRATION_STEP_CATCH_UP : MigrationStep.MIGRATION_STEP_WAITING,
    stepSinceMs: 0,
    bytes: statuses[0]?.bytes ?? 0,
    entries: statuses[0]?.entries ?? 0,
    progress: isTold ? statuses.reduce((least, { progress }) => Math.min(least, progress), 1) : 0,
    proof: isTold ? proofOf(statuses) : undefined,
    problem: failed?.problem ?? '',
    problemReason: failed?.problemReason ?? '',
    bytesTotal: 0,
    entriesTotal: 0,
    lagSeq: worst(lags.map((status) => status?.lagSeq), (a, b) => a + b),
    lagMs: worst(lags.map((status) => status?.lagMs), Math.max),
  };
}

/** What keeps every partition from going on: the copy as a whole stands still then. */
function commonProblem(partitions: readonly PartitionMigration[]): string {
  return partitions.every(({ problem }) => problem !== '') ? (partitions[0]?.problem ?? '') : '';
}

/** Of all pairs; undefined until each was compared. */
function proofOf(statuses: readonly CopyStatus[]): MigrationProof | undefined {
  const proofs = statuses.flatMap(({ proof }) => proof ?? []);
  if (proofs.length < statuses.length) return undefined;
  const entries = sum(proofs, (proof) => proof.entries);
  const differing = sum(proofs, (proof) => proof.differing);
  const { epoch = 0, seq = 0 } = proofs[0]?.origin ?? {};
  return { epoch, seq, entries, equal: sum(proofs, ({ equal }) => equal), repaired: 0, comparedEntries: differing === 0 ? entries : 0, differing };
}

const sum = <T>(values: readonly T[], of: (value: T) => number): number => values.reduce((total, value) => total + of(value), 0);

/** Undefined where one of them is, or there is none. */
function worst(values: readonly (number | undefined)[], join: (a: number, b: number) => number): number | undefined {
  return values.length === 0 ? undefined : values.reduce((a, b) => (a === undefined || b === undefined ? undefined : join(a, b)));
}
