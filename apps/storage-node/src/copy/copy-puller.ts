import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { CopyService, FollowSourceResponse, type CopyChange, type CopyCheck, type CopyClient, type CopyOrigin, type CopyProof, type FollowSourceRequest, type HeldDigests } from '@atoll/contracts/atoll/v1/copy';
import { AtollError, isAtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { WHOLE_RANGE, partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { PartDigests, digestRange, isSameDigest, partBits, takeDifferences, type CopiedChange, type CopyPhase, type CopyPosition, type DiscardReport, type HashRange, type Leader } from '@atoll/core-replication';
import { KIB, hashOfHalves, type Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH } from '@atoll/core-store';
import { readEncodedStream, type ByteRate, type SharedClients } from '@atoll/platform-grpc';
import type { Logger, Tracing } from '@atoll/platform-telemetry';
import { fromTokenRange } from '@atoll/platform-wire';
import type { HostedReplica } from '../hosted-replica.ts';
import { readMoment } from '../turn.ts';
import { TELL_MS } from './copy-source.ts';
import type { FollowedSource } from './followed-source.ts';
import type { Slots } from './slots.ts';
import { StreamSpans } from './stream-spans.ts';

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2000;
/** A place that moved without a change is written down so often, in ms: another leader begins there. */
const PLACE_MS = 5000;
const EMPTYING_SLICE = { entriesMax: 1000, bytesMax: 256 * KIB };
/** A source that says nothing for so long is one whose state grows old here, in ms. */
const SILENT_MS = 3 * TELL_MS;
/** Of one sub-range of the source, at most some thousand entries. */
const WHOLE = { entriesMax: Infinity, bytesMax: Infinity };
/** Read in one turn to be digested. */
const DIGEST_SLICE = { entriesMax: 1000, bytesMax: 1024 * KIB };
const NOTHING_COMPARED = { entries: 0, equal: 0, differing: 0 };
const NOWHERE = { generation: 0, epoch: 0, seq: 0 } as const;

export interface CopyPullerOptions {
  /** The partition of the copy, and its leader here: of no use in another office. */
  readonly hosted: HostedReplica;
  readonly leader: Leader;
  readonly source: FollowedSource;
  /** Partition of the source. */
  readonly partition: number;
  readonly target: KeyspaceSpec;
  readonly clients: SharedClients<CopyClient>;
  /** Those that still copy sub-ranges, on this node. */
  readonly slots: Slots;
  /** Of what this node copies by sub-ranges for this copy, all its partitions together. */
  readonly rate: ByteRate;
  /** Of this cluster. */
  readonly clusterId: string;
  readonly onDiscards: (report: DiscardReport) => void;
  /** The source's log was gone, or its data began anew. */
  readonly onRestart: () => void;
  readonly tracing: Pick<Tracing, 'startSpan'>;
  readonly logger: Logger;
  readonly random: () => number;
}

export interface PullStatus {
  readonly phase: CopyPhase;
  /** 0 to 1. */
  readonly progress: number;
  /** Both undefined until the source was heard of in this office. */
  readonly lagSeq: number | undefined;
  readonly lagMs: number | undefined;
  readonly restarts: number;
  readonly problem: string;
  /** Of `problem`; empty where it has none. */
  readonly problemReason: string;
  readonly proof: CopyProof | undefined;
  /** What is committed here is as the source was there. */
  readonly origin: CopyPosition['origin'] | undefined;
  /** The source's time there, in ms since the epoch; 0 before the first word. */
  readonly stampMs: number;
  /** The source's time when it was last heard of in this office; undefined before. */
  readonly headStampMs: number | undefined;
}

/**
 * Brings a partition of a copy what belongs to it out of one partition of the source, and goes on following it (R37). All that
 * has to outlive this process is in the partition's own log: each batch of changes ends with the place in the source's log
 * that it leads to.
 */
export class CopyPuller {
  readonly #options: CopyPullerOptions;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  /** The place as it is known here; in the log perhaps an earlier one from which nothing has changed since. */
  #position: CopyPosition | undefined;
  #writtenMs = -Infinity;
  #head: { readonly seq: number; readonly stampMs: number; readonly heardMs: number } | undefined;
  #restarts = 0;
  /** Nothing came since all was removed: it need not be done again while the source does not answer. */
  #isEmptied = false;
  /** Streams that failed. */
  #failures = 0;
  /** Up to there in this partition's log the source has what was written here before; undefined: nobody knows. */
  #former: CopyOrigin | undefined;
  /** The latest stream failed before anything came. */
  #isFruitless = false;
  #problem = '';
  #problemReason = '';
  /** The comparison under way, and the latest that came to its end. */
  #comparing: Omit<CopyProof, 'origin'> | undefined;
  #proof: CopyProof | undefined;

  constructor(options: CopyPullerOptions) {
    this.#options = options;
    const { copies } = options.hosted.replica.state;
    // What is left of an earlier copy says nothing of this one.
    this.#position = copies.run === options.source.run ? copies.get(options.partition) : undefined;
    this.#done = this.#run();
  }

  status(nowMs: number): PullStatus {
    const position = this.#position;
    const phase = position?.phase ?? 'EMPTYING';
    const progress = phase === 'FOLLOWING' ? 1 : (position?.next?.high ?? 0) / 2 ** 32;
    const base = { phase, progress, restarts: this.#restarts, problem: this.#problem, problemReason: this.#problemReason, proof: this.#proof, origin: position?.origin, stampMs: position?.stampMs ?? 0, headStampMs: this.#head?.stampMs };
    // What was heard before this office is in the log: how old that is can be told, by two clocks.
    if (this.#head === undefined && position !== undefined && position.stampMs > 0) return { ...base, lagSeq: undefined, lagMs: Math.max(0, readMoment().wallMs - position.stampMs) };
    if (this.#head === undefined || position === undefined) return { ...base, lagSeq: undefined, lagMs: undefined };
    const silentMs = nowMs - this.#head.heardMs;
    const lagSeq = Math.max(0, this.#head.seq - position.origin.seq);
    return { ...base, lagSeq, lagMs: Math.max(0, this.#head.stampMs - position.stampMs) + (silentMs > SILENT_MS ? silentMs : 0) };
  }

  async stop(): Promise<void> {
    this.#abort.abort(new AtollError('CANCELLED', 'the copy is not taken any further here'));
    await this.#done;
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    let retryMs = RETRY_MS_MIN;
    while (!signal.aborted) {
      const before = this.#position;
      try {
        await this.#follow();
      } catch (error) {
        if (signal.aborted) return;
        this.#problem = isAtollError(error) ? `${error.reason}: ${error.message}` : 'internal error';
        this.#problemReason = isAtollError(error) ? error.reason : '';
        this.#failures += 1;
        if (!isAtollError(error)) this.#options.logger.error({ err: error, keyspace: this.#options.target.name }, 'a copy met a bug; it is tried again');
      }
      retryMs = this.#position === before ? Math.min(retryMs * 2, RETRY_MS_MAX) : RETRY_MS_MIN;
      await pause(retryMs * (0.5 + this.#options.random() / 2), undefined, { signal }).catch(() => undefined);
    }
  }

  async #follow(): Promise<void> {
    const { slots, clients, rate, source, partition } = this.#options;
    // The source begins its comparison anew with each stream.
    this.#comparing = undefined;
    const { signal } = this.#abort;
    let release = this.#position?.phase === 'FOLLOWING' ? undefined : await slots.take(signal);
    let address: string | undefined;
    let spans: StreamSpans | undefined;
    try {
      const held = await this.#prepare();
      address = this.#addressOfSource();
      spans = this.#spansOf(address);
      this.#isFruitless = true;
      for await (const message of this.#messages(address, this.#request(held), spans.traceparent)) {
        signal.throwIfAborted();
        this.#isFruitless = false;
        spans.took(message.changes);
        if (message.restart !== '') {
          this.#restarts += 1;
          this.#options.onRestart();
          this.#proof = undefined;
          this.#problem = `${message.restart}: it begins anew`;
          this.#problemReason = '';
          // Behind this entry nothing here counts as a copy of anything any more.
          if (source.run === 0) await this.#take([], { source: partition, phase: 'EMPTYING', origin: NOWHERE, stampMs: 0, next: undefined });
          // What is here stays, and is compared from the beginning.
          else this.#position = undefined;
          spans.end(new AtollError(message.restart === 'WATCH_RESET' ? 'WATCH_RESET' : 'WATCH_COMPACTED', 'it begins anew'));
          return;
        }
        await this.#apply(message);
        if (message.check !== undefined) this.#compare(message.check);
        this.#problem = '';
        this.#problemReason = '';
        // Not reading on is what slows the source; changes are not held back for their own sake.
        if (message.sliceBytes > 0) await rate.wait(message.sliceBytes, signal);
        if (this.#position?.phase !== 'FOLLOWING' || release === undefined) continue;
        spans.filled();
        release();
        release = undefined;
      }
      spans.end(undefined);
    } catch (error) {
      spans?.end(signal.aborted ? undefined : error);
      throw error;
    } finally {
      release?.();
      if (address !== undefined) clients.release(address);
    }
  }

  /** Has the log say that it is this copy. Of one that had data before: what it holds of the keys that were not compared yet. */
  async #prepare(): Promise<HeldDigests | undefined> {
    const { source, leader } = this.#options;
    if (source.run === 0) {
      if ((this.#position === undefined || this.#position.phase === 'EMPTYING') && !this.#isEmptied) await this.#empty();
      return undefined;
    }
    await new Promise<void>((resolve, reject) => leader.resumeCopy(source.run, readMoment(), (failure) => (failure === undefined ? resolve() : reject(new AtollError(failure.reason, failure.message)))));
    return this.#position?.phase === 'FOLLOWING' ? undefined : this.#digests(this.#position?.next ?? FIRST_HASH);
  }

  async #digests(begin: Hash64): Promise<HeldDigests> {
    const { state } = this.#options.hosted.replica;
    // What has expired is not shown here any more, and need not be compared.
    const parts = new PartDigests({ bits: partBits({ entries: state.store.entryCount, bytes: state.store.liveBytes }), expiringByMs: state.clock.read(performance.now()) });
    for (let from: Hash64 | undefined = begin; from !== undefined; ) {
      from = parts.add(state.store, from, this.#belongs, DIGEST_SLICE);
      this.#abort.signal.throwIfAborted();
      await nextTurn();
    }
    return { bits: parts.bits, expiringByMs: parts.expiringByMs, digests: parts.encode() };
  }

  #request(held: HeldDigests | undefined): FollowSourceRequest {
    const { source, partition, target, hosted, clusterId } = this.#options;
    const [tokenFrom, tokenTo] = fromTokenRange(source.tokens ?? WHOLE_RANGE);
    const at = this.#position?.phase === 'EMPTYING' ? undefined : this.#position;
    return {
      clusterId: source.clusterId,
      keyspace: source.name,
      keyspaceId: source.id,
      partition,
      targetPartition: hosted.partition,
      targetPartitionCount: target.partitionCount,
      origin: at && { ...at.origin },
      nextHigh: at?.next?.high,
      nextLow: at?.next?.low,
      tokenFrom,
      tokenTo,
      held,
      targetClusterId: clusterId,
      targetKeyspaceId: target.id,
      targetTimeMs: hosted.replica.state.clock.read(performance.now()),
    };
  }

  #addressOfSource(): string {
    const { source, partition } = this.#options;
    return source.addressOf(partition, this.#failures);
  }

  #spansOf(address: string): StreamSpans {
    const { tracing, target, hosted, source, partition } = this.#options;
    const attributes = {
      'atoll.migration': target.copyOf?.job ?? '',
      'atoll.keyspace': target.name,
      'atoll.partition': hosted.partition,
      'atoll.source': source.name,
      'atoll.source_partition': partition,
      'atoll.phase': this.#position?.phase ?? 'EMPTYING',
      'server.address': address,
    };
    return new StreamSpans({ tracing, parent: target.copyOf?.traceparent, attributes, isRepeat: this.#isFruitless });
  }

  /** What the source says, read one by one: what is not read is not sent. Where another cluster fails, by which of its routers. */
  async *#messages(address: string, request: FollowSourceRequest, traceparent: string | undefined): AsyncGenerator<FollowSourceResponse, void, undefined> {
    const { clients, source } = this.#options;
    try {
      for await (const message of readEncodedStream(clients.take(address), CopyService.followSource, request, { signal: this.#abort.signal, traceparent })) yield FollowSourceResponse.decode(message);
    } catch (error) {
      if (!source.isElsewhere || !isAtollError(error)) throw error;
      throw new AtollError(error.reason, `${source.servedBy} ${address}: ${error.message}`, { cause: error });
    }
  }

  /**
   * Removes what an earlier beginning left here. It says so in the log before anything else: half a batch of a first beginning
   * that no place stands behind must not be taken for the source's present state.
   */
  async #empty(): Promise<void> {
    const { hosted, partition } = this.#options;
    const emptying: CopyPosition = { source: partition, phase: 'EMPTYING', origin: NOWHERE, stampMs: 0, next: undefined };
    await this.#take([], emptying);
    for (let from: Hash64 | undefined = FIRST_HASH; from !== undefined; ) {
      const slice = hosted.replica.state.store.readRange(from, undefined, EMPTYING_SLICE);
      const gone = slice.entries.filter(({ key }) => this.#belongs(key));
      if (gone.length > 0) await this.#take(gone.map(({ key }) => ({ key, value: undefined, expiresAtMs: 0 })), emptying);
      from = slice.next;
      await nextTurn();
    }
    this.#isEmptied = true;
  }

  async #apply(message: FollowSourceResponse): Promise<void> {
    const { changes, origin, stampMs, nextHigh, nextLow, headSeq, headStampMs } = message;
    if (origin === undefined) throw new AtollError('INTERNAL', 'the source does not say where it is');
    this.#isEmptied = false;
    const next = hashOfHalves(nextHigh, nextLow);
    const position: CopyPosition = { source: this.#options.partition, phase: next === undefined ? 'FOLLOWING' : this.#options.source.run > 0 ? 'COMPARING' : 'COPYING', origin, stampMs, next };
    const heardMs = performance.now();
    this.#head = { seq: headSeq, stampMs: headStampMs, heardMs };
    const isQuiet = changes.length === 0 && position.phase === this.#position?.phase && position.phase === 'FOLLOWING';
    const hasMoved = origin.seq !== this.#position?.origin.seq || origin.generation !== this.#position.origin.generation;
    if (isQuiet && (!hasMoved || heardMs - this.#writtenMs < PLACE_MS)) this.#position = position;
    else if (this.#options.source.run === 0 || this.#position?.phase === 'FOLLOWING') await this.#take(changes.map(toCopied), position, message.results);
    else await this.#takeDifferences(message, position);
  }

  /** What was written here before and is lost by it is told once that is certain. */
  async #takeDifferences({ changes, logChanges, replaced, former }: FollowSourceResponse, position: CopyPosition): Promise<void> {
    const { hosted, onDiscards } = this.#options;
    const { state } = hosted.replica;
    if (logChanges === undefined) throw new AtollError('INTERNAL', 'the source does not compare: it is of an older version');
    if (former !== undefined) this.#former = former;
    const ranges = replaced.map(({ fromHigh, fromLow, toHigh, toLow }): HashRange => ({ from: { high: fromHigh, low: fromLow }, to: hashOfHalves(toHigh, toLow) }));
    const differences = takeDifferences({
      store: state.store,
      generation: state.generation,
      changes: changes.map(({ key, value, expiresAtMs }): CopiedChange => ({ key, value, expiresAtMs })),
      logChanges,
      replaced: ranges,
      belongs: this.#belongs,
      next: this.#position === undefined ? FIRST_HASH : this.#position.next,
      resumedBehind: state.copies.resumedBehind,
      former: this.#former,
      timeMs: state.clock.read(performance.now()),
    });
    await this.#take(differences.changes, position);
    if (differences.discards !== undefined) onDiscards(differences.discards);
  }

  /**
   * The changes before it are applied, and nothing came since: a sub-range must be here as it is at the source. Nothing is repaired: where a
   * copy evicts, it lacks what its source has.
   */
  #compare({ fromHigh, fromLow, toHigh, toLow, expiringByMs, entries, sumHigh, sumLow }: CopyCheck): void {
    const { hosted } = this.#options;
    const isFirst = fromHigh === FIRST_HASH.high && fromLow === FIRST_HASH.low;
    const to = hashOfHalves(toHigh, toLow);
    const held = digestRange(hosted.replica.state.store, { from: { high: fromHigh, low: fromLow }, to, belongs: this.#belongs, expiringByMs }, WHOLE).digest;
    const isEqual = isSameDigest(held, { entries, sum: { high: sumHigh, low: sumLow } });
    const before = isFirst ? NOTHING_COMPARED : this.#comparing;
    if (before === undefined) return;
    this.#comparing = { entries: before.entries + entries, equal: before.equal + (isEqual ? 1 : 0), differing: before.differing + (isEqual ? 0 : 1) };
    if (to !== undefined) return;
    this.#proof = { ...this.#comparing, origin: this.#position?.origin };
    this.#comparing = undefined;
  }

  /** Whether a key comes from the partition of the source. */
  readonly #belongs = (key: Uint8Array): boolean => partitionOfToken(tokenOfKey(key), this.#options.source.partitionCount) === this.#options.partition;

  /** Resolves when it is committed here. Throws the leader's refusals. */
  async #take(changes: readonly CopiedChange[], position: CopyPosition, hasResults = false): Promise<void> {
    const { leader, source } = this.#options;
    await new Promise<void>((resolve, reject) => {
      leader.copy(changes, position, readMoment(), (failure) => (failure === undefined ? resolve() : reject(new AtollError(failure.reason, failure.message))), { run: source.run, hasResults });
    });
    this.#position = position;
    this.#writtenMs = performance.now();
  }
}

/** With the op id of its write, so that repeats of that are answered here, too, once this takes writes (R21, R37). */
const toCopied = ({ key, value, expiresAtMs, opClient, opCounter }: CopyChange): CopiedChange => ({ key, value, expiresAtMs, opId: opClient && { clientId: opClient, counter: opCounter } });
