import { judgeLeaves, type ReplicaLeaves } from './judge-leaves.ts';

/** A letter for each leaf: equal letters, equal digests. */
const replica = (node: string, letters: string): ReplicaLeaves => ({ node, leaves: [...Buffer.from(letters)].flatMap((letter) => [letter, 1]) });

const TABLE: { name: string; leader: string; followers: string[]; outdated: number[][]; contested: number[][]; trustLeader?: boolean }[] = [
  { name: 'all equal', leader: 'xxx', followers: ['xxx', 'xxx'], outdated: [[], []], contested: [[], []] },
  { name: 'no follower', leader: 'xxx', followers: [], outdated: [], contested: [] },
  { name: 'the only follower differs: the leader is right', leader: 'xxx', followers: ['xyx'], outdated: [[1]], contested: [[]] },
  { name: 'one of two followers differs', leader: 'xxx', followers: ['xxx', 'yxy'], outdated: [[], [0, 2]], contested: [[], []] },
  { name: 'both differ, each in its own way', leader: 'xxx', followers: ['yxx', 'zxx'], outdated: [[0], [0]], contested: [[], []] },
  { name: 'the leader stands alone against two equal ones', leader: 'xxx', followers: ['xyx', 'xyx'], outdated: [[], []], contested: [[1], [1]] },
  { name: 'alone against two equal ones and a third opinion', leader: 'x', followers: ['y', 'z', 'y'], outdated: [[], [], []], contested: [[0], [0], [0]] },
  { name: 'not alone: two against two', leader: 'x', followers: ['x', 'y', 'y'], outdated: [[], [0], [0]], contested: [[], [], []] },
  { name: 'alone in one leaf only', leader: 'xxx', followers: ['xyy', 'xyz'], outdated: [[2], [2]], contested: [[1], [1]] },
  { name: 'an operator trusts the leader', leader: 'x', followers: ['y', 'y'], outdated: [[0], [0]], contested: [[], []], trustLeader: true },
];

describe('what follows from digests at a marker (R34)', () => {
  it.each(TABLE)('$name', ({ leader, followers, outdated, contested, trustLeader }) => {
    const judged = judgeLeaves(replica('l', leader), followers.map((letters, index) => replica(`f${index}`, letters)), trustLeader);
    expect(judged.map((each) => each.outdated)).toEqual(outdated);
    expect(judged.map((each) => each.contested)).toEqual(contested);
    expect(judged.map((each) => each.node)).toEqual(followers.map((_, index) => `f${index}`));
  });

  it('compares both words of a leaf', () => {
    expect(judgeLeaves({ node: 'l', leaves: [1, 2] }, [{ node: 'f', leaves: [1, 3] }])[0]!.outdated).toEqual([0]);
    expect(judgeLeaves({ node: 'l', leaves: [1, 2] }, [{ node: 'f', leaves: [3, 2] }])[0]!.outdated).toEqual([0]);
  });
});
