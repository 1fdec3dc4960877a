import { replicaShares, splitByWeight, toLoadBounds } from './fair-share.ts';
import { createZoneRule } from './zone-rule.ts';

describe('load bounds', () => {
  it.each([
    { share: 10, low: 9, target: 10, aim: 10, cap: 11 },
    { share: 20.48, low: 19, target: 20, aim: 21, cap: 23 },
    { share: 2, low: 2, target: 2, aim: 2, cap: 3 },
    { share: 0.3, low: 0, target: 0, aim: 1, cap: 1 },
    { share: 64, low: 58, target: 64, aim: 64, cap: 64 },
    { share: 0, low: 0, target: 0, aim: 0, cap: 0 },
  ])('of a share of $share of 64 partitions', ({ share, ...expected }) => {
    expect(toLoadBounds(share, 64)).toEqual({ share, ...expected });
  });
});

describe('splitting by weight', () => {
  it.each([
    { total: 12, weights: [1, 2, 3], min: 0, max: 12, shares: [2, 4, 6], why: 'in proportion' },
    { total: 20, weights: [1, 1, 8], min: 0, max: 10, shares: [5, 5, 10], why: 'what one cannot take goes to the others' },
    { total: 30, weights: [1, 3, 16], min: 0, max: 12, shares: [6, 12, 12], why: 'which may fill up in turn' },
    { total: 20, weights: [1, 9, 10], min: 4, max: 20, shares: [4, 7.578947, 8.421053], why: 'what one must take comes from the others' },
  ])('$total by $weights: $why', ({ total, weights, min, max, shares }) => {
    const parts = weights.map((weight) => ({ weight, min, max }));
    for (const [index, share] of splitByWeight(total, parts).entries()) expect(share).toBeCloseTo(shares[index]!, 5);
  });
});

describe('replica shares', () => {
  // 12 partitions. A zone that must serve every partition gives its nodes more than their weight would.
  it.each([
    { nodes: 'a1 a1 a1 a1', replicationFactor: 2, shares: [6, 6, 6, 6], why: 'equal nodes' },
    { nodes: 'a1 a1 a2', replicationFactor: 1, shares: [3, 3, 6], why: 'by weight' },
    { nodes: 'a1 b1 b1 b1', replicationFactor: 2, shares: [12, 4, 4, 4], why: 'zone a holds one of each pair' },
    { nodes: 'a9 b1 c1 d1', replicationFactor: 2, shares: [12, 4, 4, 4], why: 'a node holds a partition once' },
    { nodes: 'a1 a1 b1', replicationFactor: 3, shares: [12, 12, 12], why: 'all hold all' },
    { nodes: 'a1 a0 b1', replicationFactor: 1, shares: [6, 0, 6], why: 'a draining node holds nothing' },
  ])('of $nodes x $replicationFactor: $why', ({ nodes, replicationFactor, shares }) => {
    const world = nodes.split(' ').map((text) => ({ zone: text[0]!, weight: Number(text[1]) }));
    const actual = replicaShares(world, createZoneRule(world, replicationFactor), 12);
    for (const [index, share] of actual.entries()) expect(share).toBeCloseTo(shares[index]!, 6);
  });
});
