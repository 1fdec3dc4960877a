// A whole cluster over the production cores, in virtual time and from one seed: storage nodes, coordinators, clients,
// etcd and the network between them. Faults for a while, then peace until everything agrees again.
import { createKeyspaceSpec, hasReplica, type KeyspaceSpec, type Member, type PartitionRecord } from '@atoll/core-membership';
import { Dice, EventQueue } from '@atoll/core-replication/testing';
import { randomHex, toReplicaId, type ReplicaId } from '@atoll/core-runtime';
import { hasCopyEnded, type CopyJob, type MigrationJob, type MigrationOperator } from '@atoll/core-migration';
import { HistoryRecorder } from '@atoll/tests-history';
import { Network } from './base/network.ts';
import { SimClock } from './base/sim-clock.ts';
import { SimEtcd } from './base/sim-etcd.ts';
import { describeRecord, describeWorld } from './check/describe-world.ts';
import { checkWorldHistory } from './check/world-history.ts';
import { CopyChecker } from './check/copy-checker.ts';
import { MigrationChecker } from './check/migration-checker.ts';
import { WorldChecker, type ReplicaWhereabouts } from './check/world-checker.ts';
import { makeKeys, type SimKey } from './client/sim-key.ts';
import { SimClient } from './client/sim-client.ts';
import { SimCoordinator } from './control/sim-coordinator.ts';
import { Faults } from './faults/faults.ts';
import type { Mutant } from './mutant.ts';
import { COPIES, ELECTION_KEY, KEYSPACE, KEYSPACES, KEYSPACE_ID, MIGRATIONS, OPERATORS, PARTITIONS, RESULTS, keyspaceKey, partitionKey, slotOf } from './names.ts';
import { toVersioned } from './base/versioned.ts';
import { SimNode, type Remains } from './node/sim-node.ts';
import { drawCopyPlan, drawPlan, type SimPlan } from './plan.ts';

const SETTLE_MS_MAX = 60_000;
const CHECK_MS = 400;
const TRACE_MAX = 4000;

export interface WorldFigures {
  readonly operations: number;
  readonly answered: number;
  readonly committed: number;
  readonly promotions: number;
  readonly installs: number;
  readonly resets: number;
  /** Partitions that a migration moved, and that went back. */
  readonly moved: number;
  readonly movedBack: number;
  /** Copies that took the place of their source, cut-overs that were given up, and places at which copies were compared. */
  readonly cutOvers: number;
  readonly cutOversGivenUp: number;
  readonly comparedPlaces: number;
  readonly simulatedMs: number;
}

export class World {
  readonly dice: Dice;
  readonly plan: SimPlan;
  readonly events = new EventQueue();
  readonly network: Network;
  readonly etcd: SimEtcd;
  readonly checker: WorldChecker;
  readonly migrationChecker: MigrationChecker;
  readonly copyChecker: CopyChecker;
  /** Of nodes whose weight is not 1. */
  readonly weights = new Map<string, number>();
  readonly mutant: Mutant | undefined;
  readonly keyspace: KeyspaceSpec;
  readonly keys: readonly SimKey[];
  readonly history = new HistoryRecorder();
  /** Write ids by place in the history. */
  readonly writeIds = new Map<number, number>();
  readonly faults: Faults;
  isFaulty = true;
  isWriting = true;
  operations = 0;
  answered = 0;
  readonly #clocks = new Map<string, SimClock>();
  readonly #nodes = new Map<string, SimNode>();
  readonly #down = new Map<string, Remains>();
  readonly #coordinators = new Map<string, SimCoordinator>();
  readonly #clients: SimClient[] = [];
  readonly #trace: string[] = [];
  #numbers = 0;

