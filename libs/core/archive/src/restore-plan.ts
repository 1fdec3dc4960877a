// Which chunks of which archives a restore reads, for which partitions of its target, in which order. Ranges of source and target
// nest, since both counts are powers of two: a group is the coarser of the two ranges, and groups are restored side by side. Inside a
// group each partition of the source is read in its own order, and every entry goes to the partition of the target that its token
// names; so no chunk is read twice, whatever the counts are.
//
//   source (4)   |  0  |  1  |  2  |  3  |        source (2)   |     0     |     1     |
//   target (2)   |     0     |     1     |        target (4)   |  0  |  1  |  2  |  3  |
//   groups       |  {0,1>0}  |  {2,3>1}  |        groups       |  {0>0,1}  |  {1>2,3}  |
import { AtollError } from '@atoll/core-errors';
import { checkPartitionCount } from '@atoll/core-placement';
import type { ArchivePosition, ArchivedKeyspace, ArchivedRange, ChunkRef, Manifest } from './manifest.ts';

/** What a store needs for an entry beside its row; a guess on the safe side, for memory that is asked for before anything is read. */
export const ENTRY_OVERHEAD_BYTES = 128;

export interface RestoreAsk {
  /** Of all archives that may be of use; others are left aside. */
  readonly manifests: readonly Manifest[];
  /** FULL or INCREMENTAL to which the restore goes, or from whose cut the logs go on. */
  readonly archive: string;
  readonly keyspace: string;
  /** Power of two. */
  readonly targetPartitions: number;
  /**
   * Undefined: the cut of the archive. Else, in ms since the epoch, not before the cut: the last barrier at or before it, unless
   * `exact`: then in each partition the last entry stamped at or before it (R40).
   */
  readonly moment?: { readonly atMs: number; readonly exact: boolean } | undefined;
}

/** One chunk; of a LOG what lies behind `afterSeq`, up to `upToSeq`. */
export interface RestoreStep {
  readonly archive: string;
  readonly chunk: ChunkRef;
  readonly afterSeq?: number | undefined;
  readonly upToSeq?: number | undefined;
}

export interface RestoreSource {
  readonly partition: number;
  /** Counter of its generation (R3). */
  readonly generation: number;
  /** The partition's time at the end, as far as it is known: what expires up to then has expired for good (I7, R23). */
  readonly timeMs: number;
  readonly steps: readonly RestoreStep[];
  /** Where it stands when all steps are done; with `exact` a time, behind which what is stamped is left out. */
  readonly upTo: { readonly seq: number } | { readonly atMs: number };
}

export interface RestoreGroup {
  /** Partitions of the source; no two of them share a key. */
  readonly sources: readonly RestoreSource[];
  /** Partitions of the target, all of whose keys come from these sources. */
  readonly targets: readonly number[];
  readonly storedBytes: number;
}

export interface RestorePlan {
  /** The archives to read, FULL first. */
  readonly archives: readonly string[];
  /** The moment that the restore leads to: wall clock of the barrier, or what was asked for with `exact`. */
  readonly atMs: number;
  readonly isExact: boolean;
  readonly groups: readonly RestoreGroup[];
  readonly chunks: number;
  /** To be read. */
  readonly storedBytes: number;
  /** Entries at the cut of the archive; the logs behind it may add or remove some. */
  readonly entries: number;
  /** An upper bound of what the entries of one replica take, all partitions together: content and overhead, replaced versions included. */
  readonly memoryBytesMax: number;
}

/**
 * @throws ARCHIVE_NOT_FOUND: the archive, a parent, the keyspace in it, or log up to the moment is not there, said by partition and
 * position; INVALID_ARGUMENT: the moment lies before the cut, the archive is a LOG, or the count is no power of two
 */
export function planRestore(ask: RestoreAsk): RestorePlan {
  checkPartitionCount(ask.targetPartitions);
  const byId = new Map(ask.manifests.map((manifest) => [manifest.id, manifest]));
  const chain = chainOf(byId, ask.archive);
  const last = chain.at(-1)!;
  const cut = last.barriers[0]!;
  const keyspace = keyspaceOf(last, ask.keyspace);
  if (ask.moment !== undefined && ask.moment.atMs < cut.atMs) throw new AtollError('INVALID_ARGUMENT', `moment: lies before the cut of ${last.id}`, { metadata: { field: 'moment' } });
  const logs = ask.moment === undefined ? [] : logsOf(ask.manifests, last, keyspace);
  const goal = goalOf(ask, cut, logs, keyspace);
  const used = new Set(chain.map(({ id }) => id));
  const sources = keyspace.ranges.map((range): RestoreSource => {
    const steps: RestoreStep[] = [];
    let at: ArchivePosition | undefined;
    for (const { manifest, part } of partsOf(chain, keyspace, range)) {
      checkGoesOn(manifest.id, part, at, range);
      steps.push(...part.chunks.map((chunk) => ({ archive: manifest.id, chunk })));
      at = part.upTo;
    }
    const place = { partition: range.partition, generation: range.generation.counter, steps };
    if (goal.barrier === undefined && !goal.isExact) return { ...place, timeMs: range.lastMs, upTo: { seq: at!.seq } };
    let timeMs = range.lastMs;
    const upTo = followLog(range, at!, logs, goal, (step) => {
      used.add(step.archive);
      steps.push(step);
      timeMs = Math.max(timeMs, timeOf(step, goal));
    });
    return { ...place, timeMs, upTo };
  });
  return toPlan(ask, { keyspace, sources, archives: [...chain, ...logs.map(({ manifest }) => manifest)].map(({ id }) => id).filter((id) => used.has(id)), goal });
}

