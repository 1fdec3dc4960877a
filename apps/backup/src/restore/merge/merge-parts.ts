// The keyspaces of one restore that are there and are kept (KEEP_NEWER), from the check of memory to the fence behind the last entry.
import type { RestoredKeyspace, RestoreResult } from '@atoll/contracts/atoll/v1/backup';
import { AtollError } from '@atoll/core-errors';
import { poolOf, type KeyspaceSpec } from '@atoll/core-membership';
import { lackOfRoom, type RoomLack } from '@atoll/core-migration';
import { ByteRate } from '@atoll/platform-grpc';
import { NodeClients } from '../../cold/node-clients.ts';
import type { JobOutcome, JobRun } from '../../jobs/job-kind.ts';
import { patiently } from '../../jobs/patience.ts';
import type { ArchiveSource } from '../archive-source.ts';
import type { RestorePart } from '../restore-parts.ts';
import { KeyspaceMerge } from './keyspace-merge.ts';
import { MergeLeaders, type MergeTarget } from './merge-leaders.ts';
import { MergeProgress, countsOf, type PartMerge } from './merge-progress.ts';
import { memoryOfNodes, requireWritable } from './merge-target.ts';
import { RestoreFence } from './restore-fence.ts';

/** Places go into the record so often, in ms: that much is done again after a crash. */
const SAVE_MS = 1000;
/** A job that is given up waits so long for a leader, in ms, and then says that it could not be told. */
const CLOSE_PATIENCE_MS = 30_000;

/** A keyspace that is merged into. */
export interface MergePart {
  readonly index: number;
  readonly part: RestorePart;
  readonly merge: PartMerge;
  readonly source: ArchiveSource;
}

export interface MergePartsOptions {
  readonly run: JobRun;
  readonly parts: readonly MergePart[];
  /** 0: no bound. */
  readonly bytesPerSecond: number;
  /** Keeps it in the record, once: throws METADATA_*. */
  readonly note: (index: number, changes: Partial<RestorePart>) => Promise<void>;
  /** With keys and values, and entries, that came to an end. */
  readonly onMoved: (bytes: number, entries: number) => void;
}

const targetOf = ({ part, merge }: Pick<MergePart, 'part' | 'merge'>): MergeTarget => ({ keyspace: part.keyspace, keyspaceId: merge.keyspaceId, partitionCount: merge.partitions });

export class MergeParts {
  readonly #options: MergePartsOptions;
  readonly #clients = new NodeClients();
  readonly #progress: ReadonlyMap<number, MergeProgress>;
  /** Places that the record has, as JSON. */
  readonly #saved = new Map<number, string>();
  #saving: Promise<unknown> | undefined;
  #savedMs = Number.NEGATIVE_INFINITY;

  constructor(options: MergePartsOptions) {
    this.#options = options;
    this.#progress = new Map(options.parts.map(({ index, merge, source }) => [index, new MergeProgress(source.partitions.length, merge.notes)]));
  }