  /** `copies`: the keyspace is copied there, and the copies take its place. */
  constructor(seed: number, options: { mutant?: Mutant | undefined; plan?: Partial<SimPlan> | undefined; copies?: boolean | undefined } = {}) {
    this.dice = new Dice(seed);
    this.plan = { ...(options.copies === true ? drawCopyPlan(this.dice) : drawPlan(this.dice)), ...options.plan };
    const { plan, dice, events } = this;
    this.mutant = options.mutant;
    this.network = new Network({ events, dice, delayMsMax: plan.delayMsMax });
    // The newest that was written, whatever etcd shows after it was set back.
    const records = new Map<string, PartitionRecord>();
    this.checker = new WorldChecker({
      mayLoseData: plan.mayLoseData,
      isResettable: plan.onDataLoss === 'RESET',
      find: (slot, replica) => this.whereabouts(slot, replica),
      tick: () => this.history.tick(),
      recordOf: (slot) => records.get(partitionKey(slot)),
      ...(this.hasCopies && { onCommitted: (slot, model, entry) => this.copyChecker.onCommitted(slot, model, entry) }),
    });
    this.copyChecker = new CopyChecker({ model: (slot, generation) => this.checker.model(slot, generation) });
    const specs = new Map<string, KeyspaceSpec>();
    this.migrationChecker = new MigrationChecker({
      isThere: (slot) => records.has(partitionKey(slot)),
      replicationFactor: plan.replicationFactor,
      read: () => ({
        operators: this.etcd.list(OPERATORS).map(([, { value }]) => value as MigrationOperator),
        jobs: this.etcd.list(MIGRATIONS).map(([, { value }]) => value as MigrationJob),
      }),
    });
    const { partitionCount, replicationFactor, minInSync, eviction, onDataLoss } = plan;
    this.keyspace = createKeyspaceSpec({
      name: KEYSPACE,
      id: KEYSPACE_ID,
      partitionCount,
      replicationFactor,
      minInSync,
      eviction,
      onDataLoss,
      durability: plan.isSync ? 'SYNC' : 'NONE',
    });
    this.keys = makeKeys(plan);
    this.etcd = new SimEtcd({
      events,
      dice,
      network: this.network,
      onChange: ({ key, stored, term }) => {
        if (term !== undefined) this.checker.onTermWrite(key, term, this.etcd.get(ELECTION_KEY)?.createRevision);
        if (key.startsWith(OPERATORS)) this.migrationChecker.onOperator(Number(key.slice(OPERATORS.length)), stored?.value as MigrationOperator | undefined);
        if (stored === undefined) {
          if (key.startsWith(PARTITIONS)) records.delete(key);
          return;
        }
        if (key.startsWith(KEYSPACES)) {
          const spec = stored.value as KeyspaceSpec;
          this.copyChecker.onKeyspace(specs.get(key), spec);
          specs.set(key, spec);
          this.trace(`keyspace ${spec.name}${spec.copyOf === undefined ? '' : ` copy of ${spec.copyOf.keyspace}`}${spec.movedTo === undefined ? '' : ` moved to ${spec.movedTo}`}`);
        }
        if (key.startsWith(RESULTS)) this.migrationChecker.onResult(stored.value as MigrationOperator);
        if (key.startsWith(MIGRATIONS)) this.migrationChecker.onJob(stored.value as MigrationJob);
        if (!key.startsWith(PARTITIONS)) return;
        const { record } = toVersioned(stored);
        this.trace(`record ${describeRecord(record)}`);
        this.checker.onRecord(records.get(key), record);
        this.migrationChecker.onRecord(records.get(key), record);
        records.set(key, record);
      },
    });
    if (this.hasCopies) this.etcd.seed(keyspaceKey(KEYSPACE), this.keyspace);
    for (let index = 1; index <= plan.nodeCount; index += 1) this.startNode(`n${index}`);
    for (let index = 1; index <= plan.coordinatorCount; index += 1) this.startCoordinator(`c${index}`);
    for (let index = 1; index <= plan.clientCount; index += 1) {
      const id = `x${index}`;
      this.#clients.push(new SimClient({ world: this, id, incarnation: this.hex(), clock: this.clockOf(id) }));
    }
    this.faults = new Faults(this);
    this.#check();
  }

  // --- who is there -----------------------------------------------------------------------------------------------

  /** The running process of a node; a paused one counts. */
  nodeOf(id: string): SimNode | undefined {
    return this.#nodes.get(id);
  }

