import { membersOf, type PartitionRecord } from '@atoll/core-membership';
import type { DiscardReport, ReplicaIdentity } from '@atoll/core-replication';
import type { Counter, Histogram, Logger, Telemetry, Tracing } from '@atoll/platform-telemetry';
import { LogBudget } from './log-budget.ts';

/**
 * What happened on this node, in the words of the domain: one log line and one counter each. A node that starts or
 * loses a peer changes the roles of thousands of replicas: of such a burst the first lines are written, and then a sum.
 */
export class StorageNodeEvents {
  readonly #logger: Logger;
  readonly #roleChanges: { with(role: string): Counter };
  readonly #inSyncChanges: Counter;
  readonly #installs: Counter;
  readonly #discarded: { with(outcome: string): Counter };
  readonly #streamLosses: Counter;
  readonly #leasesLost: Counter;
  readonly #promiseWaits: Histogram;
  readonly #officeTimes: Histogram;
  readonly #tracing: Pick<Tracing, 'startSpan'>;
  readonly #budgets = new Map<string, LogBudget>();

  constructor(options: { logger: Logger; telemetry: Pick<Telemetry, 'metrics' | 'tracing'> }) {
    const { metrics, tracing } = options.telemetry;
    this.#tracing = tracing;
    this.#logger = options.logger;
    this.#roleChanges = metrics.counterFamily('atoll_role_changes_total', ['role'], { description: 'Replicas of this node that took a role.' });
    this.#inSyncChanges = metrics.counter('atoll_in_sync_changes_total', { description: 'Changes of in-sync sets by leaders of this node.' });
    this.#installs = metrics.counter('atoll_installs_total', { description: 'Snapshot installs that replicas of this node began.' });
    this.#discarded = metrics.counterFamily('atoll_former_entries_total', ['outcome'], { description: 'Entries of another generation that replicas of this node held, by what became of them.' });
    for (const outcome of ['discarded', 'superseded', 'kept', 'unknown']) this.#discarded.with(outcome);
    this.#streamLosses = metrics.counter('atoll_replication_stream_losses_total', { description: 'Replication streams that broke.' });
    this.#leasesLost = metrics.counter('atoll_leases_lost_total', { description: 'Times that a leader of this node was left without a lease from every replica in sync.' });
    this.#promiseWaits = metrics.histogram('atoll_promise_wait_seconds', { description: 'How long new offices waited for the lease of the leader before.', unit: 's' });
    this.#officeTimes = metrics.histogram('atoll_office_taking_seconds', { description: 'From hearing of a new office to serving in it.', unit: 's' });
  }

  roleChanged(replica: ReplicaIdentity, role: string, epoch: number): void {
    this.#roleChanges.with(role).add();
    this.#log('role changed', 'info', { keyspace: replica.keyspace, partition: replica.partition, role, epoch });
  }

  officeRefused(record: PartitionRecord): void {
    const message = 'the record names this replica as leader, but this process cannot take the office (R2, R3)';
    this.#log(message, 'warn', { keyspace: record.keyspace, partition: record.partition, epoch: record.epoch });
  }

  /** It has to wait out what it promised to the leader before it (R27). */
  officeAwaited(waitMs: number): void {
    this.#promiseWaits.record(waitMs);
  }

  /** `record` gave the office, `tookMs` ago. One that followed a failure ends the trace of that failover here. */
  officeTaken(tookMs: number, { keyspace, partition, epoch, traceparent }: Pick<PartitionRecord, 'keyspace' | 'partition' | 'epoch' | 'traceparent'>): void {
    this.#officeTimes.record(tookMs);
    if (traceparent === undefined) return;
    const attributes = { 'atoll.keyspace': keyspace, 'atoll.partition': partition, 'atoll.epoch': epoch };
    this.#tracing.startSpan('atoll.replica.take_office', { parent: traceparent, startTime: Date.now() - tookMs, attributes })?.end();
  }

  leaseLost(): void {
    this.#leasesLost.add();
  }

  inSyncChanged(record: PartitionRecord): void {
    this.#inSyncChanges.add();
    const inSync = record.inSync.map((member) => member.node);
    const members = membersOf(record).length;
    this.#log('in-sync set changed', 'info', { keyspace: record.keyspace, partition: record.partition, epoch: record.epoch, inSync, members });
  }

  installBegan(replica: ReplicaIdentity, leader: string): void {
    this.#installs.add();
    this.#log('full sync began', 'info', { keyspace: replica.keyspace, partition: replica.partition, leader });
  }

  /** What a replica held of another generation was compared with the present one, or dropped. Keys are in no log. */
  dataDiscarded(replica: ReplicaIdentity, { generation, discarded, superseded, kept, unknown }: DiscardReport): void {
    const counts = { discarded, superseded, kept, unknown };
    for (const [outcome, count] of Object.entries(counts)) this.#discarded.with(outcome).add(count);
    const message = 'what this replica held of another generation was compared with the present one';
    this.#log(message, 'warn', { keyspace: replica.keyspace, partition: replica.partition, formerGeneration: generation.counter, ...counts });
  }

  replicaDropped(replica: ReplicaIdentity): void {
    this.#log('replica dropped', 'info', { keyspace: replica.keyspace, partition: replica.partition, replica: replica.self.replica });
  }

  streamLost(peer: string, reason: string): void {
    this.#streamLosses.add();
    this.#logger.debug({ peer, reason }, 'replication stream lost');
  }

  #log(message: string, level: 'info' | 'warn', fields: object): void {
    let budget = this.#budgets.get(message);
    if (budget === undefined) {
      budget = new LogBudget({ onMore: (count) => this.#logger[level]({ count }, `${message}: so many more times`) });
      this.#budgets.set(message, budget);
    }
    if (budget.take()) this.#logger[level](fields, message);
    else this.#logger.debug(fields, message);
  }
}
