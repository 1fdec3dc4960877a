// One term as the elected coordinator: from the election to the moment when it is, or may be, lost. Everything
// that a term knows beyond etcd (inventories, plans, who is away since when) begins anew with it.
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordNews } from '@atoll/contracts/atoll/v1/heartbeat';
import { AtollError, isAtollError } from '@atoll/core-errors';
import {
  PlacementPlans,
  createKeyspaceSpec,
  decide,
  membersOf,
  nameOf,
  resolveKeyspace,
  type Action,
  type ClusterState,
  type KeyspaceSpec,
  type NodeSpec,
  type NodeVerdict,
  type PartitionRecord,
  type ReportedMark,
  type VersionedRecord,
} from '@atoll/core-membership';
import type { PlannedMoves, PlannedRebalance, ReplaceAsk } from '@atoll/core-migration';
import { DEFAULT_KEYSPACE, randomHex, type Clock, type Random } from '@atoll/core-runtime';
import { NODES_PREFIX, PARTITIONS_PREFIX, encodePartitionRecord, parseNodeRecord, parsePartitionKey, parsePartitionRecord, partitionKey, type ClusterView, type Comparison, type ElectionTerm, type GuardedMetadataStore } from '@atoll/platform-etcd';
import type { Logger, Telemetry } from '@atoll/platform-telemetry';
import { KeyspaceStore } from './adapters/keyspace-store.ts';
import { HandOverCalls } from './adapters/hand-over-calls.ts';
import { NodeInventories } from './adapters/node-inventories.ts';
import { RecordWriter, isWrite, type RecordAction, type Written } from './adapters/record-writer.ts';
import type { ConnectPeer } from './adapters/replication-peer.ts';
import type { Config } from './config.ts';
import type { CoordinatorMetrics } from './coordinator-metrics.ts';
import { Attendance } from './domain/attendance.ts';
import { LastSeen } from './domain/last-seen.ts';
import { needsRecovery, planRecovery, type RecoveryPlan } from './domain/recovery-plan.ts';
import type { Events } from './events.ts';
import { Failover } from './failover.ts';
import { FailoverSpans } from './failover-spans.ts';
import { TermCopies } from './copy/term-copies.ts';
import { HandOverSpans } from './hand-over-spans.ts';
import { Wake } from './loops/wake.ts';
import { ReplicaVerification } from './verify/replica-verification.ts';
import { failpointsOf } from './migration/failpoints.ts';
import { TermMigrations } from './migration/term-migrations.ts';
import { NodeWatch } from './node-watch.ts';

/** A new term hears every node before it decides, or waits for so many times the verdict that a node is DOWN (R13). */
const HEAR_DOWNS_MAX = 2;
/** While offices are handed over, changes of records are looked at so often only, in ms. */
const SPREADING_ROUND_MS = 100;
/** Longest wait for the view to show what was just written; then the next decision rests on less and may be refused. */
const VIEW_LAG_MS_MAX = 2000;

export interface TermOfOfficeOptions {
  readonly term: ElectionTerm;
  readonly store: GuardedMetadataStore;
  readonly view: ClusterView;
  readonly config: Config;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Pick<Telemetry, 'tracing'>;
  readonly logger: Logger;
  readonly metrics: CoordinatorMetrics;
  readonly events: Events;
  readonly connect: ConnectPeer;
}

export class TermOfOffice {
  readonly keyspaces: KeyspaceStore;
  readonly failover: Failover;
  /** Comparison and repair of replicas (R34). */
  readonly verification: ReplicaVerification;
  readonly migrations: TermMigrations;
  /** Keyspaces that are filled from others (R37). */
  readonly copies: TermCopies;
  readonly #options: TermOfOfficeOptions;
  readonly #inventories: NodeInventories;
  readonly #watch: NodeWatch;
  readonly #failoverSpans: FailoverSpans;
  readonly #writer: RecordWriter;
  readonly #lastSeen = new LastSeen();
  readonly #attendance: Attendance;
  readonly #plans = new PlacementPlans({ movesByMigration: true });
  readonly #wake = new Wake();
  readonly #loop: Promise<void>;
  /** Keyspaces that have, or had, records. */
  readonly #names = new Set<string>();
  /** Nodes whose word on etcd is being looked at. */
  readonly #hearing = new Set<string>();
  readonly #ending = new AbortController();
  #isEnded = false;

