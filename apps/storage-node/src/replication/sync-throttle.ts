import { AdaptiveRate } from '@atoll/core-replication';
import { GIB, MIB } from '@atoll/core-runtime';
import { ByteRate } from '@atoll/platform-grpc';
import type { Metrics, Reading } from '@atoll/platform-telemetry';
import type { ClientLatency } from './client-latency.ts';

/** How often the rate is looked at, in ms. */
export const THROTTLE_INTERVAL_MS = 500;
/** What the last interval counts in the load, of 1: about ten of them make it up. */
const LOAD_NEWS = 0.2;
const FLOOR_BYTES = 2 * MIB;
const CEILING_BYTES = GIB;
/**
 * A transfer that begins so soon behind the last one goes on at its rate, in ms: partitions come one behind another, each too short
 * for the way up from the floor, and what the clients bear has not changed.
 */
const RATE_KEPT_MS = 5000;
/**
 * What an entry counts beside its key and value while clients are served: reading, sending and installing it costs as
 * much time as so many bytes of a large value. Else a floor in bytes would be none for small values.
 */
const ENTRY_BYTES = 1024;

export interface SyncThrottleOptions {
  /** Bytes of keys and values in a second, of all full syncs together; 0: no limit. */
  readonly syncBytesPerSecond: number;
  /** How often its value of before the clients' p99 may be; 0: they are not looked at. */
  readonly syncMaxImpact: number;
  readonly latency: ClientLatency;
  readonly metrics: Metrics;
}

/**
 * How fast this node sends snapshots, all together: at most the lower of its own bound and the one that the coordinator
 * has set for some time, and slower while the clients feel it.
 */
export class SyncThrottle {
  /** Of all full syncs together. */
  readonly rate: ByteRate;
  readonly #options: SyncThrottleOptions;
  readonly #adaptive: AdaptiveRate;
  #commanded: { readonly bytesPerSecond: number; readonly untilMs: number } | undefined;
  #running = 0;
  /** Whether some full sync was under way since the last interval began. */
  #wasSending = false;
  /** When the last full sync ended whose rate is kept. */
  #endedMs: number | undefined;
  #loopTimes = performance.eventLoopUtilization();
  #load = 0;

  constructor(options: SyncThrottleOptions) {
    this.#options = options;
    this.#adaptive = new AdaptiveRate({ impactMax: options.syncMaxImpact, floorBytes: FLOOR_BYTES, ceilingBytes: CEILING_BYTES });
    this.rate = new ByteRate(options.syncBytesPerSecond, performance.now());
    options.metrics.gauge('atoll_sync_bytes_per_second', { description: 'What full syncs from this node may send in a second, all together; 0 means no limit.', unit: 'By' }, () => this.rate.bytesPerSecond);
    options.metrics.gaugeFamily('atoll_sync_client_p99_seconds', { description: 'What the throttle of full syncs compares: the p99 of clients as this node sees it.', unit: 's' }, () => this.#readings());
  }

  /** Nothing where there are no clients. */
  #readings(): Reading[] {
    const { p99Ms, baselineMs } = this.#options.latency;
    const times = [{ at: 'now', ms: p99Ms }, { at: 'before', ms: baselineMs }];
    return times.flatMap(({ at, ms }) => (ms === undefined ? [] : [{ labels: { at }, value: ms / 1000 }]));
  }

  /** Share of the last seconds for which the event loop of this node was busy, 0 to 1. */
  get load(): number {
    return this.#load;
  }

  /** The coordinator's word: 0 leaves the node to its own bound. Holds at once, also for what is under way. */
  limit({ bytesPerSecond, validMs }: { bytesPerSecond: number; validMs: number }, nowMs: number): void {
    this.#commanded = bytesPerSecond === 0 ? undefined : { bytesPerSecond, untilMs: nowMs + validMs };
    const bound = this.boundBytes(nowMs);
    const { bytesPerSecond: present } = this.rate;
    if (this.#isIdle || (bound > 0 && (present === 0 || present > bound))) this.rate.setRate(bound, nowMs);
  }

  /** Whether clients are served meanwhile, and are to be spared. */
  get isSparing(): boolean {
    return this.#adaptive.isHolding;
  }

  /** How far what was sent goes towards `rate`. */
  weigh(bytes: number, entries: number): number {
    return this.isSparing ? bytes + entries * ENTRY_BYTES : bytes;
  }

  /** A full sync begins. */
  begin(nowMs: number): void {
    const isFirst = this.#isIdle;
    this.#running += 1;
    this.#wasSending = true;
    this.#endedMs = undefined;
    if (isFirst) this.#setRate(nowMs);
  }

  end(nowMs: number): void {
    this.#running -= 1;
    if (this.#running === 0) this.#endedMs = nowMs;
  }

  /** Whether no full sync is under way, nor was a moment ago. */
  get #isIdle(): boolean {
    return this.#running === 0 && this.#endedMs === undefined;
  }

  /** To be called every THROTTLE_INTERVAL_MS. */
  tick(nowMs: number): void {
    const loopTimes = performance.eventLoopUtilization();
    this.#load += (performance.eventLoopUtilization(loopTimes, this.#loopTimes).utilization - this.#load) * LOAD_NEWS;
    this.#loopTimes = loopTimes;
    this.#options.latency.endInterval(this.#wasSending);
    this.#wasSending = this.#running > 0;
    if (this.#running > 0) return this.#setRate(nowMs);
    if (this.#endedMs !== undefined && nowMs - this.#endedMs < RATE_KEPT_MS) return;
    this.#endedMs = undefined;
    this.#adaptive.end();
    this.rate.setRate(this.boundBytes(nowMs), nowMs);
  }

  #setRate(nowMs: number): void {
    const { p99Ms, baselineMs } = this.#options.latency;
    this.rate.setRate(this.#adaptive.next({ nowMs, boundBytes: this.boundBytes(nowMs), p99Ms, baselineMs }), nowMs);
  }

  /** Bytes in a second that may not be passed now; 0: no limit. */
  boundBytes(nowMs: number): number {
    const own = this.#options.syncBytesPerSecond;
    if (this.#commanded !== undefined && nowMs >= this.#commanded.untilMs) this.#commanded = undefined;
    const commanded = this.#commanded?.bytesPerSecond ?? 0;
    return own === 0 || commanded === 0 ? Math.max(own, commanded) : Math.min(own, commanded);
  }
}
