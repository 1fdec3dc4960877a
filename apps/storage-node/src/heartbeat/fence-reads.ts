import type { VersionedRecord } from '@atoll/core-membership';
import { parsePartitionRecord, partitionPrefix, type MetadataStore } from '@atoll/platform-etcd';
import type { HostedKeyspace } from '../hosted-keyspace.ts';
import type { HostedReplica } from '../hosted-replica.ts';

/** Reads per time that an office may be held without one: some may fail. */
const READS_PER_FENCE = 6;
const RETRY_MS = 200;

export interface FenceReadsOptions {
  readonly store: MetadataStore;
  /** Time without a read of its own record after which a leader stops, in ms. */
  readonly fenceAfterMs: number;
  /** How far the clocks of this node and of the coordinator may part in that time. */
  readonly driftMs: number;
  readonly keyspaces: () => Iterable<HostedKeyspace>;
  /** A record as etcd has it. */
  readonly onRecord: (record: VersionedRecord) => void;
  /** More offices may be held, or for longer. */
  readonly onRead: (keyspace: HostedKeyspace) => void;
}

/**
 * Leaders of keyspaces that are reset without an operator, or have a standby on another pool, look at their records again and
 * again (R15): their successor from outside the in-sync set comes by waiting alone, so that who cannot look must stop. A linearizable read counts
 * from when it was sent; before the first one an office of such a keyspace answers nothing.
 */
export class FenceReads {
  readonly #options: FenceReadsOptions;
  readonly #readSentMs = new WeakMap<HostedReplica, number>();
  readonly #reading = new WeakMap<HostedKeyspace, { sentMs: number }>();
  #isClosed = false;

  constructor(options: FenceReadsOptions) {
    this.#options = options;
  }

  /** Until when this replica may lead without another read; Infinity where an operator is asked before a reset. */
  untilMs(hosted: HostedReplica, keyspace: HostedKeyspace): number {
    if (!fencesItself(hosted, keyspace)) return Number.POSITIVE_INFINITY;
    const sentMs = this.#readSentMs.get(hosted);
    if (sentMs === undefined) return Number.NEGATIVE_INFINITY;
    return sentMs + this.#options.fenceAfterMs - this.#options.driftMs;
  }

  /** Reads where it is due: to be called every heartbeat interval, and when an office was taken. */
  check(nowMs: number): void {
    if (this.#isClosed) return;
    for (const keyspace of this.#options.keyspaces()) {
      if (!this.#isDue(keyspace, nowMs)) continue;
      const before = this.#reading.get(keyspace);
      if (before !== undefined && nowMs - before.sentMs < RETRY_MS) continue;
      void this.#read(keyspace, nowMs);
    }
  }

  close(): void {
    this.#isClosed = true;
  }

  #isDue(keyspace: HostedKeyspace, nowMs: number): boolean {
    const freshMs = this.#options.fenceAfterMs / READS_PER_FENCE;
    for (const hosted of keyspace.replicas()) {
      if (hosted.replica.leader !== undefined && fencesItself(hosted, keyspace) && nowMs - (this.#readSentMs.get(hosted) ?? Number.NEGATIVE_INFINITY) > freshMs) return true;
    }
    return false;
  }

  /** One read at a time per keyspace, unless one takes long: an office taken meanwhile need not wait for it. */
  async #read(keyspace: HostedKeyspace, sentMs: number): Promise<void> {
    const reading = { sentMs };
    this.#reading.set(keyspace, reading);
    try {
      const { values } = await this.#options.store.list(partitionPrefix(keyspace.spec.name));
      if (this.#isClosed) return;
      for (const { value, modRevision } of values) {
        const parsed = parsePartitionRecord(value);
        if (parsed.kind !== 'parsed') continue;
        const record = parsed.value;
        const hosted = keyspace.replica(record.partition);
        if (hosted === undefined || record.keyspaceId !== keyspace.id) continue;
        // The record first: it may end the very office.
        this.#options.onRecord({ record, modRevision });
        this.#readSentMs.set(hosted, Math.max(sentMs, this.#readSentMs.get(hosted) ?? Number.NEGATIVE_INFINITY));
      }
      this.#options.onRead(keyspace);
    } catch {
      // Without a read nothing is prolonged: that is the rule.
    } finally {
      if (this.#reading.get(keyspace) === reading && sentMs + RETRY_MS < performance.now()) this.#reading.delete(keyspace);
    }
  }
}

/** Its successor may come by waiting alone: in keyspaces that are reset, and where a standby is on another pool. */
const fencesItself = ({ replica }: HostedReplica, { spec }: HostedKeyspace): boolean => spec.onDataLoss === 'RESET' || replica.record?.record.hasStandby === true;
