// Everything whose delay means something, in one place: leases asked for and granted (R14), the clock that they count
// on (R17), looks at etcd (R15), reports to the coordinator (R10, R27), and what it commands (R11, R29).
import type { Member, VersionedRecord } from '@atoll/core-membership';
import { ClockGuard, type ClockReading, type Moment } from '@atoll/core-replication';
import { nodeKey, type ClusterChange, type ClusterView, type GuardedMetadataStore } from '@atoll/platform-etcd';
import type { Logger, Metrics } from '@atoll/platform-telemetry';
import type { Config } from '../config.ts';
import type { Discards } from '../discards/discards.ts';
import type { DiskHealth } from '../disk-health.ts';
import type { HostedKeyspace } from '../hosted-keyspace.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import type { OfficeKeeper, ReplicaHost } from '../replica-host.ts';
import { readMoment, type TurnEnd } from '../turn.ts';
import type { CoordinatorFence } from './coordinator-fence.ts';
import { EtcdContact } from './etcd-contact.ts';
import { FenceReads } from './fence-reads.ts';
import { FencedPartitions } from './fenced-partitions.ts';
import { createHandOverHandler } from './hand-over.ts';
import { LeaseGrants } from './lease-grants.ts';
import { LeaseLinks } from './lease-links.ts';
import { LoopLag } from './loop-lag.ts';
import { Prober } from './prober.ts';
import { RemovalQuestions } from './removal-questions.ts';
import { createReportHandler } from './report-streams.ts';
import { Reporter } from './reporter.ts';

export interface HeartbeatsOptions {
  readonly config: Pick<Config, 'id' | 'leaseMs' | 'clockDriftMs' | 'followerAckTimeoutMs' | 'takeOfficeMs' | 'fenceAfterMs'>;
  readonly incarnation: string;
  readonly view: ClusterView;
  readonly store: GuardedMetadataStore;
  readonly host: ReplicaHost;
  readonly fence: CoordinatorFence;
  readonly disk: DiskHealth;
  readonly discards: Discards;
  readonly turn: TurnEnd;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly random: () => number;
  readonly readClocks: () => ClockReading;
  /** By how many ms the event loop was late, 100 times a second. */
  readonly onLoopLag: (lateMs: number) => void;
}

export class Heartbeats implements OfficeKeeper {
  /** Handlers of the service `Heartbeat`. */
  readonly lease: LeaseGrants['lease'];
  readonly report: ReturnType<typeof createReportHandler>;
  readonly probe: Prober['probe'];
  readonly handOver: ReturnType<typeof createHandOverHandler>;
  readonly #options: HeartbeatsOptions;
  readonly #links: LeaseLinks;
  readonly #grants: LeaseGrants;
  readonly #guard: ClockGuard;
  readonly #reads: FenceReads;
  readonly #etcd: EtcdContact;
  readonly #questions: RemovalQuestions;
  readonly #fenced = new FencedPartitions();
  readonly #lag: LoopLag;
  readonly #clockJumps: { add(): void };
  /** Nodes that said that they stop, gone by now or not, and have not come back. A name per node of the cluster. */
  readonly #stopped = new Set<string>();
  #isCheckScheduled = false;

