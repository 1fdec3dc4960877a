// Compares the targets of operators with their leaders (R34), some at a time: what is found ends the step VERIFY.
import { RangeState, type PartitionComparison } from '@atoll/contracts/atoll/v1/admin';
import { partitionName, type PartitionRecord } from '@atoll/core-membership';
import { targetsOf, type MigrationOperator, type MigrationProof } from '@atoll/core-migration';
import type { PartitionVerifier } from '../verify/partition-verifier.ts';

const AT_ONCE = 4;
/** A comparison that came to nothing is tried again after so long. */
const RETRY_MS = 1000;

export interface ProofsOptions {
  readonly verifier: PartitionVerifier;
  readonly nowMs: () => number;
  readonly onReport: (report: PartitionComparison) => void;
  /** There is something new. */
  readonly onNews: () => void;
}

interface Attempt {
  readonly job: string;
  /** Of the operator: one that left the step and came back is compared anew. */
  readonly stepSinceMs: number;
  /** Undefined while it runs, and after an attempt that came to nothing. */
  verdict: MigrationProof | string | undefined;
  isRunning: boolean;
  atMs: number;
}

export class Proofs {
  readonly #options: ProofsOptions;
  readonly #attempts = new Map<string, Attempt>();
  readonly #ending = new AbortController();

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

  /** Begins what is due. `verifying`: the operators at that step now; what is known of others is forgotten. */
  tick(verifying: readonly { readonly operator: MigrationOperator; readonly record: PartitionRecord }[]): void {
    const names = new Set(verifying.map(({ operator }) => nameOf(operator)));
    for (const [name, { isRunning }] of this.#attempts) if (!names.has(name) && !isRunning) this.#attempts.delete(name);
    let running = [...this.#attempts.values()].filter(({ isRunning }) => isRunning).length;
    for (const { operator, record } of verifying) {
      if (running >= AT_ONCE || this.#ending.signal.aborted) return;
      const known = this.#attemptOf(operator);
      // One that runs is let end, even if it is of no interest any more.
      if (known === undefined && this.#attempts.get(nameOf(operator))?.isRunning === true) continue;
      if (known !== undefined && (known.isRunning || known.verdict !== undefined || this.#options.nowMs() - known.atMs < RETRY_MS)) continue;
      running += 1;
      void this.#compare(operator, record);
    }
  }

  end(): void {
    this.#ending.abort();
    this.#options.verifier.close();
  }

  #attemptOf(operator: MigrationOperator): Attempt | undefined {
    const attempt = this.#attempts.get(nameOf(operator));
    return attempt?.job === operator.job && attempt.stepSinceMs === operator.stepSinceMs ? attempt : undefined;
  }

  async #compare(operator: MigrationOperator, record: PartitionRecord): Promise<void> {
    const { verifier, nowMs, onReport, onNews } = this.#options;
    const attempt: Attempt = { job: operator.job, stepSinceMs: operator.stepSinceMs, verdict: undefined, isRunning: true, atMs: nowMs() };
    this.#attempts.set(nameOf(operator), attempt);
    try {
      const how = { reportOnly: false, node: undefined, everything: false, trustLeader: false };
      const report = await verifier.verify(record, how, this.#ending.signal);
      onReport(report);
      attempt.verdict = judge(operator, report);
    } catch {
      // This coordinator stops comparing: the next one begins anew.
    } finally {
      attempt.isRunning = false;
      attempt.atMs = nowMs();
      if (!this.#ending.signal.aborted) onNews();
    }
  }
}

const nameOf = ({ keyspace, partition }: MigrationOperator): string => partitionName(keyspace, partition);

/** Undefined: nothing is known, and it is to be tried again. */
function judge(operator: MigrationOperator, report: PartitionComparison): MigrationProof | string | undefined {
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
  return { epoch: report.markerEpoch, seq: report.markerSeq, entries: report.entries, equal, repaired };
}