  get nodes(): readonly SimNode[] {
    return [...this.#nodes.values()];
  }

  get coordinators(): readonly SimCoordinator[] {
    return [...this.#coordinators.values()];
  }

  get clients(): readonly SimClient[] {
    return this.#clients;
  }

  /** Machines whose storage node is down. */
  get down(): ReadonlyMap<string, Remains> {
    return this.#down;
  }

  clockOf(id: string): SimClock {
    const known = this.#clocks.get(id);
    if (known !== undefined) return known;
    const { clockRateSpread, wallSkewMs } = this.plan;
    const rate = 1 + (clockRateSpread * (this.dice.below(2001) - 1000)) / 1000;
    const clock = new SimClock({ now: () => this.events.nowMs, rate, startMs: this.dice.below(100_000) });
    clock.wallOffsetMs = this.dice.below(wallSkewMs + 1);
    this.#clocks.set(id, clock);
    return clock;
  }

  /** Whether keyspaces are copied here (R37). */
  get hasCopies(): boolean {
    return this.plan.copyGapMs > 0;
  }

  weightOf(id: string): number {
    return this.weights.get(id) ?? 1;
  }

  startNode(id: string): void {
    const remains = this.#down.get(id);
    this.#down.delete(id);
    const incarnation = this.mutant?.keepsIncarnation === true && remains !== undefined ? remains.incarnation : this.hex();
    this.trace(`start ${id}`);
    this.#nodes.set(id, new SimNode({ world: this, id, incarnation, clock: this.clockOf(id), remains }));
  }

  crashNode(id: string, keepsData: boolean): void {
    const node = this.#nodes.get(id);
    if (node === undefined) return;
    this.trace(`crash ${id}${keepsData ? '' : ', data lost'}`);
    node.resume();
    node.die();
    this.#nodes.delete(id);
    this.#down.set(id, node.remains(keepsData));
  }

  startCoordinator(id: string): void {
    this.#coordinators.set(id, new SimCoordinator({ world: this, id, incarnation: this.hex(), clock: this.clockOf(id) }));
  }

  crashCoordinator(id: string): void {
    this.#coordinators.get(id)?.die();
    this.#coordinators.delete(id);
  }

  whereabouts(slot: number, replica: ReplicaId): ReplicaWhereabouts {
    for (const node of this.#nodes.values()) {
      const hosted = node.hosted(slot);
      if (hosted?.member.replica === replica) return { state: hosted.state };
    }
    for (const { replicas } of this.#down.values()) {
      const found = replicas.get(slot);
      if (found?.replica === replica && found.image !== undefined) return { image: found.image };
    }
    return undefined;
  }

  // --- small things -----------------------------------------------------------------------------------------------

  newNumber(): number {
    this.#numbers += 1;
    return this.#numbers;
  }

  newReplicaId(): ReplicaId {
    return toReplicaId(this.hex());
  }

  hex(): string {
    return randomHex(this.dice.random, 8);
  }

  trace(line: string): void {
    this.#trace.push(`${this.events.nowMs.toFixed(1)} ${line}`);
    if (this.#trace.length > TRACE_MAX) this.#trace.splice(0, TRACE_MAX / 2);
  }

  /** The last things that happened to machines and records, oldest first. */
  traceLines(): readonly string[] {
    return this.#trace;
  }

  records(): PartitionRecord[] {
    return this.etcd.list(PARTITIONS).map(([, stored]) => toVersioned(stored).record);
  }

  // --- a run ------------------------------------------------------------------------------------------------------

  /** Keyspaces that clients may write to, or will. */
  keyspaces(): readonly KeyspaceSpec[] {
    return this.hasCopies ? this.etcd.list(KEYSPACES).map(([, { value }]) => value as KeyspaceSpec) : [this.keyspace];
  }

  #areCopiesOver(): boolean {
    const jobs = this.etcd.list(COPIES).map(([, { value }]) => value as CopyJob);
    return jobs.every((job) => hasCopyEnded(job) && job.sourceRemains !== true) && this.keyspaces().every(({ copyOf }) => copyOf === undefined);
  }

  /** Throws when an invariant breaks or nothing settles. */
  run(): WorldFigures {
    this.events.runUntil(this.plan.faultsMs);
    this.isFaulty = false;
    this.faults.makePeace();
    // Replicas come in sync while clients go on.
    this.#settle('every partition has the replicas that it should have, all in sync (I8)', () => this.#isInSync());
    this.#settle('every migration has ended (I8)', () => this.#isInSync() && this.migrationChecker.isOver);
    if (this.hasCopies) this.#settle('every copy has taken the place of its source, or is gone (R37)', () => this.#areCopiesOver() && this.#isInSync());
    this.isWriting = false;
    this.#settle('every replica has applied everything', () => this.#isInSync() && this.migrationChecker.isOver && this.#isQuiet());
    this.migrationChecker.checkEnd(this.records());
    for (const record of this.records()) {
      for (const { node } of record.inSync) this.checker.checkContent(this.nodeOf(node)!.hosted(slotOf(record))!.state);
    }
    checkWorldHistory(this);
    const { committedCount: committed, promotions, installs, resets } = this.checker;
    const { done: moved, rolledBack: movedBack } = this.migrationChecker;
    const { cutOvers, givenUp: cutOversGivenUp, compared: comparedPlaces } = this.copyChecker;
    return { operations: this.operations, answered: this.answered, committed, promotions, installs, resets, moved, movedBack, cutOvers, cutOversGivenUp, comparedPlaces, simulatedMs: this.events.nowMs };
  }

  #check(): void {
    this.events.after(CHECK_MS, () => {
      this.#check();
      for (const node of this.nodes) for (const { state } of node.replicas()) this.checker.checkReplica(state, this.plan.logBytesMax);
    });
  }

  #settle(what: string, isSettled: () => boolean): void {
    const deadlineMs = this.events.nowMs + SETTLE_MS_MAX;
    while (!isSettled()) {
      if (this.events.nowMs > deadlineMs) throw new Error(`not so ${SETTLE_MS_MAX} ms after the last fault: ${what}; ${describeWorld(this)}`);
      this.events.runUntil(this.events.nowMs + 100);
    }
  }

