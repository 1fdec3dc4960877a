import type { Member, PartitionRecord, WriteRecord } from '@atoll/core-membership';
import type { BarrierPlace, CopiedPair, MigrationOperator, MigrationProof, MigrationWrite, VersionedOperator } from '@atoll/core-migration';
import type { NodeId } from '@atoll/core-runtime';
import type { AckMessage, Leader, SnapshotChunk, SubscribeMessage, WriteOutcome, WriteRequest } from '@atoll/core-replication';
import type { CopiedBatch } from './copy/copy-stream.ts';
import type { HostedReplica } from './node/hosted-replica.ts';
import type { LeaderMessage } from './node/messages.ts';
import type { SimPlan } from './plan.ts';

export interface MutantWrite extends Omit<MigrationWrite, 'operators' | 'turn'> {
  readonly turn: number | undefined;
  readonly operators: readonly (Omit<VersionedOperator, 'modRevision'> & { readonly modRevision: number | undefined })[];
}

/** A wrong implementation, made by twisting what passes between correct parts. */
export interface Mutant {
  readonly name: string;
  /** Rules that it breaks. */
  readonly rules: string;
  /** What the checker says of it. */
  readonly breaks: RegExp;
  /** What worlds are like in which it is likely to matter; the rest is drawn. */
  readonly plan?: Partial<SimPlan>;
  /** The keyspace is copied there (R37). */
  readonly copies?: boolean;
  /** A process that starts again keeps the replica id of data that it lost (against R1). */
  readonly keepsReplicaId?: boolean;
  /** A process that starts again keeps its incarnation, and with it its office (against R2). */
  readonly keepsIncarnation?: boolean;
  /** Clocks that stood still are not noticed (against R17). */
  readonly ignoresClockJumps?: boolean;
  /** A coordinator's commands are taken after another one was elected (against R11). */
  readonly ignoresElection?: boolean;
  /** A coordinator that takes migrations over begins each anew. */
  readonly beginsAnew?: boolean;
  /** Such a coordinator decides without looking where migrations want partitions. */
  readonly forgetsPlacements?: boolean;
  /** Nodes that should hold the partition now; undefined: as it should be. */
  placement?(operator: MigrationOperator): readonly NodeId[] | undefined;
  /** What a comparison says that was never made. */
  verdict?(operator: MigrationOperator): MigrationProof;
  /** What has no revision is not compared (against R7 and R11). */
  migrationWrite?(write: MigrationWrite): MutantWrite;
  /** The record that a decision writes while a migration has the partition. */
  decided?(action: WriteRecord, operator: MigrationOperator): PartitionRecord;
  /** Replicas that are being filled send chunks to others (against R33). */
  readonly sendsHalfFilled?: boolean;
  /** Leaders of a source are not sealed before the copy takes its place (against R37). */
  readonly sealsNobody?: boolean;
  /** Leaders confirm that they stand still, and write on (against R37). */
  readonly ignoresFreeze?: boolean;
  /** Up to where a partition of a copy is said to have its source, when that is asked for a cut-over (against R37). */
  copiedPair?(pair: CopiedPair, barrier: BarrierPlace | undefined): CopiedPair;
  /** In which parts a batch of changes is taken: each in one call, with the place behind it (against R37). */
  batches?(batch: CopiedBatch): readonly CopiedBatch[];
  promiseUntilMs?(isRecovered: boolean): number | undefined;
  /** Leases are granted to leaders of epochs that are over, which do not hear of it (against R14 and R27). */
  readonly acceptsOldEpochs?: boolean;
  leaseUntilMs?(honest: number, asked: { readonly member: Member; readonly leader: Leader | undefined }): number;
  onTick?(hosted: HostedReplica): void;
  toLeader?(follower: HostedReplica, ack: AckMessage): AckMessage;
  toFollower?(follower: HostedReplica, message: LeaderMessage): LeaderMessage;
  subscription?(leader: HostedReplica, message: SubscribeMessage, follower: HostedReplica): SubscribeMessage;
  afterChunk?(follower: HostedReplica, chunk: SnapshotChunk): void;
  onUnknownChange?(leader: Leader, hosted: HostedReplica): void;
  writeOutcome?(outcome: WriteOutcome): WriteOutcome;
  writeRequest?(request: WriteRequest): WriteRequest;
}
