// Small worlds for stories told step by step: one replica state, a leader of it, and followers that are fed by hand.
import type { Member, PartitionRecord, VersionedRecord } from '@atoll/core-membership';
import { MIB, SeededRandom, keyHash, toEpoch, toNodeId, toPartitionId, toReplicaId, type ReplicaId } from '@atoll/core-runtime';
import { PartitionStore, StoreMemory, type WriteCommand } from '@atoll/core-store';
import { Follower } from '../follower.ts';
import type { ChangeAttempt } from '../in-sync-change.ts';
import { Leader } from '../leader.ts';
import type { SubscribeAnswer } from '../messages.ts';
import { ReplicaState, type ReplicaJournal, type ReplicaOrigin } from '../replica-state.ts';
import type { LeaderHooks, Moment, ReplicaSettings, WriteRequest } from '../replica-types.ts';
import type { WriteOutcome } from '../uncommitted.ts';

export const GENERATION = { counter: 1, id: 'g1' };
export const WALL_MS = 1_700_000_000_000;

export const momentAt = (monotonicMs: number, wallMs = WALL_MS + monotonicMs): Moment => ({ monotonicMs, wallMs });

export const memberOf = (name: string): Member => ({ node: toNodeId(name), replica: toReplicaId(name.padEnd(16, '0')) });

export function recordOf(options: { leader: string; inSync: readonly string[]; learners?: readonly string[]; epoch?: number; revision?: number }): VersionedRecord {
  const { leader, inSync, learners = [], epoch = 1, revision = 1 } = options;
  const record: PartitionRecord = {
    keyspace: 'default',
    keyspaceId: 'k',
    partition: toPartitionId(0),
    state: 'ACTIVE',
    generation: GENERATION,
    epoch: toEpoch(epoch),
    leader: memberOf(leader),
    leaderIncarnation: 'life-1',
    relinquished: false,
    inSync: inSync.map(memberOf),
    eligible: [],
    learners: learners.map(memberOf),
    leaving: [],
    changeId: `change-${revision}`,
  };
  return { record, modRevision: revision };
}

export const SETTINGS: ReplicaSettings = {
  minInSync: 1,
  eviction: 'LRU',
  leaseMs: 1000,
  freeBytes: () => MIB,
  followerAckTimeoutMs: 600,
  rejoinAfterMs: 1000,
  changeRetryMs: 100,
  uncommittedBytesMax: MIB,
  logBytesMax: MIB,
  expirySweep: { removedMax: 100, scannedMax: 1000 },
};

/** A whole and empty replica of the first generation, unless `origin` says otherwise. */
export function openState(
  name: string,
  options: { origin?: ReplicaOrigin; journal?: ReplicaJournal; isSync?: boolean; memoryBytes?: number } = {},
): ReplicaState {
  const memory = new StoreMemory({ bytesMax: options.memoryBytes ?? 16 * MIB });
  return new ReplicaState({
    identity: { keyspace: 'default', keyspaceId: 'k', partition: toPartitionId(0), self: memberOf(name) },
    store: new PartitionStore({ account: memory.openAccount('default', 1), random: new SeededRandom(1) }),
    origin: options.origin ?? { generation: GENERATION, applied: { epoch: 0, seq: 0 }, installed: true },
    journal: options.journal,
    isSync: options.isSync ?? false,
  });
}

/** A leader, and what it asked of its shell. */
export interface SoloLeader {
  readonly leader: Leader;
  readonly state: ReplicaState;
  readonly changes: ChangeAttempt[];
  /** Followers that were given up. */
  readonly cutOff: ReplicaId[];
  /** Writes and returns the list into which the outcome goes, once there is one. */
  readonly write: (key: string, command: WriteCommand, now: Moment, ack?: WriteRequest['ack']) => WriteOutcome[];
}

