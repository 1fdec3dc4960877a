import type { AtollError } from '@atoll/core-errors';
import { OPERATION } from '@atoll/platform-wire';
import type { Counter, Histogram, Telemetry } from '@atoll/platform-telemetry';
import type { ClientLatency } from '../replication/client-latency.ts';

const NAMES: Readonly<Record<number, string>> = {
  [OPERATION.GET]: 'get',
  [OPERATION.SET]: 'set',
  [OPERATION.DELETE]: 'delete',
  [OPERATION.INCREMENT]: 'increment',
  [OPERATION.TOUCH]: 'touch',
};

/** `set`; also for kinds that this release does not know. */
export function operationName(kind: number): string {
  return NAMES[kind] ?? 'unknown';
}

/** Rate, errors and duration of operations on Execute streams, by kind. */
export class OperationMetrics {
  readonly #durations: { with(kind: string): Histogram };
  readonly #latency: ClientLatency;
  readonly #outcomes: { with(kind: string, reason: string): Counter };
  readonly #starts: readonly (((startMs: number) => (error: AtollError | undefined) => void) | undefined)[];

  constructor({ metrics, latency }: Pick<Telemetry, 'metrics'> & { latency: ClientLatency }) {
    this.#latency = latency;
    this.#durations = metrics.histogramFamily('atoll_operation_duration_seconds', ['operation'], {
      description: 'Time from the arrival of an operation to its answer.',
    });
    this.#outcomes = metrics.counterFamily('atoll_operations_total', ['operation', 'reason'], {
      description: 'Operations answered, by reason of failure (OK when there was none).',
    });
    this.#starts = Array.from({ length: 16 }, (_, kind) => (NAMES[kind] === undefined ? undefined : this.#starter(NAMES[kind])));
  }

  /** The returned function is to be called with the outcome. */
  start(kind: number, startMs: number): ((error: AtollError | undefined) => void) | undefined {
    return this.#starts[kind]?.(startMs);
  }

  #starter(name: string): (startMs: number) => (error: AtollError | undefined) => void {
    const latency = this.#latency;
    const durations = this.#durations.with(name);
    const succeeded = this.#outcomes.with(name, 'OK');
    return (startMs) => (error) => {
      const tookMs = performance.now() - startMs;
      durations.record(tookMs);
      latency.recordOperation(tookMs);
      if (error === undefined) succeeded.add();
      else this.#outcomes.with(name, error.reason).add();
    };
  }
}
