import type {
  DigestReplicaRequest,
  DigestReplicaResponse,
  EnsureReplicasRequest,
  EnsureReplicasResponse,
  ListReplicasResponse,
} from '@atoll/contracts/atoll/v1/replication';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { MIB, type Hash64 } from '@atoll/core-runtime';
import { DIGEST_LEAVES, FIRST_HASH } from '@atoll/core-store';
import { keyspaceKey, parseKeyspaceSpec, type ClusterView, type GuardedMetadataStore } from '@atoll/platform-etcd';
import type { CallContext } from '@atoll/platform-grpc';
import type { CoordinatorFence } from '../heartbeat/coordinator-fence.ts';
import type { ReplicaHost } from '../replica-host.ts';
import { describeReplica } from './describe-replica.ts';
import { createListRecordsHandler } from './list-records.ts';

export interface ReplicaHandlerOptions {
  readonly host: ReplicaHost;
  readonly view: ClusterView;
  readonly store: GuardedMetadataStore;
  readonly incarnation: string;
  readonly fence: CoordinatorFence;
}

const DIGEST_SLICE = { entriesMax: 20_000, bytesMax: 8 * MIB };
/** Times that a digest is begun while writes go on, before it is given up. */
const DIGEST_ATTEMPTS_MAX = 50;

/** The calls by which the coordinator and tools look after the replicas of this node. */
export class ReplicaHandlers {
  readonly listRecords: ReturnType<typeof createListRecordsHandler>;
  readonly #options: ReplicaHandlerOptions;

  constructor(options: ReplicaHandlerOptions) {
    this.#options = options;
    this.listRecords = createListRecordsHandler(options);
  }

  /** What a traced call orders belongs to its trace: the replicas remember it until they are filled. */
  async ensure(request: EnsureReplicasRequest, { traceparent }: Pick<CallContext, 'traceparent'>): Promise<EnsureReplicasResponse> {
    const { fence, store } = this.#options;
    store.requireSound();
    fence.accept(request.coordinatorRevision);
    const spec = await this.#spec(request.keyspace, request.keyspaceId);
    fence.accept(request.coordinatorRevision);
    const replicas = this.#options.host.ensure(spec, request.partitions);
    if (traceparent !== undefined) for (const hosted of replicas) if (!hosted.replica.state.isInstalled) hosted.orderedBy = traceparent;
    // An id is told only once the disk knows it: a record must not name a replica that a crash forgets (R1).
    await this.#options.host.whenDurable();
    return { incarnation: this.#options.incarnation, replicas: replicas.map(describeReplica) };
  }

  list(): ListReplicasResponse {
    return { incarnation: this.#options.incarnation, replicas: [...this.#options.host.replicas()].map(describeReplica) };
  }

  /** Of the state at one applied position: taken again when that moved meanwhile. Throws OVERLOADED when it never stands still. */
  async digest({ keyspace, partition }: DigestReplicaRequest, context: Pick<CallContext, 'isCancelled'>): Promise<DigestReplicaResponse> {
    const hosted = this.#options.host.replica(keyspace === '' ? 'default' : keyspace, partition);
    if (hosted === undefined) throw new AtollError('REPLICA_UNKNOWN', `this node has no replica of partition ${partition} of ${keyspace}`);
    const { state } = hosted.replica;
    for (let attempt = 0; attempt < DIGEST_ATTEMPTS_MAX && !context.isCancelled && !hosted.isDropped; attempt += 1) {
      const applied = state.appliedPosition;
      const leaves = new Uint32Array(2 * DIGEST_LEAVES);
      let from: Hash64 | undefined = FIRST_HASH;
      while (from !== undefined && state.appliedSeq === applied.seq && !hosted.isDropped) {
        from = state.store.addContentDigest(leaves, from, DIGEST_SLICE);
        if (from !== undefined) await new Promise((resolve) => setImmediate(resolve));
      }
      if (state.appliedSeq !== applied.seq || hosted.isDropped) continue;
      let content = 0n;
      for (const [index, leaf] of leaves.entries()) content += BigInt(leaf) << (index % 2 === 0 ? 0n : 32n);
      return {
        replicaId: state.identity.self.replica,
        applied: { ...applied },
        entries: state.store.entryCount,
        leaves: Array.from(state.store.digest().leaves),
        content: BigInt.asUintN(64, content),
      };
    }
    throw new AtollError('OVERLOADED', `partition ${partition} of ${keyspace} changes faster than it can be read`);
  }

  /** As the view has it, or, where the watch is behind the coordinator, as etcd has it. */
  async #spec(name: string, id: string): Promise<KeyspaceSpec> {
    const known = this.#options.view.keyspace(name);
    if (known?.id === id) return known;
    const stored = await this.#options.store.get(keyspaceKey(name));
    const parsed = stored === undefined ? undefined : parseKeyspaceSpec(stored.value);
    if (parsed?.kind !== 'parsed' || parsed.value.id !== id) throw invalidArgument('keyspace_id', `there is no keyspace ${name} with the id ${id}`);
    return parsed.value;
  }
}
