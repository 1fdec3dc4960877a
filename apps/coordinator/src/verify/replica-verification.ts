// The verification of one term (R34): what admins ask for, and the pass that goes on in the background.
import { setTimeout as pause } from 'node:timers/promises';
import type { PartitionComparison } from '@atoll/contracts/atoll/v1/admin';
import { AtollError } from '@atoll/core-errors';
import type { PartitionRecord } from '@atoll/core-membership';
import type { ClusterView } from '@atoll/platform-etcd';
import type { Logger } from '@atoll/platform-telemetry';
import { VERIFY, PartitionVerifier, type VerifyOptions } from './partition-verifier.ts';
import type { VerifyMetrics } from './verify-metrics.ts';

/** Admins' runs at a time; one more is refused as OVERLOADED (I10). */
const RUNS_MAX = 4;
const PARTITIONS_AT_ONCE = 4;
/** How often the background pass looks whether there is something to do while there is not. */
const IDLE_MS = 1000;

export interface ReplicaVerificationOptions {
  readonly revision: number;
  readonly view: ClusterView;
  readonly config: {
    readonly nodeCallMs: number;
    readonly verifyEveryMs: number;
    readonly verifyPartitionsPerSecond: number;
    readonly repairBytesPerSecond: number;
  };
  readonly isHeld: () => boolean;
  readonly metrics: VerifyMetrics;
  readonly onReport: (report: PartitionComparison) => void;
  readonly logger: Logger;
}

export class ReplicaVerification {
  readonly #options: ReplicaVerificationOptions;
  readonly #ending = new AbortController();
  readonly #background: Promise<void>;
  #runs = 0;

  constructor(options: ReplicaVerificationOptions) {
    this.#options = options;
    this.#background = this.#verifyAll().catch((err: unknown) => {
      if (!this.#ending.signal.aborted) options.logger.error({ err }, 'the background verification of replicas ended');
    });
  }

  /** Compares these partitions, some at a time, and tells each result as it comes. Throws OVERLOADED. */
  async run(records: readonly PartitionRecord[], how: VerifyOptions, signal: AbortSignal, onDone: (report: PartitionComparison) => Promise<void>): Promise<void> {
    if (this.#runs >= RUNS_MAX) throw new AtollError('OVERLOADED', `${RUNS_MAX} verifications are under way`);
    this.#runs += 1;
    const verifier = this.#verifier();
    const either = AbortSignal.any([signal, this.#ending.signal]);
    const waiting = [...records];
    const work = async (): Promise<void> => {
      for (let record = waiting.shift(); record !== undefined; record = waiting.shift()) await onDone(this.#note(await verifier.verify(record, how, either)));
    };
    try {
      await Promise.all(Array.from({ length: PARTITIONS_AT_ONCE }, work));
    } finally {
      this.#runs -= 1;
      verifier.close();
    }
  }

  /** Resolves when the background pass has stopped. What admins asked for is cut off. */
  async end(): Promise<void> {
    this.#ending.abort(new AtollError('NOT_COORDINATOR', 'this coordinator is no longer elected'));
    await this.#background;
  }

  /** One partition after the other, evenly over the interval, again and again. */
  async #verifyAll(): Promise<void> {
    const { verifyEveryMs, verifyPartitionsPerSecond } = this.#options.config;
    if (verifyEveryMs === 0) return;
    const { signal } = this.#ending;
    const verifier = this.#verifier();
    try {
      for (;;) {
        const names = this.#comparable().map(({ keyspace, partition }) => ({ keyspace, partition }));
        if (names.length === 0) await pause(IDLE_MS, undefined, { signal, ref: false });
        const stepMs = Math.max(verifyEveryMs / Math.max(1, names.length), 1000 / verifyPartitionsPerSecond);
        for (const { keyspace, partition } of names) {
          await pause(stepMs, undefined, { signal, ref: false });
          const record = this.#options.view.partition(keyspace, partition)?.record;
          if (record === undefined || !isComparable(record) || !this.#options.isHeld() || !this.#options.view.connected) continue;
          this.#note(await verifier.verify(record, VERIFY, signal));
        }
      }
    } finally {
      verifier.close();
    }
  }

  #comparable(): PartitionRecord[] {
    const { view } = this.#options;
    return [...view.keyspaces().keys()].flatMap((name) => view.partitions(name).map(({ record }) => record)).filter(isComparable);
  }

  #verifier(): PartitionVerifier {
    const { revision, view, config } = this.#options;
    return new PartitionVerifier({
      revision,
      addressOf: (node) => view.nodes().get(node)?.address,
      deadlineMs: config.nodeCallMs,
      repairBytesPerSecond: config.repairBytesPerSecond,
    });
  }

  #note(report: PartitionComparison): PartitionComparison {
    this.#options.metrics.verified(report);
    this.#options.onReport(report);
    return report;
  }
}

function isComparable(record: PartitionRecord): boolean {
  return record.state === 'ACTIVE' && record.leader !== undefined && record.inSync.length > 1;
}
