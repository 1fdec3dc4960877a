import type { Member, NodeReport, PartitionTerm, RemovalQuestion, VersionedRecord } from '@atoll/core-membership';
import { toReplicaId } from '@atoll/core-runtime';
import { placeOfSlot, slotOf } from '../names.ts';
import { SETTINGS } from '../plan.ts';
import type { HostedReplica } from './hosted-replica.ts';
import type { SimNode } from './sim-node.ts';

interface Asked {
  readonly member: Member;
  readonly epoch: number;
  readonly askedMs: number;
}

export interface RemovalAnswer extends Pick<RemovalQuestion, 'keyspace' | 'partition' | 'epoch' | 'replica'> {
  readonly mayRemove: boolean;
}

/** What the elected coordinator is told, and what it tells (R10, R11, R15, R27). */
export class ReportDesk {
  readonly #node: SimNode;
  readonly #asked = new Map<HostedReplica, Asked>();
  readonly #fenced = new Map<number, VersionedRecord>();
  /** Since when each replica knows the epoch that it knows. */
  readonly #epochSince = new Map<HostedReplica, { readonly epoch: number; readonly atMs: number }>();
  #coordinatorRevision = 0;
  #lastReportMs: number | undefined;

  constructor(node: SimNode) {
    this.#node = node;
  }

  /** False for a coordinator that another one has succeeded (R11, I9). */
  accepts(coordinatorRevision: number): boolean {
    if (coordinatorRevision < this.#coordinatorRevision) return false;
    this.#coordinatorRevision = coordinatorRevision;
    return true;
  }

  askRemoval(hosted: HostedReplica, member: Member): void {
    const { leader } = hosted.replica;
    if (leader !== undefined) this.#asked.set(hosted, { member, epoch: leader.epoch, askedMs: this.#node.clock.monotonicMs });
  }

  onAnswer({ keyspace, partition, epoch, replica, mayRemove }: RemovalAnswer): void {
    const hosted = this.#node.hosted(slotOf({ keyspace, partition }));
    const asked = hosted && this.#asked.get(hosted);
    if (hosted === undefined || asked?.epoch !== epoch || asked.member.replica !== replica) return;
    this.#asked.delete(hosted);
    const { leader } = hosted.replica;
    if (leader?.epoch === epoch) leader.onRemovalAnswer(toReplicaId(replica), mayRemove, this.#node.clock.monotonicMs);
  }

  onRecord(versioned: VersionedRecord): void {
    const { state } = versioned.record;
    const slot = slotOf(versioned.record);
    const before = this.#fenced.get(slot);
    if (before !== undefined && before.modRevision > versioned.modRevision) return;
    if (state === 'FENCING') this.#fenced.set(slot, versioned);
    else this.#fenced.delete(slot);
  }

  report(): NodeReport {
    const nowMs = this.#node.clock.monotonicMs;
    const lagMs = this.#lastReportMs === undefined ? 0 : Math.max(0, nowMs - this.#lastReportMs - 3 * SETTINGS.heartbeatMs);
    this.#lastReportMs = nowMs;
    return {
      incarnation: this.#node.incarnation,
      loopLagMs: lagMs,
      memoryUsed: 0.5,
      diskError: '',
      diskFlushMs: 0,
      etcdSilentMs: nowMs - this.#node.etcdHeardMs,
      peers: [...this.#node.leases.sights()],
      stuckOffices: this.#stuckOffices(nowMs),
      questions: this.#questions(nowMs),
      stopped: this.#stopped(),
    };
  }

  #stuckOffices(nowMs: number): PartitionTerm[] {
    const stuck: PartitionTerm[] = [];
    for (const hosted of this.#node.replicas()) {
      const record = hosted.replica.record?.record;
      if (record === undefined) continue;
      const known = this.#epochSince.get(hosted);
      if (known?.epoch !== record.epoch) this.#epochSince.set(hosted, { epoch: record.epoch, atMs: nowMs });
      if (record.leader?.replica !== hosted.member.replica || record.leaderIncarnation !== this.#node.incarnation) continue;
      const { leader } = hosted.replica;
      if (leader?.epoch === record.epoch && leader.isServing) continue;
      const sinceMs = Math.max(this.#epochSince.get(hosted)!.atMs, record.relinquished ? 0 : hosted.replica.promiseUntilMs);
      if (nowMs - sinceMs > SETTINGS.takeOfficeMs) stuck.push({ ...placeOfSlot(hosted.slot), epoch: record.epoch });
    }
    return stuck;
  }

  #questions(nowMs: number): RemovalQuestion[] {
    const questions: RemovalQuestion[] = [];
    for (const [hosted, { member, epoch, askedMs }] of this.#asked) {
      if (nowMs - askedMs > SETTINGS.followerAckTimeoutMs || hosted.replica.leader?.epoch !== epoch) this.#asked.delete(hosted);
      else questions.push({ ...placeOfSlot(hosted.slot), epoch, replica: member.replica, node: member.node });
    }
    return questions;
  }

  #stopped(): PartitionTerm[] {
    return [...this.#fenced.values()]
      .filter(({ record }) => this.#node.hosted(slotOf(record))?.replica.leader === undefined)
      .map(({ record }) => ({ keyspace: record.keyspace, partition: record.partition, epoch: record.epoch }));
  }
}
