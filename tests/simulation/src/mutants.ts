import { isExpired } from '@atoll/core-store';
import { keyHash } from '@atoll/core-runtime';
import type { Mutant } from './mutant.ts';

const ALL = { entriesMax: 1000, bytesMax: 2 ** 30 };

/** Wrong implementations that the world must catch. */
export const MUTANTS: readonly Mutant[] = [
  { name: 'no-lease-check', rules: 'R14, R16', leaseUntilMs: () => Number.POSITIVE_INFINITY },
  {
    name: 'one-set-for-commits',
    rules: 'R7, R8',
    // Who is only in the set of an attempt seems to have everything.
    toLeader: (follower, ack) => {
      const leader = follower.leaderReplica()?.leader;
      const isOnlyAttempted = leader?.record.isRequired(follower.member.replica) === true && !leader.record.record.inSync.some(({ replica }) => replica === follower.member.replica);
      return isOnlyAttempted ? { ...ack, appendedSeq: Number.MAX_SAFE_INTEGER } : ack;
    },
  },
  {
    name: 'one-set-for-leases',
    rules: 'R7, R8, R14',
    leaseUntilMs: (honest, { member, leader }) =>
      leader?.record.record.inSync.some(({ replica }) => replica === member.replica) === true ? honest : Number.POSITIVE_INFINITY,
  },
  { name: 'promise-forgotten-at-restart', rules: 'R14', promiseUntilMs: () => 0 },
  { name: 'epoch-resumed-after-restart', rules: 'R2', keepsIncarnation: true },
  {
    name: 'lost-swap-settled-by-a-read',
    rules: 'R7',
    onUnknownChange: (leader) => {
      const { record, modRevision } = leader.record.current;
      leader.record.adopt({ record, modRevision: modRevision + 0.001 });
    },
  },
  {
    name: 'plain-failure-after-append',
    rules: 'R20',
    writeOutcome: (outcome) => (outcome.kind === 'failed' && outcome.reason === 'WRITE_IN_DOUBT' ? { ...outcome, reason: 'NOT_LEADER' } : outcome),
  },
  {
    name: 'commit-before-all-acknowledged',
    rules: 'I2',
    toLeader: (follower, ack) => (follower.node.id === 'n1' && ack.appendedSeq > 0 ? { ...ack, appendedSeq: Number.MAX_SAFE_INTEGER } : ack),
  },
  {
    name: 'acknowledged-before-the-flush',
    rules: 'R25',
    toLeader: (follower, ack) => (ack.appendedSeq > 0 ? { ...ack, appendedSeq: follower.state.log.end.seq } : ack),
  },
  {
    name: 'expiry-by-local-clock',
    rules: 'R23',
    onTick: ({ state, replica, node }) => {
      if (replica.follower === undefined) return;
      const { entries } = state.store.readRange({ high: 0, low: 0 }, undefined, ALL);
      for (const { key, hash, expiresAtMs } of entries) if (isExpired(expiresAtMs, node.moment().wallMs)) state.store.delete(key, hash);
    },
  },
  {
    name: 'follower-evicts',
    rules: 'R22',
    onTick: ({ state, node, replica }) => {
      if (replica.follower === undefined || node.account.freeBytes > 512) return;
      for (const key of state.store.pickVictims(512)) state.store.delete(key, keyHash(key));
    },
  },
  {
    name: 'no-tombstone-during-install',
    rules: 'R33',
    afterChunk: ({ state }, chunk) => {
      for (const entry of chunk.entries) {
        const hash = keyHash(entry.key);
        if (state.store.peekState(entry.key, hash) === undefined) state.store.put({ ...entry, hash });
      }
    },
  },
  {
    name: 'log-judged-by-length',
    rules: 'R28',
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
  { name: 'old-epoch-granted', rules: 'R14, R27', grantsOldEpochs: true },
  { name: 'empty-replica-in-sync', rules: 'R1', keepsReplicaId: true },
  { name: 'clock-jumps-ignored', rules: 'R17', ignoresClockJumps: true },
  { name: 'old-coordinator-heard', rules: 'R11', ignoresElection: true },
  { name: 'op-ids-forgotten', rules: 'R21', forgetsOpIds: true },
];
