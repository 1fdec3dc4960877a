import type { Leader } from '../leader.ts';
import type { AckMessage, SubscribeMessage } from '../messages.ts';
import type { SnapshotChunk } from '../snapshot-install.ts';
import type { LeaderMessage, WorldProcess } from './world-process.ts';

/** A wrong implementation, made by twisting what passes between correct parts. */
export interface Mutant {
  readonly name: string;
  /** A process that starts again keeps the replica id of data that it lost (against R1). */
  readonly keepsReplicaId?: boolean;
  /** A process that starts again keeps its incarnation, and with it its office (against R2). */
  readonly keepsIncarnation?: boolean;
  onTick?(process: WorldProcess): void;
  toLeader?(follower: WorldProcess, ack: AckMessage): AckMessage;
  toFollower?(follower: WorldProcess, message: LeaderMessage): LeaderMessage;
  subscription?(leader: WorldProcess, message: SubscribeMessage): SubscribeMessage;
  afterChunk?(follower: WorldProcess, chunk: SnapshotChunk): void;
  onUnknownChange?(leader: Leader): void;
}
