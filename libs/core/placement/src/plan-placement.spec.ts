import { toNodeId } from '@atoll/core-runtime';
import type { NodeId } from '@atoll/core-runtime';
import { planPlacement, desiredReplicas } from './plan-placement.ts';
import { buildRing } from './ring.ts';
import type { PlacementNode } from './ring.ts';

/** 'a:x b:y*2 c' is node a in zone x, b in zone y with weight 2, c in zone z. */
function nodesOf(text: string): PlacementNode[] {
  return text.split(' ').map((word) => {
    const [, id, zone = 'z', weight = '1'] = /^(\w+)(?::(\w+))?(?:\*([\d.]+))?$/.exec(word)!;
    return { id: toNodeId(id!), zone, weight: Number(weight) };
  });
}

/** 'ab bc' is partition 0 on a (leads) and b, partition 1 on b and c. */
const placementOf = (text: string) => text.split(' ').map((word) => word.split('').map(toNodeId));
const show = (lists: readonly (readonly NodeId[])[]) => lists.map((list) => list.join('')).join(' ');

function plan(world: { present: string; nodes: string; replicationFactor: number }) {
  const present = placementOf(world.present);
  const { replicationFactor } = world;
  return planPlacement({ present, nodes: nodesOf(world.nodes), keyspace: 'k', partitionCount: present.length, replicationFactor });
}

const count = (lists: readonly (readonly NodeId[])[], id: string) => lists.flat().filter((node) => node === id).length;
const leads = (lists: readonly (readonly NodeId[])[], id: string) => lists.filter((list) => list[0] === id).length;

describe('planning from what is present', () => {
  it('changes nothing where nothing is wrong', () => {
    // partitions:  0:ab  1:bc  2:ca  3:ab      replicas: a 3, b 3, c 2; fair 2.67, bound 3
    const { desired, moves, drops } = plan({ present: 'ab bc ca ab', nodes: 'a b c', replicationFactor: 2 });
    expect({ desired: show(desired), moves, drops }).toEqual({ desired: 'ab bc ca ab', moves: [], drops: [] });
  });

  it('gives a node that joins its share and moves nothing else', () => {
    // node:        a  b  c(joins)
    // replicas:    4  4  0
    // expected:    3  3  2      fair 8 / 3 = 2.67: c is raised to 2, bound ceil(2.93) = 3
    const { desired, moves } = plan({ present: 'a a a a b b b b', nodes: 'a b c', replicationFactor: 1 });
    expect(['a', 'b', 'c'].map((id) => count(desired, id))).toEqual([3, 3, 2]);
    expect(moves.map(({ from, to, reason }) => `${from}->${to} ${reason}`).sort()).toEqual(['a->c JOIN', 'b->c JOIN']);
  });

  it('replaces what a lost node held, and lets the survivor lead', () => {
    // partitions:  0:ca  1:cb  2:ab  3:ba      c is lost; only one other node is free for each
    const { desired, moves } = plan({ present: 'ca cb ab ba', nodes: 'a b', replicationFactor: 2 });
    expect(show(desired)).toBe('ab ba ab ba');
    expect(moves).toEqual([
      { partition: 0, from: 'c', to: 'b', reason: 'LOST' },
      { partition: 1, from: 'c', to: 'a', reason: 'LOST' },
    ]);
  });

  it('empties a draining node', () => {
    // node:        a  b  c  d(draining)
    // replicas:    2  2  2  2
    // expected:    3  3  2  0 in some order     bound ceil(1.1 x 8 / 3) = 3
    const { desired, moves, drops } = plan({ present: 'ab cd bc da', nodes: 'a b c d*0', replicationFactor: 2 });
    for (const id of ['a', 'b', 'c']) expect([2, 3]).toContain(count(desired, id));
    expect(count(desired, 'd')).toBe(0);
    expect(moves.map(({ partition, from, reason }) => ({ partition, from, reason }))).toEqual([
      { partition: 1, from: 'd', reason: 'DRAIN' },
      { partition: 3, from: 'd', reason: 'DRAIN' },
    ]);
    expect(drops).toEqual([]);
  });

  it('leaves the replica on a draining node where nobody can take it', () => {
    // partitions:  0:ab  1:ba      b drains, and there is no other node
    const { desired, moves, drops } = plan({ present: 'ab ba', nodes: 'a b*0', replicationFactor: 2 });
    expect({ desired: show(desired), moves, drops }).toEqual({ desired: 'ab ab', moves: [], drops: [] });
  });

  it('parts replicas that share a zone', () => {
    // zones:       x: a b   y: c d
    // partitions:  0:ab  1:cd  2:ac  3:bd      0 and 1 stand in one zone each
    const { desired, moves } = plan({ present: 'ab cd ac bd', nodes: 'a:x b:x c:y d:y', replicationFactor: 2 });
    expect(desired.every((list) => list.filter((id) => 'ab'.includes(id)).length === 1)).toBe(true);
    expect(moves.map(({ partition, from, reason }) => `${partition} ${from} ${reason}`)).toEqual(['0 b ZONE', '1 d ZONE']);
  });

  it('brings one replica of every partition into a second zone when there is one', () => {
    // zones:       x: a b   y: c(joins)
    const { desired, moves } = plan({ present: 'ab ba ab ba', nodes: 'a:x b:x c:y', replicationFactor: 2 });
    expect(['a', 'b', 'c'].map((id) => count(desired, id))).toEqual([2, 2, 4]);
    expect(moves.map(({ to, reason }) => `${to} ${reason}`)).toEqual(['c ZONE', 'c ZONE', 'c ZONE', 'c ZONE']);
  });

  it('relieves a full node along a chain where no single move can', () => {
    // node:        a*4  b*6  c*6  t*100      one zone; t's share is every partition
    // partitions:  6 x at   4 x bc   3 x bt   3 x ct
    // replicas:    6    7    7    12         fair 4 6 6 16, bounds 5 7 7 16
    // a is full; only t has room, but t is in all of a's partitions: a -> b and b -> t (or through c)
    const present = ['at '.repeat(6), 'bc '.repeat(4), 'bt '.repeat(3), 'ct '.repeat(3)].join('').trim();
    const { desired } = plan({ present, nodes: 'a*4 b*6 c*6 t*100', replicationFactor: 2 });
    expect(count(desired, 'a')).toBe(5);
    expect(count(desired, 'b')).toBeLessThanOrEqual(7);
    expect(count(desired, 'c')).toBeLessThanOrEqual(7);
    expect(count(desired, 't')).toBeGreaterThanOrEqual(15);
  });

  it('adds replicas when the replication factor rises', () => {
    const { desired, moves } = plan({ present: 'a b c a', nodes: 'a b c', replicationFactor: 2 });
    expect(desired.map((list) => list[0])).toEqual(['a', 'b', 'c', 'a']);
    expect(desired.every((list) => list.length === 2)).toBe(true);
    expect(moves.map(({ from, reason }) => from ?? reason)).toEqual(['MISSING', 'MISSING', 'MISSING', 'MISSING']);
  });

  it('drops replicas from the fullest nodes when the replication factor falls, and moves none', () => {
    // node:        a  b  c
    // replicas:    4  4  4      expected: 4 in all, at most ceil(1.1 x 4 / 3) = 2 each, leaders stay
    const { desired, moves, drops } = plan({ present: 'abc bca cab abc', nodes: 'a b c', replicationFactor: 1 });
    expect({ desired: show(desired), moves }).toEqual({ desired: 'a b c a', moves: [] });
    expect(drops).toHaveLength(8);
  });

  it('chooses what to drop so that nothing has to move for balance', () => {
    // partitions:  0:abc  1:bac  2:abd  3:bad      a 4  b 4  c 2  d 2
    // expected:    0:ca   1:bc   2:ad   3:db       a 2  b 2  c 2  d 2, and each leads once
    const { desired, moves } = plan({ present: 'abc bac abd bad', nodes: 'a b c d', replicationFactor: 2 });
    expect({ desired: show(desired), moves }).toEqual({ desired: 'ca bc ad db', moves: [] });
  });

  it('follows a change of weight', () => {
    // node:        a*1  b*1  c*2      fair share of 8: 2 2 4
    const { desired } = plan({ present: 'a a a b b b c c', nodes: 'a b c*2', replicationFactor: 1 });
    expect(['a', 'b', 'c'].map((id) => count(desired, id))).toEqual([2, 2, 4]);
  });

  it('passes leadership on without moving data', () => {
    // leads:       a 8  b 0      expected: at most ceil(1.1 x 4) = 5 for a
    const { desired, moves } = plan({ present: 'ab ab ab ab ab ab ab ab', nodes: 'a b', replicationFactor: 2 });
    expect(leads(desired, 'a')).toBeLessThanOrEqual(5);
    expect(leads(desired, 'b')).toBeGreaterThanOrEqual(3);
    expect(moves).toEqual([]);
  });

  it('ignores a node that stands in a list twice', () => {
    const { desired, moves } = plan({ present: 'aa bb', nodes: 'a b', replicationFactor: 2 });
    expect({ desired: show(desired), reasons: moves.map(({ reason }) => reason) }).toEqual({ desired: 'ab ba', reasons: ['MISSING', 'MISSING'] });
  });
});

