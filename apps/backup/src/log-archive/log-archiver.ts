// The logs of all partitions go to the repository all the time, so that a restore can lead to any moment between two cuts (R40). Every
// round reads what is new of each partition and publishes it as an archive of its own; every so often a round ends at a barrier, at
// which all partitions are held at once. What is published is safe from the loss of the whole cluster.
//
// A round that fails is done again from where the repository ends: nothing is kept in mind that is not there. Where a node has dropped
// log before it was read, or the data of a partition began anew, there is a gap: behind it a restore needs a newer cut.
import { CLOCK_SLACK_MS, type Manifest } from '@atoll/core-archive';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { MIB } from '@atoll/core-runtime';
import type { Repository } from '@atoll/platform-repository';
import type { Logger } from '@atoll/platform-telemetry';
import { settingsOf } from '../cold/archived-settings.ts';
import { takeCut, type Cut } from '../cold/cut.ts';
import { NodeClients } from '../cold/node-clients.ts';
import { readRange } from '../cold/read-range.ts';
import type { JobDefaults, LogArchiving } from '../config.ts';
import { beginSession, type Duty } from '../jobs/duty.ts';
import { rest } from '../jobs/rest.ts';
import { sideBySide } from '../jobs/side-by-side.ts';
import type { RepositoryAccess } from '../repository/repository-access.ts';
import { goesOnFrom, placeOf, readLogs, type CutPlace } from './log-archives.ts';
import { mergeLogs, removeOldLogs } from './log-merge.ts';
import { areReadToTheEnd, keyOf, LogRange, type LogPlace, type LogRun } from './log-range.ts';
import { writeSegment, type SegmentRange } from './log-segment.ts';

/** Read of one partition in one round: what is left is read in the next one. */
const RUN_BYTES_MAX = 8 * MIB;
/** Of all partitions; the round ends early then. */
const ROUND_BYTES_MAX = 64 * MIB;
const SIDE_BY_SIDE = 16;
/** With more partitions those without anything new are left out of a round: its manifest would be larger than what it tells. */
const IDLE_RANGES_MAX = 1024;
/** Archives of log are made fewer, and old ones removed, so often. */
const TIDY_MS = 60_000;

export interface LogArchiverOptions {
  readonly access: RepositoryAccess;
  readonly defaults: JobDefaults;
  readonly logs: LogArchiving;
  readonly logger: Logger;
}

export interface KeyspaceLogs {
  readonly keyspace: string;
  /** Wall clock: what was acknowledged before is restored whatever is lost now. Undefined: not all of its partitions are in a backup. */
  readonly recoveryPointMs: number | undefined;
  /** Time since then, whatever became of the wall clock meanwhile. */
  readonly lagMs: number | undefined;
  /** Partitions whose log goes on from no backup: a restore to a moment needs a newer one. */
  readonly detached: number;
}

/** How it stands, for whoever asks. */
export interface LogArchivingState {
  readonly isOn: boolean;
  readonly keyspaces: readonly KeyspaceLogs[];
  /** Since this process is on duty. */
  readonly gaps: number;
  /** Why the last round failed; empty: it did not. */
  readonly problem: string;
}

export class LogArchiver {
  readonly #options: LogArchiverOptions;
  #places = new Map<string, LogPlace>();
  #cuts: ReadonlyMap<string, CutPlace> = new Map();
  /** By their places in the repository: they do not change, and are many. */
  readonly #manifests = new Map<string, Manifest>();
  #isKnown = false;
  /** Of which that is known. */
  #repositoryId = '';
  /** Beginning of the last round that came to an end. Its age is told by the monotonic clock: the other one may be set meanwhile. */
  #archived: { readonly wallMs: number; readonly monotonicMs: number } | undefined;
  /** To be added to the wall clock, as the last cut has shown; 0 where that is about right (`cutTime`). */
  #correctionMs = 0;
  /** That nothing is written any more is told once: a moment behind the last write is one to which the log leads. */
  #isIdleTold = true;
  /** The wall clock where the monotonic one is 0. */
  #originMs = 0;
  #ranges: readonly LogRange[] = [];
  #barrierMs = Number.NEGATIVE_INFINITY;
  #tidyMs = Number.NEGATIVE_INFINITY;
  #gaps = 0;
  #problem = '';
  #number = 0;

