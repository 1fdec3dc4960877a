import { AtollError } from '@atoll/core-errors';
import { keyspaceNotFound, type KeyspaceSpec } from '@atoll/core-membership';
import { encodeKeyspaceSpec, keyspaceKey, parseKeyspaceSpec, type Change, type Comparison, type MetadataStore } from '@atoll/platform-etcd';

const ATTEMPTS_MAX = 5;
const DELETIONS_PREFIX = 'jobs/delete-keyspace/';
const deletionKey = (name: string): string => `${DELETIONS_PREFIX}${name}`;

/**
 * Keyspaces in etcd. A deletion is marked first, under `jobs/delete-keyspace/<name>`: then the records go, then the
 * keyspace and the mark together, so that another coordinator can finish what one began.
 */
export class KeyspaceStore {
  readonly #store: MetadataStore;
  readonly #election: Comparison;
  /** Name to id of keyspaces that are marked. */
  readonly #deleting = new Map<string, string>();
  readonly #deletedIds = new Set<string>();

  constructor(store: MetadataStore, election: Comparison) {
    this.#store = store;
    this.#election = election;
  }

  /** Stays true when the keyspace is gone: views show it for a while. */
  isDeleting(id: string): boolean {
    return this.#deletedIds.has(id);
  }

  /** Names of keyspaces whose deletion is under way. */
  deletions(): readonly string[] {
    return [...this.#deleting.keys()];
  }

  /** Takes over the deletions that another coordinator began. Throws METADATA_UNAVAILABLE. */
  async loadDeletions(): Promise<void> {
    const { values } = await this.#store.list(DELETIONS_PREFIX);
    for (const { key, value } of values) this.#mark(key.slice(DELETIONS_PREFIX.length), value);
  }

  /** Throws KEYSPACE_EXISTS, METADATA_UNAVAILABLE, METADATA_CONFLICT (no longer elected). */
  async create(spec: KeyspaceSpec): Promise<void> {
    const key = keyspaceKey(spec.name);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const outcome = await this.#transact([{ kind: 'modRevision', key, equals: 0 }], [{ kind: 'put', key, value: encodeKeyspaceSpec(spec) }]);
      if (outcome === 'succeeded') return;
      const stored = await this.#read(spec.name);
      // An earlier attempt of this very call, whose answer was lost.
      if (stored?.spec.id === spec.id) return;
      if (stored !== undefined) {
        throw new AtollError('KEYSPACE_EXISTS', `keyspace.name: there is a keyspace named ${spec.name} already`, {
          metadata: { field: 'keyspace.name', keyspace: spec.name },
        });
      }
    }
    throw conflict(`create keyspace ${spec.name}`);
  }

  /** Id of the keyspace that has the name, one that is being deleted included. Throws METADATA_UNAVAILABLE. */
  async idOf(name: string): Promise<string | undefined> {
    return (await this.#read(name))?.spec.id;
  }

  /** As it stands in etcd, one that is being deleted included. Throws METADATA_UNAVAILABLE. */
  async specOf(name: string): Promise<KeyspaceSpec | undefined> {
    return (await this.#read(name))?.spec;
  }

  /** `change` may be called again, with a newer spec. Answers what was written. */
  async update(name: string, change: (spec: KeyspaceSpec) => KeyspaceSpec): Promise<KeyspaceSpec> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const stored = await this.#read(name);
      if (stored === undefined || this.#deleting.has(name)) throw keyspaceNotFound(name);
      const spec = change(stored.spec);
      const key = keyspaceKey(name);
      const outcome = await this.#transact(
        [{ kind: 'modRevision', key, equals: stored.modRevision }],
        [{ kind: 'put', key, value: encodeKeyspaceSpec(spec) }],
      );
      if (outcome === 'succeeded') return spec;
    }
    throw conflict(`update keyspace ${name}`);
  }

  /** From then on the loop removes the keyspace's records. */
  async markDeleted(name: string): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const stored = await this.#read(name);
      if (stored === undefined) throw keyspaceNotFound(name);
      const outcome = await this.#transact(
        [{ kind: 'modRevision', key: keyspaceKey(name), equals: stored.modRevision }],
        [{ kind: 'put', key: deletionKey(name), value: stored.spec.id }],
      );
      if (outcome !== 'succeeded') continue;
      this.#mark(name, stored.spec.id);
      return;
    }
    throw conflict(`delete keyspace ${name}`);
  }

  /** To be called when the keyspace has no records any more. False: not yet, to be tried again. */
  async finishDeletion(name: string): Promise<boolean> {
    const stored = await this.#read(name);
    const isOurs = stored !== undefined && stored.spec.id === this.#deleting.get(name);
    const key = keyspaceKey(name);
    const outcome = await this.#transact(
      [{ kind: 'modRevision', key, equals: stored?.modRevision ?? 0 }],
      [...(isOurs ? [{ kind: 'delete', key } as const] : []), { kind: 'delete', key: deletionKey(name) }],
    );
    if (outcome !== 'succeeded') return false;
    this.#deleting.delete(name);
    return true;
  }

  #mark(name: string, id: string): void {
    this.#deleting.set(name, id);
    this.#deletedIds.add(id);
  }

  async #read(name: string): Promise<{ spec: KeyspaceSpec; modRevision: number } | undefined> {
    const stored = await this.#store.get(keyspaceKey(name));
    if (stored === undefined) return undefined;
    const parsed = parseKeyspaceSpec(stored.value);
    if (parsed.kind === 'malformed') throw new Error(`etcd: the value of ${stored.key} ${parsed.problem}`);
    return { spec: parsed.value, modRevision: stored.modRevision };
  }

  async #transact(comparisons: readonly Comparison[], changes: readonly Change[]): Promise<'succeeded' | 'refused' | 'unknown'> {
    const outcome = await this.#store.transact([this.#election, ...comparisons], changes);
    return outcome.kind;
  }
}

const conflict = (what: string): AtollError =>
  new AtollError('METADATA_CONFLICT', `${what}: refused ${ATTEMPTS_MAX} times; another coordinator may have been elected`);
