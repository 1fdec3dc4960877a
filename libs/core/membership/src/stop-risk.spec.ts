import { toNodeId, toReplicaId } from '@atoll/core-runtime';
import type { KeyspaceSpec } from './keyspace-spec.ts';
import type { NodeRecord } from './node-record.ts';
import type { Member, PartitionRecord } from './partition-record.ts';
import { lastInSyncByNode, namesText, stopRiskOf, type StopRiskView } from './stop-risk.ts';

const members = (letters: string): Member[] => Array.from(letters, (letter) => ({ node: toNodeId(letter), replica: toReplicaId(`${letter}-replica`) }));

/** A cluster of the nodes that serve, and partitions as `in sync/learners`. */
function viewOf(serving: string, partitions: readonly string[], replicationFactor = 2): StopRiskView {
  const nodes = new Map(Array.from(serving, (id) => [id, { id: toNodeId(id), phase: 'SERVING', weight: 1 } as NodeRecord]));
  const records = partitions.map((text, partition) => {
    const [inSync = '', learners = ''] = text.split('/');
    return { record: { keyspace: 'default', keyspaceId: 'k', partition, inSync: members(inSync), learners: members(learners), leaving: [], eligible: [] } as unknown as PartitionRecord, modRevision: 1 };
  });
  return { keyspaces: [{ name: 'default', id: 'k', replicationFactor } as KeyspaceSpec], recordsOf: () => records, nodes };
}

const riskOf = (node: string, ...view: Parameters<typeof viewOf>) => stopRiskOf(toNodeId(node), viewOf(...view));

const NONE = { lastInSync: [], underReplicated: [] };

describe('what the stop of a node would take', () => {
  it('is nothing while every partition has the replicas that it can have', () => {
    expect(riskOf('a', 'abc', ['ab', 'bc', 'ca'])).toEqual(NONE);
  });

  it.each([
    { title: 'the only one in sync, whose fellow learns', node: 'a', expected: { lastInSync: ['default/0'], underReplicated: ['default/0'] } },
    { title: 'one that learns itself', node: 'b', expected: { lastInSync: [], underReplicated: ['default/0'] } },
    { title: 'one that has nothing to do with it', node: 'c', expected: NONE },
  ])('counts for $title', ({ node, expected }) => {
    expect(riskOf(node, 'abc', ['a/b', 'bc'])).toEqual(expected);
  });

  it('concerns every node while a partition lacks a replica that any of them may be given', () => {
    expect(riskOf('a', 'abc', ['a', 'bc'])).toEqual({ lastInSync: ['default/0'], underReplicated: ['default/0'] });
    expect(riskOf('c', 'abc', ['a', 'bc'])).toEqual({ lastInSync: [], underReplicated: ['default/0'] });
  });

  it('counts a member on a node that is gone for nothing', () => {
    expect(riskOf('a', 'abd', ['ac', 'bd'])).toEqual({ lastInSync: ['default/0'], underReplicated: ['default/0'] });
  });

  it('is nothing where one replica is all that there can be', () => {
    expect(riskOf('a', 'a', ['a', 'a'])).toEqual(NONE);
    expect(riskOf('a', 'abc', ['a', 'b'], 1)).toEqual(NONE);
  });

  // A keyspace of two replicas on pool main, whose other node is gone; the standby pool is whole.
  it('is nothing that nodes of another pool could save, and does not concern them', () => {
    const view = viewOf('a', ['a', 'a']);
    const ofStandby = (id: string): [string, NodeRecord] => [id, { id: toNodeId(id), phase: 'SERVING', weight: 1, pool: 'standby' } as NodeRecord];
    const withStandby = { ...view, nodes: new Map([...view.nodes, ofStandby('s'), ofStandby('t')]) };
    expect(stopRiskOf(toNodeId('a'), withStandby)).toEqual(NONE);
    const twoOfMain = { ...view, nodes: new Map([...viewOf('ab', []).nodes, ofStandby('s'), ofStandby('t')]) };
    expect(stopRiskOf(toNodeId('b'), twoOfMain)).toEqual({ lastInSync: [], underReplicated: ['default/0', 'default/1'] });
    expect(stopRiskOf(toNodeId('s'), twoOfMain)).toEqual(NONE);
  });

  it('is told for every node at once', () => {
    expect([...lastInSyncByNode(viewOf('abc', ['a/b', 'bc', 'a', 'c']))]).toEqual([['a', ['default/0', 'default/2']], ['c', ['default/3']]]);
  });

  it('names a few of many partitions', () => {
    expect(namesText(['k/1', 'k/2'])).toBe('k/1, k/2');
    expect(namesText(['k/1', 'k/2', 'k/3', 'k/4'], 2)).toBe('k/1, k/2 and 2 more');
  });
});
