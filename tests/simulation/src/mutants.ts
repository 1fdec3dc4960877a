import { isExpired } from '@atoll/core-store';
import { KIB, keyHash } from '@atoll/core-runtime';
import type { HostedReplica } from './node/hosted-replica.ts';
import { hasReplica } from '@atoll/core-membership';
import { sourcesOf } from '@atoll/core-migration';
import { COPIES, CUT_OFF, DOUBT, INSTALLS, LATE_NEWS, MOVES, PROMISES, QUICK_RESTARTS, SHARDS, SWAPS, TAILS } from './mutant-plans.ts';
import type { Mutant } from './mutant.ts';

const ALL = { entriesMax: 1000, bytesMax: 2 ** 30 };

/** Followers that were told once where their log parts from the leader's, and those that were believed then. */
const cutOnce = new WeakSet<HostedReplica>();
const believed = new WeakSet<HostedReplica>();

/** Wrong implementations that the world must catch. */
export const MUTANTS: readonly Mutant[] = [
  { name: 'no-lease-check', rules: 'R14, R16', breaks: /\(I1\)|\(I5\)/, plan: CUT_OFF, leaseUntilMs: () => Number.POSITIVE_INFINITY },
  {
    name: 'one-set-for-commits',
    rules: 'R7, R8', breaks: /\(I2\)|\(I5\)/, plan: DOUBT,
    // Who is only in the set of an attempt seems to have everything.
    toLeader: (follower, ack) => {
      const leader = follower.leaderReplica()?.leader;
      const isOnlyAttempted = leader?.record.isRequired(follower.member.replica) === true && !leader.record.record.inSync.some(({ replica }) => replica === follower.member.replica);
      return isOnlyAttempted ? { ...ack, appendedSeq: Number.MAX_SAFE_INTEGER } : ack;
    },
  },
  {
    name: 'one-set-for-leases',
    rules: 'R7, R8, R14', breaks: /\(I1\)|\(I5\)/, plan: SWAPS,
    leaseUntilMs: (honest, { member, leader }) =>
      leader?.record.record.inSync.some(({ replica }) => replica === member.replica) === true ? honest : Number.POSITIVE_INFINITY,
  },
  { name: 'promise-forgotten-at-restart', rules: 'R14', breaks: /\(I1\)|\(I5\)/, plan: PROMISES, promiseUntilMs: () => 0 },
  { name: 'epoch-resumed-after-restart', rules: 'R2', breaks: /\(I2\)|\(I6|\(I5\)/, plan: QUICK_RESTARTS, keepsIncarnation: true },
  {
    name: 'lost-swap-settled-by-a-read',
    rules: 'R7', breaks: /\(I2\)|\(I1\)|\(I5\)/, plan: DOUBT,
    onUnknownChange: (leader) => {
      const { record, modRevision } = leader.record.current;
      leader.record.adopt({ record, modRevision: modRevision + 0.001 });
    },
  },
  {
    name: 'plain-failure-after-append',
    rules: 'R20', breaks: /\(R20\)/, plan: { deadlineMs: 300, thinkMsMax: 20, faultGapMs: 300, faults: ['transfer', 'isolate leader', 'pause leader', 'cut', 'slow'] },
    writeOutcome: (outcome) => (outcome.kind === 'failed' && outcome.reason === 'WRITE_IN_DOUBT' ? { ...outcome, reason: 'NOT_LEADER' } : outcome),
  },
  {
    name: 'commit-before-all-acknowledged',
    rules: 'I2', breaks: /\(I2\)/,
    toLeader: (follower, ack) => (follower.node.id === 'n1' && ack.appendedSeq > 0 ? { ...ack, appendedSeq: Number.MAX_SAFE_INTEGER } : ack),
  },
  {
    name: 'acknowledged-before-the-flush',
    rules: 'R25', breaks: /\(I2\)/,
    toLeader: (follower, ack) => (ack.appendedSeq > 0 ? { ...ack, appendedSeq: follower.state.log.end.seq } : ack),
  },
  {
    name: 'expiry-by-local-clock',
    rules: 'R23', breaks: /\(I6/,
    onTick: ({ state, replica, node }) => {
      if (replica.follower === undefined) return;
      const { entries } = state.store.readRange({ high: 0, low: 0 }, undefined, ALL);
      for (const { key, hash, expiresAtMs } of entries) if (isExpired(expiresAtMs, node.moment().wallMs)) state.store.delete(key, hash);
    },
  },
  {
    name: 'follower-evicts',
    rules: 'R22', breaks: /\(I6/, plan: { memoryBytes: 8 * KIB, keyCount: 100, valueBytesMax: 200, eviction: 'LRU', thinkMsMax: 20 },
    onTick: ({ state, node, replica }) => {
      if (replica.follower === undefined || node.account.freeBytes > 512) return;
      for (const key of state.store.pickVictims(512)) state.store.delete(key, keyHash(key));
    },
  },
  {
    name: 'no-tombstone-during-install',
    rules: 'R33', breaks: /\(I[67]/, plan: INSTALLS,
    afterChunk: ({ state }, chunk) => {
      for (const entry of chunk.entries) {
        const hash = keyHash(entry.key);
        if (state.store.peekState(entry.key, hash) === undefined) state.store.put({ ...entry, hash });
      }
    },
  },
  {
    name: 'tombstones-dropped-with-another-sub-range',
    rules: 'R33', breaks: /\(I[67]/, plan: SHARDS,
    afterChunk: ({ state }, chunk) => {
      // None of the sub-ranges into which it was split has ended yet.
      if ((state.install?.missing.length ?? 0) === SHARDS.installStreams) return;
      for (const entry of chunk.entries) {
        const hash = keyHash(entry.key);
        if (state.store.peekState(entry.key, hash) === undefined) state.store.put({ ...entry, hash });
      }
    },
  },
  { name: 'half-filled-replica-sends', rules: 'R33', breaks: /\(I[2678]/, plan: { ...SHARDS, replicationFactor: 3 }, sendsHalfFilled: true },
  {
    name: 'log-judged-by-length',
    rules: 'R28', breaks: /\(I2\)/, plan: { ...DOUBT, isSync: true },
    subscription: (leader, message) => {
      const { log } = leader.state;
      const { seq } = message.end;
      if (!message.installed || seq < log.base.seq || seq > log.end.seq) return message;
      return { ...message, end: log.positionAt(seq) };
    },
    toFollower: (follower, message) => {
      const { end } = follower.state.log;
      if (message.kind !== 'append' || message.message.prev.seq !== end.seq) return message;
      return { kind: 'append', message: { ...message.message, prev: end } };
    },
  },
  {
    name: 'kip-279-step-dropped',
    rules: 'R28', breaks: /\(I2\)|\(I6/, plan: TAILS,
    // The follower cuts its log back to the end that it was told, whatever epoch it has there, and does not ask again.
    toFollower: (follower, message) => {
      const { end } = follower.state.log;
      if (message.kind === 'append') {
        if (!believed.delete(follower) || message.message.prev.seq !== end.seq) return message;
        return { kind: 'append', message: { ...message.message, prev: end } };
      }
      if (message.kind !== 'divergence') return message;
      cutOnce.add(follower);
      return { kind: 'divergence', message: { ...message.message, end: { epoch: end.epoch, seq: message.message.end.seq } } };
    },
    subscription: (leader, message, follower) => {
      const { log } = leader.state;
      const { seq } = message.end;
      if (!cutOnce.delete(follower) || seq < log.base.seq || seq > log.end.seq) return message;
      believed.add(follower);
      return { ...message, end: log.positionAt(seq) };
    },
  },
  { name: 'old-epoch-accepted', rules: 'R14, R27', breaks: /\(I1\)|\(I5\)/, plan: { ...CUT_OFF, spells: [[900, 1500], [1500, 5000]] }, acceptsOldEpochs: true },
  { name: 'empty-replica-in-sync', rules: 'R1', breaks: /\(I2\)/, keepsReplicaId: true },
  { name: 'clock-jumps-ignored', rules: 'R17', breaks: /\(I1\)|\(I5\)/, plan: { ...CUT_OFF, faults: ['suspend leader', 'suspend leader', 'pause'] }, ignoresClockJumps: true },
  { name: 'old-coordinator-heard', rules: 'R11', breaks: /\(I9, R11\)/, plan: { faults: ['coordinator clings', 'coordinator clings', 'coordinator cut', 'coordinator pause', 'etcd lossy', 'crash'] }, ignoresElection: true },
  { name: 'op-ids-forgotten', rules: 'R21', breaks: /\(R21\)|\(I5\)/, onTick: ({ state }) => state.results.clear(state.appliedSeq, Number.NEGATIVE_INFINITY) },
  {
    name: 'source-dropped-before-the-target-is-in-sync',
    rules: 'I8', breaks: /let go while .* is not in sync \(I8\)|is let go \(I8\)/, plan: MOVES,
    decided: ({ record }, operator) => {
      const sources = sourcesOf(operator);
      const going = record.inSync.filter((member) => sources.includes(member.node) && member.replica !== record.leader?.replica && !hasReplica(record.leaving, member.replica));
      return record.learners.length === 0 ? record : { ...record, leaving: [...record.leaving, ...going] };
    },
  },
  { name: 'source-dropped-before-the-proof', rules: 'I8, R34', breaks: /\(I8, R34\)/, plan: MOVES, verdict: () => ({ epoch: 1, seq: 1, entries: 0, equal: 64, repaired: 0, comparedEntries: 0 }) },
  {
    name: 'operator-revision-ignored',
    rules: 'I8, R11', breaks: /\(I8\)/, plan: { ...MOVES, faults: ['etcd lossy', 'etcd lossy', 'coordinator crash'] },
    migrationWrite: ({ operators, jobs }) => ({ jobs, turn: undefined, operators: operators.map(({ operator, modRevision }) => ({ operator, modRevision: modRevision > 0 ? undefined : modRevision })) }),
  },
  {
    name: 'lost-job-read-as-not-written',
    rules: 'I8, R7', breaks: /\(I8\)/, plan: { ...MOVES, faults: ['etcd lossy', 'etcd lossy'] },
    migrationWrite: ({ operators, jobs }) => ({ jobs, operators, turn: undefined }),
  },
  { name: 'rollback-drops-the-source', rules: 'I8', breaks: /is let go \(I8\)/, plan: MOVES, placement: ({ step, after }) => (step === 'ROLL_BACK' ? after : undefined) },
  { name: 'takeover-begins-anew', rules: 'I8', breaks: /went from .* to WAITING \(I8\)/, plan: MOVES, beginsAnew: true },
  { name: 'placement-forgotten-after-failover', rules: 'I8', breaks: /\(I8\)/, plan: { ...MOVES, faults: ['coordinator crash', 'coordinator cut'] }, forgetsPlacements: true },
  // A partition of the copy counts as being at the barrier, wherever it is.
  { name: 'cut-over-without-drain', rules: 'I8, R37', breaks: /\(I8, R37\)|\(I5\)/, plan: COPIES, copies: true, copiedPair: (pair, barrier) => ({ ...pair, applied: barrier ?? pair.applied }) },
  { name: 'freeze-not-heeded', rules: 'I8, R37', breaks: /\(I8, R37\)|\(I5\)/, plan: COPIES, copies: true, ignoresFreeze: true },
  {
    name: 'place-ahead-of-its-entries',
    rules: 'R37', breaks: /\(I8, R37\)|\(R37\)/, plan: COPIES, copies: true,
    batches: ({ changes, position }) => (changes.length === 0 || position.phase === 'EMPTYING' ? [{ changes, position }] : [{ changes: [], position }, { changes, position }]),
  },
  { name: 'source-not-sealed', rules: 'I5, R37', breaks: /\(I5\)/, plan: LATE_NEWS, copies: true, sealsNobody: true },
  {
    name: 'results-forgotten-at-cut-over',
    rules: 'R21, R37', breaks: /\(R21/, plan: COPIES, copies: true,
    onTick: ({ state }) => {
      if (state.copies.isEnded) state.results.clear(state.appliedSeq, Number.NEGATIVE_INFINITY);
    },
  },
  { name: 'fencing-tokens-ignored', rules: 'R38', breaks: /\(I9, R38\)/, plan: { isFenced: true }, writeRequest: (request) => ({ ...request, fence: undefined }) },
];
