// The migrations of one term, put together: what is asked for, what is due by itself, and the rounds that carry them out.
import type { NodeId, Random } from '@atoll/core-runtime';
import { MIGRATION_REASONS, planRebalance, planReplace, wantedOfReplaced, type MethodFacts, type MethodPlan, type MigrationJob, type MigrationOperator, type PlannedMoves, type PlannedRebalance, type ReplaceAsk } from '@atoll/core-migration';
import { nameOf, type Action, type ClusterState, type MigratingPlacement, type NodeSpec, type PartitionRecord, type PlacementPlans } from '@atoll/core-membership';
import type { ClusterView, ElectionTerm, GuardedMetadataStore } from '@atoll/platform-etcd';
import type { Logger, Telemetry } from '@atoll/platform-telemetry';
import type { Config } from '../config.ts';
import type { Events } from '../events.ts';
import type { Failover } from '../failover.ts';
import type { NodeInventories } from '../adapters/node-inventories.ts';
import { ContentComparison } from '../verify/content-comparison.ts';
import { PartitionVerifier } from '../verify/partition-verifier.ts';
import { AGAIN_MS, AutomaticMigrations } from './automatic-migrations.ts';
import { AUTO, planMethod, type MethodAsk } from './begin-migration.ts';
import { surveyCluster, type ClusterSurvey } from './cluster-survey.ts';
import { failpointsOf } from './failpoints.ts';
import type { MigrationMetrics } from './migration-metrics.ts';
import { MigrationSpans } from './migration-spans.ts';
import { MigrationStore } from './migration-store.ts';
import { Migrations } from './migrations.ts';
import { Proofs } from './proofs.ts';
import { TransferPeers } from './transfer-peers.ts';
import { TransferWatch } from './transfer-watch.ts';

/** A hand-over that did not come about is asked for again after so long. */
const HAND_OVER_AGAIN_MS = 5000;

export interface TermMigrationsOptions {
  readonly term: ElectionTerm;
  readonly store: GuardedMetadataStore;
  readonly view: ClusterView;
  readonly config: Config;
  readonly clock: { monotonicMs(): number; wallMs(): number };
  readonly random: Random;
  readonly telemetry: Pick<Telemetry, 'tracing'>;
  readonly logger: Logger;
  readonly metrics: MigrationMetrics;
  readonly events: Events;
  readonly failover: Failover;
  readonly inventories: NodeInventories;
  readonly plans: PlacementPlans;
  /** Has a node drained, or wanted again. */
  readonly setWanted: (spec: NodeSpec, state: 'UP' | 'DRAINING') => Promise<void>;
  /** There may be something new to decide. */
  readonly onNews: () => void;
}

export class TermMigrations {
  readonly #options: TermMigrationsOptions;
  readonly #peers: TransferPeers;
  readonly #spans: MigrationSpans;
  readonly #migrations: Migrations;
  readonly #automatic: AutomaticMigrations;
  /** By name: when to plan a keyspace anew, because a migration of it failed. */
  readonly #replans = new Map<string, { readonly atMs: number; readonly balances: boolean }>();
  #isEnded = false;

