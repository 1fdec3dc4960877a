import type { RemovalAnswer, RemovalQuestion } from '@atoll/contracts/atoll/v1/heartbeat';
import type { Member } from '@atoll/core-membership';
import { toReplicaId } from '@atoll/core-runtime';
import type { HostedReplica } from '../hosted-replica.ts';

interface Asked {
  readonly member: Member;
  readonly epoch: number;
  readonly askedMs: number;
}

/**
 * What leaders of this node ask the coordinator before they remove their last follower (R10): carried to it by the
 * next report, and its answer back. A leader asks again while it waits, so that what is old has no asker any more.
 */
export class RemovalQuestions {
  readonly #validMs: number;
  /** One per partition, so at most as many as there are replicas. */
  readonly #asked = new Map<HostedReplica, Asked>();

  /** `validMs`: after which time without being asked again a question is dropped. */
  constructor(options: { validMs: number }) {
    this.#validMs = options.validMs;
  }

  ask(hosted: HostedReplica, member: Member, nowMs: number): void {
    const { leader } = hosted.replica;
    if (leader !== undefined) this.#asked.set(hosted, { member, epoch: leader.epoch, askedMs: nowMs });
  }

  list(nowMs: number): RemovalQuestion[] {
    const questions: RemovalQuestion[] = [];
    for (const [hosted, { member, epoch, askedMs }] of this.#asked) {
      if (nowMs - askedMs > this.#validMs || hosted.replica.leader?.epoch !== epoch) this.#asked.delete(hosted);
      else questions.push({ keyspace: hosted.keyspace, partition: hosted.partition, epoch, replicaId: member.replica, node: member.node });
    }
    return questions;
  }

  /** An answer that no present leader waits for changes nothing. */
  onAnswer(hosted: HostedReplica | undefined, { epoch, replicaId, mayRemove }: RemovalAnswer, nowMs: number): void {
    const asked = hosted && this.#asked.get(hosted);
    if (hosted === undefined || asked?.epoch !== epoch || asked.member.replica !== replicaId) return;
    this.#asked.delete(hosted);
    const { leader } = hosted.replica;
    if (leader?.epoch === epoch) leader.onRemovalAnswer(toReplicaId(replicaId), mayRemove, nowMs);
  }
}
