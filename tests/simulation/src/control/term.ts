// One term of the elected coordinator: production's detector and decisions, and the shell of both in small.
import {
  FailureDetector,
  LeaderCounts,
  PlacementPlans,
  decide,
  nameOf,
  partitionName,
  planHandOvers,
  type Action,
  type ClusterState,
  type FailoverState,
  type KeyspaceSpec,
  type NodeInventory,
  type NodeReport,
  type PartitionRecord,
  type Probe,
  type VersionedRecord,
} from '@atoll/core-membership';
import type { Compare } from '../base/sim-etcd.ts';
import { KEYSPACE, keyspaceKey, partitionKey, slotOf, specKey } from '../names.ts';
import { SETTINGS } from '../plan.ts';
import type { World } from '../world.ts';
import { TermCopies } from '../copy/term-copies.ts';
import { TermMigrations } from './term-migrations.ts';
import { ReportStreams } from './report-streams.ts';
import type { SimCoordinator } from './sim-coordinator.ts';
import { Transfers } from './transfers.ts';

export class Term {
  readonly revision: number;
  readonly detector: FailureDetector;
  readonly coordinator: SimCoordinator;
  readonly #world: World;
  readonly #fence: Compare;
  readonly #streams: ReportStreams;
  readonly migrations: TermMigrations;
  readonly copies: TermCopies;
  readonly #plans = new PlacementPlans({ movesByMigration: true });
  readonly #inventories = new Map<string, NodeInventory>();
  readonly #asked = new Map<string, number>();
  readonly #passedOver = new Map<string, number>();
  readonly #fencing = new Map<string, { readonly epoch: number; readonly sinceMs: number }>();
  readonly #awaySinceMs = new Map<string, number>();
  readonly #outSinceMs = new Map<string, number>();
  readonly #transfers: Transfers;
  readonly #requested = new Map<string, string>();
  /** Of writes of records whose answers were lost: by slot, the highest revision that one of them compares. */
  readonly #unknown = new Map<number, number>();
  readonly #startedMs: number;
  #underWay = 0;
  #isEnded = false;
  #isDue = false;
  /** Something was to be decided while steps of migrations were written. */
  #isMissed = false;

