import type { KeyspaceSpec, Member, NodeRecord, NodeSpec, PartitionRecord } from '@atoll/core-membership';
import type { Hash64 } from '@atoll/core-runtime';
import { cursorTag, keyspaceTag } from '@atoll/platform-wire';

/** Where the requests of one partition go. */
export interface PartitionRoute {
  readonly generation: number;
  readonly epoch: number;
  /** host:port of the leader; empty while nobody leads. */
  readonly leader: string;
  /** host:port of every in-sync node, the leader among them. */
  readonly replicas: readonly string[];
  /** Those of them in the router's own zone. */
  readonly near: readonly string[];
}

export interface KeyspaceRoute {
  readonly spec: KeyspaceSpec;
  /** What stands for it in session tokens, and in cursors. */
  readonly tag: Hash64;
  readonly cursorTag: Hash64;
  /** By partition; a partition without a record has no leader. */
  readonly partitions: PartitionRoute[];
}

/** The parts of a cluster view that routing needs. */
export interface RoutingSource {
  nodes(): ReadonlyMap<string, NodeRecord>;
  nodeSpecs(): ReadonlyMap<string, NodeSpec>;
  keyspaces(): ReadonlyMap<string, KeyspaceSpec>;
  keyspace(name: string): KeyspaceSpec | undefined;
  partition(keyspace: string, partition: number): { readonly record: PartitionRecord } | undefined;
}

/** The facts that a node's NOT_LEADER carries. */
export interface LeaderHint {
  readonly epoch: number;
  /** host:port. */
  readonly leaderAddress: string;
}

const NOWHERE: PartitionRoute = { generation: 0, epoch: 0, leader: '', replicas: [], near: [] };

/**
 * From (keyspace, partition) to addresses. A record of a lower generation or epoch than was seen is not believed
 * (R13), and a node whose registration lapsed keeps its last address: only the coordinator's verdict moves a
 * leader (R11).
 */
export class RoutingTable {
  readonly #source: RoutingSource;
  readonly #keyspaces = new Map<string, KeyspaceRoute>();
  /** Further names, of keyspaces that have taken the place of others (R37). They go before the names of keyspaces. */
  readonly #aliases = new Map<string, KeyspaceRoute>();
  #hasMoves = false;
  readonly #addresses = new Map<string, string>();
  readonly #zone: string | undefined;

  /** `zone`: where this router stands; undefined: no replica is nearer than another. */
  constructor(source: RoutingSource, zone?: string) {
    this.#source = source;
    this.#zone = zone;
    this.refreshAll();
  }

  /** By the name that a client gives: the keyspace may be called otherwise. One whose place another one has is none any more. */
  keyspace(name: string): KeyspaceRoute | undefined {
    const route = this.#aliases.get(name) ?? this.#keyspaces.get(name);
    return route?.spec.movedTo === undefined ? route : undefined;
  }

  specs(): KeyspaceSpec[] {
    return [...this.#keyspaces.values()].map(({ spec }) => spec);
  }

  /** Whether a name may mean another keyspace than it did: one has taken the place of another, or it came home. */
  get hasMoves(): boolean {
    return this.#hasMoves;
  }

  /** Addresses that some partition needs, or a registered node has. */
  addresses(): ReadonlySet<string> {
    const addresses = new Set<string>();
    for (const node of this.#source.nodes().values()) addresses.add(node.address);
    for (const { partitions } of this.#keyspaces.values()) {
      for (const { leader, replicas } of partitions) {
        if (leader !== '') addresses.add(leader);
        for (const replica of replicas) addresses.add(replica);
      }
    }
    return addresses;
  }

  /** Reads everything again: after a change of nodes or keyspaces. */
  refreshAll(): void {
    for (const [id, spec] of this.#source.nodeSpecs()) {
      if (spec.state === 'REMOVED') this.#addresses.delete(id);
      else if (spec.address !== '') this.#addresses.set(id, spec.address);
    }
    for (const [id, node] of this.#source.nodes()) this.#addresses.set(id, node.address);
    const present = this.#source.keyspaces();
    for (const name of this.#keyspaces.keys()) if (!present.has(name)) this.#keyspaces.delete(name);
    for (const [name, spec] of present) {
      const before = this.#keyspaces.get(name);
      const isSame = before?.spec.id === spec.id;
      const partitions = isSame ? before.partitions : Array.from({ length: spec.partitionCount }, () => NOWHERE);
      this.#keyspaces.set(name, { spec, tag: keyspaceTag(spec.id), cursorTag: cursorTag(spec.id), partitions });
      for (let partition = 0; partition < spec.partitionCount; partition += 1) this.refreshPartition(name, partition);
    }
    this.#aliases.clear();
    this.#hasMoves = false;
    for (const route of this.#keyspaces.values()) {
      if (route.spec.movedTo === undefined) for (const alias of route.spec.aliases ?? []) this.#aliases.set(alias, route);
      this.#hasMoves ||= route.spec.movedTo !== undefined || route.spec.aliases !== undefined;
    }
  }

  refreshPartition(keyspace: string, partition: number): void {
    const route = this.#keyspaces.get(keyspace);
    const record = this.#source.partition(keyspace, partition)?.record;
    if (route === undefined || record === undefined || record.keyspaceId !== route.spec.id || partition >= route.partitions.length) return;
    const before = route.partitions[partition]!;
    const generation = record.generation.counter;
    if (generation < before.generation || (generation === before.generation && record.epoch < before.epoch)) return;
    route.partitions[partition] = {
      generation,
      epoch: record.epoch,
      leader: record.leader === undefined ? '' : this.#addressOf(record.leader.node),
      replicas: this.#addressesOf(record.inSync),
      near: this.#zone === undefined ? [] : this.#addressesOf(record.inSync.filter(({ node }) => this.#source.nodes().get(node)?.zone === this.#zone)),
    };
  }

  /** A node knows of a newer leader than the table. Answers whether the table took it over. */
  takeHint(route: KeyspaceRoute, partition: number, hint: LeaderHint): boolean {
    const before = route.partitions[partition];
    if (before === undefined || hint.epoch <= before.epoch || hint.leaderAddress === '') return false;
    route.partitions[partition] = { ...before, epoch: hint.epoch, leader: hint.leaderAddress };
    return true;
  }

  #addressesOf(members: readonly Member[]): string[] {
    return members.map(({ node }) => this.#addressOf(node)).filter((address) => address !== '');
  }

  #addressOf(node: string): string {
    return this.#addresses.get(node) ?? '';
  }
}
