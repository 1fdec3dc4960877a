import { canJoin, createZoneRule } from './zone-rule.ts';

/** 'aab' is three nodes, two of them in zone a; a capital letter is a draining node of that zone. */
const nodesIn = (zones: string) => zones.split('').map((zone) => ({ zone: zone.toLowerCase(), weight: zone === zone.toLowerCase() ? 1 : 0 }));

describe('zone rule', () => {
  it.each([
    { zones: 'aabbcc', replicationFactor: 2, replicas: 2, min: [0, 0, 0], max: [1, 1, 1], why: 'more zones than replicas: one each' },
    { zones: 'abbbcc', replicationFactor: 3, replicas: 3, min: [0, 0, 0], max: [1, 1, 1], why: 'as many zones as replicas: all of them' },
    { zones: 'aabb', replicationFactor: 3, replicas: 3, min: [1, 1], max: [2, 2], why: 'two zones, three replicas: two and one' },
    { zones: 'abbbb', replicationFactor: 4, replicas: 4, min: [1, 2], max: [1, 3], why: 'a small zone gives what it has' },
    { zones: 'aaa', replicationFactor: 2, replicas: 2, min: [1], max: [2], why: 'one zone: two nodes of it' },
    { zones: 'ab', replicationFactor: 3, replicas: 2, min: [0, 0], max: [1, 1], why: 'fewer nodes than replicas: all of them' },
    { zones: 'abB', replicationFactor: 3, replicas: 2, min: [0, 0], max: [1, 1], why: 'a draining node does not count' },
    { zones: '', replicationFactor: 3, replicas: 0, min: [], max: [], why: 'no nodes, no replicas' },
  ])('$zones x $replicationFactor: $why', ({ zones, replicationFactor, replicas, min, max }) => {
    const rule = createZoneRule(nodesIn(zones), replicationFactor);
    expect({ replicas: rule.replicas, min: rule.min, max: rule.max }).toEqual({ replicas, min, max });
    expect(rule.min.reduce((sum, count) => sum + count, 0) + rule.spare).toBe(rule.replicas);
  });

  // nodes:  0 1 2 3 4 5
  // zones:  a a b b c c
  it.each([
    { replicationFactor: 2, list: [0], node: 1, leaving: undefined, joins: false, why: 'zone a is taken' },
    { replicationFactor: 2, list: [0], node: 2, leaving: undefined, joins: true, why: 'zone b is free' },
    { replicationFactor: 2, list: [0], node: 0, leaving: undefined, joins: false, why: 'never twice on a node' },
    { replicationFactor: 2, list: [0, 2], node: 3, leaving: 2, joins: true, why: 'in place of its neighbour' },
    { replicationFactor: 2, list: [0, 2], node: 3, leaving: 0, joins: false, why: 'b would be taken twice' },
    { replicationFactor: 4, list: [0, 2, 4], node: 5, leaving: undefined, joins: true, why: 'one zone may hold two' },
    { replicationFactor: 4, list: [0, 1], node: 3, leaving: undefined, joins: true, why: 'every zone is still to be used' },
    { replicationFactor: 4, list: [0, 1, 2], node: 3, leaving: undefined, joins: false, why: 'zone c would get none' },
    { replicationFactor: 4, list: [0, 1, 2, 4], node: 3, leaving: 1, joins: true, why: 'the pair goes over from a to b' },
    { replicationFactor: 4, list: [0, 1, 2, 4], node: 3, leaving: 4, joins: false, why: 'two pairs leave c without any' },
  ])('aabbcc x $replicationFactor: $list + $node - $leaving is $joins: $why', ({ replicationFactor, list, node, leaving, joins }) => {
    expect(canJoin(createZoneRule(nodesIn('aabbcc'), replicationFactor), list, node, leaving)).toBe(joins);
  });
});
