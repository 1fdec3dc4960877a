import type { Member, VersionedRecord } from '@atoll/core-membership';
import { toPartitionId, type NodeId, type ReplicaId } from '@atoll/core-runtime';
import { PartitionStore, StoreMemory, type MemoryAccount } from '@atoll/core-store';
import type { FollowOutcome } from '../follower.ts';
import type { FollowerProgress } from '../follower-progress.ts';
import type { ChangeAttempt } from '../in-sync-change.ts';
import type { AppendMessage, AppendPartMessage, DivergenceMessage, InstallOrderMessage, SubscribeMessage } from '../messages.ts';
import { PartitionReplica } from '../partition-replica.ts';
import type { ReplicaOrigin } from '../replica-state.ts';
import type { Moment, ReplicaSettings } from '../replica-types.ts';
import { chunkEntries, type SnapshotChunk } from '../snapshot-install.ts';
import { ObservedState } from './observed-state.ts';
import type { ReplicaWorld } from './replica-world.ts';
import { SimulatedDisk, type DiskImage } from './simulated-disk.ts';
import { Stream } from './stream.ts';

/** What a leader sends on a follower's channel. */
export type LeaderMessage =
  | { readonly kind: 'append'; readonly message: AppendMessage }
  | { readonly kind: 'part'; readonly message: AppendPartMessage }
  | { readonly kind: 'divergence'; readonly message: DivergenceMessage }
  | { readonly kind: 'install'; readonly message: InstallOrderMessage }
  | { readonly kind: 'refusal'; readonly message: { readonly channel: number } };

const TICK_MS = 10;
/** Of another lineage, compared in one tick. */
const FORMER_ENTRIES = 8;
const RETRY_MS = 15;
const FETCH_TIMEOUT_MS = 80;
/** Messages of one stream that may be under way: what a window would hold. */
const WINDOW = 4;

/** The life of one process on one node, with its replica: what the shell around the core does, in small. */
export class WorldProcess {
  readonly node: NodeId;
  readonly incarnation: string;
  isDead = false;
  isPaused = false;
  wallOffsetMs: number;
  replica: PartitionReplica;
  state: ObservedState;
  disk: SimulatedDisk | undefined;
  readonly #world: ReplicaWorld;
  readonly #memory: StoreMemory;
  readonly #account: MemoryAccount;
  readonly #monotonicOffsetMs: number;
  readonly #held: (() => void)[] = [];
  /** Streams of followers, while this process leads. */
  readonly #links = new Map<ReplicaId, { readonly stream: Stream; readonly channel: number }>();
  readonly #pumping = new Set<ReplicaId>();
  #stream: Stream | undefined;
  #fetch: { readonly atMs: number } | undefined;
  #isAckDue = false;
  #wasNamed = false;

