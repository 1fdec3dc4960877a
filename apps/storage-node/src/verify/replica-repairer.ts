import { setTimeout as pause } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { TransferClient } from '@atoll/contracts/atoll/v1/transfer';
import type { RepairReplicaRequest, RepairReplicaResponse } from '@atoll/contracts/atoll/v1/verify';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import type { RangeRepair, SnapshotChunk } from '@atoll/core-replication';
import { DIGEST_LEAVES, leafRange } from '@atoll/core-store';
import { ByteRate, callServerStream, createChannelOptions, writeWithBackpressure, type ServerStreamHandler } from '@atoll/platform-grpc';
import type { Counter, Logger, Metrics } from '@atoll/platform-telemetry';
import type { CoordinatorFence } from '../heartbeat/coordinator-fence.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import { ChunkAssembler, chunkBytes } from '../replication/chunk-assembler.ts';
import type { ReplicaHost } from '../replica-host.ts';

/** Repairs at a time on this node; one more is refused as OVERLOADED (I10). */
const REPAIRS_MAX = 4;
const ATTEMPTS_MAX = 3;
const ATTEMPT_PAUSE_MS = 50;
/** How long a chunk may wait for the log to reach what it shows: the commits come with the next message of the leader. */
const TAKE_MS_MAX = 5000;

export interface ReplicaRepairerOptions {
  readonly host: ReplicaHost;
  readonly fence: CoordinatorFence;
  readonly clusterId: string;
  readonly addressOf: (node: string) => string | undefined;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

interface RepairTransfer {
  readonly client: TransferClient;
  readonly rate: ByteRate;
  readonly signal: AbortSignal;
}

/** Installs sub-ranges of followers again, from their leaders, while they follow (R34, R33). */
export class ReplicaRepairer {
  readonly #options: ReplicaRepairerOptions;
  readonly #running = new Set<HostedReplica>();
  readonly #ranges: Counter;
  readonly #bytes: Counter;

  constructor(options: ReplicaRepairerOptions) {
    this.#options = options;
    this.#ranges = options.metrics.counter('atoll_repaired_ranges_total', { description: 'Sub-ranges of replicas on this node that were installed again because they differed.' });
    this.#bytes = options.metrics.counter('atoll_repaired_bytes_total', { description: 'Bytes of keys and values that repairs brought here.', unit: 'By' });
  }

  /** Handler of `Verification.RepairReplica`. */
  readonly repair: ServerStreamHandler<RepairReplicaRequest, RepairReplicaResponse> = async (call, context) => {
    const { request } = call;
    this.#options.fence.accept(request.coordinatorRevision);
    const wrong = request.leaves.find((leaf) => leaf >= DIGEST_LEAVES);
    if (wrong !== undefined) throw invalidArgument('leaves', `${wrong} is not below ${DIGEST_LEAVES}`);
    const hosted = this.#find(request);
    if (this.#running.has(hosted) || this.#running.size >= REPAIRS_MAX) throw new AtollError('OVERLOADED', 'other repairs are under way on this node');
    const transfer: RepairTransfer = { client: this.#connect(hosted, request), rate: new ByteRate(request.bytesPerSecond, performance.now()), signal: context.signal };
    let bytes = 0;
    this.#running.add(hosted);
    try {
      for (const leaf of request.leaves) {
        const repair = await this.#repairLeaf(hosted, request, leaf, transfer);
        this.#ranges.add();
        bytes += repair.bytes;
        await writeWithBackpressure(call, { leaf, entries: repair.entryCount, bytes: repair.bytes }, context.signal);
      }
    } finally {
      transfer.client.close();
      this.#running.delete(hosted);
      if (bytes > 0 && !hosted.isDropped) this.#options.host.saveRepaired(hosted);
    }
    const { keyspace, partition } = hosted;
    this.#options.logger.warn({ keyspace, partition, ranges: request.leaves.length, bytes }, 'a replica that differed from its leader was repaired');
  };

  /** Another attempt when the leader changed, or was behind this replica for a moment. */
  async #repairLeaf(hosted: HostedReplica, request: RepairReplicaRequest, leaf: number, transfer: RepairTransfer): Promise<RangeRepair> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#install(hosted, request, leaf, transfer);
      } catch (error) {
        const isPassing = isAtollError(error) && ['REPLICA_NOT_READY', 'REPLICA_UNKNOWN', 'PEER_UNAVAILABLE'].includes(error.reason);
        if (!isPassing || attempt === ATTEMPTS_MAX) throw error;
        await pause(ATTEMPT_PAUSE_MS, undefined, { signal: transfer.signal });
      }
    }
  }

