// What follows from the digests of one partition's replicas at one marker (R34). The leader is right, as long as it does
// not stand alone against two or more followers that agree with each other: then something is wrong with the leader, or
// with more than one follower in the same way, and no rule can tell which.

/** Digests of one replica: two words for each leaf. */
export interface ReplicaLeaves {
  readonly node: string;
  readonly leaves: readonly number[];
}

export interface LeafJudgement {
  readonly node: string;
  /** Leaves, ascending, that differ from the leader's and are to be installed from it. */
  readonly outdated: readonly number[];
  /** Leaves, ascending, that differ and on which an operator must decide. */
  readonly contested: readonly number[];
}

/** One judgement for each follower. `trustLeader`: nothing is contested. */
export function judgeLeaves(leader: ReplicaLeaves, followers: readonly ReplicaLeaves[], trustLeader = false): LeafJudgement[] {
  const count = leader.leaves.length / 2;
  const judgements = followers.map(({ node }) => ({ node, outdated: [] as number[], contested: [] as number[] }));
  for (let leaf = 0; leaf < count; leaf += 1) {
    const different = followers.map((follower) => !isEqual(leader, follower, leaf));
    if (!different.includes(true)) continue;
    const isContested = !trustLeader && !different.includes(false) && hasEqualPair(followers, leaf);
    for (const [index, isDifferent] of different.entries()) {
      if (isDifferent) judgements[index]![isContested ? 'contested' : 'outdated'].push(leaf);
    }
  }
  return judgements;
}

function isEqual(one: ReplicaLeaves, other: ReplicaLeaves, leaf: number): boolean {
  return one.leaves[2 * leaf] === other.leaves[2 * leaf] && one.leaves[2 * leaf + 1] === other.leaves[2 * leaf + 1];
}

function hasEqualPair(replicas: readonly ReplicaLeaves[], leaf: number): boolean {
  return replicas.some((one, index) => replicas.slice(index + 1).some((other) => isEqual(one, other, leaf)));
}
