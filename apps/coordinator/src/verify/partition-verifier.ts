import type { PartitionComparison, RangeComparison, RangeState, ReplicaComparison } from '@atoll/contracts/atoll/v1/admin';
import { RangeState as RANGE_STATE } from '@atoll/contracts/atoll/v1/admin';
import type { MarkedDigest } from '@atoll/contracts/atoll/v1/verify';
import { isAtollError } from '@atoll/core-errors';
import { judgeLeaves, type LeafJudgement, type Member, type PartitionRecord } from '@atoll/core-membership';
import type { ReplicaAsked } from '../adapters/verification-peer.ts';
import { VerificationPeers } from '../adapters/verification-peers.ts';

export interface VerifyOptions {
  /** Nothing is repaired. */
  readonly reportOnly: boolean;
  /** Only replicas on this node are repaired and told of; all are compared. Undefined: all. */
  readonly node: string | undefined;
  /** Every leaf is installed again, but for contested ones. */
  readonly everything: boolean;
  /** Nothing is contested. */
  readonly trustLeader: boolean;
}

export const VERIFY: VerifyOptions = { reportOnly: false, node: undefined, everything: false, trustLeader: false };

export interface PartitionVerifierOptions {
  /** Of the coordinator's term (R11). */
  readonly revision: number;
  readonly addressOf: (node: string) => string | undefined;
  readonly deadlineMs: number;
  /** Of one replica's repair; 0 means no limit. */
  readonly repairBytesPerSecond: number;
}

interface Repaired {
  readonly entries: number;
  readonly bytes: number;
}

interface Follower {
  readonly member: Member;
  readonly digest: MarkedDigest | undefined;
  readonly problem: string;
}

/** Compares the in-sync replicas of one partition at a marker and repairs those that differ from their leader (R34). */
export class PartitionVerifier {
  readonly #options: PartitionVerifierOptions;
  readonly #peers: VerificationPeers;

  constructor(options: PartitionVerifierOptions) {
    this.#options = options;
    this.#peers = new VerificationPeers(options);
  }

  /** Never rejects for a partition that cannot be compared: `problem` says why. Throws the signal's reason. */
  async verify(record: PartitionRecord, how: VerifyOptions, signal: AbortSignal): Promise<PartitionComparison> {
    const report: PartitionComparison = { keyspace: record.keyspace, partition: record.partition, leader: record.leader?.node ?? '', replicas: [], problem: '', entries: 0, markerEpoch: 0, markerSeq: 0 };
    try {
      const { leader, followers } = await this.#compare(record, signal);
      report.entries = leader.entries;
      report.markerEpoch = leader.marker?.epoch ?? 0;
      report.markerSeq = leader.marker?.seq ?? 0;
      const judgements = judge(leader, followers, how.trustLeader);
      const wanted = followers.filter(({ member }) => how.node === undefined || member.node === how.node);
      const repaired = new Map<string, Map<number, Repaired>>();
      for (const follower of wanted) {
        const judgement = judgements.get(follower.member.node);
        const leaves = leavesToInstall(judgement, how);
        report.replicas.push({ node: follower.member.node, equal: 0, ranges: [], problem: follower.problem });
        if (leaves.length === 0) continue;
        const done = new Map<number, Repaired>();
        repaired.set(follower.member.node, done);
        report.replicas.at(-1)!.problem = await this.#repair(record, follower.member, { leaves, done }, signal);
      }
      // What was installed counts when a second marker finds it equal.
      const after = [...repaired.values()].some((done) => done.size > 0) ? await this.#compare(record, signal) : undefined;
      const still = after && judge(after.leader, after.followers, true);
      for (const replica of report.replicas) {
        const judgement = judgements.get(replica.node);
        if (judgement !== undefined) describe(replica, { judgement, repaired: repaired.get(replica.node), still: still?.get(replica.node), leaves: leader.leaves.length / 2 });
      }
    } catch (error) {
      signal.throwIfAborted();
      report.problem = textOf(error);
    }
    return report;
  }

  close(): void {
    this.#peers.close();
  }

