import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { TRACE_HEADING, type TraceRequest } from './trace.ts';

export interface SyntheticTraceOptions {
  readonly seed: number;
  readonly requests: number;
  /** Distinct keys at most. */
  readonly keys: number;
  /** Share of reads, 0 to 1. Default 0.41: that of the CloudPhysics sample (46,974 of 113,872). */
  readonly readShare?: number;
  /** Largest value in bytes. Sizes are multiples of 512, as disks have them. Default 64 KiB. */
  readonly valueBytesMax?: number;
  /** Requests per second of the trace's time. Default 100. */
  readonly requestsPerSecond?: number;
}

const SECTOR_BYTES = 512;
const READ_SHARE_DEFAULT = 46_974 / 113_872;

/**
 * A trace with the manner of a disk's: some blocks are asked for far more often than others (each key half as
 * likely as the one of half its rank, which is Zipf with exponent 1), a block keeps its size, and sequences of
 * neighbouring blocks come in a row. The same options give the same trace.
 */
export function* syntheticTrace(options: SyntheticTraceOptions): Generator<TraceRequest, void, undefined> {
  const { seed, requests, keys, readShare = READ_SHARE_DEFAULT, valueBytesMax = 64 * 1024, requestsPerSecond = 100 } = options;
  const random = new SeededRandom(seed);
  const sectorsMax = Math.max(1, Math.floor(valueBytesMax / SECTOR_BYTES));
  const chance = (): number => random.nextUint32() / 2 ** 32;
  let rank = 0;
  for (let index = 0; index < requests; index += 1) {
    // exp(uniform * ln(keys)) has density 1/rank: Zipf with exponent 1.
    const follows = index > 0 && chance() < 0.3;
    rank = follows ? (rank + 1) % keys : Math.min(keys - 1, Math.floor(Math.exp(chance() * Math.log(keys + 1))) - 1);
    yield {
      timeMs: (index * 1000) / requestsPerSecond,
      kind: chance() < readShare ? 'get' : 'set',
      key: String(1_000_000 + 8 * rank),
      valueBytes: SECTOR_BYTES * (1 + randomBelow(new SeededRandom(seed + rank), sectorsMax)),
    };
  }
}

/** The requests as a file that `openTrace` reads. */
export function traceText(requests: Iterable<TraceRequest>): string {
  const lines = Array.from(requests, ({ timeMs, kind, key, valueBytes }) => `1,${timeMs / 1000},${kind === 'get' ? '28' : '2a'},${valueBytes},${key}`);
  return `${[TRACE_HEADING, ...lines].join('\n')}\n`;
}
