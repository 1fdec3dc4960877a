// Every entry of a leader and of another replica, compared while clients write (R34): digests at a marker cover versions and
// expiries, this covers keys and values as well.
import { setTimeout as pause } from 'node:timers/promises';
import { ContentProgress, type Member, type PartitionRecord } from '@atoll/core-membership';
import { CONTENT_RANGE_COUNTS, DIGEST_LEAVES } from '@atoll/core-store';
import { VerificationPeers } from '../adapters/verification-peers.ts';
import type { VerificationPeer } from '../adapters/verification-peer.ts';

/** Sub-ranges that are asked for at a time. */
const RANGES_PER_CALL = 32;
/** Readings of what is outstanding before it is cut finer. */
const READINGS_PER_LEVEL = 3;
const PAUSE_MS = 25;
/** Sub-ranges that may be left over to be read at markers, and how many at one. */
const AT_MARKERS_MAX = 64;
const PER_MARKER = 4;
const MARKER_ATTEMPTS = 3;
/** Until both nodes have the call that waits for the marker; longer with every attempt. */
const MARKER_LEAD_MS = 20;

export interface ContentComparisonOptions {
  /** Of the coordinator's term (R11). */
  readonly revision: number;
  readonly addressOf: (node: string) => string | undefined;
  readonly deadlineMs: number;
  /** What a node reads in a second at most, and what a repair installs; 0 means no limit. */
  readonly bytesPerSecond: number;
}

/** What became of it. `problem` is set when it came to no end: nothing is known then. */
export interface ContentReport {
  /** Entries of the leader that were found equal. */
  readonly entries: number;
  /** Leaves that were installed again and are equal since. */
  readonly repaired: number;
  /** Leaves that hold something else on the target. */
  readonly different: readonly number[];
  /** Nothing was repaired: no other replica agrees with the leader either (R34). */
  readonly isLeaderAlone: boolean;
  readonly problem: string;
}

interface Pair {
  readonly record: PartitionRecord;
  readonly leader: Member;
  readonly other: Member;
}

export class ContentComparison {
  readonly #options: ContentComparisonOptions;
  readonly #peers: VerificationPeers;

  constructor(options: ContentComparisonOptions) {
    this.#options = options;
    this.#peers = new VerificationPeers(options);
  }

  /**
   * Compares the replica on `node` with the leader's and repairs what differs, unless no other replica agrees with the
   * leader (R34) or `isRepairing` is false. `onProgress` is told how much was found equal. Rejects when a node fails, and
   * with the signal's reason.
   */
  async compare(record: PartitionRecord, node: string, how: { readonly isRepairing: boolean; readonly onProgress: (equal: number) => void }, signal: AbortSignal): Promise<ContentReport> {
    const { leader } = record;
    const other = record.inSync.find((member) => member.node === node);
    if (leader === undefined || other === undefined) return report(new ContentProgress([], CONTENT_RANGE_COUNTS), `nobody leads, or ${node} is not in sync`);
    const pair = { record, leader, other };
    const first = await this.#read(pair, ALL_LEAVES, how.onProgress, signal);
    const { different } = first;
    if (different.length === 0 || first.outstanding.length > 0 || !how.isRepairing) return report(first);
    if (await this.#isLeaderAlone(pair, different, signal)) return report(first, '', { isLeaderAlone: true });
    await this.#repair(pair, different, signal);
    const second = await this.#read(pair, different, (equal) => how.onProgress(first.equal + equal), signal);
    return report(second, '', { entries: first.entries + second.entries, repaired: different.length });
  }

  close(): void {
    this.#peers.close();
  }

  async #read(pair: Pair, leaves: readonly number[], onProgress: (equal: number) => void, signal: AbortSignal): Promise<ContentProgress> {
    const progress = new ContentProgress(leaves, CONTENT_RANGE_COUNTS);
    do {
      for (let reading = 0; reading < READINGS_PER_LEVEL && progress.outstanding.length > 0; reading += 1) {
        if (reading > 0) await pause(PAUSE_MS * reading, undefined, { signal });
        await this.#readOnce(pair, progress, onProgress, signal);
      }
    } while (progress.outstanding.length > 0 && progress.refine());
    if (progress.outstanding.length > 0 && progress.outstanding.length <= AT_MARKERS_MAX) await this.#readAtMarkers(pair, progress, onProgress, signal);
    return progress;
  }

