// Keyspaces of this cluster that stand still while a copy in another cluster is about to take their place (R37). A hold is in the
// memory of one term: whoever is elected next finds records that are frozen for nothing, and thaws them. What has to last, that
// the keyspace was moved, is one write to its record, which compares the election.
import { setTimeout as pause } from 'node:timers/promises';
import type { FrozenPartition, HoldSourceRequest, HoldSourceResponse, SettleHoldRequest, SettleHoldResponse } from '@atoll/contracts/atoll/v1/copy';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { keyspaceNotFound, lastingFreeze, type KeyspaceSpec, type PartitionRecord, type VersionedRecord, type WriteRecord } from '@atoll/core-membership';
import { refusalOfMove, withFrozen } from '@atoll/core-migration';
import { randomHex, type Random } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import type { KeyspaceStore } from '../adapters/keyspace-store.ts';
import type { Events } from '../events.ts';
import { leadersOf, type FreezeCalls } from './freeze-calls.ts';

/** How often leaders are asked that have not confirmed yet, in ms. */
const ASK_MS = 10;
const MAX_PAUSE_MS_MIN = 100;
const MAX_PAUSE_MS_MAX = 60_000;

export interface SourceHoldsOptions {
  readonly view: ClusterView;
  readonly keyspaces: Pick<KeyspaceStore, 'update' | 'isDeleting'>;
  readonly freezes: FreezeCalls;
  readonly random: Random;
  /** Monotonic. */
  readonly nowMs: () => number;
  readonly wallMs: () => number;
  readonly events: Pick<Events, 'sourceHeld' | 'sourceReleased' | 'keyspaceFrozen'>;
  readonly writeRecords: (records: readonly WriteRecord[]) => Promise<void>;
  /** What else holds the keyspace back, for people. */
  readonly cutOverOf: (spec: KeyspaceSpec) => string | undefined;
  readonly onNews: () => void;
}

interface Hold {
  readonly id: string;
  readonly asked: HoldSourceRequest;
  readonly sinceMs: number;
  /** By partition: as its leader confirmed it. */
  readonly confirmed: Map<number, FrozenPartition & { readonly barrier: NonNullable<FrozenPartition['barrier']> }>;
  /** The keyspace may have been moved: the hold stays until that is certain, either way (R7). */
  isMoving: boolean;
}

export class SourceHolds {
  readonly #options: SourceHoldsOptions;
  readonly #holds = new Map<string, Hold>();
  /** One end of a hold at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: SourceHoldsOptions) {
    this.#options = options;
  }

  /** What records say that are frozen for a hold. */
  ids(): Iterable<string> {
    return this.#holds.keys();
  }

