import type { Member, VersionedRecord } from '@atoll/core-membership';
import { FenceTable } from '@atoll/core-locks';
import { PartitionReplica, type ChangeAttempt, type ReplicaOrigin, type ReplicaSettings } from '@atoll/core-replication';
import { ObservedState, SimulatedDisk, type DiskImage } from '@atoll/core-replication/testing';
import { keyHash, toPartitionId, type ReplicaId } from '@atoll/core-runtime';
import { PartitionStore } from '@atoll/core-store';
import { keyspaceIdOf, partitionKey, placeOfSlot } from '../names.ts';
import { SETTINGS } from '../plan.ts';
import type { World } from '../world.ts';
import { FollowerLink } from './follower-link.ts';
import { LeaderLinks } from './leader-links.ts';
import type { SimNode } from './sim-node.ts';

/** Of another lineage, compared in one tick. */
const FORMER_ENTRIES = 8;
const READ_RETRY_MS = 250;

/** A production replica on a node, with the shell around it in small: disk, streams, records, timers. */
export class HostedReplica {
  readonly node: SimNode;
  /** Of all keyspaces under one number. */
  readonly slot: number;
  readonly state: ObservedState;
  readonly replica: PartitionReplica;
  readonly disk: SimulatedDisk | undefined;
  /** The streams that followers opened, while this replica leads. */
  readonly leading: LeaderLinks;
  /** Its own stream to its leader. */
  readonly following: FollowerLink;
  readonly #world: World;
  #wasNamed = false;
  #isReading = false;
  #isClosed = false;

