// A real Jaeger 2 with the configuration of this repository: it keeps what services export, and is asked as its pages ask.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, freePorts } from '@atoll/platform-etcd/testing';
import type { Target } from './prometheus.ts';
import { ROOT } from './run-command.ts';
import { endChild } from './service-process.ts';

const BINARY = process.env['JAEGER_BIN'];
const START_MS = 30_000;
const CALL_MS = 10_000;
/** As many traces as a search answers with at most. */
const FOUND_MAX = 200;

/** Undefined where there is a Jaeger, else what is missing. */
export const missingJaeger = (): string | undefined => {
  if (BINARY === undefined) return 'JAEGER_BIN names no Jaeger 2: the binary of a release, or one built of its source';
  return spawnSync(BINARY, ['version']).status === 0 ? undefined : `${BINARY} (JAEGER_BIN) does not run`;
};

export interface JaegerSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** '' where a trace begins. */
  readonly parentId: string;
  readonly operation: string;
  readonly service: string;
  readonly instance: string;
  readonly version: string;
  /** As text, and so are searches; `error` and `otel.status_description` are those of the status. */
  readonly tags: Readonly<Record<string, string>>;
}

/** As the fields of Jaeger's search. */
export interface JaegerSearch {
  readonly service: string;
  readonly operation?: string | undefined;
  readonly tags?: Readonly<Record<string, string>>;
}

interface Tag {
  readonly key: string;
  readonly value: unknown;
}

interface TraceMessage {
  readonly spans: readonly { readonly traceID: string; readonly spanID: string; readonly operationName: string; readonly references: readonly { readonly refType: string; readonly traceID: string; readonly spanID: string }[]; readonly tags: readonly Tag[]; readonly processID: string }[];
  readonly processes: Readonly<Record<string, { readonly serviceName: string; readonly tags: readonly Tag[] }>>;
}

interface Ports {
  readonly query: number;
  readonly queryGrpc: number;
  readonly otlp: number;
  readonly otlpHttp: number;
  readonly health: number;
  readonly own: number;
  readonly spanMetrics: number;
}

export class Jaeger {
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #ports: Ports;

  private constructor(child: ChildProcess, directory: string, ports: Ports) {
    this.#child = child;
    this.#directory = directory;
    this.#ports = ports;
  }

  /** Where Prometheus finds what is counted of spans; to be chosen before either is started. */
  static async choosePorts(): Promise<Ports> {
    const [query, queryGrpc, otlp, otlpHttp, health, own, spanMetrics] = (await freePorts(7)) as [number, number, number, number, number, number, number];
    return { query, queryGrpc, otlp, otlpHttp, health, own, spanMetrics };
  }

  static target({ spanMetrics }: Ports): Target {
    return { job: 'jaeger-spans', instance: 'jaeger', address: `127.0.0.1:${spanMetrics}` };
  }

