import { nameOf, type Action, type VersionedRecord, type WriteRecord } from '@atoll/core-membership';
import {
  encodeNodeSpec,
  encodePartitionRecord,
  keyspaceKey,
  nodeSpecKey,
  parseKeyspaceSpec,
  parseNodeSpec,
  partitionKey,
  type Change,
  type Comparison,
  type MetadataStore,
} from '@atoll/platform-etcd';

/** Records per transaction: with the election key well below etcd's bound of 128. */
const RECORDS_PER_TRANSACTION = 100;

export type RecordAction = Extract<Action, { kind: 'writeRecord' | 'removeRecord' }>;
export type SpecAction = Extract<Action, { kind: 'writeSpec' }>;

/** What was certainly written, and at which revision. */
export interface Written<A> {
  readonly action: A;
  readonly revision: number;
}

/**
 * Carries decisions out in etcd. Every transaction compares the election key (R11) and the modification revision
 * of each record. What was refused, or has an unknown outcome, is not reported: it is decided anew (R7).
 */
export class RecordWriter {
  readonly #store: MetadataStore;
  readonly #election: Comparison;
  readonly #isDeleting: (keyspaceId: string) => boolean;
  /** Of writes whose answers were lost: by partition, the highest revision that one of them compares. */
  readonly #unknown = new Map<string, number>();

  constructor(options: {
    readonly store: MetadataStore;
    readonly election: Comparison;
    /** Whether a keyspace is marked for deletion in etcd, so that its records may go although it still stands. */
    readonly isDeleting: (keyspaceId: string) => boolean;
  }) {
    this.#store = options.store;
    this.#election = options.election;
    this.#isDeleting = options.isDeleting;
  }

  async writeSpecs(actions: readonly SpecAction[]): Promise<readonly Written<SpecAction>[]> {
    const written: Written<SpecAction>[] = [];
    for (const action of actions) {
      const key = nodeSpecKey(action.spec.id);
      const stored = await this.#store.get(key);
      const seen = stored && parseNodeSpec(stored.value);
      const isAsDecided = seen?.kind === 'parsed' ? isSameSpec(seen.value, action.previous) : action.previous === undefined;
      if (!isAsDecided) continue; // The view is behind.
      const outcome = await this.#store.transact(
        [this.#election, { kind: 'modRevision', key, equals: stored?.modRevision ?? 0 }],
        [{ kind: 'put', key, value: encodeNodeSpec(action.spec) }],
      );
      if (outcome.kind === 'succeeded') written.push({ action, revision: outcome.revision });
    }
    return written;
  }

  /** In batches, in order; a batch that is refused as a whole is tried record by record. */
  async writeRecords(actions: readonly RecordAction[]): Promise<readonly Written<RecordAction>[]> {
    const written: Written<RecordAction>[] = [];
    const removable = await this.#removable(actions);
    const allowed = actions.filter((action) => action.kind === 'writeRecord' || removable.has(action.record.keyspace));
    for (let start = 0; start < allowed.length; start += RECORDS_PER_TRANSACTION) {
      const batch = allowed.slice(start, start + RECORDS_PER_TRANSACTION);
      const outcome = await this.#transact(batch, removable);
      if (outcome.kind === 'unknown') return written;
      if (outcome.kind === 'succeeded') written.push(...batch.map((action) => ({ action, revision: outcome.revision })));
      else if (batch.length > 1) {
        for (const action of batch) {
          const single = await this.#transact([action], removable);
          if (single.kind === 'unknown') return written;
          if (single.kind === 'succeeded') written.push({ action, revision: single.revision });
        }
      }
    }
    return written;
  }

  /** Whether no write of this record whose answer was lost can be carried out any more: it is another one than those compare (R7). */
  isSettled({ record, modRevision }: VersionedRecord): boolean {
    return modRevision > (this.#unknown.get(nameOf(record)) ?? -1);
  }

  async #transact(batch: readonly RecordAction[], removable: ReadonlyMap<string, Comparison>) {
    const comparisons: Comparison[] = [this.#election];
    const changes: Change[] = [];
    const keyspaces = new Set<string>();
    for (const action of batch) {
      const { keyspace, partition } = action.record;
      const key = partitionKey(keyspace, partition);
      comparisons.push({ kind: 'modRevision', key, equals: action.modRevision });
      if (action.kind === 'writeRecord') changes.push({ kind: 'put', key, value: encodePartitionRecord(action.record) });
      else {
        changes.push({ kind: 'delete', key });
        keyspaces.add(keyspace);
      }
    }
    for (const keyspace of keyspaces) comparisons.push(removable.get(keyspace)!);
    const outcome = await this.#store.transact(comparisons, changes);
    if (outcome.kind === 'unknown') for (const { record, modRevision } of batch) this.#unknown.set(nameOf(record), Math.max(modRevision, this.#unknown.get(nameOf(record)) ?? 0));
    return outcome;
  }

  /**
   * Keyspaces whose records may be removed, as etcd says and not as a view that may be behind: those that are
   * gone, made again, or marked for deletion.
   */
  async #removable(actions: readonly RecordAction[]): Promise<ReadonlyMap<string, Comparison>> {
    const removable = new Map<string, Comparison>();
    const removals = actions.filter((action) => action.kind === 'removeRecord');
    for (const [keyspace, [sample]] of Map.groupBy(removals, (action) => action.record.keyspace)) {
      const key = keyspaceKey(keyspace);
      const stored = await this.#store.get(key);
      const spec = stored && parseKeyspaceSpec(stored.value);
      const owns = spec?.kind === 'parsed' && spec.value.id === sample?.record.keyspaceId;
      if (owns && !this.#isDeleting(spec.value.id)) continue;
      removable.set(keyspace, { kind: 'modRevision', key, equals: stored?.modRevision ?? 0 });
    }
    return removable;
  }
}

function isSameSpec(a: SpecAction['spec'], b: SpecAction['spec'] | undefined): boolean {
  return b !== undefined && encodeNodeSpec(a) === encodeNodeSpec(b);
}

/** For callers that tell records apart by what was decided. */
export const isWrite = (written: Written<RecordAction>): written is Written<WriteRecord> => written.action.kind === 'writeRecord';
