// The migrations of one term: takes jobs over, brings operators from step to step, and ends jobs. What an operator wants
// of its partition's replicas is carried out by the ordinary decisions on records (`placements`); leaders move by planned
// transfers. Everything that must survive is in etcd (migration-store.ts).
import { MigrationRounds, hasEnded, officeWanted, placementsOf, recordsOf, targetsOf, type MigrationJob, type MigrationOperator, type OperatorChange } from '@atoll/core-migration';
import { type ClusterState, type MigratingPlacement, type PartitionRecord } from '@atoll/core-membership';
import type { NodeId } from '@atoll/core-runtime';
import type { Failpoints } from './failpoints.ts';
import type { MigrationMetrics } from './migration-metrics.ts';
import type { MigrationSpans } from './migration-spans.ts';
import type { MigrationStore } from './migration-store.ts';
import type { Proofs } from './proofs.ts';
import type { TransferWatch } from './transfer-watch.ts';

export interface MigrationsOptions {
  readonly store: MigrationStore;
  readonly proofs: Proofs;
  readonly transfers: TransferWatch;
  readonly spans: MigrationSpans;
  readonly metrics: MigrationMetrics;
  readonly config: { readonly learnersPerNodeMax: number; readonly migrationsMax: number };
  readonly wallMs: () => number;
  /** Hands the office over to one of the nodes (R29), unless that is under way. */
  readonly handOver: (record: PartitionRecord, node: NodeId) => void;
  /** For how long the last transfer in this epoch's predecessor made writes wait, in ms. */
  readonly pauseMsOf: (record: PartitionRecord) => number | undefined;
  /** Why the node refuses replicas of the keyspace. */
  readonly refusalOf: (keyspaceId: string, node: NodeId) => string | undefined;
  /** It is asked again from now on. */
  readonly forgetRefusal: (keyspaceId: string, node: NodeId) => void;
  /** For tests: absent wherever clients are served. */
  readonly failpoints?: Failpoints | undefined;
  /** A job ended. */
  readonly onEnded: (job: MigrationJob) => void;
}

export class Migrations {
  readonly #options: MigrationsOptions;
  readonly #rounds: MigrationRounds;

  constructor(options: MigrationsOptions) {
    this.#options = options;
    const { proofs, transfers, config } = options;
    this.#rounds = new MigrationRounds({
      ports: {
        ...options,
        verdictOf: (operator) => proofs.verdictOf(operator),
        isInQueue: (operator) => proofs.isInQueue(operator),
        copiedBytes: (operator) => transfers.of(operator).bytes + proofs.comparedOf(operator),
        memoryOf: (node) => transfers.memoryOf(node),
      },
      limits: { perTarget: config.learnersPerNodeMax, perCluster: config.migrationsMax },
    });
  }

  get store(): MigrationStore {
    return this.#options.store;
  }

  get transfers(): TransferWatch {
    return this.#options.transfers;
  }

  /** Reads what stands in etcd, and takes back what was being written when a coordinator stopped. */
  takeOver(): Promise<void> {
    return this.#options.store.takeOver();
  }

  /** By `partitionName`: the nodes that should hold the partition now and in the end, for `decide`. */
  placements(state: ClusterState): ReadonlyMap<string, MigratingPlacement> {
    return placementsOf(this.#operators(), state);
  }

  /** To be called after every round of decisions, with the records as they are then. */
  async step(state: ClusterState, nowMs: number): Promise<void> {
    const { store, proofs, transfers, failpoints } = this.#options;
    await store.refresh();
    const operators = this.#operators();
    const jobs = store.jobsById();
    const recordOf = recordsOf(state);
    const decided = this.#rounds.changes(operators, jobs, state, { nowMs, wallMs: this.#options.wallMs() });
    const changes = failpoints?.pass(decided) ?? decided;
    await transfers.refresh(changes.filter(({ from }) => from.step === 'CATCH_UP').flatMap(({ from }) => targetsOf(from)), state.nodes);
    this.#note(await store.write(changes.map(({ from, to }) => ({ from, to: this.#prepare(jobs.get(from.job)!, from, to) }))));
    const current = this.#operators();
    const verifying = current.flatMap((operator) => {
      const record = recordOf(operator);
      const job = store.job(operator.job);
      return operator.step === 'VERIFY' && record !== undefined && job?.state === 'RUNNING' ? [{ operator, record, isFull: job.fullVerify }] : [];
    });
    proofs.tick(verifying);
    transfers.tick(current, store.jobsById(), { nodes: state.nodes, recordOf }, nowMs);
    for (const operator of current) {
      const record = recordOf(operator);
      const node = officeWanted(operator, store.job(operator.job), record);
      if (record !== undefined && node !== undefined) this.#options.handOver(record, node);
    }
    for (const job of await store.settle()) {
      this.#options.spans.ended(job);
      this.#options.metrics.ended(job);
      this.#options.onEnded(job);
    }
  }

  end(): void {
    this.#options.proofs.end();
  }

  /** What is written with the step beside what `advance` decided. */
  #prepare(job: MigrationJob, from: MigrationOperator, to: MigrationOperator): MigrationOperator {
    if (to.step === 'ADD') for (const node of targetsOf(to)) this.#options.forgetRefusal(to.keyspaceId, node);
    const copied = this.#options.transfers.of(from);
    // Nodes tell of a copy for a minute; what was written down before stays.
    const [bytes, entries] = [Math.max(from.bytes, copied.bytes), Math.max(from.entries, copied.entries)];
    const traceparent = from.step === 'WAITING' && !hasEnded(to) ? this.#options.spans.began(job, to) : to.traceparent;
    return { ...to, bytes, entries, traceparent };
  }

  /** As they are to be acted on. */
  #operators(): readonly MigrationOperator[] {
    const operators = this.#options.store.operators();
    return this.#options.failpoints?.acted(operators) ?? operators;
  }

  #note(written: readonly OperatorChange[]): void {
    const { spans, metrics, failpoints } = this.#options;
    failpoints?.wrote(written);
    for (const { from, to } of written) {
      spans.stepped(from, to);
      metrics.stepped(from, to);
    }
  }
}
