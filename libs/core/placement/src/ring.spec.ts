import { toNodeId } from '@atoll/core-runtime';
import { buildRing, distancesTo, nodesFrom, partitionPositions } from './ring.ts';
import type { Ring } from './ring.ts';

const node = (id: string, weight = 1) => ({ id: toNodeId(id), zone: 'z', weight });

describe('ring', () => {
  // positions:  10   20   30   40
  // owners:      a    b    a    c
  const ring: Ring = {
    nodes: [node('a'), node('b'), node('c')],
    positions: Float64Array.of(10, 20, 30, 40),
    owners: Uint16Array.of(0, 1, 0, 2),
  };

  it.each([
    { start: 0, order: [0, 1, 2] },
    { start: 10, order: [0, 1, 2] },
    { start: 11, order: [1, 0, 2] },
    { start: 25, order: [0, 2, 1] },
    { start: 35, order: [2, 0, 1] },
    { start: 41, order: [0, 1, 2] },
  ])('from $start the nodes follow as $order, each once', ({ start, order }) => {
    expect([...nodesFrom(ring, start)]).toEqual(order);
  });

  it('measures clockwise to the next point of a node, around the end of the circle', () => {
    expect([...distancesTo(ring, 0, Float64Array.of(10, 11, 31))]).toEqual([0, 19, 2 ** 41 - 21]);
  });

  it('gives a node 128 x weight points, at least one, and none at weight 0', () => {
    const { owners, nodes } = buildRing([node('d', 0.001), node('b', 2.5), node('a'), node('c', 0)]);
    expect(nodes.map(({ id }) => id)).toEqual(['a', 'b', 'c', 'd']);
    expect(nodes.map((_, index) => owners.filter((owner) => owner === index).length)).toEqual([128, 320, 0, 1]);
  });

  it('does not depend on the order in which the nodes are given', () => {
    expect(buildRing([node('b'), node('a'), node('c')])).toEqual(buildRing([node('c'), node('b'), node('a')]));
  });

  it('changes only the preferences for a node when that node joins', () => {
    const before = buildRing([node('a'), node('b'), node('c')]);
    const after = buildRing([node('a'), node('b'), node('c'), node('d')]);
    for (const start of partitionPositions('default', 64))
      expect([...nodesFrom(after, start)].filter((owner) => owner !== 3)).toEqual([...nodesFrom(before, start)]);
  });

  it('starts the partitions of different keyspaces at different places', () => {
    const starts = ['default', 'sessions', 'carts'].map((keyspace) => partitionPositions(keyspace, 64)[0]);
    expect(new Set(starts).size).toBe(3);
  });

  it.each([
    { title: 'a repeated id', nodes: [node('a'), node('a')], virtualNodes: 128, field: 'nodes' },
    { title: 'a negative weight', nodes: [node('a', -1)], virtualNodes: 128, field: 'weight' },
    { title: 'a weight over 100', nodes: [node('a', 101)], virtualNodes: 128, field: 'weight' },
    { title: 'a weight that is no number', nodes: [node('a', NaN)], virtualNodes: 128, field: 'weight' },
    { title: 'no virtual nodes', nodes: [node('a')], virtualNodes: 0, field: 'virtual_nodes' },
  ])('refuses $title', ({ nodes, virtualNodes, field }) => {
    expect(() => buildRing(nodes, { virtualNodes })).toThrow(
      expect.objectContaining({ reason: 'INVALID_ARGUMENT', metadata: { field } }),
    );
  });
});