/** What a partition is made of: what is whole, and what goes on from it. That needs nothing of what came before it. */
function partsOf(chain: readonly Manifest[], keyspace: ArchivedKeyspace, { partition }: ArchivedRange): readonly { readonly manifest: Manifest; readonly part: ArchivedRange }[] {
  const parts: { manifest: Manifest; part: ArchivedRange }[] = [];
  for (const manifest of [...chain].reverse()) {
    const archived = keyspaceOf(manifest, keyspace.name);
    if (archived.id !== keyspace.id) throw notFound(`${manifest.id} is of another keyspace ${keyspace.name}: it was made again since`);
    const part = archived.ranges.find((range) => range.partition === partition);
    if (part === undefined) throw notFound(`${manifest.id}: partition ${partition} is not in it`);
    parts.unshift({ manifest, part });
    if (part.after === undefined) return parts;
  }
  return parts;
}

/** A time that the partition has reached when the step is done; of a chunk that is not read to its end, that of its first entry. */
const timeOf = ({ chunk, upToSeq }: RestoreStep, { isExact, atMs }: Goal): number =>
  chunk.log === undefined ? 0 : upToSeq !== undefined || (isExact && chunk.log.lastMs > atMs) ? chunk.log.firstMs : chunk.log.lastMs;

/** From the FULL to the archive. */
export function chainOf(byId: ReadonlyMap<string, Manifest>, archive: string): readonly Manifest[] {
  const chain: Manifest[] = [];
  for (let id: string | undefined = archive; id !== undefined; id = chain[0]!.parent) {
    const manifest = byId.get(id);
    if (manifest === undefined) throw notFound(id === archive ? `there is no archive ${id}` : `${chain[0]!.id} goes on from ${id}, which is not there`);
    if (manifest.kind === 'LOG') throw new AtollError('INVALID_ARGUMENT', `archive: ${id} is a log, and says nothing by itself`, { metadata: { field: 'archive' } });
    if (chain.includes(manifest)) throw notFound(`${id} goes on from itself`);
    chain.unshift(manifest);
  }
  return chain;
}

interface Goal {
  readonly atMs: number;
  readonly isExact: boolean;
  /** Undefined: the cut. */
  readonly barrier: string | undefined;
}

interface LogPart {
  readonly manifest: Manifest;
  readonly ranges: ReadonlyMap<number, ArchivedRange>;
}

function logsOf(manifests: readonly Manifest[], { clusterId }: Manifest, { id }: ArchivedKeyspace): readonly LogPart[] {
  return manifests
    .filter((manifest) => manifest.kind === 'LOG' && manifest.clusterId === clusterId)
    .flatMap((manifest) => {
      const keyspace = manifest.keyspaces.find((one) => one.id === id);
      return keyspace === undefined ? [] : [{ manifest, ranges: new Map(keyspace.ranges.map((range) => [range.partition, range])) }];
    })
    .sort((a, b) => a.manifest.startedAtMs - b.manifest.startedAtMs);
}

/** The last barrier at or before the moment that is in the logs of every partition. */
function goalOf({ moment }: RestoreAsk, cut: { readonly atMs: number }, logs: readonly LogPart[], keyspace: ArchivedKeyspace): Goal {
  if (moment === undefined) return { atMs: cut.atMs, isExact: false, barrier: undefined };
  if (moment.exact) return { atMs: moment.atMs, isExact: true, barrier: undefined };
  const seen = new Map<string, { atMs: number; partitions: Set<number> }>();
  for (const { manifest, ranges } of logs) {
    for (const { id, atMs } of manifest.barriers) {
      if (atMs > moment.atMs || atMs <= cut.atMs) continue;
      const entry = seen.get(id) ?? { atMs, partitions: new Set<number>() };
      seen.set(id, entry);
      for (const [partition, { barriers }] of ranges) if (barriers.some((barrier) => barrier.id === id)) entry.partitions.add(partition);
    }
  }
  let best: Goal = { atMs: cut.atMs, isExact: false, barrier: undefined };
  for (const [id, { atMs, partitions }] of seen) {
    if (atMs > best.atMs && keyspace.ranges.every(({ partition }) => partitions.has(partition))) best = { atMs, isExact: false, barrier: id };
  }
  return best;
}

