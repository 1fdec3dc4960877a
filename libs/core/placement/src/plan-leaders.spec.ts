import { toNodeId, toPartitionId } from '@atoll/core-runtime';
import { planLeaders } from './plan-leaders.ts';

/** 'ab' is a partition led by a with b in sync; '-ab' has no leader. */
function changes(partitions: string, nodes: string): string[] {
  const planned = planLeaders({
    nodes: nodes.split(' ').map((word) => ({ id: toNodeId(word[0]!), zone: 'z', weight: Number(word[1] ?? 1) })),
    partitions: partitions.split(' ').map((word, index) => ({
      partition: toPartitionId(index),
      leader: word.startsWith('-') ? undefined : toNodeId(word[0]!),
      inSync: word.replace('-', '').split('').map(toNodeId),
    })),
  });
  return planned.map(({ partition, from, to }) => `${partition}:${from}->${to}`);
}

describe('planning leaders', () => {
  it.each([
    // leads:  a 2  b 2           even
    { partitions: 'ab ab ba ba', nodes: 'a b', expected: [] },
    // leads:  a 4  b 0           bound ceil(2.2) = 3, b is raised to its 2
    { partitions: 'ab ab ab ab', nodes: 'a b', expected: ['0:a->b', '1:a->b'] },
    // leads:  a 4  b 0           b is in sync in one partition only
    { partitions: 'a a ab a', nodes: 'a b', expected: ['2:a->b'] },
    // leads:  a 4  b 2  c 0      a and c share nothing: a chain through b
    { partitions: 'ab ab ab ab bc bc', nodes: 'a b c', expected: ['0:a->b', '1:a->b', '4:b->c', '5:b->c'] },
    // leads:  a 2  b 2           a drains: everything goes
    { partitions: 'ab ab ba ba', nodes: 'a0 b', expected: ['0:a->b', '1:a->b'] },
    // leads:  a 3  b 3           weights 1 and 2: shares 2 and 4
    { partitions: 'ab ab ab ba ba ba', nodes: 'a1 b2', expected: ['0:a->b'] },
    // leads:  a 11 b 9           shares 10, bounds 9 to 11: left alone
    { partitions: `${'ab '.repeat(11)}${'ba '.repeat(9)}`.trim(), nodes: 'a b', expected: [] },
    // leads:  a 1  b 1           the other two have no leader, or one that is not in the cluster
    { partitions: 'ab ba -ab xab', nodes: 'a b', expected: [] },
    // leads:  a 2                a node that is in sync but not in the cluster is no candidate
    { partitions: 'ax ax', nodes: 'a b', expected: [] },
  ])('$partitions on $nodes: $expected', ({ partitions, nodes, expected }) => {
    expect(changes(partitions, nodes)).toEqual(expected);
  });

  it('prefers the partitions in which the new leader stands first', () => {
    // leads:  a 4  b 0  c 2      partitions 2 and 3 have b before c
    expect(changes('acb acb abc abc ca ca', 'a b c')).toEqual(['2:a->b', '3:a->b']);
  });
});