  constructor(options: HeartbeatsOptions) {
    const { config, incarnation, view, store, host, fence, disk, discards, turn, metrics, random } = options;
    this.#lag = new LoopLag(options.onLoopLag);
    const { clusterId } = view;
    const { leaseMs, clockDriftMs: driftMs } = config;
    this.#options = options;
    this.#guard = new ClockGuard({ leaseMs, driftMs });
    this.#links = new LeaseLinks({
      clusterId,
      node: config.id,
      incarnation,
      leaseMs,
      driftMs,
      random,
      addressOf: (node) => view.nodes().get(node)?.address,
      turn,
      replicas: () => host.replicas(),
    });
    this.#grants = new LeaseGrants({
      clusterId,
      host,
      granted: metrics.counter('atoll_lease_grants_total', { description: 'Leases that replicas of this node granted to leaders elsewhere, one per partition and beat.' }),
    });
    this.#clockJumps = metrics.counter('atoll_clock_jumps_total', { description: 'Times that the clock of leases had stood still, or the wall clock was set: all leases held were dropped.' });
    this.#reads = new FenceReads({
      store,
      fenceAfterMs: config.fenceAfterMs,
      driftMs,
      keyspaces: () => host.keyspaces(),
      onRecord: (record) => this.#onNews(record),
      onRead: (keyspace) => this.#tellLeaders(keyspace.replicas()),
    });
    this.#etcd = new EtcdContact({ store, key: nodeKey(config.id) });
    this.#questions = new RemovalQuestions({ validMs: config.followerAckTimeoutMs });
    const reporter = new Reporter({
      incarnation,
      host,
      lag: this.#lag,
      disk,
      store,
      etcd: this.#etcd,
      links: this.#links,
      questions: this.#questions,
      fenced: this.#fenced,
      discards,
      takeOfficeMs: config.takeOfficeMs,
    });
    const prober = new Prober({ incarnation });
    this.lease = this.#grants.lease;
    this.report = createReportHandler({ clusterId, host, fence, store, reporter, questions: this.#questions, discards, onNews: (record) => this.#onNews(record) });
    this.probe = (request) => prober.probe(request);
    this.handOver = createHandOverHandler({ host, fence, store });
    for (const name of view.keyspaces().keys()) for (const record of view.partitions(name)) this.#fenced.onRecord(record);
  }

  leaseUntilMs(hosted: HostedReplica, member: Member, epoch: number): number {
    return this.#links.leaseUntilMs(hosted, member, epoch);
  }

  fenceUntilMs(hosted: HostedReplica, keyspace: HostedKeyspace): number {
    return this.#reads.untilMs(hosted, keyspace);
  }

  /** Whether the node said that it stops: it comes back as another process, if at all. */
  hasStopped(node: string): boolean {
    return this.#stopped.has(node);
  }

  askRemoval(hosted: HostedReplica, member: Member): void {
    const nowMs = performance.now();
    // Who said that it stops is no sign of a broken network here.
    if (this.hasStopped(member.node)) hosted.replica.leader?.onRemovalAnswer(member.replica, true, nowMs);
    else this.#questions.ask(hosted, member, nowMs);
  }

  noteOffices(): void {
    this.#links.noteChanged();
    if (this.#isCheckScheduled) return;
    this.#isCheckScheduled = true;
    this.#options.turn.schedule(() => {
      this.#isCheckScheduled = false;
      this.#reads.check(performance.now());
    });
  }

  noteRules(replicas: Iterable<HostedReplica>): void {
    this.#tellLeaders(replicas);
  }

  /** What the watch brought. */
  onChanges(changes: readonly ClusterChange[]): void {
    const { view } = this.#options;
    for (const change of changes) {
      if (change.kind === 'node') this.#onNode(change.id);
      if (change.kind !== 'partition') continue;
      const record = view.partition(change.keyspace, change.partition);
      if (record === undefined) this.#fenced.onGone(change.keyspace, change.partition);
      else this.#fenced.onRecord(record);
    }
  }

  #onNode(id: string): void {
    const node = this.#options.view.nodes().get(id);
    if (node?.phase === 'STOPPING') this.#stopped.add(id);
    else if (node !== undefined) this.#stopped.delete(id);
  }

  /** To be called every heartbeat interval, before the replicas are told the time. */
  tick({ monotonicMs }: Moment): void {
    this.#checkClock(monotonicMs);
    this.#links.tick(monotonicMs);
    this.#reads.check(monotonicMs);
  }

  /** To be called before an office serves a request, with the clocks as read behind its arrival (R16, R17). */
  beforeServing(now: Moment): void {
    // In a long turn the time at which it began looks like a jump with every operation: read once more before a look.
    if (this.#guard.isLookDue(now) && this.#guard.isLookDue(readMoment())) this.#checkClock(now.monotonicMs);
  }

  #checkClock(nowMs: number): void {
    const jumpMs = this.#guard.check(this.#options.readClocks());
    if (jumpMs === 0) return;
    this.#clockJumps.add();
    this.#options.logger.warn({ jumpMs: Math.round(jumpMs) }, 'a clock jumped: all leases held are dropped (R17)');
    this.#links.dropAll(nowMs);
  }

  close(): void {
    this.#links.close();
    this.#reads.close();
    this.#etcd.close();
    this.#lag.close();
  }

  #onNews(record: VersionedRecord): void {
    this.#fenced.onRecord(record);
    this.#options.host.onNews(record);
  }

  #tellLeaders(replicas: Iterable<HostedReplica>): void {
    const nowMs = performance.now();
    for (const { replica } of replicas) replica.leader?.onLeaseChanged(nowMs);
  }
}