  constructor(options: TermMigrationsOptions) {
    const { term, config, clock, random, logger, view } = options;
    this.#options = options;
    this.#peers = new TransferPeers({ revision: term.revision, deadlineMs: config.nodeCallMs });
    this.#spans = new MigrationSpans(options.telemetry.tracing, () => clock.wallMs());
    this.#migrations = createMigrations(options, this.#peers, this.#spans, (job) => this.#noteEnd(job));
    this.#automatic = new AutomaticMigrations({
      random,
      nowMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      survey: () => this.survey(),
      planMethod: (planned, survey) => this.planMethod(AUTO, { planned, bytesPerSecond: 0 }, survey),
      evicts: (keyspace) => view.keyspace(keyspace)?.eviction === 'LRU',
      begin: (job, operators) => this.begin(job, operators),
      onProblem: (reason, err) => {
        if (!this.#isEnded) logger.warn({ reason, err }, 'a migration that is due could not be begun; it is tried again');
      },
    });
  }

  get store(): MigrationStore {
    return this.#migrations.store;
  }

  get transfers(): TransferWatch {
    return this.#migrations.transfers;
  }

  /** As Migrations.takeOver. */
  takeOver(): Promise<void> {
    return this.#migrations.takeOver();
  }

  /** What the nodes hold and what room they have, asked now. */
  survey(): Promise<ClusterSurvey> {
    return surveyCluster(this.#peers, this.#options.view.nodes());
  }

  /** How a job is to copy. */
  planMethod(ask: MethodAsk, facts: Pick<MethodFacts, 'planned' | 'bytesPerSecond'>, survey: ClusterSurvey): MethodPlan {
    return planMethod(ask, { ...facts, fillsPerNode: this.#options.config.learnersPerNodeMax }, survey);
  }

  /** Writes a job; the rounds carry it out. Throws MIGRATION_CONFLICT, METADATA_CONFLICT. */
  async begin(job: MigrationJob, operators: readonly MigrationOperator[]): Promise<void> {
    const begun = { ...job, traceparent: this.#spans.asked(job) };
    await this.store.create(begun, operators);
    this.#options.events.migrationBegan(begun);
    this.#options.onNews();
  }

  /** What would be moved in these keyspaces, in order of urgency. */
  planRebalance(state: ClusterState, keyspaces: readonly string[]): PlannedRebalance {
    const plans = keyspaces.flatMap((name) => state.keyspaces.get(name) ?? []).map((keyspace) => planRebalance(state, keyspace, ({ keyspace: of, partition }) => this.store.operatorOf(of, partition)));
    const planned = plans.flatMap((plan) => plan.planned).sort((a, b) => MIGRATION_REASONS.indexOf(a.reason) - MIGRATION_REASONS.indexOf(b.reason));
    return { planned, refused: plans.flatMap(({ refused }) => refused), refusals: plans.flatMap(({ refusals }) => refusals) };
  }

  /** As TermOfOffice.planReplace. */
  planReplace(state: ClusterState, ask: ReplaceAsk): PlannedMoves {
    const plans = [...state.keyspaces.values()].map((keyspace) => planReplace(state, keyspace, ask, ({ keyspace: of, partition }) => this.store.operatorOf(of, partition)));
    return { operators: plans.flatMap(({ operators }) => operators), refusals: plans.flatMap(({ refusals }) => refusals) };
  }

  /** Where migrations want partitions, for the decisions of a round. */
  placements(state: ClusterState): ReadonlyMap<string, MigratingPlacement> {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [name, { atMs, balances }] of this.#replans) {
      if (nowMs < atMs) continue;
      this.#replans.delete(name);
      const keyspace = state.keyspaces.get(name);
      if (keyspace !== undefined) this.#options.plans.replan(keyspace, { balances });
    }
    return this.#migrations.placements(state);
  }

  /** Begins what is due, and brings operators on. To be called after a round of decisions, with the records as they are then. */
  async step(actions: readonly Action[], state: ClusterState, nowMs: number): Promise<void> {
    this.#peers.retain(new Set([...state.nodes.values()].map(({ address }) => address)));
    await this.#drainReplaced(state);
    this.#automatic.take(actions.filter((action) => action.kind === 'migrate'));
    await this.#migrations.step(state, nowMs);
  }

  end(): void {
    this.#isEnded = true;
    this.#migrations.end();
    this.#peers.close();
  }

  /** That a node is drained is part of its replacement: whoever is elected sees to it. */
  async #drainReplaced({ specs }: ClusterState): Promise<void> {
    for (const [node, wanted] of wantedOfReplaced(this.store.operators(), this.store.jobsById())) {
      const spec = specs.get(node);
      if (spec !== undefined && spec.state !== 'REMOVED' && spec.state !== wanted) await this.#options.setWanted(spec, wanted);
    }
  }

  /** What a migration that nobody asked for did not bring about is planned again, after a while. */
  #noteEnd(job: MigrationJob): void {
    if (job.state !== 'FAILED' || job.reason === 'REQUESTED') return;
    const atMs = this.#options.clock.monotonicMs() + AGAIN_MS;
    const isForBalance = job.reason === 'JOIN' || job.reason === 'BALANCE';
    for (const { keyspace } of this.store.operatorsOf(job.id)) this.#replans.set(keyspace, { atMs, balances: isForBalance || this.#replans.get(keyspace)?.balances === true });
  }
}

function createMigrations(options: TermMigrationsOptions, peers: TransferPeers, spans: MigrationSpans, onEnded: (job: MigrationJob) => void): Migrations {
  const { term, view, config, clock, logger, failover, inventories, onNews } = options;
  const requested = new Map<string, { readonly epoch: number; readonly atMs: number }>();
  return new Migrations({
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
    failpoints: failpointsOf(config),
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
      onEnded(job);
    },
  });
}
