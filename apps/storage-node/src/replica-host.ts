// All replicas of this node: it makes them, gives them their records, keeps time for them, and drops them.
import { AtollError } from '@atoll/core-errors';
import { hasReplica, keyspaceNotFound, membersOf, type KeyspaceSpec, type Member, type VersionedRecord } from '@atoll/core-membership';
import {
  PartitionReplica,
  ReplicaState,
  type ChangeAttempt,
  type FollowerProgress,
  type LeaderHooks,
  type Moment,
  type ReplicaOrigin,
  type ResultTableOptions,
} from '@atoll/core-replication';
import { MIB, randomHex, toPartitionId, toReplicaId, type NodeId, type Random, type ReplicaId } from '@atoll/core-runtime';
import { PartitionStore, StoreMemory } from '@atoll/core-store';
import type { ClusterView } from '@atoll/platform-etcd';
import type { Logger } from '@atoll/platform-telemetry';
import { restoreChunk } from './checkpoint-codec.ts';
import { Departures } from './departures.ts';
import type { Discards } from './discards/discards.ts';
import type { DiskHealth } from './disk-health.ts';
import { DueOffices } from './due-offices.ts';
import type { StorageNodeEvents } from './events.ts';
import { HostedKeyspace } from './hosted-keyspace.ts';
import { HostedReplica } from './hosted-replica.ts';
import { HostedSettings } from './hosted-settings.ts';
import { shareLog } from './log-share.ts';
import type { RecordKeeper } from './record-keeper.ts';
import { ReplicaCheckpoints } from './replica-checkpoints.ts';
import { WalJournal } from './replica-journal.ts';
import { readMoment } from './turn.ts';
import type { Wal, WalReplicaState } from './wal/index.ts';

/** A replica that no record has named for this long after it was made is given up. */
const UNNAMED_MS_MAX = 120_000;
/** Share of a keyspace's memory below which nothing is kept that is not served. */
const FREE_SHARE_MIN = 1 / 16;
/** Bytes of the write-ahead log that may wait for the disk before no more is taken in: half of what it bears (I10). */
const JOURNAL_BYTES_MAX = 128 * MIB;

export interface ReplicaHostOptions {
  readonly node: NodeId;
  readonly incarnation: string;
  readonly memoryBytesMax: number;
  readonly leaseMs: number;
  readonly followerAckTimeoutMs: number;
  readonly rejoinAfterMs: number;
  readonly uncommittedBytesMax: number;
  readonly logBytesMax: number;
  readonly logTotalBytesMax: number;
  /** Default RESULT_TABLE_DEFAULTS. */
  readonly results?: ResultTableOptions;
  readonly random: Random;
  readonly view: ClusterView;
  readonly records: RecordKeeper;
  readonly wal: Wal | undefined;
  readonly disk: DiskHealth;
  readonly events: StorageNodeEvents;
  readonly discards: Discards;
  readonly logger: Logger;
}

/** Who keeps offices valid: asks other nodes for leases, looks at etcd, asks the coordinator. Set by the heartbeats. */
export interface OfficeKeeper {
  /** To be called before a lease counts, with the clocks as read now: one that stood still voids what is held (R17). */
  beforeServing(now: Moment): void;
  /** Until when `member` has promised not to lead a higher epoch; -Infinity without (R14). */
  leaseUntilMs(hosted: HostedReplica, member: Member, epoch: number): number;
  /** Until when this replica may lead without another look at its record; Infinity where nothing asks for one (R15). */
  fenceUntilMs(hosted: HostedReplica, keyspace: HostedKeyspace): number;
  /** Whether the last follower may go (R10); the leader takes the answer. */
  askRemoval(hosted: HostedReplica, member: Member): void;
  /** Whether the node said that it stops. */
  hasStopped(node: string): boolean;
  /** Offices of this node, or the members of what it leads, changed. */
  noteOffices(): void;
  /** What these offices are held by changed: their keyspace is another one. */
  noteRules(replicas: Iterable<HostedReplica>): void;
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
  #keeper: OfficeKeeper | undefined;
  readonly #dueOffices = new DueOffices({ onDue: (hosted) => this.#tickReplica(hosted, readMoment()) });
  /** What the last life of this process promised is not known: data that it left behind promises a full lease (R14). */
  readonly #formerPromiseUntilMs: number;
  #isStopping = false;
  readonly #departures: Departures;