  constructor(options: { world: ReplicaWorld; node: NodeId; incarnation: string; image: DiskImage | undefined; replicaId: ReplicaId }) {
    const { world } = options;
    this.#world = world;
    this.node = options.node;
    this.incarnation = options.incarnation;
    this.#monotonicOffsetMs = world.dice.below(1000);
    this.wallOffsetMs = world.dice.below(world.plan.wallSkewMs + 1);
    this.#memory = new StoreMemory({ bytesMax: world.plan.memoryBytes });
    this.#account = this.#memory.openAccount('default', 1);
    ({ state: this.state, replica: this.replica } = this.#open(options.replicaId, options.image));
    this.after(world.dice.below(TICK_MS), () => this.#tick());
  }

  get member(): Member {
    return this.state.identity.self;
  }

  get moment(): Moment {
    const { nowMs } = this.#world.events;
    return { monotonicMs: nowMs + this.#monotonicOffsetMs, wallMs: 1_700_000_000_000 + nowMs + this.wallOffsetMs };
  }

  get freeBytes(): number {
    return this.#account.freeBytes;
  }

  // --- life -------------------------------------------------------------------------------------------------------

  /** Lets this process do something later: not when it is dead by then, and after a pause if it is paused. */
  after(delayMs: number, action: () => void): void {
    this.#world.events.after(delayMs, () => this.run(action));
  }

  run(action: () => void): void {
    if (this.isDead) return;
    if (this.isPaused) this.#held.push(action);
    else action();
  }

  resume(): void {
    this.isPaused = false;
    for (const action of this.#held.splice(0)) this.run(action);
  }

  crash(): void {
    this.isDead = true;
    this.disk?.crash();
    this.#stream?.break();
    for (const { stream } of this.#links.values()) stream.break();
  }

  /** Gives up the replica and begins with an empty one of another id (R1). */
  #startOver(): void {
    this.replica.retire();
    this.#links.clear();
    this.#leaveStream();
    this.state.close();
    this.disk?.crash();
    ({ state: this.state, replica: this.replica } = this.#open(this.#world.newReplicaId(), undefined));
    this.#wasNamed = false;
  }

  #open(replicaId: ReplicaId, kept: DiskImage | undefined): { state: ObservedState; replica: PartitionReplica } {
    const world = this.#world;
    const image = kept ?? SimulatedDisk.emptyImage(replicaId);
    const disk = world.plan.isSync ? new SimulatedDisk({ events: world.events, dice: world.dice, image }) : undefined;
    this.disk = disk;
    const origin: ReplicaOrigin = { generation: image.generation, applied: image.checkpoint.applied, installed: kept !== undefined };
    const state = new ObservedState({
      identity: { keyspace: 'default', keyspaceId: 'k', partition: toPartitionId(0), self: { node: this.node, replica: replicaId } },
      store: new PartitionStore({ account: this.#account, random: world.dice.random }),
      origin,
      journal: disk,
      isSync: world.plan.isSync,
      observer: world.checker,
    });
    disk?.connect(state, () => this.run(() => this.#onDurable()));
    if (kept !== undefined) this.#recover(state, kept);
    const replica = new PartitionReplica({
      state,
      settings: this.#settings(),
      hooks: {
        wake: (follower) => this.#pumpSoon(follower, 0),
        commitMoved: (follower) => this.#pumpSoon(follower, 3),
        cutOff: (follower) => this.#cutOff(follower),
        requestChange: (attempt) => this.#requestChange(attempt),
        readRecord: () => world.etcd.read((record) => this.run(() => this.onRecord(record))),
        recordChanged: () => undefined,
        beforeLease: () => undefined,
        leaseUntilMs: () => Number.POSITIVE_INFINITY,
        fenceUntilMs: () => Number.POSITIVE_INFINITY,
        isStopping: () => false,
        mayPart: () => true,
        askRemoval: ({ replica: last }) => this.replica.leader?.onRemovalAnswer(last, true, this.moment.monotonicMs),
      },
      random: world.dice.random,
      incarnation: this.incarnation,
      promiseUntilMs: 0,
    });
    return { state, replica };
  }

  #recover(state: ObservedState, image: DiskImage): void {
    const nowMs = this.moment.monotonicMs;
    for (const entry of image.checkpoint.entries) {
      state.store.put({ ...entry, hash: this.#world.hashOf(entry.key) });
    }
    state.clock.follow(image.checkpoint.timeMs, nowMs);
    const bytes: Buffer[] = [];
    for (let seq = image.checkpoint.applied.seq + 1; seq <= image.endSeq; seq += 1) bytes.push(image.entries.get(seq)!);
    state.restoreEntries([{ lastSeq: image.endSeq, bytes: Buffer.concat(bytes) }], image.committedSeq, nowMs);
  }

  #settings(): ReplicaSettings {
    const { plan } = this.#world;
    return {
      minInSync: plan.minInSync,
      eviction: plan.eviction,
      leaseMs: 300,
      freeBytes: () => this.#account.freeBytes,
      followerAckTimeoutMs: 120,
      rejoinAfterMs: 50,
      changeRetryMs: 30,
      uncommittedBytesMax: plan.oneLargeIn > 0 ? 6 * 1024 * 1024 : 16 * 1024,
      logBytesMax: plan.logBytesMax,
      expirySweep: { removedMax: 5, scannedMax: 50 },
    };
  }

  #tick(): void {
    this.after(TICK_MS, () => this.#tick());
    this.replica.tick(this.moment);
    this.state.compareFormer(FORMER_ENTRIES, this.moment.monotonicMs);
    this.#world.mutant?.onTick?.(this);
    this.#fetchSoon();
    if (this.#world.dice.chance(0.3)) this.#ackSoon();
    this.#world.checker.checkDigest(this.state);
  }

  #onDurable(): void {
    this.replica.leader?.onDurable(this.moment.monotonicMs);
    this.#ackSoon();
  }

  // --- records ----------------------------------------------------------------------------------------------------

  onRecord(versioned: VersionedRecord): void {
    const effect = this.replica.onRecord(versioned, this.moment);
    if (effect === 'unnamed') {
      if (this.#wasNamed) this.#startOver();
      return;
    }
    this.#wasNamed = true;
    if (effect === 'unchanged') return;
    this.#links.clear();
    this.#leaveStream();
    this.#connect();
  }

  #requestChange(attempt: ChangeAttempt): void {
    const { leader } = this.replica;
    const revision = Math.floor(attempt.baseRevision);
    this.#world.etcd.swap(revision, attempt.record, (outcome) => {
      this.run(() => {
        if (leader === undefined && this.replica.leader === undefined) return;
        const target = this.replica.leader ?? leader!;
        target.onChangeOutcome(attempt, outcome, this.moment.monotonicMs);
        if (outcome.kind === 'unknown') this.#world.mutant?.onUnknownChange?.(target);
      });
    });
  }

  // --- following --------------------------------------------------------------------------------------------------

  #leaveStream(): void {
    this.#stream?.break();
    this.#stream = undefined;
    this.#fetch = undefined;
  }

  #connect(): void {
    const { role } = this.replica;
    if (role.kind !== 'follower' || this.#stream !== undefined) return;
    const target = this.#world.processOf(role.of.replica);
    if (target === undefined) return this.after(RETRY_MS, () => this.#connect());
    const stream = new Stream({ world: this.#world, follower: this, leader: target });
    stream.onBreak(() => {
      if (this.#stream !== stream) return;
      this.#stream = undefined;
      this.after(RETRY_MS, () => this.#connect());
    });
    this.#stream = stream;
    this.#subscribe(stream);
  }

  #subscribe(stream: Stream): void {
    const { follower } = this.replica;
    if (follower === undefined || this.#stream !== stream) return;
    const channel = stream.nextChannel();
    const subscription = follower.subscription(channel);
    stream.toLeader(() => stream.leader.#onSubscribe(stream, subscription, this.member));
  }

  #onLeaderMessage(stream: Stream, { kind, message }: LeaderMessage): void {
    const { follower } = this.replica;
    if (follower === undefined || this.#stream !== stream || message.channel !== stream.channel) return;
    const mutated = this.#world.mutant?.toFollower?.(this, { kind, message } as LeaderMessage) ?? ({ kind, message } as LeaderMessage);
    let outcome: FollowOutcome;
    switch (mutated.kind) {
      case 'append':
        outcome = follower.onAppend(mutated.message, this.moment.monotonicMs);
        break;
      case 'part':
        outcome = follower.onPart(mutated.message);
        break;
      case 'divergence':
        outcome = follower.onDivergence(mutated.message);
        break;
      case 'install':
        outcome = follower.onInstallOrder(mutated.message);
        this.#fetch = undefined;
        break;
      case 'refusal':
        this.after(RETRY_MS, () => {
          if (this.#stream === stream && stream.channel === message.channel) this.#subscribe(stream);
        });
        return;
    }
    if (outcome === 'resubscribe') this.#subscribe(stream);
    else if (outcome === 'ok') this.#ackSoon();
  }

  #ackSoon(): void {
    if (this.#isAckDue) return;
    this.#isAckDue = true;
    this.after(this.#world.dice.below(3), () => {
      this.#isAckDue = false;
      const stream = this.#stream;
      const { follower } = this.replica;
      if (stream === undefined || follower === undefined) return;
      const honest = follower.ack(stream.channel, this.freeBytes);
      const ack = this.#world.mutant?.toLeader?.(this, honest) ?? honest;
      const { replica } = this.member;
      stream.toLeader(() => stream.leader.replica.leader?.onAck(ack, replica, stream.leader.moment.monotonicMs));
    });
  }

  /** Asks the leader for the next chunk, if an install waits for one. Chunks may be late, lost or come twice. */
  #fetchSoon(): void {
    const { dice, events } = this.#world;
    const { role } = this.replica;
    const { install } = this.state;
    const from = install?.next;
    if (install === undefined || from === undefined || role.kind !== 'follower') return;
    if (this.#fetch !== undefined && events.nowMs - this.#fetch.atMs < FETCH_TIMEOUT_MS) return;
    const source = this.#world.processOf(role.of.replica);
    if (source === undefined) return;
    const fetch = { atMs: events.nowMs };
    this.#fetch = fetch;
    source.after(this.#world.delayMs(), () => {
      const { leader } = source.replica;
      if (leader === undefined) return;
      const { entries, next } = source.state.store.readRange(from, undefined, { entriesMax: 8, bytesMax: 4 * 1024 * 1024 });
      const chunk: SnapshotChunk = {
        from,
        to: next,
        readSeq: source.state.appliedSeq,
        entries: chunkEntries(entries, install.logSeq).map((entry) => ({ ...entry, value: Buffer.from(entry.value) })),
      };
      if (this.#world.isFaulty && dice.chance(0.05)) return;
      const copies = this.#world.isFaulty && dice.chance(0.1) ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) this.after(this.#world.delayMs(), () => this.#onChunk(chunk, leader.epoch, fetch));
    });
  }

  #onChunk(chunk: SnapshotChunk, epoch: number, fetch: { readonly atMs: number }): void {
    const isTaken = this.replica.follower?.onChunk(chunk, epoch) === true;
    if (isTaken) this.#world.mutant?.afterChunk?.(this, chunk);
    if (this.#fetch === fetch) this.#fetch = undefined;
    if (isTaken) this.#fetchSoon();
    this.#ackSoon();
  }

  // --- leading ----------------------------------------------------------------------------------------------------

  #onSubscribe(stream: Stream, honest: SubscribeMessage, member: Member): void {
    const { leader } = this.replica;
    const { channel } = honest;
    const send = (message: LeaderMessage): void => stream.toFollower(() => stream.follower.#onLeaderMessage(stream, message));
    if (leader === undefined) return send({ kind: 'refusal', message: { channel } });
    const message = this.#world.mutant?.subscription?.(this, honest) ?? honest;
    const answer = leader.subscribe(message, member, this.moment.monotonicMs);
    switch (answer.kind) {
      case 'refusal':
        return send({ kind: 'refusal', message: { channel } });
      case 'divergence':
        return send({ kind: 'divergence', message: answer.message });
      case 'install':
        send({ kind: 'install', message: answer.message });
        break;
      case 'accepted':
    }
    this.#links.set(member.replica, { stream, channel });
    this.#pump(member.replica);
  }

  #cutOff(follower: FollowerProgress): void {
    const link = this.#links.get(follower.member.replica);
    if (link === undefined || link.channel !== follower.channel) return;
    const { stream, channel } = link;
    stream.toFollower(() => stream.follower.#onLeaderMessage(stream, { kind: 'refusal', message: { channel } }));
  }

  /** The stream to a follower broke, and this end noticed. */
  onFollowerGone(stream: Stream): void {
    for (const [replica, link] of this.#links) {
      if (link.stream !== stream) continue;
      this.#links.delete(replica);
      this.replica.leader?.unlink(replica, this.moment.monotonicMs);
    }
  }

  #pumpSoon(follower: FollowerProgress, delayMs: number): void {
    const { replica } = follower.member;
    if (this.#pumping.has(replica)) return;
    this.#pumping.add(replica);
    this.after(delayMs, () => this.#pump(replica));
  }

  #pump(replica: ReplicaId): void {
    this.#pumping.delete(replica);
    const { leader } = this.replica;
    const progress = leader?.follower(replica);
    const link = this.#links.get(replica);
    if (leader === undefined || progress === undefined || link?.channel !== progress.channel) return;
    const { stream } = link;
    while (stream.isOpen && stream.underWay < WINDOW) {
      const next = leader.nextMessage(progress, this.#world.dice.pick([64, 1024, 64 * 1024]), this.moment.monotonicMs);
      if (next === undefined) return;
      const message: LeaderMessage =
        'append' in next
          ? { kind: 'append', message: { ...next.append, entries: Buffer.from(next.append.entries) } }
          : { kind: 'part', message: { ...next.part, data: Buffer.from(next.part.data) } };
      stream.underWay += 1;
      stream.toFollower(() => {
        stream.underWay -= 1;
        stream.leader.run(() => stream.leader.#pump(replica));
        stream.follower.#onLeaderMessage(stream, message);
      });
    }
  }
}
