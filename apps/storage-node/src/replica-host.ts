// All replicas of this node: it makes them, gives them their records, keeps time for them, and drops them.
import { AtollError } from '@atoll/core-errors';
import { hasReplica, keyspaceNotFound, membersOf, type KeyspaceSpec, type VersionedRecord } from '@atoll/core-membership';
import {
  PartitionReplica,
  ReplicaState,
  type ChangeAttempt,
  type FollowerProgress,
  type LeaderHooks,
  type Moment,
  type ReplicaOrigin,
  type ReplicaSettings,
} from '@atoll/core-replication';
import { MIB, randomHex, toPartitionId, toReplicaId, type NodeId, type Random, type ReplicaId } from '@atoll/core-runtime';
import { PartitionStore, StoreMemory } from '@atoll/core-store';
import type { ClusterView } from '@atoll/platform-etcd';
import type { Logger } from '@atoll/platform-telemetry';
import { restoreChunk } from './checkpoint-codec.ts';
import type { StorageNodeEvents } from './events.ts';
import { HostedKeyspace } from './hosted-keyspace.ts';
import { HostedReplica } from './hosted-replica.ts';
import type { RecordKeeper } from './record-keeper.ts';
import { ReplicaCheckpoints } from './replica-checkpoints.ts';
import { WalJournal } from './replica-journal.ts';
import { readMoment } from './turn.ts';
import type { Wal, WalReplicaState } from './wal/index.ts';

/** A replica that no record has named for this long after it was made is given up. */
const UNNAMED_MS_MAX = 120_000;
const CHANGE_RETRY_MS = 200;
const EXPIRY_SWEEP = { removedMax: 1000, scannedMax: 20_000 };
/** Bytes of the write-ahead log that may wait for the disk before no more is taken in: half of what it bears (I10). */
const JOURNAL_BYTES_MAX = 128 * MIB;

export interface ReplicaHostOptions {
  readonly node: NodeId;
  readonly incarnation: string;
  readonly memoryBytesMax: number;
  readonly followerAckTimeoutMs: number;
  readonly rejoinAfterMs: number;
  readonly uncommittedBytesMax: number;
  readonly logBytesMax: number;
  readonly random: Random;
  readonly view: ClusterView;
  readonly records: RecordKeeper;
  readonly wal: Wal | undefined;
  readonly events: StorageNodeEvents;
  readonly logger: Logger;
}

/** Who sends a leader's log: set by the replication sessions. */
export interface LogSender {
  wake(replica: HostedReplica, follower: FollowerProgress): void;
  commitMoved(replica: HostedReplica, follower: FollowerProgress): void;
  cutOff(replica: HostedReplica, follower: FollowerProgress): void;
  /** The record changed: streams whose follower is not the present leader's any more are told so. */
  cutStrangers(replica: HostedReplica): void;
}

/** Who follows leaders elsewhere: told when a replica's role changed. */
export interface RoleListener {
  onRole(replica: HostedReplica): void;
  /** More of the log, or an install, is on disk: there may be something to acknowledge. */
  onDurable(replica: HostedReplica): void;
  onDropped(replica: HostedReplica): void;
  /** The disk has taken what waited: `isJournalFull` may have changed. */
  onFlushed(): void;
}

export class ReplicaHost {
  readonly memory: StoreMemory;
  readonly #options: ReplicaHostOptions;
  readonly #keyspaces = new Map<string, HostedKeyspace>();
  readonly #byId = new Map<ReplicaId, HostedReplica>();
  /** Replicas with entries that wait for the disk (R25). */
  readonly #undurable = new Set<HostedReplica>();
  readonly #checkpoints: ReplicaCheckpoints | undefined;
  readonly #durableWaiters: { readonly position: number; readonly resolve: () => void }[] = [];
  #sender: LogSender | undefined;
  #listener: RoleListener | undefined;
  #isStopping = false;

