// A small world for specs: registered processes with the replicas they hold, records with revisions, and an
// executor for actions that stands in for etcd, storage nodes and their leaders.
import { SeededRandom, randomHex, toNodeId, toReplicaId, type NodeId } from '@atoll/core-runtime';
import { createKeyspaceSpec, type KeyspaceRequest, type KeyspaceSpec } from '../keyspace-spec.ts';
import type { NodeVerdict } from '../failure/verdict.ts';
import type { NodeRecord, NodeSpec } from '../node-record.ts';
import { assertRecord, hasReplica, type Member, type PartitionRecord, type VersionedRecord } from '../partition-record.ts';
import type { Action } from '../decisions/action.ts';
import { CALM, type FailoverState } from '../decisions/failover-state.ts';
import { planHandOvers, type ActiveFailover, type HandOver } from '../decisions/hand-overs.ts';
import { LeaderCounts } from '../decisions/leader-counts.ts';
import { promote } from '../decisions/succession.ts';
import { nameOf, partitionName, type ClusterState, type HeldReplica, type NodeInventory } from '../decisions/cluster-state.ts';
import { decide } from '../decisions/decide.ts';
import { PlacementPlans, type MigratingPlacement } from '../decisions/placement-plans.ts';

interface ToyReplica extends HeldReplica {
  /** Writes that it holds: a count stands for the data. */
  writes: number;
  /** Generation that the data belongs to. */
  lineage: string;
  survivesRestart: boolean;
}

export const nodeId = (name: string): NodeId => toNodeId(name);

export class ToyCluster {
  readonly random: SeededRandom;
  plans = new PlacementPlans();
  readonly nodes = new Map<string, NodeRecord>();
  readonly specs = new Map<string, NodeSpec>();
  readonly keyspaces = new Map<string, KeyspaceSpec>();
  readonly records = new Map<string, VersionedRecord>();
  readonly replicas = new Map<string, Map<string, ToyReplica>>();
  readonly writtenOff = new Set<string>();
  readonly verdicts = new Map<string, NodeVerdict>();
  failover: FailoverState = CALM;
  active: ActiveFailover = 'drain-only';
  readonly requested = new Map<string, string>();
  /** By `partitionName`: where migrations want partitions. */
  migrating: ReadonlyMap<string, MigratingPlacement> = new Map();
  /** Incarnation of each node's process as long as it may hold offices, registered or not. */
  readonly living = new Map<string, string>();
  learnersPerNodeMax = 8;
  isSettled = true;
  #revision = 0;
  /** Decisions carried out, in order. */
  readonly history: string[] = [];

  constructor(seed = 1) {
    this.random = new SeededRandom(seed);
  }

  keyspace(request: Omit<KeyspaceRequest, 'id'>): KeyspaceSpec {
    const spec = createKeyspaceSpec({ id: randomHex(this.random, 8), ...request });
    this.keyspaces.set(spec.name, spec);
    return spec;
  }

  /** Starts a process; replicas that do not survive a restart are gone. */
  start(id: string, options: Partial<Pick<NodeRecord, 'zone' | 'weight' | 'pool'>> = {}): void {
    const held = this.replicas.get(id) ?? new Map<string, ToyReplica>();
    for (const [name, replica] of held) if (!replica.survivesRestart) held.delete(name);
    this.replicas.set(id, held);
    const incarnation = randomHex(this.random, 8);
    this.living.set(id, incarnation);
    this.judge(id, 'UP');
    this.nodes.set(id, {
      id: nodeId(id),
      address: `${id}:1`,
      httpAddress: '',
      zone: options.zone ?? 'z',
      ...(options.pool !== undefined && { pool: options.pool }),
      weight: options.weight ?? 1,
      incarnation,
      phase: 'SERVING',
    });
  }

  /** The registration lapses; the process goes on for all that anybody knows. */
  vanish(id: string): void {
    if (this.nodes.get(id)?.phase === 'STOPPING') this.living.delete(id);
    this.nodes.delete(id);
    this.judge(id, 'SUSPECT');
  }

