// Compares the targets of operators with their leaders (R34), some at a time: what is found ends the step VERIFY.
import { RangeState, type PartitionComparison } from '@atoll/contracts/atoll/v1/admin';
import { partitionName, type PartitionRecord } from '@atoll/core-membership';
import { sourcesOf, targetsOf, type MigrationOperator, type MigrationProof } from '@atoll/core-migration';
import type { ContentComparison } from '../verify/content-comparison.ts';
import type { PartitionVerifier } from '../verify/partition-verifier.ts';

/** Each is two small calls and a marker in a log. */
const AT_ONCE = 8;
/** Of those that read every entry. */
const FULL_AT_ONCE = 4;
/** A comparison that came to nothing is tried again after so long. */
const RETRY_MS = 1000;
/** Attempts whose progress counts from their beginning; that of later ones counts as far as it is more than before. */
const ATTEMPTS_OF_THEIR_OWN = 3;
/** Beyond what an attempt may find equal. */
const ATTEMPT_EQUAL_MAX = 2 ** 30;

export interface ProofsOptions {
  readonly verifier: PartitionVerifier;
  readonly content: ContentComparison;
  readonly nowMs: () => number;
  readonly onReport: (report: PartitionComparison) => void;
  /** A comparison of each entry came to nothing. */
  readonly onProblem: (operator: MigrationOperator, problem: unknown) => void;
  /** There is something new. */
  readonly onNews: () => void;
}

/** An operator at the step VERIFY. */
export interface Verifying {
  readonly operator: MigrationOperator;
  readonly record: PartitionRecord;
  /** Its job asks for each entry to be compared, beside the digests. */
  readonly isFull: boolean;
}

interface Attempt {
  readonly job: string;
  /** Of the operator: one that left the step and came back is compared anew. */
  readonly stepSinceMs: number;
  /** Undefined while it runs, and after an attempt that came to nothing. */
  verdict: MigrationProof | string | undefined;
  isRunning: boolean;
  atMs: number;
  readonly isFull: boolean;
  /** Which one it is at this step. */
  readonly number: number;
  /** The most that an attempt found equal so far. */
  equal: number;
  /** Ends the reading of entries of an operator that is not at this step any more, or not now. */
  readonly stop: AbortController;
}

export class Proofs {
  readonly #options: ProofsOptions;
  readonly #attempts = new Map<string, Attempt>();
  readonly #ending = new AbortController();
  /** As of the last tick. */
  #verifying: readonly Verifying[] = [];

  constructor(options: ProofsOptions) {
    this.#options = options;
  }

  verdictOf(operator: MigrationOperator): MigrationProof | string | undefined {
    return this.#attemptOf(operator)?.verdict;
  }

  /** Others are compared before it. */
  isInQueue(operator: MigrationOperator): boolean {
    return operator.step === 'VERIFY' && this.#attemptOf(operator) === undefined;
  }

  /** Another number as long as more and more of its entries are found equal; 0 where they are not compared. */
  comparedOf(operator: MigrationOperator): number {
    const attempt = this.#attemptOf(operator);
    return attempt === undefined || attempt.equal === 0 ? 0 : Math.min(attempt.number, ATTEMPTS_OF_THEIR_OWN) * ATTEMPT_EQUAL_MAX + attempt.equal;
  }