  constructor(options: ReplicaHostOptions) {
    this.#options = options;
    this.#departures = new Departures({ view: options.view, hasStopped: (node) => this.#keeper?.hasStopped(node) === true });
    this.memory = new StoreMemory({ bytesMax: options.memoryBytesMax });
    this.#formerPromiseUntilMs = performance.now() + options.leaseMs;
    const { wal, disk, logger } = options;
    if (wal === undefined) return;
    wal.onDurable((position) => this.#onDurable(position));
    this.#checkpoints = new ReplicaCheckpoints({
      wal,
      disk,
      logger,
      find: (replicaId) => this.#byId.get(replicaId),
      onSaved: (hosted) => this.#listener?.onDurable(hosted),
    });
  }

  connect(sender: LogSender, listener: RoleListener, keeper: OfficeKeeper): void {
    this.#sender = sender;
    this.#listener = listener;
    this.#keeper = keeper;
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
      const made = this.#host(keyspace, partition, replicaId, { generation, applied: { epoch: 0, seq: 0 }, installed: false }, 0);
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
    const hosted = this.#host(keyspace, identity.partition, identity.replicaId, { generation: saved.generation, applied, installed: true, timeMs: checkpoint?.timeMs }, this.#formerPromiseUntilMs);
    const { state } = hosted.replica;
    if (checkpoint !== undefined) {
      for await (const chunk of checkpoint.chunks()) restoreChunk(state, chunk);
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

  #host(keyspace: HostedKeyspace, partition: number, replicaId: ReplicaId, origin: ReplicaOrigin, promiseUntilMs: number): HostedReplica {
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
      results: this.#options.results,
    });
    const replica = new PartitionReplica({ state, settings: new HostedSettings(this.#options, keyspace, () => hosted), hooks: this.#hooks(keyspace, () => hosted), random, incarnation, promiseUntilMs });
    const hosted: HostedReplica = new HostedReplica({ replica, tag: keyspace.tag, journal, createdMs: performance.now(), logBytesMax: this.#options.logBytesMax });
    keyspace.setReplica(partition, hosted);
    this.#byId.set(replicaId, hosted);
    return hosted;
  }

  #hooks(keyspace: HostedKeyspace, self: () => HostedReplica): LeaderHooks {
    return {
      wake: (follower) => this.#sender?.wake(self(), follower),
      commitMoved: (follower) => this.#sender?.commitMoved(self(), follower),
      cutOff: (follower) => this.#sender?.cutOff(self(), follower),
      requestChange: (attempt) => {
        // A member that may count from now on is asked for its lease (R8).
        this.#keeper?.noteOffices();
        void this.#change(self(), attempt);
      },
      readRecord: () => {
        // Perhaps because it heard of a later epoch, and left its role (R27).
        this.#announce(self());
        this.#readRecord(self());
      },
      recordChanged: (record) => {
        const hosted = self();
        this.#options.events.inSyncChanged(record.record);
        hosted.wasNamed = true;
        this.#keeper?.noteOffices();
      },
      beforeLease: (nowMs) => this.#keeper?.beforeServing({ monotonicMs: nowMs, wallMs: Date.now() }),
      leaseUntilMs: (member, epoch) => this.#keeper?.leaseUntilMs(self(), member, epoch) ?? Number.NEGATIVE_INFINITY,
      fenceUntilMs: () => this.#keeper?.fenceUntilMs(self(), keyspace) ?? Number.NEGATIVE_INFINITY,
      // Nodes that stop together keep their sets: each of them counts when they are back with their data.
      mayPart: (member) => this.#departures.mayGo(member),
      isStopping: ({ node }) => !this.#isStopping && this.#keeper?.hasStopped(node) === true,
      askRemoval: (member) => this.#keeper?.askRemoval(self(), member),
    };
  }

  async #change(hosted: HostedReplica, attempt: ChangeAttempt): Promise<void> {
    const { leader } = hosted.replica;
    const outcome = await this.#options.records.change(attempt);
    // Another term has an attempt of its own; this one ended with the office.
    if (leader !== undefined && hosted.replica.leader === leader) leader.onChangeOutcome(attempt, outcome, performance.now());
  }

  #readRecord(hosted: HostedReplica): void {
    this.#options.records.read(hosted.keyspace, hosted.partition, (record) => this.#apply(hosted, record, readMoment(), true));
  }

  #drop(hosted: HostedReplica): void {
    const { state } = hosted.replica;
    hosted.isDropped = true;
    hosted.replica.retire();
    this.#sender?.cutStrangers(hosted);
    this.#keeper?.noteOffices();
    this.#keyspaces.get(hosted.keyspace)?.setReplica(hosted.partition, undefined);
    this.#byId.delete(state.identity.self.replica);
    this.#undurable.delete(hosted);
    this.#checkpoints?.forget(hosted);
    this.#listener?.onDropped(hosted);
    hosted.wakeWatchers();
    state.close();
    if (hosted.journal !== undefined) this.#options.wal?.dropReplica(state.identity.self.replica);
    this.#options.events.replicaDropped(state.identity);
  }

  #dropUnnamed(hosted: HostedReplica): void {
    this.#options.discards.dropping(hosted);
    this.#drop(hosted);
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
    if (spec?.id === hosted.id) {
      hosted.update(spec);
      return this.#keeper?.noteRules(hosted.replicas());
    }
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

  /** A record that somebody other than the watch brought. */
  onNews(versioned: VersionedRecord): void {
    const hosted = this.replica(versioned.record.keyspace, versioned.record.partition);
    if (hosted !== undefined) this.#apply(hosted, versioned, readMoment());
  }

  /** `isNewest`: from a read, not from a watch, which tells in order what was. */
  #apply(hosted: HostedReplica, versioned: VersionedRecord, now: Moment, isNewest = false): void {
    const { replica } = hosted;
    const { record } = versioned;
    const { identity } = replica.state;
    if (hosted.isDropped || record.keyspaceId !== identity.keyspaceId) return;
    // Who said that it stops takes no office any more: its successors do not wait for it.
    if (this.#isStopping && record.leader?.replica === identity.self.replica && replica.leader?.epoch !== record.epoch) return;
    if (hasReplica(membersOf(record), identity.self.replica)) hosted.wasNamed = true;
    const effect = replica.onRecord(versioned, now);
    if (replica.record === versioned) hosted.noteEpoch(record.epoch, now.monotonicMs);
    this.#announce(hosted);
    if (replica.leader !== undefined) this.#keeper?.noteOffices();
    if (effect === 'unnamed' && hosted.wasNamed) this.#onUnnamed(hosted, isNewest);
    else if (effect === 'refused-office') this.#options.events.officeRefused(record);
    else if (effect === 'office-due') this.#awaitOffice(hosted, now.monotonicMs);
  }

  /**
   * Data goes only by what stands in etcd now (R1):
   *
   *   1. this node is cut off from etcd alone; it is struck off as a learner, and added again under the same replica id
   *   2. its leader, which it follows all the time, makes it in sync
   *   3. etcd is back, and the watch begins with the record of 1 that does not name it
   */
  #onUnnamed(hosted: HostedReplica, isNewest: boolean): void {
    if (isNewest) this.#dropUnnamed(hosted);
    else this.#readRecord(hosted);
  }

  #awaitOffice(hosted: HostedReplica, nowMs: number): void {
    this.#options.events.officeAwaited(Math.max(0, (hosted.replica.officeDueMs ?? nowMs) - nowMs));
    this.#dueOffices.add(hosted);
  }

  /** Tells those whom it concerns that the role is another one than they know. */
  #announce(hosted: HostedReplica): void {
    this.#sender?.cutStrangers(hosted);
    const { replica, toldRole } = hosted;
    if (replica.role === toldRole) return;
    hosted.toldRole = replica.role;
    if (toldRole !== undefined || replica.role.kind !== 'idle') {
      this.#options.events.roleChanged(replica.state.identity, replica.role.kind, replica.record?.record.epoch ?? 0);
    }
    this.#listener?.onRole(hosted);
    this.#keeper?.noteOffices();
  }

  // --- time -------------------------------------------------------------------------------------------------------

  tick(now: Moment): void {
    this.#departures.tick(this.#byId.size, now.monotonicMs);
    for (const hosted of this.replicas()) {
      this.#tickReplica(hosted, now);
      if (!hosted.wasNamed && now.monotonicMs - hosted.createdMs > UNNAMED_MS_MAX) this.#dropUnnamed(hosted);
      this.#options.discards.look(hosted);
    }
    this.#checkpoints?.tick(now.monotonicMs);
    this.#shareLog(now.monotonicMs);
  }

  #tickReplica(hosted: HostedReplica, now: Moment): void {
    if (hosted.replica.tick(now) !== 'unchanged') this.#announce(hosted);
    const { leader } = hosted.replica;
    const hasLease = leader?.hasLease(now.monotonicMs) === true;
    if (hosted.hadLease && !hasLease && leader !== undefined) this.#options.events.leaseLost();
    hosted.hadLease = hasLease;
    if (hasLease && leader.isServing) hosted.ledUntilMs = now.monotonicMs;
    this.noteServing(hosted, now.monotonicMs);
  }

  /** Something was committed, or time has passed: an office may have begun to serve. */
  noteServing(hosted: HostedReplica, nowMs: number): void {
    const tookMs = hosted.takeOfficeTime(nowMs);
    const record = hosted.replica.record?.record;
    if (tookMs !== undefined && record !== undefined) this.#options.events.officeTaken(tookMs, record);
  }

  #shareLog(nowMs: number): void {
    const replicas = [...this.replicas()];
    const demands = replicas.map(({ replica }) => ({ bytes: replica.state.log.bytes, isNeeded: replica.leader?.isLogNeeded(nowMs) === true }));
    const bounds = shareLog(demands, { totalBytesMax: this.#options.logTotalBytesMax, eachBytesMax: this.#options.logBytesMax });
    for (const [index, hosted] of replicas.entries()) hosted.logBytesMax = bounds[index]!;
  }

  /** Whether what is served may soon need the memory of former data. */
  isMemoryScarce({ keyspace }: HostedReplica): boolean {
    const account = this.#keyspaces.get(keyspace)?.account;
    return account !== undefined && account.freeBytes < account.bytesMax * FREE_SHARE_MIN;
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

  /** The store was repaired: what the disk has of it is replaced, so that a restart does not bring back what was wrong. */
  saveRepaired(hosted: HostedReplica): void {
    this.#checkpoints?.saveInstall(hosted);
  }

  // --- stopping ---------------------------------------------------------------------------------------------------

  /** From now on: the process stops. Offices that it holds go on until they are handed over or given up. */
  takeNoOffice(): void {
    this.#isStopping = true;
  }

  close(): void {
    this.#dueOffices.close();
  }

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
      this.#announce(hosted);
    }
  }

  /** Throws KEYSPACE_NOT_FOUND unless the cluster has it. */
  requireSpec(name: string): KeyspaceSpec {
    const spec = this.#options.view.keyspace(name === '' ? 'default' : name);
    if (spec === undefined) throw keyspaceNotFound(name);
    return spec;
  }
}