  /** Whether the keyspace stands still for another cluster. */
  has({ id }: Pick<KeyspaceSpec, 'id'>): boolean {
    return [...this.#holds.values()].some(({ asked }) => asked.keyspaceId === id);
  }

  /**
   * Holds writes back, and resolves when every leader has confirmed that. Throws WRONG_CLUSTER, KEYSPACE_NOT_FOUND,
   * KEYSPACE_FROZEN, KEYSPACE_MOVED, KEYSPACE_COPYING, MIGRATION_CONFLICT, INVALID_ARGUMENT, and DEADLINE_EXCEEDED after
   * `max_pause_ms`. Whenever it throws writes are taken again.
   */
  async hold(asked: HoldSourceRequest, signal: AbortSignal): Promise<HoldSourceResponse> {
    const { random, nowMs, events, onNews } = this.#options;
    await this.#connect(this.#requireSource(asked));
    const spec = this.#requireSource(asked);
    const hold: Hold = { id: `hold-${randomHex(random, 8)}`, asked, sinceMs: nowMs(), confirmed: new Map(), isMoving: false };
    this.#holds.set(hold.id, hold);
    events.sourceHeld(asked);
    onNews();
    try {
      for (;;) {
        if (!this.#holds.has(hold.id)) throw new AtollError('DEADLINE_EXCEEDED', `not every leader of ${spec.name} confirmed within ${asked.maxPauseMs} ms that it takes no writes`);
        await this.#ask(hold);
        if (hold.confirmed.size === spec.partitionCount) return { hold: hold.id, partitions: [...hold.confirmed.values()] };
        await pause(ASK_MS, undefined, { signal });
      }
    } catch (error) {
      this.#release(hold, 'it did not come about');
      throw error;
    }
  }

  /** Ends a hold; the answer is certain, and stays so. Throws WRONG_CLUSTER, METADATA_UNAVAILABLE, METADATA_CONFLICT: ask again. */
  settle(request: SettleHoldRequest): Promise<SettleHoldResponse> {
    this.#requireCluster(request.clusterId);
    return this.#inTurn(() => this.#settle(request));
  }

  /** Has the records of keyspaces that are held say so, and ends holds that last too long. To be called after a round of decisions. */
  async step(): Promise<void> {
    const { view, random, nowMs, writeRecords } = this.#options;
    for (const hold of this.#holds.values()) {
      const { asked, sinceMs, id, confirmed } = hold;
      const isLate = nowMs() - sinceMs >= asked.maxPauseMs;
      if (hold.isMoving) {
        // Nobody asks any more: it is made certain all the same.
        if (isLate) await this.settle({ clusterId: asked.clusterId, keyspace: asked.keyspace, keyspaceId: asked.keyspaceId, hold: id, move: false }).catch(ignoreAway);
        continue;
      }
      const spec = view.keyspace(asked.keyspace);
      const thawed = this.#records(hold).filter(({ record }) => record.frozen !== id);
      // Behind a barrier there may be writes again: such a partition is not frozen a second time.
      const problem = isLate ? `it lasted for ${asked.maxPauseMs} ms` : spec?.id !== asked.keyspaceId || spec.freeze !== undefined ? 'the keyspace was changed' : thawed.some(({ record }) => confirmed.has(record.partition)) ? 'a partition takes writes again' : undefined;
      if (problem !== undefined) this.#release(hold, problem);
      else if (thawed.length > 0) await writeRecords(thawed.map((versioned) => withFrozen(versioned, id, random)));
    }
  }

  /** Has connections to all leaders stand before writes wait for them. */
  async #connect({ name, id }: KeyspaceSpec): Promise<void> {
    const { view, freezes } = this.#options;
    const leaders = leadersOf(view, view.partitions(name).map(({ record }) => record));
    await Promise.all([...leaders.keys()].map((address) => freezes.ask(address, { keyspace: name, keyspaceId: id, cutOver: '', partitions: [], seal: false, traceparent: '' })));
  }

  async #ask(hold: Hold): Promise<void> {
    const { view, freezes } = this.#options;
    const { asked, id, confirmed } = hold;
    const missing = this.#records(hold).flatMap(({ record }): PartitionRecord[] => (record.frozen === id && !confirmed.has(record.partition) ? [record] : []));
    const answers = [...leadersOf(view, missing)].map(([address, partitions]) => freezes.ask(address, { keyspace: asked.keyspace, keyspaceId: asked.keyspaceId, cutOver: id, partitions, seal: false, traceparent: asked.traceparent }));
    for (const { partition, barrier, timeMs } of (await Promise.all(answers)).flat()) if (barrier !== undefined) confirmed.set(partition, { partition, barrier, timeMs });
  }