  /** Partitions of the archive that are done, and how many there are. */
  get partitions(): { readonly done: number; readonly total: number } {
    const all = [...this.#progress.values()];
    return { done: all.reduce((sum, { done }) => sum + done, 0), total: all.reduce((sum, { total }) => sum + total, 0) };
  }

  /**
   * Throws CAPACITY_SHORT with the numbers where what the keyspaces lack does not fit. Where the archive as a whole would not, all of it is
   * read to see what that is.
   */
  async requireRoom(): Promise<void> {
    const byPool = Map.groupBy(this.#options.parts, (one) => poolOf(this.#spec(one)));
    for (const [pool, parts] of byPool) await this.#requireRoom(pool, parts);
  }

  async #requireRoom(pool: string, parts: readonly MergePart[]): Promise<void> {
    const { run } = this.#options;
    const memory = await memoryOfNodes(run.duty.view, pool, run.signal);
    const factors = parts.map((one) => this.#spec(one).replicationFactor);
    const replicationFactor = Math.max(...factors);
    const lack = (bytes: readonly number[]): RoomLack | undefined =>
      lackOfRoom({ bytes: Math.ceil(bytes.reduce((sum, own, index) => sum + (own * factors[index]!) / replicationFactor, 0)), replicationFactor, memory });
    if (lack(parts.map(({ source }) => source.sizesMax().reduce((sum, { bytes }) => sum + bytes, 0))) === undefined) return;
    await run.enter('MEASURE');
    const fence = await RestoreFence.take(run);
    const lacking: number[] = [];
    for (const one of parts) lacking.push(await this.#merge(one, fence).merge.lackingBytes());
    const short = lack(lacking);
    if (short === undefined) return;
    const names = parts.map(({ part }) => part.name).join(', ');
    throw new AtollError('CAPACITY_SHORT', `target: what ${names} would get: ${short.text}`, { metadata: { field: 'target', needed_bytes: String(short.neededBytes), free_bytes: String(short.freeBytes) } });
  }

  /** Goes on until all of them have what they lack. Throws as `KeyspaceMerge.run`. */
  async do(): Promise<void> {
    const { run, parts, note, onMoved } = this.#options;
    const fence = await RestoreFence.take(run);
    for (const one of parts) {
      if (one.part.isDone) continue;
      this.#spec(one);
      const { merge, leaders } = this.#merge(one, fence);
      const progress = this.#progress.get(one.index)!;
      await merge.run(progress, (bytes, entries) => {
        onMoved(bytes, entries);
        this.#saveSoon();
      });
      await leaders.close();
      await this.#saving;
      const { notes } = progress;
      await patiently(run, () => note(one.index, { merge: { ...one.merge, notes }, isDone: true }));
      this.#saved.set(one.index, JSON.stringify(notes));
      run.span?.addEvent('atoll.merged', { 'atoll.keyspace': one.part.keyspace, ...progress.counts });
    }
  }

  /** Keeps the places of what was done, and lets go. Never rejects: what is not kept is done again. */
  async end(): Promise<void> {
    this.#clients.close();
    await this.#saving;
    await this.#save().catch(() => undefined);
  }

  async #save(): Promise<void> {
    for (const { index, merge } of this.#options.parts) {
      const { notes } = this.#progress.get(index)!;
      const text = JSON.stringify(notes);
      if (text === (this.#saved.get(index) ?? JSON.stringify(merge.notes))) continue;
      await this.#options.note(index, { merge: { ...merge, notes } });
      this.#saved.set(index, text);
    }
  }

  #saveSoon(): void {
    if (this.#saving !== undefined || performance.now() - this.#savedMs < SAVE_MS) return;
    // Etcd may be away: what is kept later is kept anew.
    this.#saving = this.#save()
      .catch(() => undefined)
      .finally(() => {
        this.#savedMs = performance.now();
        this.#saving = undefined;
      });
  }

  #spec({ part }: MergePart): KeyspaceSpec {
    const spec = this.#options.run.duty.view.keyspace(part.keyspace);
    if (spec === undefined) throw new AtollError('KEYSPACE_NOT_FOUND', `keyspace ${part.keyspace} was deleted meanwhile`, { metadata: { keyspace: part.keyspace } });
    requireWritable(spec);
    return spec;
  }

  #merge(one: MergePart, fence: RestoreFence): { readonly merge: KeyspaceMerge; readonly leaders: MergeLeaders } {
    const { run, bytesPerSecond } = this.#options;
    const leaders = new MergeLeaders({ run, target: targetOf(one), clients: this.#clients, fence });
    const { partitions: partitionCount, isArchived } = one.merge;
    return { merge: new KeyspaceMerge({ run, source: one.source, leaders, partitionCount, isArchived, rate: new ByteRate(bytesPerSecond, performance.now()) }), leaders };
  }
}

/** Has nothing come in late of what a restore sent that is given up. Throws for leaders that cannot be told. */
export async function fenceOff(run: JobRun, parts: readonly RestorePart[]): Promise<void> {
  const clients = new NodeClients();
  try {
    const open = parts.flatMap((part) => (part.merge === undefined || part.isDone ? [] : [{ part, merge: part.merge }]));
    const fence = await RestoreFence.take(run);
    for (const one of open) await new MergeLeaders({ run, target: targetOf(one), clients, fence }).close(CLOSE_PATIENCE_MS);
  } finally {
    clients.close();
  }
}

export function toRestoredKeyspace({ source, keyspace, name, entries, comparedEntries, partitions, merge }: RestorePart): RestoredKeyspace {
  const told = { source, keyspace, name };
  if (merge === undefined) return { ...told, entries, comparedEntries, partitions, merged: false, keptEntries: 0, sameEntries: 0, expiredEntries: 0 };
  const { written, kept, same, expired } = countsOf(merge.notes);
  return { ...told, entries: written, comparedEntries: 0, partitions: merge.partitions, merged: true, keptEntries: kept, sameEntries: same, expiredEntries: expired };
}

/** `orders: 12 entries written, 30 kept since they are newer, 4 there already, 1 left out since expired`. */
export function mergeText({ name, merge }: RestorePart): string {
  if (merge === undefined) return '';
  const { written, kept, same, expired } = countsOf(merge.notes);
  return `${name}: ${written} entries written, ${kept} kept ${merge.isArchived ? 'since they are newer' : 'as they are there'}, ${same} there already, ${expired} left out since expired`;
}

/** What stays of a restore that is given up; undefined: nothing. */
export function leftBehind(parts: readonly RestorePart[], tookMs: number): JobOutcome | undefined {
  const merged = parts.filter(({ merge }) => merge !== undefined && merge.notes.begun > 0);
  if (merged.length === 0) return undefined;
  const result: RestoreResult = { archives: [], atMs: 0, keyspaces: merged.map(toRestoredKeyspace), tookMs };
  return { summary: `what was written stays: ${merged.map(mergeText).join('; ')}`, result: { ...result } };
}