  #isInSync(): boolean {
    const records = this.records();
    const size = Math.min(this.plan.replicationFactor, this.faults.operator.wantedNodes.size);
    return (
      this.#down.size === 0 &&
      !this.etcd.isBehind &&
      records.length === this.keyspaces().reduce((sum, { partitionCount }) => sum + partitionCount, 0) &&
      records.every(
        ({ state, inSync, learners, leaving, frozen }) => state === 'ACTIVE' && frozen === undefined && inSync.length === size && learners.length === 0 && leaving.length === 0,
      )
    );
  }

  #isQuiet(): boolean {
    return this.records().every((record) => {
      const end = this.checker.model(slotOf(record), record.generation.counter).endSeq;
      const nowMs = (node: SimNode): number => node.clock.monotonicMs;
      const leading = this.nodeOf(record.leader!.node);
      const leader = leading?.hosted(slotOf(record))?.replica.leader;
      if (leading === undefined || leader?.epoch !== record.epoch || leader.refusalOfReads(nowMs(leading)) !== undefined) return false;
      return record.inSync.every(({ node, replica }) => {
        const state = this.nodeOf(node)?.hosted(slotOf(record))?.state;
        return state?.identity.self.replica === replica && state.isInstalled && state.appliedSeq === end && state.log.end.seq === end;
      });
    });
  }

  /** Whether a member's data is there, in a process or on a disk. */
  isSafe(slot: number, { replica }: Member): boolean {
    const found = this.whereabouts(slot, replica);
    if (found === undefined) return false;
    return 'image' in found ? found.image.isWhole : found.state.isInstalled || found.state.generation.counter === 0;
  }

  /** Whether the data of this node may go: somebody else holds every write of it that was answered. */
  mayLose(id: string): boolean {
    if (this.plan.mayLoseData) return true;
    if (this.etcd.isBusy || this.etcd.isBehind) return false;
    const node = this.nodeOf(id);
    return this.records().every(({ keyspace, partition, inSync, eligible }) => {
      const slot = slotOf({ keyspace, partition });
      const own = node?.hosted(slot)?.member.replica;
      const holders = inSync.length < this.plan.minInSync ? [...inSync, ...eligible] : inSync;
      if (own === undefined || !hasReplica(holders, own)) return true;
      return holders.some((member) => member.replica !== own && this.isSafe(slot, member));
    });
  }
}
