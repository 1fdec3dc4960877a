import type { KeyspaceSpec, NodeRecord, NodeSpec, VersionedRecord } from '@atoll/core-membership';

import { readClusterIdentity } from './cluster-identity.ts';
import { ELECTION_PREFIX, KEYSPACES_PREFIX, NODES_PREFIX, NODE_SPECS_PREFIX, PARTITIONS_PREFIX, parsePartitionKey } from './cluster-keys.ts';
import type { ClusterChange, ClusterView, CoordinatorRecord } from './cluster-view.ts';
import { parseCandidate } from './coordinator-record.ts';
import type { Parsed } from './json-codec.ts';
import { metadataUnavailable } from './metadata-errors.ts';
import type { MetadataStore, StoredValue, Watch } from './metadata-store.ts';
import { PartitionMap } from './partition-map.ts';
import { parseKeyspaceSpec, parseNodeRecord, parseNodeSpec, parsePartitionRecord } from './record-codecs.ts';
import { watchRecords } from './watched-records.ts';

export interface ClusterViewOptions {
  /** A value in etcd that cannot be read, or a listener that threw. One sentence for a log. */
  readonly onProblem: (problem: string) => void;
}

/**
 * Opens the view; resolves when all of it has been read. Throws METADATA_UNAVAILABLE while etcd is away or no
 * process has made the cluster's id yet (ensureClusterId); the caller comes again.
 */
export async function openClusterView(store: MetadataStore, options: ClusterViewOptions): Promise<ClusterView> {
  const identity = await readClusterIdentity(store);
  if (identity === undefined) throw metadataUnavailable('there is no cluster yet: no coordinator or node has made its id');
  const view = new WatchedClusterView(identity.id, options.onProblem);
  try {
    await view.open(store);
  } catch (error) {
    await view.close();
    throw error;
  }
  return view;
}

interface Part<T> {
  readonly prefix: string;
  readonly parse: (stored: StoredValue) => Parsed<T>;
  readonly put: (name: string, record: T, stored: StoredValue) => void;
  readonly remove: (name: string) => void;
  /** The change to tell of; undefined for a key that names nothing. */
  readonly change: (name: string) => ClusterChange | undefined;
}

class WatchedClusterView implements ClusterView {
  readonly clusterId: string;
  readonly #onProblem: (problem: string) => void;
  readonly #nodes = new Map<string, NodeRecord>();
  readonly #nodeSpecs = new Map<string, NodeSpec>();
  readonly #keyspaces = new Map<string, KeyspaceSpec>();
  readonly #partitions = new PartitionMap();
  readonly #candidates = new Map<string, CoordinatorRecord>();
  readonly #listeners = new Set<(changes: readonly ClusterChange[]) => void>();
  readonly #watches: Watch[] = [];
  readonly #disconnected = new Set<string>();
  #revision = 0;

  constructor(clusterId: string, onProblem: (problem: string) => void) {
    this.clusterId = clusterId;
    this.#onProblem = onProblem;
  }

  nodes(): ReadonlyMap<string, NodeRecord> {
    return this.#nodes;
  }

  nodeSpecs(): ReadonlyMap<string, NodeSpec> {
    return this.#nodeSpecs;
  }

  keyspaces(): ReadonlyMap<string, KeyspaceSpec> {
    return this.#keyspaces;
  }

  keyspace(name: string): KeyspaceSpec | undefined {
    return this.#keyspaces.get(name);
  }

  partition(keyspace: string, partition: number): VersionedRecord | undefined {
    return this.#partitions.get(keyspace, partition);
  }

  partitions(keyspace: string): readonly VersionedRecord[] {
    return this.#partitions.all(keyspace);
  }

  /** The candidate of the lowest create revision; the others wait for it. */
  coordinator(): CoordinatorRecord | undefined {
    let first: CoordinatorRecord | undefined;
    for (const candidate of this.#candidates.values()) {
      if (first === undefined || candidate.revision < first.revision) first = candidate;
    }
    return first;
  }

  get revision(): number {
    return this.#revision;
  }