  async #compare(record: PartitionRecord, signal: AbortSignal): Promise<{ readonly leader: MarkedDigest; readonly followers: readonly Follower[] }> {
    const { keyspace, partition, epoch, generation, inSync } = record;
    if (record.leader === undefined) throw new Error('nobody leads the partition');
    const leader = await this.#peers.of(record.leader.node).putMarker({ revision: this.#options.revision, keyspace, partition, epoch }, signal);
    const members = inSync.filter(({ replica }) => replica !== record.leader?.replica);
    const followers = await Promise.all(
      members.map(async (member): Promise<Follower> => {
        try {
          const digest = await this.#peers.of(member.node).digestAtMarker(asked(record, member), leader.marker, signal);
          const isSameLineage = digest.generation?.counter === generation.counter && digest.generation.id === generation.id;
          return isSameLineage ? { member, digest, problem: '' } : { member, digest: undefined, problem: 'its data is of another lineage' };
        } catch (error) {
          signal.throwIfAborted();
          return { member, digest: undefined, problem: textOf(error) };
        }
      }),
    );
    return { leader, followers };
  }

  /** Returns why it did not come to its end; empty when it did. */
  async #repair(record: PartitionRecord, member: Member, work: { readonly leaves: readonly number[]; readonly done: Map<number, Repaired> }, signal: AbortSignal): Promise<string> {
    const { revision, repairBytesPerSecond: bytesPerSecond } = this.#options;
    const { generation, epoch } = record;
    try {
      const parts = this.#peers.of(member.node).repair(asked(record, member), { revision, generation, epoch, leaves: work.leaves, bytesPerSecond }, signal);
      for await (const { leaf, entries, bytes } of parts) work.done.set(leaf, { entries, bytes });
      return '';
    } catch (error) {
      signal.throwIfAborted();
      return textOf(error);
    }
  }
}

const asked = ({ keyspace, partition }: PartitionRecord, { replica }: Member): ReplicaAsked => ({ keyspace, partition, replicaId: replica });

function judge(leader: MarkedDigest, followers: readonly Follower[], trustLeader: boolean): Map<string, LeafJudgement> {
  const compared = followers.flatMap(({ member, digest }) => (digest === undefined ? [] : [{ node: member.node, leaves: digest.leaves }]));
  return new Map(judgeLeaves({ node: '', leaves: leader.leaves }, compared, trustLeader).map((judgement) => [judgement.node, judgement]));
}

function leavesToInstall(judgement: LeafJudgement | undefined, { reportOnly, everything }: VerifyOptions): readonly number[] {
  if (judgement === undefined || reportOnly) return [];
  if (!everything) return judgement.outdated;
  return ALL_LEAVES.filter((leaf) => !judgement.contested.includes(leaf));
}

function describe(
  replica: ReplicaComparison,
  found: { readonly judgement: LeafJudgement; readonly repaired: ReadonlyMap<number, Repaired> | undefined; readonly still: LeafJudgement | undefined; readonly leaves: number },
): void {
  const { judgement, repaired, still, leaves } = found;
  const different = new Set([...judgement.outdated, ...judgement.contested]);
  replica.equal = leaves - different.size;
  for (const leaf of [...new Set([...different, ...(repaired?.keys() ?? [])])].sort((a, b) => a - b)) {
    const done = repaired?.get(leaf);
    const isEqual = done !== undefined && still?.outdated.includes(leaf) === false;
    const state = isEqual ? RANGE_STATE.RANGE_STATE_REPAIRED : judgement.contested.includes(leaf) ? RANGE_STATE.RANGE_STATE_CONTESTED : RANGE_STATE.RANGE_STATE_DIFFERENT;
    replica.ranges.push(rangeOf(leaf, leaves, state, done));
  }
}

function rangeOf(leaf: number, leaves: number, state: RangeState, done: Repaired | undefined): RangeComparison {
  const width = 2n ** 64n / BigInt(leaves);
  const hashStart = BigInt(leaf) * width;
  return { leaf, hashStart, hashEnd: hashStart + width - 1n, state, entries: done?.entries ?? 0, bytes: done?.bytes ?? 0 };
}

function textOf(error: unknown): string {
  if (isAtollError(error)) return `${error.reason}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

const ALL_LEAVES = Array.from({ length: 64 }, (_, leaf) => leaf);