  constructor(options: LogArchiverOptions) {
    this.#options = options;
  }

  get state(): LogArchivingState {
    const ranges = new Map<string, LogRange[]>();
    for (const range of this.#ranges) ranges.set(range.keyspace.name, [...(ranges.get(range.keyspace.name) ?? []), range]);
    const keyspaces = [...ranges].map(([keyspace, own]): KeyspaceLogs => {
      const cuts = own.map((range) => this.#cuts.get(keyOf(range.keyspace.id, range.partition)));
      const detached = own.filter(({ place }, index) => place === undefined || !goesOnFrom(place, cuts[index])).length;
      const cutMs = Math.min(...cuts.map((cut) => cut?.atMs ?? Number.NEGATIVE_INFINITY));
      if (detached > 0) return { keyspace, detached, recoveryPointMs: Number.isFinite(cutMs) ? cutMs : undefined, lagMs: Number.isFinite(cutMs) ? Math.max(0, Date.now() + this.#correctionMs - cutMs) : undefined };
      return { keyspace, detached, recoveryPointMs: this.#archived?.wallMs, lagMs: this.#archived && performance.now() - this.#archived.monotonicMs };
    });
    return { isOn: this.#options.logs.isOn, keyspaces, gaps: this.#gaps, problem: this.#problem };
  }

  /** There may be another cut. */
  forgetCuts(): void {
    this.#isKnown = false;
  }

  /** Until the duty ends. Never rejects. */
  async work(duty: Duty): Promise<void> {
    const { logs, logger } = this.#options;
    if (!logs.isOn) return;
    this.forgetCuts();
    const clients = new NodeClients();
    while (!duty.signal.aborted) {
      const startMs = performance.now();
      try {
        await this.#round(duty, clients);
        if (this.#problem !== '') logger.info('logs are archived again');
        this.#problem = '';
      } catch (err) {
        if (duty.signal.aborted) break;
        this.#isKnown = false;
        if (this.#problem !== (err as Error).message) logger.warn({ err }, 'logs are not archived');
        this.#problem = (err as Error).message;
      }
      await rest(Math.max(logs.intervalMs / 10, logs.intervalMs - (performance.now() - startMs)), duty.signal).catch(() => undefined); // The loop ends with the duty.
    }
    clients.close();
    this.#ranges = [];
    this.#archived = undefined;
  }

  async #round(duty: Duty, clients: NodeClients): Promise<void> {
    const { logs, defaults } = this.#options;
    const repository = await duty.repository();
    if (repository.id !== this.#repositoryId) this.#isKnown = false;
    this.#repositoryId = repository.id;
    const startedAtMs = Date.now();
    const startedAt = performance.now();
    // The wall clock was set: what it says is looked at with the next cut, which is taken now.
    const originMs = startedAtMs - startedAt;
    if (Math.abs(originMs - this.#originMs) > CLOCK_SLACK_MS) this.#barrierMs = Number.NEGATIVE_INFINITY;
    this.#originMs = originMs;
    if (!this.#isKnown) await this.#learn(repository, duty);
    const ranges = this.#rangesOf(duty);
    this.#ranges = ranges;
    const isDue = performance.now() - this.#barrierMs >= logs.barrierMs || ranges.some(({ place }) => place === undefined);
    let cut: Cut<LogRange> | undefined;
    if (isDue) {
      const taken = await takeCut({ ranges, view: duty.view, clients, holdMs: defaults.barrierHoldMs, signal: duty.signal });
      if ('problem' in taken) throw new AtollError('PARTITION_UNAVAILABLE', `no barrier: ${taken.problem}`);
      cut = taken;
      const aheadMs = cut.atMs - Date.now();
      this.#correctionMs = Math.abs(aheadMs) > CLOCK_SLACK_MS ? aheadMs : 0;
    }
    const runs = await this.#read(ranges, duty, { clients, cut });
    const isComplete = areReadToTheEnd(ranges, runs);
    // Only if every partition was read to the barrier is it one.
    const isWhole = cut !== undefined && isComplete;
    const news = runs.filter(({ bytes }) => bytes > 0);
    // That nothing was written to the others is said as well: a restore to a moment since then has to know.
    const told = runs.length <= IDLE_RANGES_MAX ? runs.filter(({ bytes, isToTheEnd }) => bytes > 0 || isToTheEnd) : news;
    const isNews = news.length > 0;
    if (isNews || (isComplete && !this.#isIdleTold && told.length > 0)) await this.#publish(told, { repository, duty, startedAtMs, barrier: isWhole ? cut : undefined });
    this.#isIdleTold = !isNews && (isComplete || this.#isIdleTold);
    if (isWhole) this.#barrierMs = performance.now();
    // Whoever has no log yet begins at the barrier.
    for (const range of ranges) {
      const marker = range.place === undefined ? cut?.markers.get(range) : undefined;
      if (marker !== undefined) this.#places.set(keyOf(range.keyspace.id, range.partition), { generation: marker.generation, position: marker.position, timeMs: marker.stampMs, since: marker.position });
    }
    if (isComplete) this.#archived = { wallMs: startedAtMs + this.#correctionMs, monotonicMs: startedAt };
    if (performance.now() - this.#tidyMs < TIDY_MS) return;
    this.#tidyMs = performance.now();
    await this.#tidy(repository, duty);
  }

  async #learn(repository: Repository, duty: Duty): Promise<void> {
    const { places, cuts } = await readLogs(repository, duty.view.clusterId, this.#manifests, this.#options.access.unreadable);
    // What this process knows of partitions without log in the repository yet goes on from where it began.
    for (const [key, place] of places) {
      const own = this.#places.get(key);
      if (own === undefined || own.generation.id !== place.generation.id || own.position.seq <= place.position.seq) this.#places.set(key, place);
    }
    for (const [key, cut] of cuts) if (!this.#places.has(key)) this.#places.set(key, placeOf(cut));
    this.#cuts = cuts;
    this.#isKnown = true;
  }

  #rangesOf({ view }: Duty): readonly LogRange[] {
    const ranges: LogRange[] = [];
    for (const keyspace of view.keyspaces().values()) {
      if (keyspace.copyOf !== undefined || keyspace.freeze?.movedTo !== undefined || keyspace.movedTo !== undefined) continue;
      for (let partition = 0; partition < keyspace.partitionCount; partition += 1) ranges.push(new LogRange(keyspace, partition, this.#places.get(keyOf(keyspace.id, partition))));
    }
    return ranges;
  }

  async #read(ranges: readonly LogRange[], duty: Duty, { clients, cut }: { readonly clients: NodeClients; readonly cut: Cut<LogRange> | undefined }): Promise<readonly LogRun[]> {
    const left = ranges.filter(({ place }) => place !== undefined);
    const runs: LogRun[] = [];
    let total = 0;
    await sideBySide(
      SIDE_BY_SIDE,
      () => (total < ROUND_BYTES_MAX ? left.shift() : undefined),
      async (range) => {
        const run = await this.#readOne(range, duty, { clients, cut });
        if (run === undefined) return;
        total += run.bytes;
        runs.push(run);
      },
    );
    return runs;
  }

  /** Undefined: there is a gap, and the partition goes on from a cut behind it, or begins anew at the next barrier. */
  async #readOne(range: LogRange, { view, signal }: Duty, { clients, cut }: { readonly clients: NodeClients; readonly cut: Cut<LogRange> | undefined }): Promise<LogRun | undefined> {
    const { keyspace, partition } = range;
    const from = range.place!;
    const marker = cut?.markers.get(range);
    const runs: Buffer[] = [];
    let bytes = 0;
    let upTo = from.position;
    const enough = new Error('enough for one round');
    try {
      const end = await readRange({
        range,
        view,
        clients,
        upTo: marker,
        signal,
        take: async ({ log, place, end: isEnd }) => {
          if (log.length > 0) runs.push(Buffer.from(log));
          bytes += log.length;
          upTo = place!.position!;
          if (bytes >= RUN_BYTES_MAX && !isEnd) throw enough;
        },
      });
      return { range, from, runs, bytes, upTo, timeMs: end.stampMs, isToTheEnd: true, barrierSeq: marker?.position.seq };
    } catch (error) {
      if (error === enough) return { range, from, runs, bytes, upTo, timeMs: from.timeMs, isToTheEnd: false, barrierSeq: undefined };
      if (!isAtollError(error) || error.reason !== 'SNAPSHOT_GONE') throw error;
      this.#gaps += 1;
      const key = keyOf(keyspace.id, partition);
      const next = this.#cuts.get(key);
      if (next !== undefined && next.generation.counter >= from.generation.counter && next.position.seq > from.position.seq) this.#places.set(key, placeOf(next));
      else this.#places.delete(key);
      this.#options.logger.warn({ keyspace: keyspace.name, partition, position: from.position, err: error }, 'log was dropped before it was archived: a restore to a moment behind it needs a newer backup');
      return undefined;
    }
  }

  async #publish(runs: readonly LogRun[], { repository, duty, startedAtMs, barrier }: { readonly repository: Repository; readonly duty: Duty; readonly startedAtMs: number; readonly barrier: Cut<LogRange> | undefined }): Promise<void> {
    const { access, defaults } = this.#options;
    this.#number += 1;
    const id = `log-0-${startedAtMs}-${duty.lock.fencingToken}-${this.#number}`;
    const session = await beginSession(duty, repository, { purpose: 'WRITE', archive: id, uses: [], owner: 'archiving of logs' });
    try {
      const ranges = runs.map(({ range: { keyspace, partition }, from, runs: own, upTo, timeMs, barrierSeq, isToTheEnd }): SegmentRange => ({
        keyspace: { name: keyspace.name, id: keyspace.id, partitionCount: keyspace.partitionCount, settings: settingsOf(keyspace) },
        partition,
        generation: from.generation,
        after: from.position,
        upTo,
        firstMs: from.timeMs,
        // It has everything that was written before the round.
        lastMs: Math.max(from.timeMs, timeMs, isToTheEnd ? startedAtMs + this.#correctionMs : 0),
        barriers: barrier === undefined || barrierSeq === undefined ? [] : [{ id: barrier.id, seq: barrierSeq }],
        runs: own,
      }));
      const barriers = barrier === undefined ? [] : [{ id: barrier.id, atMs: barrier.atMs }];
      const name = { id, clusterId: duty.view.clusterId, session: session.id, startedAtMs, finishedAtMs: Math.max(startedAtMs, Date.now()), barriers };
      const chunks = { level: defaults.compressionLevel, key: access.key };
      const manifest = await writeSegment(ranges, name, { codec: repository.codec, chunks, put: (chunk) => session.putChunk(chunk), signal: duty.signal });
      await session.publish(manifest, access.key);
    } finally {
      await session.leave();
    }
    for (const { range, from, upTo, timeMs } of runs) this.#places.set(keyOf(range.keyspace.id, range.partition), { ...from, position: upTo, timeMs: Math.max(from.timeMs, timeMs) });
  }

  /** What fails here is tried again: nothing depends on it but the number of archives. */
  async #tidy(repository: Repository, duty: Duty): Promise<void> {
    const { access, defaults, logs, logger } = this.#options;
    try {
      const known = await readLogs(repository, duty.view.clusterId, this.#manifests, this.#options.access.unreadable);
      this.#cuts = known.cuts;
      await removeOldLogs(repository, known, { by: () => duty.nextSession(), nowMs: Date.now(), keepMs: logs.keepMs });
      await mergeLogs(repository, known, { duty, chunks: { level: defaults.compressionLevel, key: access.key }, key: access.key });
    } catch (err) {
      duty.signal.throwIfAborted();
      logger.warn({ err }, 'archives of log are not tidied up');
    }
  }
}