  async #settle({ keyspace, keyspaceId, hold: id, move }: SettleHoldRequest): Promise<SettleHoldResponse> {
    const { events } = this.#options;
    const hold = this.#holds.get(id);
    const refusal = hold === undefined ? 'there is no such hold' : move ? this.#refusalOf(hold) : 'the other cluster gave it up';
    if (hold !== undefined && !hold.isMoving && refusal !== undefined) {
      this.#release(hold, refusal);
      return NOT_MOVED;
    }
    if (hold !== undefined) hold.isMoving = true;
    // Also where nothing is changed: that it succeeds shows that this coordinator is elected still, and has a write whose
    // answer was lost be refused for ever (R7, R11).
    const spec = await this.#write(keyspace, (present) => (hold === undefined || refusal !== undefined ? present : moved(present, hold, this.#options)));
    const movedTo = spec?.id === keyspaceId && spec.freeze?.movedTo?.hold === id ? spec.freeze.movedTo : undefined;
    if (hold !== undefined) {
      this.#holds.delete(id);
      if (movedTo !== undefined) events.keyspaceFrozen(spec!);
      else events.sourceReleased(hold.asked, refusal ?? `keyspace ${keyspace} was changed`);
      this.#options.onNews();
    }
    return movedTo === undefined ? NOT_MOVED : { moved: true, timeMs: movedTo.timeMs };
  }

  /** Undefined when the keyspace is gone. */
  async #write(name: string, change: (spec: KeyspaceSpec) => KeyspaceSpec): Promise<KeyspaceSpec | undefined> {
    try {
      return await this.#options.keyspaces.update(name, change);
    } catch (error) {
      if (isAtollError(error) && error.reason === 'KEYSPACE_NOT_FOUND') return undefined;
      throw error;
    }
  }

  #refusalOf(hold: Hold): string | undefined {
    const spec = this.#options.view.keyspace(hold.asked.keyspace);
    if (spec?.id !== hold.asked.keyspaceId) return `keyspace ${hold.asked.keyspace} is gone`;
    const barriers = new Map([...hold.confirmed].map(([partition, { barrier }]) => [partition, barrier]));
    return refusalOfMove(hold.id, spec.partitionCount, this.#records(hold).map(({ record }) => record), barriers);
  }

  #release(hold: Hold, why: string): void {
    if (hold.isMoving || !this.#holds.delete(hold.id)) return;
    this.#options.events.sourceReleased(hold.asked, why);
    this.#options.onNews();
  }

  #records({ asked }: Hold): readonly VersionedRecord[] {
    return this.#options.view.partitions(asked.keyspace).filter(({ record }) => record.keyspaceId === asked.keyspaceId);
  }

  #requireCluster(clusterId: string): void {
    const own = this.#options.view.clusterId;
    if (clusterId !== own) throw new AtollError('WRONG_CLUSTER', `this coordinator belongs to cluster ${own}, not ${clusterId}`);
  }

  #requireSource({ clusterId, keyspace, keyspaceId, maxPauseMs, toClusterId, toKeyspace }: HoldSourceRequest): KeyspaceSpec {
    const { view, keyspaces, cutOverOf } = this.#options;
    this.#requireCluster(clusterId);
    if (maxPauseMs < MAX_PAUSE_MS_MIN || maxPauseMs > MAX_PAUSE_MS_MAX) throw invalidArgument('max_pause_ms', `must be ${MAX_PAUSE_MS_MIN} to ${MAX_PAUSE_MS_MAX}, not ${maxPauseMs}`);
    if (toClusterId === '') throw invalidArgument('to_cluster_id', 'is missing');
    if (toKeyspace === '') throw invalidArgument('to_keyspace', 'is missing');
    const spec = view.keyspace(keyspace);
    if (spec?.id !== keyspaceId || spec.movedTo !== undefined || keyspaces.isDeleting(spec.id)) throw keyspaceNotFound(keyspace);
    const metadata = { field: 'keyspace', keyspace };
    if (spec.copyOf !== undefined) throw new AtollError('KEYSPACE_COPYING', `keyspace: ${keyspace} is being copied itself`, { metadata });
    if (spec.freeze?.movedTo !== undefined) throw new AtollError('KEYSPACE_MOVED', `keyspace: cluster ${spec.freeze.movedTo.cluster} has ${keyspace} already`, { metadata });
    if (spec.freeze !== undefined) throw new AtollError('KEYSPACE_FROZEN', `keyspace: ${keyspace} is frozen by an operator; it is unfrozen before it is cut over`, { metadata });
    const other = this.has(spec) ? 'a cut-over to another cluster' : cutOverOf(spec);
    if (other !== undefined) throw new AtollError('MIGRATION_CONFLICT', `keyspace: ${other} of ${keyspace} is under way`, { metadata });
    return spec;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

const NOT_MOVED: SettleHoldResponse = { moved: false, timeMs: 0 };

/** The keyspace as it is when the other cluster has it; as it was where somebody changed it meanwhile. */
function moved(present: KeyspaceSpec, { id, asked, confirmed }: Hold, { random, wallMs }: SourceHoldsOptions): KeyspaceSpec {
  if (present.id !== asked.keyspaceId || present.freeze !== undefined || present.movedTo !== undefined) return present;
  const timeMs = Math.max(0, ...[...confirmed.values()].map((partition) => partition.timeMs));
  return { ...present, freeze: { id: lastingFreeze(randomHex(random, 8)), sinceMs: wallMs(), note: '', movedTo: { cluster: asked.toClusterId, keyspace: asked.toKeyspace, hold: id, timeMs } } };
}

/** etcd is away, or another coordinator elected: it is tried again, or not this one's any more. */
function ignoreAway(error: unknown): void {
  if (!isAtollError(error)) throw error;
}
