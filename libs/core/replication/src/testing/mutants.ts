import { isExpired } from '@atoll/core-store';
import { keyHash } from '@atoll/core-runtime';
import type { Mutant } from './mutant.ts';

/** Wrong implementations that the world must catch; each names the rule that it breaks. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'a required member is not waited for (I2)',
    // It acknowledges whatever was sent, before it has it.
    toLeader: (follower, ack) => (follower.node === 'n1' && ack.appendedSeq > 0 ? { ...ack, appendedSeq: Number.MAX_SAFE_INTEGER } : ack),
  },
  {
    name: 'acknowledgements before the flush (R25)',
    toLeader: (follower, ack) => (ack.appendedSeq > 0 ? { ...ack, appendedSeq: follower.state.log.end.seq } : ack),
  },
  {
    name: 'the step of KIP-279 dropped: a log is judged by its length alone (R28)',
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
    name: 'no tombstones during an install (R33)',
    afterChunk: ({ state }, chunk) => {
      for (const entry of chunk.entries) {
        const hash = keyHash(entry.key);
        if (state.store.peekState(entry.key, hash) === undefined) state.store.put({ ...entry, hash });
      }
    },
  },
  {
    name: 'a follower evicts by itself (R22)',
    onTick: ({ state, freeBytes, replica }) => {
      if (replica.follower === undefined || freeBytes > 512) return;
      for (const key of state.store.pickVictims(512)) state.store.delete(key, keyHash(key));
    },
  },
  {
    name: 'expiry by the local clock (R23)',
    onTick: ({ state, replica, moment }) => {
      if (replica.follower === undefined) return;
      const { entries } = state.store.readRange({ high: 0, low: 0 }, undefined, { entriesMax: 1000, bytesMax: 2 ** 30 });
      for (const { key, hash, expiresAtMs } of entries) if (isExpired(expiresAtMs, moment.wallMs)) state.store.delete(key, hash);
    },
  },
  {
    name: 'a lost compare-and-swap settled by a read (R7)',
    onUnknownChange: (leader) => {
      const { record, modRevision } = leader.record.current;
      leader.record.adopt({ record, modRevision: modRevision + 0.001 });
    },
  },
  { name: 'an empty replica keeps its id, and counts (R1)', keepsReplicaId: true },
  { name: 'a leader resumes its epoch after a restart (R2)', keepsIncarnation: true },
];
