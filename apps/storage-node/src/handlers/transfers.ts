import type { GetTransfersResponse, LimitTransfersRequest, LimitTransfersResponse, PartitionSize, ShardTransfersRequest, ShardTransfersResponse } from '@atoll/contracts/atoll/v1/transfer';
import { invalidArgument } from '@atoll/core-errors';
import { GIB } from '@atoll/core-runtime';
import type { CoordinatorFence } from '../heartbeat/coordinator-fence.ts';
import type { ReplicaHost } from '../replica-host.ts';
import type { SnapshotReceiver } from '../replication/snapshot-receiver.ts';
import type { SyncThrottle } from '../replication/sync-throttle.ts';

const BYTES_PER_SECOND_MAX = 64 * GIB;
const SHARDED_MAX = 4096;
const SHARDS_MIN = 2;
const SHARDS_MAX = 16;
const VALID_MS_MIN = 1000;
const VALID_MS_MAX = 600_000;

export interface TransferHandlerOptions {
  readonly host: ReplicaHost;
  readonly incarnation: string;
  readonly fence: CoordinatorFence;
  readonly throttle: SyncThrottle;
  readonly snapshots: SnapshotReceiver;
}

/** The calls by which the coordinator sees and bounds what is transferred. */
export class TransferHandlers {
  readonly #options: TransferHandlerOptions;

  constructor(options: TransferHandlerOptions) {
    this.#options = options;
  }

  /** About 0.2 us of CPU time per row: it may be asked every second. */
  get(): GetTransfersResponse {
    const { host, incarnation, snapshots, throttle } = this.#options;
    const sizes: PartitionSize[] = [];
    for (const { replica, keyspace, partition } of host.replicas()) {
      if (replica.leader === undefined) continue;
      const { store } = replica.state;
      sizes.push({ keyspace, partition, entries: store.entryCount, bytes: store.liveBytes });
    }
    return {
      incarnation,
      replicas: snapshots.received.list().map(({ hosted, bytes, entries, progress, isInstalled }) => ({
        keyspace: hosted.keyspace,
        partition: hosted.partition,
        replicaId: hosted.replica.state.identity.self.replica,
        bytes,
        entries,
        progress,
        installed: isInstalled,
      })),
      memoryUsedBytes: host.memory.usedBytes,
      memoryLimitBytes: host.memory.bytesMax,
      sizes,
      sendBytesPerSecond: Math.round(throttle.boundBytes(performance.now())),
      load: throttle.load,
    };
  }

  /** Throws INVALID_ARGUMENT, STALE_FENCING_TOKEN. */
  limit({ coordinatorRevision, bytesPerSecond, validMs }: LimitTransfersRequest): LimitTransfersResponse {
    if (bytesPerSecond > BYTES_PER_SECOND_MAX) throw invalidArgument('bytes_per_second', `must be at most ${BYTES_PER_SECOND_MAX}, is ${bytesPerSecond}`);
    checkValidMs(validMs);
    this.#options.fence.accept(coordinatorRevision);
    this.#options.throttle.limit({ bytesPerSecond, validMs }, performance.now());
    return {};
  }

  /** Throws INVALID_ARGUMENT, STALE_FENCING_TOKEN. */
  shard({ coordinatorRevision, transfers, validMs }: ShardTransfersRequest): ShardTransfersResponse {
    if (transfers.length > SHARDED_MAX) throw invalidArgument('transfers', `must be at most ${SHARDED_MAX}, are ${transfers.length}`);
    const wrong = transfers.find(({ shards }) => shards < SHARDS_MIN || shards > SHARDS_MAX);
    if (wrong !== undefined) throw invalidArgument('transfers.shards', `must be ${SHARDS_MIN} to ${SHARDS_MAX}, is ${wrong.shards}`);
    checkValidMs(validMs);
    this.#options.fence.accept(coordinatorRevision);
    this.#options.snapshots.shard(transfers, { validMs, nowMs: performance.now() });
    return {};
  }
}

function checkValidMs(validMs: number): void {
  if (validMs < VALID_MS_MIN || validMs > VALID_MS_MAX) throw invalidArgument('valid_ms', `must be ${VALID_MS_MIN} to ${VALID_MS_MAX}, is ${validMs}`);
}