export function takeOffice(options: {
  state: ReplicaState;
  record: VersionedRecord;
  now?: Moment;
  settings?: Partial<ReplicaSettings>;
  /** Default: everybody has granted a lease for ever. */
  leaseUntilMs?: LeaderHooks['leaseUntilMs'];
  /** Default: clocks are sound. Not called in taking office. */
  beforeLease?: (leader: Leader, nowMs: number) => void;
  /** Default: the coordinator lets the last follower go at once. */
  askRemoval?: LeaderHooks['askRemoval'];
  isStopping?: LeaderHooks['isStopping'];
}): SoloLeader {
  const { state, record } = options;
  const changes: ChangeAttempt[] = [];
  const cutOff: ReplicaId[] = [];
  const hooks: LeaderHooks = {
    wake: () => undefined,
    commitMoved: () => undefined,
    cutOff: ({ member }) => void cutOff.push(member.replica),
    requestChange: (attempt) => void changes.push(attempt),
    readRecord: () => undefined,
    recordChanged: () => undefined,
    beforeLease: (nowMs) => options.beforeLease?.(leader, nowMs),
    leaseUntilMs: options.leaseUntilMs ?? (() => Number.POSITIVE_INFINITY),
    fenceUntilMs: () => Number.POSITIVE_INFINITY,
    isStopping: options.isStopping ?? (() => false),
    mayPart: () => true,
    askRemoval: options.askRemoval ?? (({ replica }) => leader.onRemovalAnswer(replica, true, 0)),
  };
  const settings = options.settings === undefined ? SETTINGS : Object.create(SETTINGS, Object.getOwnPropertyDescriptors(options.settings));
  const leader: Leader = new Leader({ state, record, settings, hooks, random: new SeededRandom(7), now: options.now ?? momentAt(0) });
  return {
    leader,
    state,
    changes,
    cutOff,
    write: (name, command, now, ack = 'IN_SYNC') => {
      const outcomes: WriteOutcome[] = [];
      const key = Buffer.from(name);
      leader.write({ key, hash: keyHash(key), command, opId: undefined, ack }, now, (outcome) => outcomes.push(outcome));
      return outcomes;
    },
  };
}

export const setTo = (value: string, expiresAtMs = 0): WriteCommand => ({ kind: 'set', value: Buffer.from(value), expiresAtMs, condition: 'NONE' });

/** A follower that is linked to a leader without a network between them. */
export interface SoloFollower {
  readonly follower: Follower;
  readonly state: ReplicaState;
  readonly member: Member;
  /** Subscribes anew and hands the answer over. */
  subscribe(nowMs: number): SubscribeAnswer;
  /** Takes everything that the leader has to send. */
  receive(nowMs: number): void;
  acknowledge(nowMs: number): void;
}

export function follow({ leader }: SoloLeader, state: ReplicaState): SoloFollower {
  const follower = new Follower({ state, epoch: leader.epoch, settings: SETTINGS });
  const member = state.identity.self;
  let channel = 0;
  return {
    follower,
    state,
    member,
    subscribe: (nowMs) => {
      channel += 1;
      const answer = leader.subscribe(follower.subscription(channel), member, nowMs);
      if (answer.kind === 'install') follower.onInstallOrder(answer.message);
      if (answer.kind === 'divergence') follower.onDivergence(answer.message);
      return answer;
    },
    receive: (nowMs) => {
      for (;;) {
        const progress = leader.follower(member.replica);
        const next = progress === undefined ? undefined : leader.nextMessage(progress, MIB, nowMs);
        if (next === undefined) return;
        if ('append' in next) follower.onAppend(next.append, nowMs);
        else follower.onPart(next.part);
      }
    },
    acknowledge: (nowMs) => leader.onAck(follower.ack(channel, MIB), member.replica, nowMs),
  };
}

/** A leader that is the only replica in sync. */
export const alone = (): SoloLeader => takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });

/** a leads, b follows in sync; `exchange` brings b what there is, and its acknowledgement back. */
export function pair(): { readonly a: SoloLeader; readonly b: SoloFollower; readonly exchange: (nowMs: number) => void } {
  const a = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
  const b = follow(a, openState('b'));
  const exchange = (nowMs: number): void => {
    b.receive(nowMs);
    b.acknowledge(nowMs);
  };
  b.subscribe(0);
  exchange(0);
  return { a, b, exchange };
}
