import type { Parsed } from './json-codec.ts';
import type { MetadataStore, StoredValue, Watch, WatchListener } from './metadata-store.ts';

export interface WatchedRecordsOptions<T> {
  readonly prefix: string;
  readonly parse: (stored: StoredValue) => Parsed<T>;
  /** A record was put or, with `record` undefined, deleted. */
  readonly onRecord: (key: string, record: T | undefined, stored: StoredValue | undefined) => void;
  /** After each snapshot or batch that changed something or moved the revision on. */
  readonly onBatch: (revision: number) => void;
  readonly onConnection: (connected: boolean) => void;
  readonly onProblem: (problem: string) => void;
}

/**
 * Follows a prefix and tells what differs. A snapshot is compared with what was seen before by modification
 * revision and value (an etcd that went back and was recovered may count the same revision again for what no recovery
 * rewrites), so that a reconnection tells only of what changed meanwhile. A value that cannot be read is reported,
 * and what stood there before it stays.
 */
export async function watchRecords<T>(store: MetadataStore, options: WatchedRecordsOptions<T>): Promise<Watch> {
  const seen = new Map<string, Pick<StoredValue, 'modRevision' | 'value'>>();

  const take = (key: string, stored: StoredValue | undefined): void => {
    if (stored === undefined) {
      if (seen.delete(key)) options.onRecord(key, undefined, undefined);
      return;
    }
    const before = seen.get(key);
    if (before?.modRevision === stored.modRevision && before.value === stored.value) return;
    seen.set(key, stored);
    const parsed = options.parse(stored);
    if (parsed.kind === 'parsed') options.onRecord(key, parsed.value, stored);
    else options.onProblem(`etcd: ${key}: ${parsed.problem}`);
  };

  const listener: WatchListener = {
    onSnapshot(values, revision) {
      const present = new Set(values.map((stored) => stored.key));
      for (const key of seen.keys()) if (!present.has(key)) take(key, undefined);
      for (const stored of values) take(stored.key, stored);
      options.onBatch(revision);
    },
    onChanges(changes, revision) {
      for (const change of changes) take(change.key, change.value);
      options.onBatch(revision);
    },
    onConnection: options.onConnection,
  };
  return store.watch(options.prefix, listener);
}
