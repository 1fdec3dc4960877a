// What the coordinator knows for decisions on leaders beyond records and registrations, put together for each round
// from what nodes report, from the failure detector and from the time that has passed.
import { nameOf, partitionName, type ActiveFailover, type ClusterState, type FailoverState, type NodeReport, type NodeVerdict, type PartitionRecord, type Recovery, type RemovalQuestion } from '@atoll/core-membership';

export interface FailoverSources {
  readonly state: Pick<ClusterState, 'nodes' | 'keyspaces' | 'partitions' | 'verdicts'>;
  readonly reports: ReadonlyMap<string, NodeReport>;
  readonly active: ActiveFailover;
  readonly handingOver: ReadonlySet<string>;
  /** Why a planned transfer in this epoch failed; undefined when none did. */
  readonly problemOf: (name: string, epoch: number) => string | undefined;
  readonly recoveries: ReadonlyMap<string, Recovery>;
  readonly overdue: ReadonlyMap<string, ReadonlySet<string>>;
  readonly nowMs: number;
}

export interface RemovalDecision {
  readonly asking: string;
  readonly question: RemovalQuestion;
  readonly mayRemove: boolean;
}

export class FailoverNotes {
  readonly #fenceAfterMs: number;
  /** FENCING records: since when this coordinator has seen them. Another one's clock would say nothing here (R15). */
  #fencing = new Map<string, { readonly epoch: number; readonly sinceMs: number }>();

  constructor(options: { readonly fenceAfterMs: number }) {
    this.#fenceAfterMs = options.fenceAfterMs;
  }

  /** What to decide on, and what to answer to leaders that ask before they remove their last follower (R10). */
  take(sources: FailoverSources): { readonly failover: FailoverState; readonly answers: readonly RemovalDecision[] } {
    const { state, reports, recoveries, overdue, handingOver } = sources;
    const records = new Map<string, PartitionRecord>();
    for (const list of state.partitions.values()) for (const { record } of list) records.set(nameOf(record), record);
    const answers = decideRemovals(reports, records, state.verdicts);
    const passedOver = new Map<string, number>();
    for (const [node, { stuckOffices }] of reports) {
      for (const { keyspace, partition, epoch } of stuckOffices) {
        const name = partitionName(keyspace, partition);
        const record = records.get(name);
        if (record?.epoch === epoch && record.leader?.node === node) passedOver.set(name, epoch);
      }
    }
    for (const { question, mayRemove } of answers) if (!mayRemove) passedOver.set(partitionName(question.keyspace, question.partition), question.epoch);
    for (const [name, record] of records) if (isStopStuck(record, name, sources)) passedOver.set(name, record.epoch);
    const fenced = this.#fenced(records, sources.nowMs);
    return { failover: { passedOver, fenced, stopped: stoppedOf(reports), recoveries, overdue, handingOver }, answers };
  }

  #fenced(records: ReadonlyMap<string, PartitionRecord>, nowMs: number): ReadonlyMap<string, number> {
    const former = this.#fencing;
    const fenced = new Map<string, number>();
    this.#fencing = new Map();
    for (const [name, { state, epoch }] of records) {
      if (state !== 'FENCING') continue;
      const known = former.get(name);
      const entry = known?.epoch === epoch ? known : { epoch, sinceMs: nowMs };
      this.#fencing.set(name, entry);
      if (nowMs - entry.sinceMs >= this.#fenceAfterMs) fenced.set(name, epoch);
    }
    return fenced;
  }
}

/** The leader stops, and does not hand over by agreement: because it cannot, or because that is not wanted. */
function isStopStuck({ leader, leaderIncarnation, epoch }: PartitionRecord, name: string, { state, active, problemOf }: FailoverSources): boolean {
  const node = leader && state.nodes.get(leader.node);
  if (node?.phase !== 'STOPPING' || node.incarnation !== leaderIncarnation) return false;
  return active === 'off' || problemOf(name, epoch) !== undefined;
}

/**
 * A leader wants to remove its last follower. It may, unless the follower is well and it is the leader that is not: then
 * the follower is to lead, so that a node with a broken network does not remove everybody and then die (R10).
 */
function decideRemovals(reports: ReadonlyMap<string, NodeReport>, records: ReadonlyMap<string, PartitionRecord>, verdicts: ReadonlyMap<string, NodeVerdict>): RemovalDecision[] {
  const decisions: RemovalDecision[] = [];
  for (const [asking, { questions }] of reports) {
    for (const question of questions) {
      const record = records.get(partitionName(question.keyspace, question.partition));
      if (record === undefined || record.epoch !== question.epoch || record.leader?.node !== asking) continue;
      const mayRemove = !isWell(verdicts.get(question.node)) || isWell(verdicts.get(asking)) || isCutOff(question.node, asking, reports);
      decisions.push({ asking, question, mayRemove });
    }
  }
  return decisions;
}

const isWell = (verdict: NodeVerdict | undefined): boolean => verdict?.state === 'UP' && verdict.degraded.length === 0 && !verdict.isEtcdLost;

/** A silence counts when it lasts longer than this. */
const CUT_MS = 400;

/** Whether some other node than the one that asks does not hear it either. */
function isCutOff(node: string, asking: string, reports: ReadonlyMap<string, NodeReport>): boolean {
  return [...reports].some(([id, { peers }]) => id !== asking && id !== node && peers.some((peer) => peer.node === node && (peer.isRefused || peer.silentMs > CUT_MS)));
}

function stoppedOf(reports: ReadonlyMap<string, NodeReport>): ReadonlyMap<string, ReadonlyMap<string, number>> {
  const stopped = new Map<string, ReadonlyMap<string, number>>();
  for (const [node, report] of reports) {
    if (report.stopped.length === 0) continue;
    stopped.set(node, new Map(report.stopped.map(({ keyspace, partition, epoch }) => [partitionName(keyspace, partition), epoch])));
  }
  return stopped;
}
