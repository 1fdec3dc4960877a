import { encodePartitionRecord, keyspaceKey, parseKeyspaceSpec, parsePartitionRecord, partitionKey, type MetadataStore, type StoredValue } from '@atoll/platform-etcd';
import type { VersionedRecord } from '@atoll/core-membership';
import type { ChangeAttempt } from '@atoll/core-replication';
import type { Logger } from '@atoll/platform-telemetry';

const READ_RETRY_MS = 250;

export type ChangeOutcome = { readonly kind: 'succeeded'; readonly modRevision: number } | { readonly kind: 'refused' | 'unknown' };

/** A leader's way to its partition records in etcd: one compare-and-swap or read per partition at a time. */
export class RecordKeeper {
  readonly #store: MetadataStore;
  readonly #logger: Logger;
  readonly #reading = new Set<string>();
  #isClosed = false;

  constructor(options: { store: MetadataStore; logger: Logger }) {
    this.#store = options.store;
    this.#logger = options.logger;
  }

  /** Sends the change once; never rejects. */
  async change(attempt: ChangeAttempt): Promise<ChangeOutcome> {
    const { record } = attempt;
    const key = partitionKey(record.keyspace, record.partition);
    try {
      const outcome = await this.#store.transact(
        [{ kind: 'modRevision', key, equals: attempt.baseRevision }],
        [{ kind: 'put', key, value: encodePartitionRecord(record) }],
      );
      return outcome.kind === 'succeeded' ? { kind: 'succeeded', modRevision: outcome.revision } : { kind: outcome.kind };
    } catch (error) {
      this.#logger.warn({ err: error, keyspace: record.keyspace, partition: record.partition }, 'a change of a partition record failed');
      return { kind: 'unknown' };
    }
  }

  /** Reads the record until that succeeds; `onRecord` gets it, unless it is gone. A read under way is shared. */
  read(keyspace: string, partition: number, onRecord: (record: VersionedRecord) => void): void {
    const key = partitionKey(keyspace, partition);
    if (this.#reading.has(key) || this.#isClosed) return;
    void this.#readUntilAnswered(key, (stored) => {
      const parsed = stored === undefined ? undefined : parsePartitionRecord(stored.value);
      if (parsed?.kind === 'parsed' && stored !== undefined) onRecord({ record: parsed.value, modRevision: stored.modRevision });
    });
  }

  /** Reads, as of now, which keyspace has this name until that succeeds; `onId` gets undefined when there is none. */
  readKeyspaceId(name: string, onId: (id: string | undefined) => void): void {
    if (this.#isClosed) return;
    const key = keyspaceKey(name);
    void this.#readUntilAnswered(key, (stored) => {
      const parsed = stored === undefined ? undefined : parseKeyspaceSpec(stored.value);
      if (parsed?.kind !== 'malformed') onId(parsed?.value.id);
    });
  }

  close(): void {
    this.#isClosed = true;
  }

  async #readUntilAnswered(key: string, onAnswer: (stored: StoredValue | undefined) => void): Promise<void> {
    this.#reading.add(key);
    try {
      while (!this.#isClosed) {
        const stored = await this.#store.get(key).catch(() => 'unavailable' as const);
        if (stored !== 'unavailable') {
          this.#reading.delete(key);
          if (!this.#isClosed) onAnswer(stored);
          return;
        }
        await new Promise<void>((resolve) => setTimeout(resolve, READ_RETRY_MS).unref());
      }
    } finally {
      this.#reading.delete(key);
    }
  }
}
