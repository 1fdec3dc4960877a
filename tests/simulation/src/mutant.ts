import type { Member } from '@atoll/core-membership';
import type { AckMessage, Leader, SnapshotChunk, SubscribeMessage, WriteOutcome, WriteRequest } from '@atoll/core-replication';
import type { HostedReplica } from './node/hosted-replica.ts';
import type { LeaderMessage } from './node/messages.ts';
import type { SimPlan } from './plan.ts';

/** A wrong implementation, made by twisting what passes between correct parts. */
export interface Mutant {
  readonly name: string;
  /** Rules that it breaks. */
  readonly rules: string;
  /** What the checker says of it. */
  readonly breaks: RegExp;
  /** What worlds are like in which it is likely to matter; the rest is drawn. */
  readonly plan?: Partial<SimPlan>;
  /** A process that starts again keeps the replica id of data that it lost (against R1). */
  readonly keepsReplicaId?: boolean;
  /** A process that starts again keeps its incarnation, and with it its office (against R2). */
  readonly keepsIncarnation?: boolean;
  /** Clocks that stood still are not noticed (against R17). */
  readonly ignoresClockJumps?: boolean;
  /** A coordinator's commands are taken after another one was elected (against R11). */
  readonly ignoresElection?: boolean;
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
