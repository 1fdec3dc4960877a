import { isAtollError } from '@atoll/core-errors';
import type { ReplicaId } from '@atoll/core-runtime';
import type { Logger } from '@atoll/platform-telemetry';
import { checkpointChunks } from './checkpoint-codec.ts';
import type { DiskHealth } from './disk-health.ts';
import type { HostedReplica } from './hosted-replica.ts';
import type { Wal } from './wal/index.ts';

const CHECKPOINTS_AT_ONCE = 4;
const CHECKPOINT_RETRY_MS = 5000;

export interface ReplicaCheckpointsOptions {
  readonly wal: Wal;
  readonly disk: DiskHealth;
  readonly logger: Logger;
  readonly find: (replicaId: ReplicaId) => HostedReplica | undefined;
  /** The store of a replica is on disk: there may be something to acknowledge. */
  readonly onSaved: (hosted: HostedReplica) => void;
}

/** Writes the stores of replicas to disk: of those whose install ended, and of those that pin the oldest log. */
export class ReplicaCheckpoints {
  readonly #options: ReplicaCheckpointsOptions;
  readonly #running = new Set<ReplicaId>();
  /** Replicas whose install ended and is not on disk, and when that is tried again. */
  readonly #unsaved = new Map<HostedReplica, number>();

  constructor(options: ReplicaCheckpointsOptions) {
    this.#options = options;
  }

  /** An install counts when its checkpoint is on disk; one that fails, or finds an older one under way, comes again. */
  saveInstall(hosted: HostedReplica): void {
    this.#unsaved.set(hosted, 0);
    void this.#save(hosted);
  }

  /** The replica is dropped. */
  forget(hosted: HostedReplica): void {
    this.#unsaved.delete(hosted);
  }

  tick(nowMs: number): void {
    for (const [hosted, atMs] of this.#unsaved) if (nowMs >= atMs) void this.#save(hosted);
    if (this.#running.size >= CHECKPOINTS_AT_ONCE) return;
    for (const replicaId of this.#options.wal.replicasToCheckpoint()) {
      const hosted = this.#options.find(replicaId);
      if (hosted !== undefined) void this.#save(hosted);
    }
  }

  async #save(hosted: HostedReplica): Promise<void> {
    const { wal, disk, logger, onSaved } = this.#options;
    const { state } = hosted.replica;
    const replicaId = state.identity.self.replica;
    if (this.#running.has(replicaId) || this.#running.size >= CHECKPOINTS_AT_ONCE) return;
    // Half an install must never look like a whole replica to the next start (R33).
    if (!state.hasAllData || hosted.isDropped) return;
    this.#running.add(replicaId);
    this.#unsaved.delete(hosted);
    try {
      const chunks = checkpointChunks(state, () => new Promise((resolve) => setImmediate(resolve)));
      await wal.checkpoint(replicaId, state.appliedPosition, Math.floor(state.clock.read(performance.now())), chunks);
      wal.noteCommitted(replicaId, state.appliedSeq);
      disk.works();
      if (hosted.isDropped) return;
      state.noteInstallDurable();
      onSaved(hosted);
    } catch (error) {
      if (isAtollError(error) && error.reason === 'CANCELLED') return;
      disk.failed(error);
      logger.error({ err: error, replica: replicaId }, 'a checkpoint failed');
    } finally {
      this.#running.delete(replicaId);
      const isUnsaved = !hosted.isDropped && state.hasAllData && !state.isInstalled;
      if (isUnsaved && !this.#unsaved.has(hosted)) this.#unsaved.set(hosted, performance.now() + CHECKPOINT_RETRY_MS);
    }
  }
}