  constructor(options: { world: World; coordinator: SimCoordinator; fence: { readonly key: string; readonly createRevision: number } }) {
    this.#world = options.world;
    this.coordinator = options.coordinator;
    this.#fence = options.fence;
    this.revision = options.fence.createRevision;
    this.#startedMs = this.nowMs;
    const { suspectAfterMs, graceMs, etcdLostMs, heartbeatMs } = SETTINGS;
    const { downAfterMs } = this.#world.plan;
    this.detector = new FailureDetector({ suspectAfterMs, downAfterMs, graceMs, etcdLostMs, tickMs: heartbeatMs }, this.nowMs);
    this.#streams = new ReportStreams({ world: this.#world, term: this });
    this.#transfers = new Transfers({ world: this.#world, term: this, requested: this.#requested });
    this.migrations = new TermMigrations({ world: this.#world, term: this });
    this.copies = new TermCopies({ world: this.#world, term: this });
  }

  get nowMs(): number {
    return this.coordinator.clock.monotonicMs;
  }

  get isActing(): boolean {
    return !this.#isEnded && this.coordinator.isHeld() && !this.coordinator.etcd.isRegressed;
  }

  get isOver(): boolean {
    return this.#isEnded;
  }

  /** What every write of this office compares (R11). */
  get compares(): readonly Compare[] {
    return this.#world.mutant?.ignoresElection === true ? [] : [this.#fence];
  }

  end(): void {
    this.#isEnded = true;
    this.#streams.close();
  }

  /** Something changed that decisions rest on. */
  wake(): void {
    if (this.#isDue || this.#isEnded) return;
    this.#isDue = true;
    this.coordinator.after(5, () => {
      this.#isDue = false;
      this.#round();
    });
  }

  /** Somebody wants another leader: `node`, or any other. */
  request({ keyspace, partition }: Pick<PartitionRecord, 'keyspace'> & { readonly partition: number }, node = ''): void {
    this.#requested.set(partitionName(keyspace, partition), node);
    this.wake();
  }

  tick(isEtcdConnected: boolean): void {
    const { view } = this.coordinator;
    this.#streams.follow();
    this.detector.setNodes(view.nodes, view.specs, this.nowMs);
    this.#streams.beat();
    const { changes, probes } = this.detector.tick(this.nowMs, { isEtcdConnected });
    for (const probe of probes) this.#probe(probe);
    this.#refreshInventories();
    if (this.#world.hasCopies) this.copies.tick();
    if (changes.length > 0 || this.#world.dice.chance(0.3)) this.#round();
  }

  onReport(node: string, report: NodeReport, beatMs: number): void {
    this.detector.onReport(node, report, { beatMs, nowMs: this.nowMs });
    for (const { keyspace, partition, epoch } of report.stuckOffices) this.#passedOver.set(partitionName(keyspace, partition), epoch);
    for (const question of report.questions) {
      const isUp = this.detector.verdicts().get(question.node)?.state === 'UP';
      const mayRemove = !isUp || this.#world.dice.chance(0.7);
      if (!mayRemove) this.#passedOver.set(partitionName(question.keyspace, question.partition), question.epoch);
      this.#streams.answer(node, { keyspace: question.keyspace, partition: question.partition, epoch: question.epoch, replica: question.replica, mayRemove });
    }
    if (report.stuckOffices.length + report.questions.length + report.stopped.length > 0) this.wake();
  }

  #probe(probe: Probe): void {
    const { network } = this.#world;
    const via = this.#world.nodeOf(probe.via);
    let isAnswered = false;
    const answer = (outcome: Parameters<FailureDetector['onProbe']>[1]): void => {
      if (isAnswered || this.#isEnded) return;
      isAnswered = true;
      this.detector.onProbe(probe, outcome, this.nowMs);
    };
    this.coordinator.after(2 * SETTINGS.suspectAfterMs, () => answer({ kind: 'FAILED' }));
    if (via === undefined) return;
    network.send(this.coordinator, via, () => {
      let isHeard = false;
      const tell = (outcome: Parameters<typeof answer>[0]): void => {
        if (isHeard) return;
        isHeard = true;
        network.send(via, this.coordinator, () => answer(outcome));
      };
      via.after(SETTINGS.suspectAfterMs, () => tell({ kind: 'SILENT' }));
      const target = this.#world.nodeOf(probe.target);
      const isCut = network.isCut(via.id, probe.target) || network.isCut(probe.target, via.id);
      if (target === undefined) {
        if (!isCut) tell({ kind: 'REFUSED' });
        return;
      }
      network.send(via, target, () => network.send(target, via, () => tell({ kind: 'ANSWERED', incarnation: target.incarnation })));
    });
  }

  // --- inventories ------------------------------------------------------------------------------------------------

  #refreshInventories(): void {
    for (const [id, { incarnation }] of this.coordinator.view.nodes) {
      const isKnown = this.#inventories.get(id)?.incarnation === incarnation;
      const everyMs = isKnown ? SETTINGS.inventoryMs * 4 : SETTINGS.inventoryMs;
      if (this.nowMs - (this.#asked.get(id) ?? Number.NEGATIVE_INFINITY) > everyMs) this.#ask(id, []);
    }
  }

  #ask(id: string, slots: readonly number[]): void {
    const { network } = this.#world;
    const node = this.#world.nodeOf(id);
    this.#asked.set(id, this.nowMs);
    if (node === undefined) return;
    network.send(this.coordinator, node, () => {
      if (!node.reports.accepts(this.revision)) return;
      const inventory = node.ensure(slots);
      if (inventory === undefined) return;
      network.send(node, this.coordinator, () => {
        if (this.#isEnded) return;
        this.#inventories.set(id, inventory);
        if (slots.length > 0) this.wake();
      });
    });
  }

  // --- decisions --------------------------------------------------------------------------------------------------

  #round(): void {
    if (!this.isActing || this.nowMs - this.#startedMs < SETTINGS.graceMs / 2) return;
    if (!this.migrations.mayDecide || !this.copies.mayDecide) {
      this.#isMissed = true;
      return;
    }
    const state = this.state();
    const { random } = this.#world.dice;
    if (this.migrations.isReplanDue()) for (const keyspace of state.keyspaces.values()) this.#plans.replan(keyspace, { balances: true });
    const migrating = this.migrations.placements(state);
    const actions = decide(state, { random, plans: this.#plans, isSettled: this.nowMs - this.#startedMs > SETTINGS.graceMs, learnersPerNodeMax: SETTINGS.fillsPerNode, migrating });
    for (const action of actions) this.#execute(action, state);
    this.migrations.take(actions.filter((action) => action.kind === 'migrate'));
    if (this.#underWay > 0) return this.#handOver(state);
    this.migrations.step(state, () =>
      this.copies.step(() => {
        if (this.#isMissed) this.wake();
        this.#isMissed = false;
        if (this.isActing) this.#handOver(this.state());
      }),
    );
  }

  #handOver(state: ClusterState): void {
    const leaders = LeaderCounts.count(state.partitions.values());
    const migrating = new Set(this.migrations.placements(state).keys());
    for (const handOver of planHandOvers(state, { active: 'on', requested: this.#requested, leaders, migrating })) this.#transfers.begin(handOver);
  }

  /** As known at this moment. */
  state(): ClusterState {
    const { view } = this.coordinator;
    for (const id of view.specs.keys()) {
      if (view.nodes.has(id)) this.#awaySinceMs.delete(id);
      else if (!this.#awaySinceMs.has(id)) this.#awaySinceMs.set(id, this.nowMs);
    }
    const writtenOff = [...this.#awaySinceMs].filter(([, sinceMs]) => this.nowMs - sinceMs > SETTINGS.reReplicateAfterMs).map(([id]) => id);
    return {
      nodes: view.nodes,
      specs: view.specs,
      keyspaces: this.#keyspaces(),
      partitions: this.#world.hasCopies ? Map.groupBy(view.records(), ({ record }) => record.keyspace) : new Map([[KEYSPACE, view.records()]]),
      inventories: this.#inventories,
      writtenOff: new Set(writtenOff),
      verdicts: this.detector.verdicts(),
      failover: this.#failover(view.records()),
    };
  }

  #keyspaces(): ReadonlyMap<string, KeyspaceSpec> {
    return this.#world.hasCopies ? this.copies.withPlacesTaken(this.coordinator.view.keyspaces) : new Map([[KEYSPACE, this.#world.keyspace]]);
  }

  #failover(records: readonly VersionedRecord[]): FailoverState {
    const fenced = new Map<string, number>();
    const overdue = new Map<string, Set<string>>();
    for (const { record } of records) {
      const name = nameOf(record);
      if (record.state !== 'FENCING') this.#fencing.delete(name);
      else if (this.#fencing.get(name)?.epoch !== record.epoch) this.#fencing.set(name, { epoch: record.epoch, sinceMs: this.nowMs });
      else if (this.nowMs - this.#fencing.get(name)!.sinceMs > SETTINGS.fenceAfterMs) fenced.set(name, record.epoch);
      const out = new Set(record.learners.map(({ node }) => `${name} ${node}`));
      for (const key of this.#outSinceMs.keys()) if (key.startsWith(`${name} `) && !out.has(key)) this.#outSinceMs.delete(key);
      for (const { node } of record.learners) {
        const key = `${name} ${node}`;
        if (!this.#outSinceMs.has(key)) this.#outSinceMs.set(key, this.nowMs);
        else if (this.nowMs - this.#outSinceMs.get(key)! > SETTINGS.reReplicateAfterMs) overdue.set(name, (overdue.get(name) ?? new Set()).add(node));
      }
    }
    const stopped = new Map(
      [...this.#streams.reports()].map(([id, report]) => [id, new Map(report.stopped.map(({ keyspace, partition, epoch }) => [partitionName(keyspace, partition), epoch]))] as const),
    );
    return { passedOver: this.#passedOver, fenced, stopped, recoveries: new Map(), overdue, handingOver: this.#transfers.handingOver };
  }

  #execute(action: Action, state: ClusterState): void {
    const { etcd } = this.coordinator;
    switch (action.kind) {
      case 'ensure':
        if (this.nowMs - (this.#asked.get(action.node) ?? Number.NEGATIVE_INFINITY) > 100) this.#ask(action.node, action.partitions.map((partition) => slotOf({ keyspace: action.keyspace, partition })));
        return;
      case 'writeSpec':
        etcd.transact(
          [...this.compares, { key: specKey(action.spec.id), modRevision: this.coordinator.view.specRevisions.get(action.spec.id) ?? 0 }],
          [{ key: specKey(action.spec.id), value: action.spec, term: this.revision }],
          () => undefined,
        );
        return;
      case 'writeRecord': {
        // Bounded, as production's one round after the other is.
        if (this.#underWay >= 8) return;
        this.#underWay += 1;
        this.#world.trace(`${this.coordinator.id} ${action.decision} ${nameOf(action.record)} epoch ${action.record.epoch}`);
        this.#world.checker.deciding(action, (id) => state.inventories.get(id));
        this.write(slotOf(action.record), { record: this.migrations.twisted(action), modRevision: action.modRevision }, (succeeded) => {
          this.#underWay -= 1;
          if (succeeded) this.wake();
        });
        return;
      }
      case 'migrate':
        return;
      default:
        return this.#remove(action);
    }
  }

  /** Of a keyspace that is gone, as etcd says, and not as a view that may be behind. */
  #remove({ record, modRevision }: Extract<Action, { kind: 'removeRecord' }>): void {
    if (!this.#world.hasCopies) throw new Error(`nobody removes ${nameOf(record)} here`);
    if (this.#underWay >= 8) return;
    this.#underWay += 1;
    const key = partitionKey(slotOf(record));
    this.coordinator.etcd.transact([...this.compares, { key, modRevision }, { key: keyspaceKey(record.keyspace), modRevision: 0 }], [{ key, value: undefined, term: this.revision }], ({ kind }) => {
      this.#underWay -= 1;
      if (kind === 'succeeded') this.wake();
    });
  }

  /** Whether no write of this record whose answer was lost can be carried out any more (R7). */
  isSettled({ record, modRevision }: VersionedRecord): boolean {
    return modRevision > (this.#unknown.get(slotOf(record)) ?? -1);
  }

  /** Writes a record as of this office. */
  write(slot: number, { record, modRevision }: VersionedRecord, done: (succeeded: boolean, revision?: number) => void): void {
    const key = partitionKey(slot);
    this.coordinator.etcd.transact([...this.compares, { key, modRevision }], [{ key, value: record, term: this.revision }], (outcome) => {
      if (outcome.kind === 'succeeded') {
        const stored = { value: record, modRevision: outcome.revision, createRevision: 0, lease: undefined };
        for (const { node } of record.inSync) this.#streams.tellRecord(node, key, stored);
      }
      if (outcome.kind === 'unknown') this.#unknown.set(slot, Math.max(modRevision, this.#unknown.get(slot) ?? 0));
      done(outcome.kind === 'succeeded', outcome.kind === 'succeeded' ? outcome.revision : undefined);
    });
  }
}