describe('an empty keyspace', () => {
  it('is placed alike by both functions', () => {
    const nodes = nodesOf('a:x b:x c:y d:y e:w');
    const options = { keyspace: 'carts', partitionCount: 64, replicationFactor: 3 };
    const { desired, moves } = planPlacement({ present: [], nodes, ...options });
    expect(desired).toEqual(desiredReplicas(buildRing(nodes), options));
    expect(moves).toHaveLength(64 * 3);
    expect(new Set(moves.map(({ reason }) => reason))).toEqual(new Set(['MISSING']));
  });

  it('does not put the first partitions of all keyspaces on one node', () => {
    const ring = buildRing(nodesOf('a b c d e'));
    const first = Array.from({ length: 40 }, (_, number) => desiredReplicas(ring, { keyspace: `k${number}`, partitionCount: 1, replicationFactor: 1 })[0]![0]);
    const busiest = Math.max(...['a', 'b', 'c', 'd', 'e'].map((id) => first.filter((node) => node === id).length));
    expect(busiest).toBeLessThanOrEqual(16);
  });

  it('waits while there is no node', () => {
    expect(desiredReplicas(buildRing([]), { keyspace: 'k', partitionCount: 2, replicationFactor: 2 })).toEqual([[], []]);
  });

  it.each([
    { partitionCount: 3, replicationFactor: 1, field: 'partition_count' },
    { partitionCount: 4, replicationFactor: 0, field: 'replication_factor' },
    { partitionCount: 4, replicationFactor: 8, field: 'replication_factor' },
  ])('refuses a wrong $field', ({ partitionCount, replicationFactor, field }) => {
    expect(() => desiredReplicas(buildRing(nodesOf('a')), { keyspace: 'k', partitionCount, replicationFactor })).toThrow(
      expect.objectContaining({ reason: 'INVALID_ARGUMENT', metadata: { field } }),
    );
  });
});
