import type { KeyspaceSpec, Member, PartitionRecord, VersionedRecord } from '@atoll/core-membership';
import { createKeyspaceSpec } from '@atoll/core-membership';
import { toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { Departures } from './departures.ts';

const member = (node: string): Member => ({ node: toNodeId(node), replica: toReplicaId(node.padEnd(16, '0')) });

function ledBy(leader: string, inSync: readonly string[]): VersionedRecord {
  const record: PartitionRecord = {
    keyspace: 'k',
    keyspaceId: 'id',
    partition: toPartitionId(0),
    state: 'ACTIVE',
    generation: { counter: 1, id: 'g' },
    epoch: toEpoch(3),
    leader: member(leader),
    leaderIncarnation: `${leader}-1`,
    relinquished: false,
    inSync: inSync.map(member),
    eligible: [],
    learners: [],
    leaving: [],
    changeId: 'c',
  };
  return { record, modRevision: 10 };
}

/** What this node sees: b is the one that stops. */
function open(stopped: Set<string>) {
  const seen = { records: [] as VersionedRecord[] };
  const keyspaces: ReadonlyMap<string, KeyspaceSpec> = new Map([['k', createKeyspaceSpec({ name: 'k', id: 'id', partitionCount: 1 })]]);
  const departures = new Departures({ view: { keyspaces: () => keyspaces, partitions: () => seen.records }, hasStopped: (node) => stopped.has(node) });
  const goneIn = (atMs: number, replicas = 40): number => {
    departures.tick(replicas, atMs);
    let gone = 0;
    while (gone < replicas && departures.mayGo(member('b'))) gone += 1;
    return gone;
  };
  return { seen, goneIn };
}

describe('members that are to go (R29)', () => {
  it('leave the in-sync sets over ten ticks', () => {
    expect(open(new Set(['b'])).goneIn(0)).toBe(4);
    expect(open(new Set()).goneIn(0)).toBe(4);
    expect(open(new Set(['b'])).goneIn(0, 3)).toBe(2);
  });

  it('stay while their node hands its offices over', () => {
    const { seen, goneIn } = open(new Set(['b']));
    seen.records = [ledBy('b', ['b', 'a'])];
    expect(goneIn(0)).toBe(0);
    seen.records = [ledBy('a', ['a'])];
    expect(goneIn(100)).toBe(4);
  });

  it('do not wait for an office that nobody can take over, nor for a node that does not stop', () => {
    const alone = open(new Set(['b']));
    alone.seen.records = [ledBy('b', ['b'])];
    expect(alone.goneIn(0)).toBe(4);
    const serving = open(new Set());
    serving.seen.records = [ledBy('b', ['b', 'a'])];
    expect(serving.goneIn(0)).toBe(4);
  });

  it('wait no longer than their node does', () => {
    const stopped = new Set(['b']);
    const { seen, goneIn } = open(stopped);
    seen.records = [ledBy('b', ['b', 'a'])];
    expect([0, 3999, 4000].map((atMs) => goneIn(atMs))).toEqual([0, 0, 4]);
    // Another stop is another wait.
    stopped.clear();
    goneIn(5000);
    stopped.add('b');
    expect(goneIn(6000)).toBe(0);
  });
});