/** Logs overlap cuts and each other: what is there already is left out, and nothing may be missing. */
function followLog(range: ArchivedRange, from: ArchivePosition, logs: readonly LogPart[], goal: Goal, add: (step: RestoreStep) => void): RestoreSource['upTo'] {
  const own = logs.flatMap(({ manifest, ranges }) => {
    const part = ranges.get(range.partition);
    return part !== undefined && part.generation.id === range.generation.id ? [{ manifest, part }] : [];
  });
  let at = from;
  for (;;) {
    const next = own
      .filter(({ part }) => part.after!.seq <= at.seq && part.upTo.seq > at.seq)
      .sort((a, b) => b.part.upTo.seq - a.part.upTo.seq)[0];
    if (next === undefined) {
      // With a moment it may be that nothing was written until then; nobody but the log can say so.
      const knownMs = Math.max(0, ...own.flatMap(({ part }) => (part.upTo.seq === at.seq ? [part.lastMs] : [])));
      const latestMs = latestOf(logs);
      if (goal.isExact && knownMs >= goal.atMs) return { atMs: goal.atMs };
      throw notFound(`partition ${range.partition}: no log goes on from seq ${at.seq}${goal.isExact && latestMs > 0 ? `; the logs lead to ${new Date(latestMs).toISOString()}` : ''}`);
    }
    const { manifest, part } = next;
    const end = goal.barrier === undefined ? undefined : part.barriers.find(({ id }) => id === goal.barrier)?.seq;
    for (const chunk of part.chunks) {
      const log = chunk.log!;
      if (log.lastSeq <= at.seq || (end !== undefined && log.firstSeq > end) || (goal.isExact && log.firstMs > goal.atMs)) continue;
      add({ archive: manifest.id, chunk, afterSeq: log.firstSeq <= at.seq ? at.seq : undefined, upToSeq: end !== undefined && log.lastSeq > end ? end : undefined });
    }
    if (end !== undefined) return { seq: end };
    if (goal.isExact && (part.chunks.at(-1)?.log?.lastMs ?? 0) >= goal.atMs) return { atMs: goal.atMs };
    at = part.upTo;
  }
}

/** The last moment that the logs of all partitions have; 0: there is none. */
function latestOf(logs: readonly LogPart[]): number {
  const latest = new Map<number, number>();
  for (const { ranges } of logs) for (const [partition, { lastMs }] of ranges) latest.set(partition, Math.max(lastMs, latest.get(partition) ?? 0));
  return latest.size === 0 ? 0 : Math.min(...latest.values());
}

function checkGoesOn(archive: string, part: ArchivedRange, at: ArchivePosition | undefined, last: ArchivedRange): void {
  if (part.generation.id !== last.generation.id) throw gap(archive, part, `is of generation ${part.generation.counter}, and ${last.generation.counter} follows`);
  if (part.after !== undefined && (at === undefined || part.after.seq > at.seq)) throw gap(archive, part, `begins behind seq ${part.after.seq}, and what is before it ends at ${at?.seq ?? 0}`);
}

function toPlan({ targetPartitions }: RestoreAsk, { keyspace, sources, archives, goal }: { keyspace: ArchivedKeyspace; sources: readonly RestoreSource[]; archives: readonly string[]; goal: Goal }): RestorePlan {
  const groupCount = Math.min(keyspace.partitionCount, targetPartitions);
  const ofSource = keyspace.partitionCount / groupCount;
  const ofTarget = targetPartitions / groupCount;
  const storedOf = (members: readonly RestoreSource[]): number => members.reduce((sum, { steps }) => sum + steps.reduce((bytes, { chunk }) => bytes + chunk.storedBytes, 0), 0);
  const groups: RestoreGroup[] = [];
  for (let group = 0; group < groupCount; group += 1) {
    const members = sources.filter(({ partition }) => Math.floor(partition / ofSource) === group);
    if (members.length === 0) continue;
    groups.push({ sources: members, targets: Array.from({ length: ofTarget }, (_, index) => group * ofTarget + index), storedBytes: storedOf(members) });
  }
  const steps = sources.flatMap((source) => source.steps);
  return {
    archives,
    atMs: goal.atMs,
    isExact: goal.isExact,
    groups,
    chunks: steps.length,
    storedBytes: storedOf(sources),
    entries: keyspace.ranges.reduce((sum, { digest, versions }) => sum + ((digest ?? versions)?.entries ?? 0), 0),
    memoryBytesMax: steps.reduce((sum, { chunk }) => sum + chunk.plainBytes + chunk.entries * ENTRY_OVERHEAD_BYTES, 0),
  };
}

function keyspaceOf(manifest: Manifest, name: string): ArchivedKeyspace {
  const keyspace = manifest.keyspaces.find((one) => one.name === name);
  if (keyspace === undefined) throw notFound(`${manifest.id} has no keyspace ${name}`);
  return keyspace;
}

const notFound = (why: string): AtollError => new AtollError('ARCHIVE_NOT_FOUND', why);
const gap = (archive: string, { partition }: ArchivedRange, why: string): AtollError => notFound(`${archive}: partition ${partition} ${why}`);