  constructor(options: ReplicaHostOptions) {
    this.#options = options;
    this.memory = new StoreMemory({ bytesMax: options.memoryBytesMax });
    const { wal, logger } = options;
    if (wal === undefined) return;
    wal.onDurable((position) => this.#onDurable(position));
    this.#checkpoints = new ReplicaCheckpoints({
      wal,
      logger,
      find: (replicaId) => this.#byId.get(replicaId),
      onSaved: (hosted) => this.#listener?.onDurable(hosted),
    });
  }

  connect(sender: LogSender, listener: RoleListener): void {
    this.#sender = sender;
    this.#listener = listener;
  }

  // --- look-up ----------------------------------------------------------------------------------------------------

  keyspace(name: string): HostedKeyspace | undefined {
    return this.#keyspaces.get(name === '' ? 'default' : name);
  }

  replica(keyspace: string, partition: number): HostedReplica | undefined {
    return this.#keyspaces.get(keyspace)?.replica(partition);
  }

  keyspaces(): Iterable<HostedKeyspace> {
    return this.#keyspaces.values();
  }

  *replicas(): Iterable<HostedReplica> {
    for (const keyspace of this.#keyspaces.values()) yield* keyspace.replicas();
  }

  // --- making and dropping ----------------------------------------------------------------------------------------

  /** The replicas of these partitions on this node; made empty where there are none (R1). */
  ensure(spec: KeyspaceSpec, partitions: readonly number[]): HostedReplica[] {
    if (spec.durability !== 'NONE' && this.#options.wal === undefined) {
      throw new AtollError('INVALID_ARGUMENT', `keyspace ${spec.name} has durability ${spec.durability}, but node ${this.#options.node} has no STORAGE_NODE_DATA_DIR`);
    }
    const outside = partitions.find((partition) => !Number.isInteger(partition) || partition < 0 || partition >= spec.partitionCount);
    if (outside !== undefined) {
      throw new AtollError('INVALID_ARGUMENT', `partitions: ${outside} is not below ${spec.partitionCount}`, { metadata: { field: 'partitions' } });
    }
    const keyspace = this.#openKeyspace(spec);
    return partitions.map((partition) => {
      const present = keyspace.replica(partition);
      if (present !== undefined) return present;
      const replicaId = toReplicaId(randomHex(this.#options.random, 8));
      const generation = { counter: 0, id: '' };
      if (spec.durability !== 'NONE') {
        this.#options.wal?.createReplica(
          { replicaId, keyspace: spec.name, keyspaceId: spec.id, partition, durability: spec.durability },
          generation,
        );
      }
      const made = this.#host(keyspace, partition, replicaId, { generation, applied: { epoch: 0, seq: 0 }, installed: false });
      const record = this.#options.view.partition(spec.name, partition);
      if (record !== undefined) this.#apply(made, record, readMoment());
      return made;
    });
  }

  /** Resolves when everything that was handed to the write-ahead log so far is on disk. */
  whenDurable(): Promise<void> {
    const { wal } = this.#options;
    if (wal === undefined || wal.durablePosition >= wal.position) return Promise.resolve();
    const { position } = wal;
    return new Promise((resolve) => {
      this.#durableWaiters.push({ position, resolve });
      wal.requestFlush();
    });
  }

  /** A replica that the disk kept. Returns false when its keyspace is gone or the data is not whole. */
  async restore(saved: WalReplicaState): Promise<boolean> {
    const { identity, checkpoint, entries } = saved;
    const spec = this.#options.view.keyspace(identity.keyspace);
    const firstSeq = entries[0]?.firstSeq ?? 1;
    const isWhole = checkpoint !== undefined || firstSeq === 1;
    if (spec?.id !== identity.keyspaceId || !isWhole) {
      this.#options.wal?.dropReplica(identity.replicaId);
      return false;
    }
    const keyspace = this.#openKeyspace(spec);
    const applied = checkpoint?.applied ?? { epoch: 0, seq: 0 };
    const hosted = this.#host(keyspace, identity.partition, identity.replicaId, { generation: saved.generation, applied, installed: true });
    const { state } = hosted.replica;
    if (checkpoint !== undefined) {
      for await (const chunk of checkpoint.chunks()) restoreChunk(state.store, chunk);
      state.clock.follow(checkpoint.timeMs, performance.now());
    }
    state.restoreEntries(entries, saved.committedSeq, performance.now());
    return true;
  }

  #openKeyspace(spec: KeyspaceSpec): HostedKeyspace {
    const present = this.#keyspaces.get(spec.name);
    if (present?.id === spec.id) return present;
    if (present !== undefined) this.#dropKeyspace(present);
    const made = new HostedKeyspace(spec, this.memory.openAccount(spec.name, spec.memoryShare));
    this.#keyspaces.set(spec.name, made);
    return made;
  }

  #host(keyspace: HostedKeyspace, partition: number, replicaId: ReplicaId, origin: ReplicaOrigin): HostedReplica {
    const { node, random, incarnation, wal } = this.#options;
    const { spec } = keyspace;
    const isSync = spec.durability === 'SYNC';
    const journal =
      wal === undefined || spec.durability === 'NONE'
        ? undefined
        : new WalJournal({ wal, replicaId, isSync, onInstalled: () => this.#checkpoints?.saveInstall(hosted), onWaiting: () => this.#undurable.add(hosted) });
    const state = new ReplicaState({
      identity: { keyspace: spec.name, keyspaceId: spec.id, partition: toPartitionId(partition), self: { node, replica: replicaId } },
      store: new PartitionStore({ account: keyspace.account, random }),
      origin,
      journal,
      isSync,
    });
    const replica = new PartitionReplica({ state, settings: this.#settings(keyspace), hooks: this.#hooks(() => hosted), random, incarnation });
    const hosted: HostedReplica = new HostedReplica({ replica, tag: keyspace.tag, journal, createdMs: performance.now() });
    keyspace.setReplica(partition, hosted);
    this.#byId.set(replicaId, hosted);
    return hosted;
  }

  /** Getters, so that a change of the keyspace takes effect at once. */
  #settings(keyspace: HostedKeyspace): ReplicaSettings {
    const { followerAckTimeoutMs, rejoinAfterMs, uncommittedBytesMax, logBytesMax } = this.#options;
    return {
      get minInSync() {
        return keyspace.spec.minInSync;
      },
      get eviction() {
        return keyspace.spec.eviction;
      },
      freeBytes: () => keyspace.account.freeBytes,
      followerAckTimeoutMs,
      rejoinAfterMs,
      changeRetryMs: CHANGE_RETRY_MS,
      uncommittedBytesMax,
      logBytesMax,
      expirySweep: EXPIRY_SWEEP,
    };
  }

  #hooks(self: () => HostedReplica): LeaderHooks {
    return {
      wake: (follower) => this.#sender?.wake(self(), follower),
      commitMoved: (follower) => this.#sender?.commitMoved(self(), follower),
      cutOff: (follower) => this.#sender?.cutOff(self(), follower),
      requestChange: (attempt) => void this.#change(self(), attempt),
      readRecord: () => this.#readRecord(self()),
      recordChanged: (record) => {
        const hosted = self();
        this.#options.events.inSyncChanged(record.record);
        hosted.wasNamed = true;
      },
    };
  }

  async #change(hosted: HostedReplica, attempt: ChangeAttempt): Promise<void> {
    const { leader } = hosted.replica;
    const outcome = await this.#options.records.change(attempt);
    // Another term has an attempt of its own; this one ended with the office.
    if (leader !== undefined && hosted.replica.leader === leader) leader.onChangeOutcome(attempt, outcome, performance.now());
  }

  #readRecord(hosted: HostedReplica): void {
    this.#options.records.read(hosted.keyspace, hosted.partition, (record) => this.#apply(hosted, record, readMoment()));
  }

  #drop(hosted: HostedReplica): void {
    const { state } = hosted.replica;
    hosted.isDropped = true;
    hosted.replica.retire();
    this.#sender?.cutStrangers(hosted);
    this.#keyspaces.get(hosted.keyspace)?.setReplica(hosted.partition, undefined);
    this.#byId.delete(state.identity.self.replica);
    this.#undurable.delete(hosted);
    this.#checkpoints?.forget(hosted);
    this.#listener?.onDropped(hosted);
    hosted.wakeWatchers();
    state.store.close();
    if (hosted.journal !== undefined) this.#options.wal?.dropReplica(state.identity.self.replica);
    this.#options.events.replicaDropped(state.identity);
  }

  #dropKeyspace(keyspace: HostedKeyspace): void {
    for (const hosted of keyspace.replicas()) this.#drop(hosted);
    this.#keyspaces.delete(keyspace.spec.name);
    this.memory.closeAccount(keyspace.spec.name);
  }

  // --- records ----------------------------------------------------------------------------------------------------

  /** Takes over everything that the view says now: at the start, and after a change. */
  onKeyspace(name: string): void {
    const hosted = this.#keyspaces.get(name);
    const spec = this.#options.view.keyspace(name);
    if (hosted === undefined) return;
    if (spec?.id === hosted.id) return hosted.update(spec);
    // The watch may be behind the coordinator's EnsureReplicas: data goes only when etcd itself says so.
    this.#options.records.readKeyspaceId(name, (id) => {
      if (id !== hosted.id && this.#keyspaces.get(name) === hosted) this.#dropKeyspace(hosted);
    });
  }

  onPartition(keyspace: string, partition: number): void {
    const hosted = this.replica(keyspace, partition);
    const record = this.#options.view.partition(keyspace, partition);
    if (hosted !== undefined && record !== undefined) this.#apply(hosted, record, readMoment());
  }

  #apply(hosted: HostedReplica, versioned: VersionedRecord, now: Moment): void {
    const { replica } = hosted;
    const { identity } = replica.state;
    if (hosted.isDropped || versioned.record.keyspaceId !== identity.keyspaceId) return;
    // Who said that it stops takes no office any more: its successors do not wait for it.
    if (this.#isStopping && versioned.record.leader?.replica === identity.self.replica) return;
    if (hasReplica(membersOf(versioned.record), identity.self.replica)) hosted.wasNamed = true;
    const effect = replica.onRecord(versioned, now);
    this.#sender?.cutStrangers(hosted);
    switch (effect) {
      case 'unchanged':
        return;
      case 'unnamed':
        if (hosted.wasNamed) this.#drop(hosted);
        return;
      case 'refused-office':
        this.#options.events.officeRefused(versioned.record);
        this.#listener?.onRole(hosted);
        return;
      case 'role-changed':
        this.#options.events.roleChanged(identity, replica.role.kind, versioned.record.epoch);
        this.#listener?.onRole(hosted);
    }
  }

  // --- time -------------------------------------------------------------------------------------------------------

  tick(now: Moment): void {
    for (const hosted of this.replicas()) {
      hosted.replica.tick(now);
      if (!hosted.wasNamed && now.monotonicMs - hosted.createdMs > UNNAMED_MS_MAX) this.#drop(hosted);
    }
    this.#checkpoints?.tick(now.monotonicMs);
  }

  /** Whether so much waits for the disk that nothing more is to be taken in (I10). */
  get isJournalFull(): boolean {
    return (this.#options.wal?.bufferedBytes ?? 0) > JOURNAL_BYTES_MAX;
  }

  #onDurable(position: number): void {
    const nowMs = performance.now();
    while (this.#durableWaiters[0] !== undefined && this.#durableWaiters[0].position <= position) this.#durableWaiters.shift()!.resolve();
    for (const hosted of this.#undurable) {
      const seq = hosted.journal?.takeDurable(position);
      if (hosted.journal?.hasWaiting !== true) this.#undurable.delete(hosted);
      if (seq === undefined) continue;
      hosted.replica.state.noteDurable(seq);
      hosted.replica.leader?.onDurable(nowMs);
      this.#listener?.onDurable(hosted);
    }
    this.#listener?.onFlushed();
  }

  // --- stopping ---------------------------------------------------------------------------------------------------

  /** Gives up every leadership: no new writes at once, then, when what was appended is committed or time is up, the office. */
  async relinquishAll(timeoutMs: number, signal: AbortSignal): Promise<void> {
    this.#isStopping = true;
    const leaders = [...this.replicas()].filter(({ replica }) => replica.leader !== undefined);
    for (const { replica } of leaders) replica.leader?.close();
    const deadline = performance.now() + timeoutMs;
    while (!signal.aborted && performance.now() < deadline && leaders.some(({ replica }) => (replica.leader?.pendingCount ?? 0) > 0)) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    for (const hosted of leaders) {
      hosted.replica.retire();
      this.#sender?.cutStrangers(hosted);
    }
  }

  /** Throws KEYSPACE_NOT_FOUND unless the cluster has it. */
  requireSpec(name: string): KeyspaceSpec {
    const spec = this.#options.view.keyspace(name === '' ? 'default' : name);
    if (spec === undefined) throw keyspaceNotFound(name);
    return spec;
  }
}
