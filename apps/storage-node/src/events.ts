import { membersOf, type PartitionRecord } from '@atoll/core-membership';
import type { ReplicaIdentity } from '@atoll/core-replication';
import type { Counter, Logger, Telemetry } from '@atoll/platform-telemetry';

/** What happened on this node, in the words of the domain: one log line and one counter each. */
export class StorageNodeEvents {
  readonly #logger: Logger;
  readonly #roleChanges: { with(role: string): Counter };
  readonly #inSyncChanges: Counter;
  readonly #installs: Counter;
  readonly #streamLosses: Counter;

  constructor(options: { logger: Logger; telemetry: Pick<Telemetry, 'metrics'> }) {
    const { metrics } = options.telemetry;
    this.#logger = options.logger;
    this.#roleChanges = metrics.counterFamily('atoll_role_changes_total', ['role'], { description: 'Replicas of this node that took a role.' });
    this.#inSyncChanges = metrics.counter('atoll_in_sync_changes_total', { description: 'Changes of in-sync sets by leaders of this node.' });
    this.#installs = metrics.counter('atoll_installs_total', { description: 'Snapshot installs that replicas of this node began.' });
    this.#streamLosses = metrics.counter('atoll_replication_stream_losses_total', { description: 'Replication streams that broke.' });
  }

  roleChanged(replica: ReplicaIdentity, role: string, epoch: number): void {
    this.#roleChanges.with(role).add();
    this.#logger.info({ keyspace: replica.keyspace, partition: replica.partition, role, epoch }, 'role changed');
  }

  officeRefused(record: PartitionRecord): void {
    this.#logger.warn(
      { keyspace: record.keyspace, partition: record.partition, epoch: record.epoch },
      'the record names this replica as leader, but this process cannot take the office (R2, R3)',
    );
  }

  inSyncChanged(record: PartitionRecord): void {
    this.#inSyncChanges.add();
    const inSync = record.inSync.map((member) => member.node);
    const members = membersOf(record).length;
    this.#logger.info({ keyspace: record.keyspace, partition: record.partition, epoch: record.epoch, inSync, members }, 'in-sync set changed');
  }

  installBegan(replica: ReplicaIdentity, leader: string): void {
    this.#installs.add();
    this.#logger.info({ keyspace: replica.keyspace, partition: replica.partition, leader }, 'full sync began');
  }

  replicaDropped(replica: ReplicaIdentity): void {
    this.#logger.info({ keyspace: replica.keyspace, partition: replica.partition, replica: replica.self.replica }, 'replica dropped');
  }

  streamLost(peer: string, reason: string): void {
    this.#streamLosses.add();
    this.#logger.debug({ peer, reason }, 'replication stream lost');
  }
}