  constructor(options: TermOfOfficeOptions) {
    const { term, store, config, connect, logger } = options;
    this.#options = options;
    this.keyspaces = new KeyspaceStore(store, term.comparison);
    this.#writer = new RecordWriter({ store, election: term.comparison, isDeleting: (id) => this.keyspaces.isDeleting(id) });
    this.#attendance = new Attendance(config);
    this.#inventories = new NodeInventories({
      connect,
      revision: term.revision,
      refreshMs: config.inventoryMs,
      onChange: () => this.#wake.now(),
      onProblem: (node, err) => logger.warn({ node, err }, 'a node does not say what it holds'),
    });
    this.#watch = new NodeWatch({
      view: options.view,
      id: config.common.id,
      revision: term.revision,
      config,
      clock: options.clock,
      onVerdicts: (changes) => {
        for (const change of changes) options.events.verdictChanged(change);
        this.#wake.now();
      },
      onNews: () => this.#wake.now(),
      onMetadata: (node, said) => void this.#hear(node, said),
      onDiscards: (node, discards) => discards.forEach((each) => options.events.dataDiscarded(node, each)),
      onProblem: (node, err) => logger.debug({ node, err }, 'a stream of reports ended'),
    });
    this.#failoverSpans = new FailoverSpans({ tracing: options.telemetry.tracing, verdictOf: (node) => this.#watch.verdicts().get(node) });
    this.failover = new Failover({
      random: options.random,
      config,
      nowMs: () => options.clock.monotonicMs(),
      watch: this.#watch,
      calls: new HandOverCalls(term.revision),
      spans: new HandOverSpans(options.telemetry.tracing, ({ keyspace, partition }) => this.migrations.store.operatorOf(keyspace, partition)?.traceparent),
      state: () => this.#state(),
      read: (keyspace, partition) => this.#readRecord(keyspace, partition),
      write: (actions) => this.#failoverSpans.around(actions, new Map(), (traced) => this.#writer.writeRecords(traced)),
      onWritten: (written, handOvers) => this.#afterWrites(written, new Map(handOvers.map(({ record }) => [nameOf(record), record]))),
      onNews: () => this.#wake.now(),
      onProblem: ({ record: { keyspace, partition, epoch }, target, reason }, problem) =>
        logger.warn({ keyspace, partition, epoch, target: target.node, reason, problem }, 'an office was not handed over'),
    });
    this.verification = new ReplicaVerification({
      ...options,
      revision: term.revision,
      isHeld: () => this.isHeld(),
      onReport: (report) => options.events.replicasCompared(report),
    });
    this.migrations = new TermMigrations({ ...options, metrics: options.metrics.migration, failover: this.failover, inventories: this.#inventories, plans: this.#plans, setWanted: (spec, state) => this.setWanted(spec, state), onNews: () => this.#wake.now() });
    this.copies = new TermCopies({ ...options, failpoints: failpointsOf(config), election: term.comparison, keyspaces: this.keyspaces, nodeCallMs: config.nodeCallMs, fenceAfterMs: config.fenceAfterMs, wallMs: () => options.clock.wallMs(), nowMs: () => options.clock.monotonicMs(), writeRecords: (records) => this.#writeRecords(records), isSettled: (versioned) => this.#writer.isSettled(versioned), onNews: (inMs = 0) => (inMs === 0 ? this.#wake.now() : this.#wake.soon(inMs)) });
    this.#loop = this.#run();
  }

  /** Undefined for a node that this term has not judged yet. */
  verdict(node: string): NodeVerdict | undefined {
    return this.#watch.verdicts().get(node);
  }

  isHeld(): boolean {
    return !this.#isEnded && this.#options.term.isHeld();
  }

  /** Stops deciding. Resolves when nothing is under way any more. */
  async end(): Promise<void> {
    this.#isEnded = true;
    this.#ending.abort();
    this.#inventories.close();
    this.#watch.close();
    this.failover.close();
    this.migrations.end();
    this.copies.end();
    this.#wake.now();
    await this.verification.end();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { view, config, logger, store } = this.#options;
    const unsubscribe = view.subscribe((changes) => {
      // Records that offices which go on bring forth: writes wait meanwhile, and decisions take the processor away from them (R29).
      if (this.failover.isSpreading && changes.every(({ kind }) => kind === 'partition')) this.#wake.soon(SPREADING_ROUND_MS);
      else this.#wake.now();
    });
    try {
      await this.#pause(config.graceMs);
      await this.#takeOver();
      await this.#untilHeard();
      let isFailing = false;
      while (!this.#isEnded) {
        try {
          if (this.isHeld() && view.connected && !store.isRegressed) await this.#round();
          isFailing = false;
        } catch (err) {
          if (!isFailing) logger.warn({ err }, 'decisions cannot be carried out; tried again until they can');
          isFailing = true;
        }
        await this.#wake.wait(config.tickMs);
      }
    } finally {
      unsubscribe();
    }
  }

  /** Nodes remember what etcd showed: nothing is decided on less (R13). */
  async #hear(node: string, { mark, reasons }: ReportedMark): Promise<void> {
    if (this.#hearing.has(node)) return;
    this.#hearing.add(node);
    await this.#options.store.hear({ source: `node ${node}`, mark, reasons }).catch(() => undefined);
    this.#hearing.delete(node);
  }

  async #untilHeard(): Promise<void> {
    const { config, clock } = this.#options;
    const endsAtMs = clock.monotonicMs() + HEAR_DOWNS_MAX * config.downAfterMs;
    while (!this.#isEnded && !this.#watch.haveAllReported() && clock.monotonicMs() < endsAtMs) await this.#pause(config.heartbeatMs / 2);
  }

  /** Compared in every transaction of this term (R11). */
  get election(): Comparison {
    return this.#options.term.comparison;
  }

  /** The configuration was rebuilt (R13). */
  noteRecovery(keyspaces: number, partitions: number): void {
    this.#options.events.metadataRecovered(keyspaces, partitions);
  }

  /** Nodes that hold etcd to have gone back, as they last reported. */
  regressedNodes(): ReadonlySet<string> {
    return new Set([...this.#watch.reports()].filter(([, { metadata }]) => metadata !== undefined && metadata.reasons.length > 0).map(([id]) => id));
  }

  wallMs(): number {
    return this.#options.clock.wallMs();
  }

  /** There may be something new to decide. */
  wake(): void {
    this.#wake.now();
  }

  /** What would be moved in these keyspaces, in order of urgency. */
  planRebalance(keyspaces: readonly string[]): PlannedRebalance {
    return this.migrations.planRebalance(this.failover.complete(this.#state()), keyspaces);
  }

  /** What the replacement of a node would move, in all keyspaces. */
  planReplace(ask: ReplaceAsk): PlannedMoves {
    return this.migrations.planReplace(this.failover.complete(this.#state()), ask);
  }

  /** What this process believes of registrations must not be older than its election. */
  async #takeOver(): Promise<void> {
    const { store, view, logger, config } = this.#options;
    while (!this.#isEnded) {
      try {
        await this.keyspaces.loadDeletions();
        await this.migrations.takeOver();
        await this.copies.store.refresh();
        for (const { key } of (await store.list(PARTITIONS_PREFIX)).values) {
          const at = parsePartitionKey(key);
          if (at !== undefined) this.#names.add(at.keyspace);
        }
        const { values } = await store.list(NODES_PREFIX);
        const records = values.map(({ value }) => parseNodeRecord(value)).filter((parsed) => parsed.kind === 'parsed');
        await this.#viewShows(() => records.every(({ value: { id, incarnation } }) => view.nodes().get(id)?.incarnation === incarnation));
        return;
      } catch (err) {
        // That etcd went back was told once, and may last (R13).
        if (!store.isRegressed) logger.warn({ err }, 'cannot take over yet');
        await this.#pause(config.tickMs);
      }
    }
  }

  async #round(): Promise<void> {
    const { view, clock, config, random, telemetry } = this.#options;
    const nowMs = clock.monotonicMs();
    await this.copies.settle();
    this.#attendance.take(view.nodes(), view.nodeSpecs(), nowMs);
    this.#inventories.sync(view.nodes(), nowMs);
    const base = this.#state();
    this.#lastSeen.take(base);
    const state = this.failover.complete(base);
    const isSettled = this.#attendance.isSettled(nowMs) || [...state.partitions.values()].some((records) => records.length > 0);
    if (isSettled) await this.#ensureDefault(state);
    const migrating = this.migrations.placements(state);
    const actions = decide(state, { random, plans: this.#plans, isSettled, learnersPerNodeMax: config.learnersPerNodeMax, migrating });
    if (actions.some(({ kind }) => kind !== 'migrate') || this.keyspaces.deletions().length > 0) {
      await telemetry.tracing.withSpan('coordinator.decisions', { 'atoll.actions': actions.length }, async () => {
        await this.#execute(actions, nowMs);
        await this.#finishDeletions();
      });
    }
    const after = { ...this.#state(), failover: state.failover };
    await this.migrations.step(actions, after, nowMs);
    await this.copies.step(nowMs);
    this.failover.begin(after, new Set(this.migrations.placements(after).keys()));
  }

  #state(): Omit<ClusterState, 'failover'> {
    const { view, clock } = this.#options;
    for (const name of view.keyspaces().keys()) this.#names.add(name);
    const keyspaces = new Map([...this.copies.withPlacesTaken(view.keyspaces())].filter(([, spec]) => !this.keyspaces.isDeleting(spec.id)));
    return {
      nodes: view.nodes(),
      specs: view.nodeSpecs(),
      keyspaces,
      partitions: new Map([...this.#names].map((name) => [name, view.partitions(name)])),
      inventories: this.#inventories.current(),
      writtenOff: this.#attendance.writtenOff(clock.monotonicMs()),
      verdicts: this.#watch.verdicts(),
    };
  }

  /** `default` always exists; it is made as soon as somebody can hold it. */
  async #ensureDefault(state: ClusterState): Promise<void> {
    if (state.inventories.size === 0 || resolveKeyspace(this.#options.view.keyspaces(), DEFAULT_KEYSPACE) !== undefined) return;
    const { config, random } = this.#options;
    await this.createKeyspace(createKeyspaceSpec({ name: DEFAULT_KEYSPACE, id: randomHex(random, 8), ...config.defaultKeyspace })).catch(ignoreExisting);
  }

  /** Throws as KeyspaceStore.create. The loop places its partitions. */
  async createKeyspace(spec: KeyspaceSpec): Promise<void> {
    await this.keyspaces.create(spec);
    this.#options.events.keyspaceCreated(spec.name);
  }

  /** Its freeze began, or ended. */
  noteFrozen(spec: KeyspaceSpec): void {
    this.#options.events.keyspaceFrozen(spec);
  }

  /** Why some node refuses to hold replicas of the keyspace: a cause that waiting does not cure. */
  refusalOf(keyspaceId: string): { readonly node: string; readonly error: AtollError } | undefined {
    return this.#inventories.refusalOf(keyspaceId);
  }

  /** Throws as KeyspaceStore.markDeleted. The loop removes its records, then the keyspace. */
  async deleteKeyspace(name: string): Promise<void> {
    await this.keyspaces.markDeleted(name);
    this.#wake.now();
  }

  /** What operators want of a node. Throws METADATA_CONFLICT when its spec was changed meanwhile, or the outcome is unknown. */
  async setWanted(previous: NodeSpec, state: NodeSpec['state']): Promise<void> {
    if (previous.state === state) return;
    const spec = { ...previous, state };
    const written = await this.#writer.writeSpecs([{ kind: 'writeSpec', spec, previous, news: 'UPDATED' }]);
    if (written.length === 0) throw new AtollError('METADATA_CONFLICT', `node ${spec.id}: its spec was changed meanwhile, or it is not known whether this change was written`);
    this.#options.events.nodeWanted(spec);
    await this.#viewShows(() => this.#options.view.nodeSpecs().get(spec.id)?.state === state);
    this.#wake.now();
  }

  /** For the partitions named, or for all that need it. */
  planRecoveries(keyspace: string, partitions: readonly number[]): readonly { readonly plan: RecoveryPlan; readonly isNeeded: boolean }[] {
    const state = this.failover.complete(this.#state());
    return (state.partitions.get(keyspace) ?? [])
      .map(({ record }) => ({ record, isNeeded: needsRecovery(state, record) }))
      .filter(({ record, isNeeded }) => (partitions.length === 0 ? isNeeded : partitions.includes(record.partition)))
      .map(({ record, isNeeded }) => ({ plan: planRecovery(state, record, (replica) => this.#lastSeen.of(replica)), isNeeded }));
  }

  async #execute(actions: readonly Action[], nowMs: number): Promise<void> {
    const { events, metrics } = this.#options;
    for (const action of actions) if (action.kind === 'ensure') this.#inventories.ensure(action, nowMs);
    const specActions = actions.filter((action) => action.kind === 'writeSpec');
    for (const { action } of await this.#writer.writeSpecs(specActions)) {
      metrics.decided('NODE_SPEC');
      events.nodeChanged(action);
    }
    const recordActions = actions.filter((action) => action.kind === 'writeRecord' || action.kind === 'removeRecord');
    await this.#writeRecords(recordActions);
  }

  async #writeRecords(actions: readonly RecordAction[]): Promise<void> {
    const { view } = this.#options;
    const former = new Map(actions.map(({ record }) => [nameOf(record), view.partition(record.keyspace, record.partition)?.record]));
    const written = await this.#failoverSpans.around(actions, former, (traced) => this.#writer.writeRecords(traced));
    await this.#afterWrites(written, former);
  }

  /** Tells who must know, and waits until the view shows what was written. */
  async #afterWrites(written: readonly Written<RecordAction>[], former: ReadonlyMap<string, PartitionRecord | undefined>): Promise<void> {
    const { events, metrics } = this.#options;
    this.#tellMembers(written, former);
    for (const { action } of written) {
      metrics.decided(action.decision);
      this.#forgetUnnamed(former.get(nameOf(action.record)), action);
    }
    const writes = written.filter(isWrite).map(({ action }) => ({ ...action, former: former.get(nameOf(action.record)) }));
    events.recordsWritten(writes, (replica) => this.#lastSeen.of(replica));
    await this.#viewShows(() => written.every((one) => this.#isShown(one)));
  }

  async #readRecord(keyspace: string, partition: number): Promise<VersionedRecord | undefined> {
    const stored = await this.#options.store.get(partitionKey(keyspace, partition));
    const parsed = stored && parsePartitionRecord(stored.value);
    return parsed?.kind === 'parsed' ? { record: parsed.value, modRevision: stored!.modRevision } : undefined;
  }

  async #finishDeletions(): Promise<void> {
    for (const name of this.keyspaces.deletions()) {
      if (this.#options.view.partitions(name).length > 0 || !(await this.keyspaces.finishDeletion(name))) continue;
      this.#options.events.keyspaceDeleted(name);
    }
  }

  /** The nodes that a record names or named hear of it at once, however slow their watches are (R27). */
  #tellMembers(written: readonly Written<RecordAction>[], former: ReadonlyMap<string, PartitionRecord | undefined>): void {
    const newsOf = new Map<string, Map<string, RecordNews>>();
    for (const { action, revision } of written) {
      if (action.kind !== 'writeRecord') continue;
      const name = nameOf(action.record);
      const news: RecordNews = { record: encodePartitionRecord(action.record), modRevision: revision };
      for (const { node } of [...membersOf(action.record), ...membersOf(former.get(name) ?? action.record)]) {
        const ofNode = newsOf.get(node) ?? new Map<string, RecordNews>();
        newsOf.set(node, ofNode.set(name, news));
      }
    }
    for (const [node, news] of newsOf) this.#watch.tellRecords(node, news);
  }

  /** A node drops what no record names; it must be asked for a replica again before one is named there. */
  #forgetUnnamed(former: PartitionRecord | undefined, action: RecordAction): void {
    if (former === undefined) return;
    const remaining = action.kind === 'removeRecord' ? [] : membersOf(action.record);
    for (const { node } of membersOf(former)) {
      if (!remaining.some((member) => member.node === node)) this.#inventories.forget(node, nameOf(former));
    }
  }

  #isShown({ action, revision }: Written<RecordAction>): boolean {
    const shown = this.#options.view.partition(action.record.keyspace, action.record.partition);
    return action.kind === 'removeRecord' ? shown === undefined : (shown?.modRevision ?? 0) >= revision;
  }

  /** Waits until the view has caught up with what is known to be in etcd. */
  async #viewShows(isShown: () => boolean): Promise<void> {
    if (isShown()) return;
    const caughtUp = Promise.withResolvers<void>();
    const unsubscribe = this.#options.view.subscribe(() => {
      if (isShown()) caughtUp.resolve();
    });
    await Promise.race([caughtUp.promise, this.#pause(VIEW_LAG_MS_MAX)]);
    unsubscribe();
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#ending.signal, ref: false }).catch(() => undefined);
  }
}

function ignoreExisting(error: unknown): void {
  if (!isAtollError(error) || error.reason !== 'KEYSPACE_EXISTS') throw error;
}
