// The migrations of one term, put together.
import type { NodeId } from '@atoll/core-runtime';
import type { MigrationJob } from '@atoll/core-migration';
import { nameOf, type PartitionRecord } from '@atoll/core-membership';
import type { ClusterView, ElectionTerm, GuardedMetadataStore } from '@atoll/platform-etcd';
import type { Logger, Telemetry } from '@atoll/platform-telemetry';
import type { Config } from '../config.ts';
import type { Events } from '../events.ts';
import type { Failover } from '../failover.ts';
import type { NodeInventories } from '../adapters/node-inventories.ts';
import { ContentComparison } from '../verify/content-comparison.ts';
import { PartitionVerifier } from '../verify/partition-verifier.ts';
import type { MigrationMetrics } from './migration-metrics.ts';
import { MigrationSpans } from './migration-spans.ts';
import { MigrationStore } from './migration-store.ts';
import { Migrations } from './migrations.ts';
import { Proofs } from './proofs.ts';
import { TransferPeers } from './transfer-peers.ts';
import { TransferWatch } from './transfer-watch.ts';

/** A hand-over that did not come about is asked for again after so long. */
const HAND_OVER_AGAIN_MS = 5000;

export interface OpenMigrationsOptions {
  readonly term: ElectionTerm;
  readonly store: GuardedMetadataStore;
  readonly view: ClusterView;
  readonly config: Config;
  readonly clock: { monotonicMs(): number; wallMs(): number };
  readonly telemetry: Pick<Telemetry, 'tracing'>;
  readonly logger: Logger;
  readonly metrics: MigrationMetrics;
  readonly events: Events;
  readonly failover: Failover;
  readonly inventories: NodeInventories;
  readonly onNews: () => void;
  readonly onEnded: (job: MigrationJob) => void;
}

export interface OpenMigrations {
  readonly migrations: Migrations;
  readonly peers: TransferPeers;
  readonly spans: MigrationSpans;
}

export function openMigrations(options: OpenMigrationsOptions): OpenMigrations {
  const { term, view, config, clock, logger, failover, inventories, onNews } = options;
  const peers = new TransferPeers({ revision: term.revision, deadlineMs: config.nodeCallMs });
  const spans = new MigrationSpans(options.telemetry.tracing, () => clock.wallMs());
  const requested = new Map<string, { readonly epoch: number; readonly atMs: number }>();
  const migrations = new Migrations({
    store: new MigrationStore({ store: options.store, election: term.comparison, wallMs: () => clock.wallMs() }),
    proofs: new Proofs({
      verifier: new PartitionVerifier({
        revision: term.revision,
        addressOf: (node) => view.nodes().get(node)?.address,
        deadlineMs: config.nodeCallMs,
        repairBytesPerSecond: config.repairBytesPerSecond,
      }),
      content: new ContentComparison({
        revision: term.revision,
        addressOf: (node) => view.nodes().get(node)?.address,
        deadlineMs: config.nodeCallMs,
        bytesPerSecond: config.repairBytesPerSecond,
      }),
      nowMs: () => clock.monotonicMs(),
      onReport: (report) => options.events.replicasCompared(report),
      onProblem: ({ keyspace, partition, job }, problem) => logger.warn({ keyspace, partition, migration: job, problem }, 'the entries of a partition could not be compared; it is tried again'),
      onNews,
    }),
    transfers: new TransferWatch({ peers, onNews, onProblem: (node, err) => logger.debug({ node, err }, 'a node does not say how far its copies are') }),
    spans,
    metrics: options.metrics,
    config,
    wallMs: () => clock.wallMs(),
    handOver: (record, node) => {
      const known = requested.get(nameOf(record));
      if (known?.epoch === record.epoch && clock.monotonicMs() - known.atMs < HAND_OVER_AGAIN_MS) return;
      requested.set(nameOf(record), { epoch: record.epoch, atMs: clock.monotonicMs() });
      failover.request(record, node);
    },
    pauseMsOf: (record: PartitionRecord) => failover.pauseMsOf(record),
    refusalOf: (keyspaceId: string, node: NodeId) => inventories.refusalBy(node, keyspaceId)?.message,
    forgetRefusal: (keyspaceId: string, node: NodeId) => inventories.forgetRefusal(node, keyspaceId),
    onEnded: (job) => {
      for (const [name, { atMs }] of requested) if (clock.monotonicMs() - atMs > HAND_OVER_AGAIN_MS) requested.delete(name);
      options.events.migrationEnded(job);
      options.onEnded(job);
    },
  });
  return { migrations, peers, spans };
}
