// What the bench and its load generators, which are processes of their own, tell each other.

/** Where a generator sends its operations. */
export type Target =
  /** Unary Cache/Get to anything that answers it: messages go as bytes, so that the generator costs the same everywhere. */
  | { readonly kind: 'unary'; readonly address: string }
  /** The SDK through a router. */
  | { readonly kind: 'atoll'; readonly router: string }
  /** node-redis with its automatic pipelining. */
  | { readonly kind: 'redis'; readonly port: number };

export interface Round {
  readonly operation: 'get' | 'set';
  /** Operations under way at a time. */
  readonly outstanding: number;
  /** Keys are key-0 to key-(keys - 1). */
  readonly keys: number;
  readonly valueBytes: number;
  /** Every key once, in order, each with a content of its own; else keys at random until `stop` or the time has passed. */
  readonly each?: boolean;
  readonly durationMs?: number;
  /** Check the content of what is read, which only rounds with `each` wrote. */
  readonly verify?: boolean;
}

/** Connections are numbered from 0 in the order in which they were asked for. */
export type ToGenerator = { readonly kind: 'connect'; readonly target: Target } | { readonly kind: 'round'; readonly round: Round; readonly connection: number } | { readonly kind: 'stop' };

export interface RoundResult {
  readonly operations: number;
  readonly elapsedMs: number;
  readonly operationsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Failed operations by reason; `WRONG_VALUE` and `MISSING` are answers that do not hold what they must. */
  readonly errors: Readonly<Record<string, number>>;
}

export type FromGenerator = { readonly kind: 'connected' } | { readonly kind: 'done'; readonly result: RoundResult } | { readonly kind: 'failed'; readonly message: string };