  /** The failure detector's verdict. */
  judge(id: string, state: NodeVerdict['state'], more: Partial<NodeVerdict> = {}): void {
    this.verdicts.set(id, { state, reason: 'by the spec', sinceMs: 0, degraded: [], isEtcdLost: false, ...more });
  }

  stopping(id: string): void {
    const node = this.nodes.get(id);
    if (node === undefined) return;
    this.nodes.set(id, { ...node, phase: 'STOPPING' });
    this.judge(id, 'LEFT');
  }

  record(keyspace: string, partition: number): PartitionRecord {
    const versioned = this.records.get(partitionName(keyspace, partition));
    if (versioned === undefined) throw new Error(`no record of ${keyspace}/${partition}`);
    return versioned.record;
  }

  put(record: PartitionRecord): void {
    assertRecord(record);
    this.records.set(nameOf(record), { record, modRevision: (this.#revision += 1) });
  }

  held(node: string, record: PartitionRecord): ToyReplica | undefined {
    return this.replicas.get(node)?.get(nameOf(record));
  }

  state(): ClusterState {
    const partitions = new Map<string, VersionedRecord[]>();
    for (const versioned of this.records.values()) {
      const list = partitions.get(versioned.record.keyspace) ?? [];
      list.push(versioned);
      partitions.set(versioned.record.keyspace, list.toSorted((a, b) => a.record.partition - b.record.partition));
    }
    const inventories = new Map<string, NodeInventory>();
    for (const node of this.nodes.values()) {
      inventories.set(node.id, { incarnation: node.incarnation, replicas: new Map(this.replicas.get(node.id)) });
    }
    const { nodes, specs, keyspaces, writtenOff, verdicts, failover } = this;
    return { nodes, specs, keyspaces, partitions, inventories, writtenOff, verdicts, failover };
  }

  decide(): readonly Action[] {
    const { random, plans, isSettled, learnersPerNodeMax, migrating } = this;
    return decide(this.state(), { random, plans, isSettled, learnersPerNodeMax, migrating });
  }

  planHandOvers(): readonly HandOver[] {
    const leaders = LeaderCounts.count(this.state().partitions.values());
    return planHandOvers(this.state(), { active: this.active, requested: this.requested, leaders });
  }

  /** A planned transfer that the leader agrees to. */
  handOver({ record, modRevision, target, reason }: HandOver): void {
    if (this.records.get(nameOf(record))?.modRevision !== modRevision || !this.isInOffice(record)) return;
    const { minInSync } = this.keyspaces.get(record.keyspace)!;
    this.history.push(reason);
    this.requested.delete(nameOf(record));
    this.put(promote(record, target, { state: this.state(), random: this.random, leaders: new LeaderCounts(), minInSync, isRelinquished: true }));
  }

  execute(action: Action): void {
    switch (action.kind) {
      case 'ensure': {
        this.history.push(`ensure ${action.node}`);
        if (this.nodes.has(action.node)) for (const partition of action.partitions) this.#ensure(action.node, action.keyspace, partition);
        return;
      }
      case 'writeSpec':
        this.history.push(`spec ${action.spec.id} ${action.news}`);
        this.specs.set(action.spec.id, action.spec);
        return;
      case 'removeRecord': {
        this.history.push(action.decision);
        const name = nameOf(action.record);
        if (this.records.get(name)?.modRevision === action.modRevision) this.records.delete(name);
        return;
      }
      case 'writeRecord': {
        const name = nameOf(action.record);
        if ((this.records.get(name)?.modRevision ?? 0) !== action.modRevision) return;
        this.history.push(action.decision);
        this.#takeNewLineage(action.record);
        this.put(action.record);
        return;
      }
    }
  }

  /** Decides and executes until nothing is left to do. Leaders do their part in between. */
  settle(rounds = 200): void {
    for (let round = 0; round < rounds; round += 1) {
      const actions = this.decide();
      for (const action of actions) this.execute(action);
      const transfers = this.planHandOvers();
      for (const transfer of transfers) this.handOver(transfer);
      const isMoved = this.leadersStep();
      this.nodesStep();
      if (actions.length === 0 && transfers.length === 0 && !isMoved) return;
    }
    throw new Error(`no rest after ${rounds} rounds; next: ${JSON.stringify(this.decide().slice(0, 3))}`);
  }

  /** True when a process holds the office that the record names, whether or not it is registered. */
  isInOffice(record: PartitionRecord): boolean {
    const { leader, leaderIncarnation } = record;
    return leader !== undefined && this.living.get(leader.node) === leaderIncarnation && this.held(leader.node, record)?.replica === leader.replica;
  }

  /** True when the record's leader is a running process that may act on it. */
  isLed(record: PartitionRecord): boolean {
    const { leader, leaderIncarnation } = record;
    const node = leader && this.nodes.get(leader.node);
    return node?.phase === 'SERVING' && node.incarnation === leaderIncarnation && this.held(node.id, record)?.replica === leader?.replica;
  }

  /** Each leader in office brings learners in sync, lets leaving members go and removes those that do not answer. */
  leadersStep(): boolean {
    let isMoved = false;
    for (const { record } of this.records.values()) {
      if (!this.isLed(record)) continue;
      const leader = record.leader!;
      const source = this.held(leader.node, record)!;
      const isAlive = (member: Member) => this.nodes.get(member.node)?.phase === 'SERVING' && this.held(member.node, record)?.replica === member.replica;
      const staying = record.inSync.filter(
        (member) => member.replica === leader.replica || (isAlive(member) && !hasReplica(record.leaving, member.replica)),
      );
      const caughtUp = record.learners.filter((member) => isAlive(member) && !staying.some((other) => other.node === member.node));
      for (const member of caughtUp) {
        Object.assign(this.held(member.node, record)!, { writes: source.writes, lineage: source.lineage, empty: source.writes === 0 });
      }
      const removed = record.inSync.filter((member) => !hasReplica(staying, member.replica));
      const demoted = removed.filter((member) => !hasReplica(record.leaving, member.replica));
      if (caughtUp.length === 0 && removed.length === 0) continue;
      isMoved = true;
      this.put({
        ...record,
        inSync: [...staying, ...caughtUp],
        learners: [...record.learners.filter((member) => !hasReplica(caughtUp, member.replica)), ...demoted],
        changeId: randomHex(this.random, 8),
      });
    }
    return isMoved;
  }

  /** A committed write on every partition that is led and has all its in-sync members running. */
  write(survivesRestart = false): void {
    for (const { record } of this.records.values()) {
      const holders = record.inSync.map((member) => ({ member, held: this.held(member.node, record) }));
      if (!this.isLed(record) || holders.some(({ member, held }) => held?.replica !== member.replica || !this.nodes.has(member.node))) continue;
      for (const { held } of holders) Object.assign(held!, { writes: held!.writes + 1, empty: false, survivesRestart });
    }
  }

  /** Nodes drop replicas that a record stopped naming. */
  nodesStep(): void {
    for (const { record } of this.records.values()) {
      for (const [node, held] of this.replicas) {
        const replica = this.nodes.has(node) ? held.get(nameOf(record)) : undefined;
        if (replica === undefined) continue;
        const named = [...record.inSync, ...record.learners, ...record.leaving, ...record.eligible];
        if (!hasReplica(named, replica.replica) && !replica.empty) held.delete(nameOf(record));
      }
    }
  }

  #ensure(node: string, keyspace: string, partition: number): void {
    const held = this.replicas.get(node)!;
    const name = partitionName(keyspace, partition);
    if (held.has(name)) return;
    held.set(name, {
      replica: toReplicaId(randomHex(this.random, 8)),
      generation: undefined,
      empty: true,
      writes: 0,
      lineage: '',
      survivesRestart: false,
    });
  }

  /** In-sync replicas of a record with a new generation are empty and belong to it. */
  #takeNewLineage(record: PartitionRecord): void {
    if (this.records.get(nameOf(record))?.record.generation.id === record.generation.id) return;
    for (const member of record.inSync) {
      const held = this.held(member.node, record);
      if (held?.replica === member.replica) held.lineage = record.generation.id;
    }
  }
}