  /** Resolves when its health check, the one of the compose file, says that it is up. */
  static async start(ports: Ports, prometheusUrl: string): Promise<Jaeger> {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-jaeger-'));
    const own = join(directory, 'own.yaml');
    // JSON is YAML. Ports, Prometheus and the time between two counts are of this test, the rest is what infra has.
    await writeFile(own, JSON.stringify(changesOf(ports, prometheusUrl)));
    const child = spawn(BINARY!, ['--config', join(ROOT, 'infra/jaeger/config.yaml'), '--config', own], { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
    let complaints = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints = `${complaints}${text}`.slice(-20_000)));
    const started = new Jaeger(child, directory, ports);
    try {
      await eventually('Jaeger is up', async () => (await fetch(`http://127.0.0.1:${ports.health}/status`).catch(() => undefined))?.ok === true || (child.exitCode !== null && Promise.reject(new Error('it ended'))), START_MS);
    } catch (error) {
      await started.stop();
      throw new Error(`Jaeger does not start: ${complaints}`, { cause: error });
    }
    return started;
  }

  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.#ports.otlp}`;
  }

  async stop(): Promise<void> {
    await endChild(this.#child);
    await rm(this.#directory, { recursive: true, force: true });
  }

  services(): Promise<string[]> {
    return this.#get('services') as Promise<string[]>;
  }

  /** Traces of the last hour, with all their spans. */
  async find({ service, operation, tags = {} }: JaegerSearch): Promise<JaegerSpan[][]> {
    const endUs = Date.now() * 1000;
    const asked = { service, ...(operation !== undefined && { operation }), tags: JSON.stringify(tags), limit: String(FOUND_MAX), start: String(endUs - 3_600_000_000), end: String(endUs) };
    return ((await this.#get('traces', asked)) as TraceMessage[]).map(toSpans);
  }

  /** Empty where there is none. */
  async trace(id: string): Promise<JaegerSpan[]> {
    const [trace] = (await this.#get(`traces/${id}`).catch(() => [])) as TraceMessage[];
    return trace === undefined ? [] : toSpans(trace);
  }

  /** The newest value of each line of its tab Monitor, by operation. */
  async monitor(kind: 'calls' | 'errors' | 'latencies', service: string): Promise<Record<string, number>> {
    const asked = { service, groupByOperation: 'true', endTs: String(Date.now()), lookback: '60000', step: '1000', ratePer: '30000', ...(kind === 'latencies' && { quantile: '0.95' }) };
    const spanKinds = ['server', 'internal', 'client'].map((name) => `&spanKind=${name}`).join('');
    const response = await fetch(`http://127.0.0.1:${this.#ports.query}/api/metrics/${kind}?${new URLSearchParams(asked).toString()}${spanKinds}`, { signal: AbortSignal.timeout(CALL_MS) });
    if (!response.ok) throw new Error(`${kind}: ${response.status} ${await response.text()}`);
    const { metrics } = (await response.json()) as { metrics: { labels: { name: string; value: string }[]; metricPoints: { gaugeValue: { doubleValue: number | 'NaN' } }[] }[] };
    return Object.fromEntries(metrics.map(({ labels, metricPoints }) => [labels.find(({ name }) => name === 'operation')?.value ?? '', Number(metricPoints.at(-1)?.gaugeValue.doubleValue)]));
  }

  async #get(path: string, query: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${this.#ports.query}/api/${path}?${new URLSearchParams(query).toString()}`, { signal: AbortSignal.timeout(CALL_MS) });
    const { data, errors } = (await response.json()) as { data: unknown; errors: { msg: string }[] | null };
    if (errors !== null && errors.length > 0) throw new Error(`${path} ${JSON.stringify(query)}: ${errors.map(({ msg }) => msg).join('; ')}`);
    return data;
  }
}

const changesOf = ({ query, queryGrpc, otlp, otlpHttp, health, own, spanMetrics }: Ports, prometheusUrl: string): unknown => {
  const at = (port: number): { endpoint: string } => ({ endpoint: `127.0.0.1:${port}` });
  return {
    extensions: {
      healthcheckv2: { http: at(health) },
      jaeger_query: { http: at(query), grpc: at(queryGrpc) },
      jaeger_storage: { metric_backends: { span_metrics: { prometheus: { endpoint: prometheusUrl } } } },
    },
    receivers: { otlp: { protocols: { grpc: at(otlp), http: at(otlpHttp) } } },
    connectors: { spanmetrics: { metrics_flush_interval: '1s' } },
    exporters: { prometheus: at(spanMetrics) },
    service: { telemetry: { metrics: { readers: [{ pull: { exporter: { prometheus: { host: '127.0.0.1', port: own } } } }] } } },
  };
};

function toSpans({ spans, processes }: TraceMessage): JaegerSpan[] {
  const toRecord = (tags: readonly Tag[]): Record<string, string> => Object.fromEntries(tags.map(({ key, value }) => [key, String(value)]));
  return spans.map(({ traceID, spanID, operationName, references, tags, processID }) => {
    const { serviceName, tags: ofProcess } = processes[processID]!;
    const { 'service.instance.id': instance = '', 'service.version': version = '' } = toRecord(ofProcess);
    const parentId = references.find(({ refType, traceID: of }) => refType === 'CHILD_OF' && of === traceID)?.spanID ?? '';
    return { traceId: traceID, spanId: spanID, parentId, operation: operationName, service: serviceName, instance, version, tags: toRecord(tags) };
  });
}