  async #install(hosted: HostedReplica, request: RepairReplicaRequest, leaf: number, { client, rate, signal }: RepairTransfer): Promise<RangeRepair> {
    const { state } = hosted.replica;
    this.#followed(hosted, request);
    const { from, to } = leafRange(leaf);
    const repair = state.beginRepair(from, to);
    if (repair === undefined) throw new AtollError('REPLICA_NOT_READY', 'the replica is being filled, or repaired');
    try {
      const fetch = {
        clusterId: this.#options.clusterId,
        keyspace: hosted.keyspace,
        partition: hosted.partition,
        replicaId: request.replicaId,
        generation: request.generation,
        epoch: request.epoch,
        fromHigh: from.high,
        fromLow: from.low,
        toHigh: to?.high,
        toLow: to?.low,
        wantsResults: false,
        logSeq: 0,
        sharded: false,
      };
      const assembler = new ChunkAssembler();
      for await (const message of callServerStream(client, 'fetchSnapshot', fetch, { signal })) {
        const chunk = assembler.add(message);
        if (chunk === undefined) continue;
        this.#followed(hosted, request);
        await this.#take(hosted, repair, chunk, signal);
        const bytes = chunkBytes(chunk);
        this.#bytes.add(bytes);
        const delayMs = rate.delayMs(bytes, performance.now());
        if (delayMs > 0) await pause(delayMs, undefined, { signal });
      }
      if (repair.next !== undefined) throw new AtollError('REPLICA_NOT_READY', 'the sub-range was not sent to its end');
      return repair;
    } finally {
      state.endRepair(repair);
    }
  }

  /** To the leader's node: an epoch has one leader, so one connection serves all leaves. */
  #connect(hosted: HostedReplica, request: RepairReplicaRequest): TransferClient {
    const { node } = this.#followed(hosted, request).of;
    const address = this.#options.addressOf(node);
    if (address === undefined) throw new AtollError('PEER_UNAVAILABLE', `the leader's node ${node} is not registered`);
    return new TransferClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk' }));
  }

  /** Resolves when the chunk is in the store. */
  #take({ replica: { state } }: HostedReplica, repair: RangeRepair, chunk: SnapshotChunk, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new AtollError('REPLICA_NOT_READY', `the log did not reach ${chunk.readSeq}, at which the chunk was read`)), TAKE_MS_MAX);
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      const isOffered = repair.offer(chunk, state.appliedSeq, () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        resolve();
      });
      if (isOffered) return;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      reject(new AtollError('REPLICA_NOT_READY', repair.isOverrun ? 'more was written to the sub-range than can be noted' : 'a chunk did not follow the one before'));
    });
  }

  #find(request: RepairReplicaRequest): HostedReplica {
    const hosted = this.#options.host.replica(request.keyspace, request.partition);
    if (hosted === undefined) throw new AtollError('REPLICA_UNKNOWN', `this node has no replica of ${request.keyspace}/${request.partition}`);
    this.#followed(hosted, request);
    return hosted;
  }

  /** The replica, its lineage and its leader are those that were compared. */
  #followed(hosted: HostedReplica, request: RepairReplicaRequest) {
    const { role, state } = hosted.replica;
    if (hosted.isDropped || state.identity.self.replica !== request.replicaId) throw new AtollError('REPLICA_UNKNOWN', `this node does not hold replica ${request.replicaId}`);
    if (role.kind !== 'follower') throw new AtollError('STALE_EPOCH', 'the replica follows nobody');
    if (role.follower.epoch !== request.epoch) throw new AtollError('STALE_EPOCH', `the epoch is ${role.follower.epoch}, not ${request.epoch}`);
    if (state.generation.counter !== request.generation?.counter || state.generation.id !== request.generation.id) {
      throw new AtollError('STALE_GENERATION', `the generation is ${state.generation.counter}`);
    }
    return role;
  }
}