  constructor(options: { world: World; node: SimNode; slot: number; replicaId: ReplicaId; image: DiskImage | undefined }) {
    const { world, node, slot, replicaId, image: kept } = options;
    this.#world = world;
    this.node = node;
    this.slot = slot;
    const image = kept ?? SimulatedDisk.emptyImage(replicaId);
    this.disk = world.plan.isSync ? new SimulatedDisk({ events: world.events, dice: world.dice, image }) : undefined;
    const { keyspace, partition } = placeOfSlot(slot);
    const { applied, timeMs } = image.checkpoint;
    const origin: ReplicaOrigin = { generation: image.generation, applied, installed: kept !== undefined, timeMs: kept === undefined ? undefined : timeMs };
    this.state = new ObservedState({
      identity: { keyspace, keyspaceId: keyspaceIdOf(keyspace), partition: toPartitionId(partition), self: { node: node.nodeId, replica: replicaId } },
      store: new PartitionStore({ account: node.account, random: world.dice.random }),
      origin,
      journal: this.disk,
      isSync: world.plan.isSync,
      observer: world.checker.observer(slot),
    });
    this.disk?.connect(this.state, () => node.run(() => this.#onDurable()));
    if (kept !== undefined) this.#recover(kept);
    this.leading = new LeaderLinks({ world, hosted: this });
    this.following = new FollowerLink({ world, hosted: this });
    this.replica = new PartitionReplica({
      state: this.state,
      settings: this.#settings(),
      hooks: {
        wake: (follower) => this.leading.pumpSoon(follower, 0),
        commitMoved: (follower) => this.leading.pumpSoon(follower, 3),
        cutOff: (follower) => this.leading.cutOff(follower),
        requestChange: (attempt) => this.#requestChange(attempt),
        readRecord: () => this.#readRecord(),
        recordChanged: () => node.leases.noteChanged(),
        beforeLease: () => node.leases.beforeServing(),
        leaseUntilMs: (member, epoch) => node.leases.leaseUntilMs(slot, member, epoch),
        fenceUntilMs: () => node.fenceUntilMs(),
        isStopping: () => false,
        mayPart: () => true,
        askRemoval: (member) => node.reports.askRemoval(this, member),
      },
      random: world.dice.random,
      incarnation: node.incarnation,
      promiseUntilMs: world.mutant?.promiseUntilMs?.(kept !== undefined) ?? (kept === undefined ? 0 : node.clock.monotonicMs + SETTINGS.leaseMs),
    });
  }

  get member(): Member {
    return this.state.identity.self;
  }

  /** The replica that this one follows, where it runs; for mutants, which know too much. */
  leaderReplica(): PartitionReplica | undefined {
    const { role } = this.replica;
    return role.kind === 'follower' ? this.#world.nodeOf(role.of.node)?.hosted(this.slot)?.replica : undefined;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.replica.retire();
    this.leading.closeAll();
    this.following.close();
    this.state.close();
    this.disk?.crash();
  }

  #recover(image: DiskImage): void {
    const nowMs = this.node.clock.monotonicMs;
    for (const entry of image.checkpoint.entries) this.state.store.put({ ...entry, hash: keyHash(entry.key) });
    if (image.checkpoint.copies !== undefined) this.state.copies.load(image.checkpoint.copies, 0);
    if (image.checkpoint.fences !== undefined) this.state.fences.merge(FenceTable.decode(image.checkpoint.fences));
    this.state.clock.follow(image.checkpoint.timeMs, nowMs);
    const bytes: Buffer[] = [];
    for (let seq = image.checkpoint.applied.seq + 1; seq <= image.endSeq; seq += 1) bytes.push(image.entries.get(seq)!);
    this.state.restoreEntries([{ lastSeq: image.endSeq, bytes: Buffer.concat(bytes) }], image.committedSeq, nowMs);
    this.state.log.trim(this.state.appliedSeq, this.#world.plan.logBytesMax);
  }

  #settings(): ReplicaSettings {
    const { plan } = this.#world;
    const { leaseMs, followerAckTimeoutMs, rejoinAfterMs, changeRetryMs } = SETTINGS;
    return {
      minInSync: plan.minInSync,
      eviction: plan.eviction,
      leaseMs,
      freeBytes: () => this.node.account.freeBytes,
      followerAckTimeoutMs,
      rejoinAfterMs,
      changeRetryMs,
      uncommittedBytesMax: 16 * 1024,
      logBytesMax: plan.logBytesMax,
      expirySweep: { removedMax: 5, scannedMax: 50 },
    };
  }

  // --- time -------------------------------------------------------------------------------------------------------

  tick(): void {
    const effect = this.replica.tick(this.node.moment());
    this.state.compareFormer(FORMER_ENTRIES, this.node.clock.monotonicMs);
    if (effect === 'role-changed') this.noteRole();
    this.#world.mutant?.onTick?.(this);
    this.following.fetchSoon();
    if (this.#world.dice.chance(0.5)) this.following.ackSoon();
  }

  #onDurable(): void {
    if (this.#isClosed) return;
    this.replica.leader?.onDurable(this.node.moment().monotonicMs);
    this.following.ackSoon();
  }

  // --- records ----------------------------------------------------------------------------------------------------

  /** `isNewest`: from a read, not from a watch, which tells in order what was. */
  onRecord(versioned: VersionedRecord, isNewest = false): void {
    if (this.#isClosed) return;
    const effect = this.replica.onRecord(versioned, this.node.moment());
    if (effect === 'unnamed') {
      if (!this.#wasNamed && this.isEmpty) return;
      // A later one may name it again, and it may be in sync by now (R1).
      if (isNewest) this.node.drop(this);
      else this.#readRecord();
      return;
    }
    this.#wasNamed = true;
    this.node.leases.noteChanged();
    if (effect !== 'unchanged') this.noteRole();
  }

  /** The watch tells that no record is there any more: so it may be, of a keyspace that is gone. */
  onGone(): void {
    this.#readRecord();
  }

  get isEmpty(): boolean {
    return this.state.generation.counter === 0 && this.state.log.end.seq === 0 && this.state.install === undefined;
  }

  /** Some message named an epoch (R27). */
  hearEpoch(epoch: number): void {
    const before = this.replica.role;
    this.replica.hearEpoch(epoch);
    if (this.replica.role !== before) this.noteRole();
  }

  /** The role is another one than before: streams of the old one mean nothing. */
  noteRole(): void {
    this.leading.closeAll();
    this.following.restart();
    this.node.leases.noteChanged();
    const dueMs = this.replica.officeDueMs;
    if (dueMs !== undefined) this.node.after(Math.max(0, dueMs - this.node.clock.monotonicMs) * 1.03 + 1, () => this.#isClosed || this.tick());
  }

  #requestChange(attempt: ChangeAttempt): void {
    const key = partitionKey(this.slot);
    const { leader } = this.replica;
    this.node.etcd.transact([{ key, modRevision: Math.floor(attempt.baseRevision) }], [{ key, value: attempt.record }], (outcome) => {
      // The first change may be asked for while the office is being taken.
      const target = leader ?? this.replica.leader;
      if (target === undefined || this.#isClosed) return;
      const change = outcome.kind === 'succeeded' ? { kind: outcome.kind, modRevision: outcome.revision } : { kind: outcome.kind };
      target.onChangeOutcome(attempt, change, this.node.moment().monotonicMs);
      if (outcome.kind === 'unknown') this.#world.mutant?.onUnknownChange?.(target, this);
    });
  }

  #readRecord(): void {
    if (this.#isReading || this.#isClosed) return;
    this.#isReading = true;
    const key = partitionKey(this.slot);
    this.node.etcd.read(
      () => ({ stored: this.#world.etcd.get(key) }),
      (found) => {
        this.#isReading = false;
        if (found?.stored !== undefined) this.node.onStored(key, found.stored, true);
        else if (found !== undefined && this.#world.hasCopies) this.node.drop(this);
        else this.node.after(READ_RETRY_MS, () => this.#readRecord());
      },
    );
  }
}