  get connected(): boolean {
    return this.#disconnected.size === 0;
  }

  subscribe(listener: (changes: readonly ClusterChange[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await Promise.all(this.#watches.splice(0).map((watch) => watch.close()));
  }

  /** Keyspaces come before the partitions that belong to them. */
  async open(store: MetadataStore): Promise<void> {
    await this.#follow(store, {
      prefix: NODES_PREFIX,
      parse: (stored) => parseNodeRecord(stored.value),
      put: (id, record) => this.#nodes.set(id, record),
      remove: (id) => this.#nodes.delete(id),
      change: (id) => ({ kind: 'node', id }),
    });
    await this.#follow(store, {
      prefix: NODE_SPECS_PREFIX,
      parse: (stored) => parseNodeSpec(stored.value),
      put: (id, spec) => this.#nodeSpecs.set(id, spec),
      remove: (id) => this.#nodeSpecs.delete(id),
      change: (id) => ({ kind: 'nodeSpec', id }),
    });
    await this.#follow(store, {
      prefix: KEYSPACES_PREFIX,
      parse: (stored) => parseKeyspaceSpec(stored.value),
      put: (name, spec) => this.#keyspaces.set(name, spec),
      remove: (name) => this.#keyspaces.delete(name),
      change: (name) => ({ kind: 'keyspace', name }),
    });
    await this.#follow(store, {
      prefix: PARTITIONS_PREFIX,
      parse: (stored) => parsePartitionAt(stored),
      put: (_name, record, stored) => this.#partitions.put(record.keyspace, record.partition, { record, modRevision: stored.modRevision }),
      remove: (name) => {
        const at = parsePartitionKey(PARTITIONS_PREFIX + name);
        if (at !== undefined) this.#partitions.delete(at.keyspace, at.partition);
      },
      change: (name) => {
        const at = parsePartitionKey(PARTITIONS_PREFIX + name);
        return at === undefined ? undefined : { kind: 'partition', ...at };
      },
    });
    await this.#follow(store, {
      prefix: ELECTION_PREFIX,
      parse: parseCandidate,
      put: (name, candidate) => this.#candidates.set(name, candidate),
      remove: (name) => this.#candidates.delete(name),
      change: () => ({ kind: 'coordinator' }),
    });
  }

  async #follow<T>(store: MetadataStore, part: Part<T>): Promise<void> {
    let batch: ClusterChange[] = [];
    const watch = await watchRecords<T>(store, {
      prefix: part.prefix,
      parse: part.parse,
      onRecord: (key, record, stored) => {
        const name = key.slice(part.prefix.length);
        if (record !== undefined && stored !== undefined) part.put(name, record, stored);
        else part.remove(name);
        const change = part.change(name);
        if (change !== undefined) batch.push(change);
      },
      onBatch: (revision) => {
        this.#revision = Math.max(this.#revision, revision);
        const changes = batch;
        batch = [];
        if (changes.length > 0) this.#tell(changes);
      },
      onConnection: (connected) => {
        if (connected) this.#disconnected.delete(part.prefix);
        else this.#disconnected.add(part.prefix);
      },
      onProblem: this.#onProblem,
    });
    this.#watches.push(watch);
  }

  /** One listener that throws does not keep the others from hearing. */
  #tell(changes: readonly ClusterChange[]): void {
    for (const listener of this.#listeners) {
      try {
        listener(changes);
      } catch (error) {
        this.#onProblem(`cluster view: a listener threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      }
    }
  }
}

/** A record must stand under the key that it names. */
function parsePartitionAt(stored: StoredValue): ReturnType<typeof parsePartitionRecord> {
  const parsed = parsePartitionRecord(stored.value);
  if (parsed.kind === 'malformed') return parsed;
  const at = parsePartitionKey(stored.key);
  if (at?.keyspace === parsed.value.keyspace && at.partition === parsed.value.partition) return parsed;
  return { kind: 'malformed', problem: `names partition ${parsed.value.keyspace}/${parsed.value.partition}` };
}
