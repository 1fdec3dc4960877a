// Keyspaces that operators have frozen. The wish stands in the keyspace's record, and whoever is elected has the records of its
// partitions say so: from then on it holds whoever leads, as the freeze of a cut-over does (R37), and until they say otherwise.
import { setTimeout as pause } from 'node:timers/promises';
import { AtollError } from '@atoll/core-errors';
import type { KeyspaceSpec, VersionedRecord, WriteRecord } from '@atoll/core-membership';
import { withFrozen } from '@atoll/core-migration';
import type { Random } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import type { KeyspaceStore } from '../adapters/keyspace-store.ts';
import { leadersOf, type FreezeCalls } from './freeze-calls.ts';

/** How often leaders are asked that have not confirmed yet, in ms. */
const ASK_MS = 20;

export interface KeyspaceFreezesOptions {
  readonly view: ClusterView;
  readonly keyspaces: Pick<KeyspaceStore, 'specOf'>;
  readonly freezes: FreezeCalls;
  readonly random: Random;
  readonly writeRecords: (records: readonly WriteRecord[]) => Promise<void>;
}

export class KeyspaceFreezes {
  readonly #options: KeyspaceFreezesOptions;

  constructor(options: KeyspaceFreezesOptions) {
    this.#options = options;
  }

  /** Has records say what their keyspaces say. To be called after a round of decisions. */
  async step(): Promise<void> {
    const { view, random, writeRecords } = this.#options;
    for (const { id, name, freeze } of view.keyspaces().values()) {
      if (freeze === undefined) continue;
      const thawed = view.partitions(name).filter(({ record }) => record.keyspaceId === id && record.frozen !== freeze.id);
      if (thawed.length > 0) await writeRecords(thawed.map((versioned) => withFrozen(versioned, freeze.id, random)));
    }
  }

  /**
   * Those of the records that may be thawed: whose keyspace, as it stands in etcd now, is not frozen, and no other one has its
   * place. The view may be older than either. Throws METADATA_UNAVAILABLE.
   */
  async withoutWish(frozen: readonly VersionedRecord[]): Promise<readonly VersionedRecord[]> {
    const names = new Set(frozen.map(({ record }) => record.keyspace));
    const wished = new Map<string, KeyspaceSpec | undefined>();
    for (const name of names) wished.set(name, await this.#options.keyspaces.specOf(name));
    return frozen.filter(({ record }) => {
      const spec = wished.get(record.keyspace);
      return spec?.id !== record.keyspaceId || (spec.freeze === undefined && spec.movedTo === undefined);
    });
  }

  /** Resolves when every leader has confirmed that it takes no writes, with all that it took committed. Throws DEADLINE_EXCEEDED. */
  async confirmed({ name, id, freeze }: KeyspaceSpec, { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<void> {
    const { view, freezes } = this.#options;
    const endsAtMs = performance.now() + timeoutMs;
    const confirmed = new Set<number>();
    for (;;) {
      const records = view.partitions(name).filter(({ record }) => record.keyspaceId === id);
      const missing = records.map(({ record }) => record).filter(({ frozen, partition }) => frozen === freeze!.id && !confirmed.has(partition));
      const asked = [...leadersOf(view, missing)].map(([address, partitions]) => freezes.ask(address, { keyspace: name, keyspaceId: id, cutOver: freeze!.id, partitions, seal: false, traceparent: '' }));
      for (const { partition } of (await Promise.all(asked)).flat()) confirmed.add(partition);
      const total = view.keyspace(name)?.partitionCount ?? 0;
      if (confirmed.size >= total) return;
      if (performance.now() >= endsAtMs) throw new AtollError('DEADLINE_EXCEEDED', `keyspace ${name} is frozen, and the leaders of ${total - confirmed.size} of ${total} partitions have not confirmed that yet; ask again`, { metadata: { field: 'name', keyspace: name } });
      await pause(ASK_MS, undefined, { signal });
    }
  }
}