  /** Both replicas, side by side, so that they are read in about one state. */
  async #readOnce(pair: Pair, progress: ContentProgress, onProgress: (equal: number) => void, signal: AbortSignal): Promise<void> {
    for (let waiting = progress.outstanding; waiting.length > 0; ) {
      const [mine, its] = await this.#ask(pair, progress.rangeCount, waiting.slice(0, RANGES_PER_CALL), false, signal);
      // One of them may be slower: what it has not told of is asked for again.
      const count = Math.min(mine.ranges.length, its.ranges.length);
      if (count === 0) throw new Error('a node answered without a sub-range');
      progress.take(mine.ranges.slice(0, count), its.ranges.slice(0, count));
      onProgress(progress.equal);
      waiting = waiting.slice(count);
    }
  }

  async #readAtMarkers(pair: Pair, progress: ContentProgress, onProgress: (equal: number) => void, signal: AbortSignal): Promise<void> {
    const { keyspace, partition, epoch } = pair.record;
    for (let attempt = 1; attempt <= MARKER_ATTEMPTS && progress.outstanding.length > 0; attempt += 1) {
      for (let waiting = progress.outstanding; waiting.length > 0; waiting = waiting.slice(PER_MARKER)) {
        const asked = this.#ask(pair, progress.rangeCount, waiting.slice(0, PER_MARKER), true, signal).catch(() => undefined);
        await pause(MARKER_LEAD_MS * attempt, undefined, { signal });
        await this.#peers.of(pair.leader.node).putMarker({ revision: this.#options.revision, keyspace, partition, epoch }, signal);
        const answers = await asked;
        signal.throwIfAborted();
        // Another marker may have come first at one of them, or at both.
        if (answers === undefined || answers[0].marker?.seq !== answers[1].marker?.seq || answers[0].marker?.epoch !== answers[1].marker?.epoch) continue;
        progress.take(answers[0].ranges, answers[1].ranges, true);
        onProgress(progress.equal);
      }
    }
  }

  #ask({ record, leader, other }: Pair, rangeCount: number, ranges: readonly number[], atNextMarker: boolean, signal: AbortSignal) {
    const { revision, bytesPerSecond } = this.#options;
    const how = { revision, generation: record.generation, rangeCount, ranges, bytesPerSecond, atNextMarker };
    const ask = ({ node, replica }: Member): ReturnType<VerificationPeer['digestContent']> =>
      this.#peers.of(node).digestContent({ keyspace: record.keyspace, partition: record.partition, replicaId: replica }, how, signal);
    return Promise.all([ask(leader), ask(other)]);
  }

  /** Two or more replicas differ from the leader and none agrees with it: no rule can tell which is right. */
  async #isLeaderAlone({ record, leader, other }: Pair, leaves: readonly number[], signal: AbortSignal): Promise<boolean> {
    const others = record.inSync.filter(({ replica }) => replica !== leader.replica && replica !== other.replica);
    if (others.length === 0) return false;
    const disagreeing = new Map(leaves.map((leaf) => [leaf, 0]));
    for (const witness of others) {
      const { different } = await this.#read({ record, leader, other: witness }, leaves, () => undefined, signal);
      for (const leaf of different) disagreeing.set(leaf, disagreeing.get(leaf)! + 1);
    }
    return [...disagreeing.values()].includes(others.length);
  }

  async #repair({ record, other }: Pair, leaves: readonly number[], signal: AbortSignal): Promise<void> {
    const { revision, bytesPerSecond } = this.#options;
    const { keyspace, partition, generation, epoch } = record;
    const parts = this.#peers.of(other.node).repair({ keyspace, partition, replicaId: other.replica }, { revision, generation, epoch, leaves, bytesPerSecond }, signal);
    const done = new Set<number>();
    for await (const { leaf } of parts) done.add(leaf);
    if (done.size < leaves.length) throw new Error('a repair ended before its end');
  }
}

const ALL_LEAVES = Array.from({ length: DIGEST_LEAVES }, (_, leaf) => leaf);

function report({ entries, different, outstanding, rangeCount }: ContentProgress, problem = '', changes: Partial<ContentReport> = {}): ContentReport {
  const left = outstanding.length > 0 ? `${outstanding.length} of ${rangeCount} sub-ranges were written to all the time` : '';
  return { entries, repaired: 0, different, isLeaderAlone: false, problem: problem || left, ...changes };
}