  /** Begins what is due. `verifying`: the operators at that step now; what is known of others is forgotten. */
  tick(verifying: readonly Verifying[]): void {
    const attempts = new Set(verifying.map(({ operator }) => this.#attemptOf(operator)));
    for (const [name, attempt] of this.#attempts) {
      if (attempts.has(attempt)) continue;
      if (attempt.isRunning) attempt.stop.abort();
      else this.#attempts.delete(name);
    }
    this.#verifying = verifying;
    this.#begin();
  }

  /** One after the other as they end: rounds of decisions, each of which waits for etcd, are not waited for. */
  #begin(): void {
    for (const each of this.#verifying) {
      const { operator, isFull } = each;
      const running = [...this.#attempts.values()].filter((attempt) => attempt.isRunning);
      if (running.length >= AT_ONCE || this.#ending.signal.aborted) return;
      if (isFull && running.filter((attempt) => attempt.isFull).length >= FULL_AT_ONCE) continue;
      const known = this.#attemptOf(operator);
      // The comparison of digests is let end, even if it is of no interest any more.
      if (known === undefined && this.#attempts.get(nameOf(operator))?.isRunning === true) continue;
      if (known !== undefined && (known.isRunning || known.verdict !== undefined || this.#options.nowMs() - known.atMs < RETRY_MS)) continue;
      void this.#compare(each, known);
    }
  }

  end(): void {
    this.#ending.abort();
    this.#options.verifier.close();
    this.#options.content.close();
  }

  #attemptOf(operator: MigrationOperator): Attempt | undefined {
    const attempt = this.#attempts.get(nameOf(operator));
    return attempt?.job === operator.job && attempt.stepSinceMs === operator.stepSinceMs ? attempt : undefined;
  }

  async #compare({ operator, record, isFull }: Verifying, before: Attempt | undefined): Promise<void> {
    const { verifier, nowMs, onReport, onNews } = this.#options;
    const number = (before?.number ?? 0) + 1;
    const equal = number <= ATTEMPTS_OF_THEIR_OWN ? 0 : before!.equal;
    const attempt: Attempt = { job: operator.job, stepSinceMs: operator.stepSinceMs, verdict: undefined, isRunning: true, atMs: nowMs(), isFull, number, equal, stop: new AbortController() };
    this.#attempts.set(nameOf(operator), attempt);
    try {
      const how = { reportOnly: false, node: undefined, everything: false, trustLeader: false };
      const report = await verifier.verify(record, how, this.#ending.signal);
      onReport(report);
      const verdict = judge(operator, record, report);
      attempt.verdict = isFull && typeof verdict === 'object' ? await this.#compareContent(operator, record, verdict, attempt) : verdict;
    } catch (error) {
      // This coordinator stops comparing, and the next one begins anew; or a node failed while its entries were read.
      if (!this.#ending.signal.aborted && !attempt.stop.signal.aborted) this.#options.onProblem(operator, error);
    } finally {
      attempt.isRunning = false;
      attempt.atMs = nowMs();
      if (!this.#ending.signal.aborted) {
        onNews();
        this.#begin();
      }
    }
  }

  /** Each entry of the targets with the leader's; of the sources, where a target leads: what it has may have gone wrong when it was copied. */
  async #compareContent(operator: MigrationOperator, record: PartitionRecord, proof: MigrationProof, attempt: Attempt): Promise<MigrationProof | string | undefined> {
    const { content, onProblem } = this.#options;
    const signal = AbortSignal.any([this.#ending.signal, attempt.stop.signal]);
    const targets = targetsOf(operator);
    const leader = record.leader?.node;
    const isSwapped = leader !== undefined && targets.includes(leader);
    const compared = [...targets, ...(isSwapped ? sourcesOf(operator) : [])].filter((node) => node !== leader);
    let { repaired } = proof;
    let comparedEntries = Infinity;
    let done = 0;
    for (const node of compared) {
      const before = done;
      const onProgress = (equal: number): void => {
        done = before + equal;
        attempt.equal = Math.max(attempt.equal, done);
      };
      const isRepairing = targets.includes(node);
      const found = await content.compare(record, node, { isRepairing, onProgress }, signal);
      if (found.problem !== '') {
        onProblem(operator, found.problem);
        return undefined;
      }
      if (found.different.length > 0) return `the entries of ${found.different.length} of 64 sub-ranges on ${node} differ from those of the leader ${leader}, in spite of equal versions, and ${found.isLeaderAlone ? 'no other replica agrees with it either' : 'could not be repaired'}`;
      repaired = Math.max(repaired, proof.repaired + found.repaired);
      comparedEntries = Math.min(comparedEntries, found.entries);
    }
    return { ...proof, equal: Math.min(proof.equal, 64 - (repaired - proof.repaired)), repaired, comparedEntries: Number.isFinite(comparedEntries) ? comparedEntries : 0 };
  }
}

const nameOf = ({ keyspace, partition }: MigrationOperator): string => partitionName(keyspace, partition);

/** Undefined: nothing is known, and it is to be tried again. */
function judge(operator: MigrationOperator, record: PartitionRecord, report: PartitionComparison): MigrationProof | string | undefined {
  if (report.problem !== '') return undefined;
  let equal = 64;
  let repaired = 0;
  for (const node of targetsOf(operator)) {
    // A target that leads is what the others were compared with.
    if (node === report.leader) continue;
    const found = report.replicas.find((replica) => replica.node === node);
    if (found === undefined || found.problem !== '') return undefined;
    const wrong = found.ranges.filter(({ state }) => state !== RangeState.RANGE_STATE_REPAIRED);
    if (wrong.length > 0) return `${wrong.length} of 64 sub-ranges on ${node} differ from the leader ${report.leader} and could not be repaired`;
    equal = Math.min(equal, found.equal);
    repaired = Math.max(repaired, found.ranges.length);
  }
  const replicas = record.inSync.filter(({ node }) => targetsOf(operator).includes(node)).map(({ replica }) => replica);
  return { epoch: report.markerEpoch, seq: report.markerSeq, entries: report.entries, equal, repaired, comparedEntries: 0, replicas };
}
