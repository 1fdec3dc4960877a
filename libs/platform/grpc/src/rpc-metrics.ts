import type { Counter, Family, Histogram, Metrics } from '@atoll/platform-telemetry';

/** Outcome label of a call: `OK` or an ErrorReason. */
export type Outcome = string;

/** Rate, errors and duration of the RPCs that this process serves. */
export class RpcMetrics {
  readonly #requests: Family<Counter>;
  readonly #durations: Family<Histogram>;
  readonly #openStreams = new Map<string, number>();

  constructor(metrics: Metrics) {
    this.#requests = metrics.counterFamily('atoll_rpc_server_requests_total', ['rpc', 'reason'], {
      description: 'Finished calls by RPC and reason; OK when they succeeded.',
    });
    this.#durations = metrics.histogramFamily('atoll_rpc_server_duration_seconds', ['rpc'], {
      description: 'Time from the request to the answer of unary calls.',
      unit: 's',
    });
    metrics.gaugeFamily('atoll_rpc_server_open_streams', { description: 'Streams that are open now.' }, () =>
      Array.from(this.#openStreams, ([rpc, value]) => ({ labels: { rpc }, value })),
    );
  }

  /** The instruments of one RPC, looked up once. */
  forRpc(rpc: string): RpcInstruments {
    return new RpcInstruments(this.#requests, this.#durations.with(rpc), rpc);
  }

  streamOpened(rpc: string): void {
    this.#openStreams.set(rpc, (this.#openStreams.get(rpc) ?? 0) + 1);
  }

  streamClosed(rpc: string): void {
    this.#openStreams.set(rpc, (this.#openStreams.get(rpc) ?? 1) - 1);
  }
}

export class RpcInstruments {
  readonly #requests: Family<Counter>;
  readonly #rpc: string;
  readonly #ok: Counter;
  readonly durations: Histogram;

  constructor(requests: Family<Counter>, durations: Histogram, rpc: string) {
    this.#requests = requests;
    this.#rpc = rpc;
    this.#ok = requests.with(rpc, 'OK');
    this.durations = durations;
  }

  finished(outcome: Outcome): void {
    if (outcome === 'OK') this.#ok.add();
    else this.#requests.with(this.#rpc, outcome).add();
  }
}
