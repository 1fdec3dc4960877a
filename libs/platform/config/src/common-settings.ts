import { isWildcard, type Address } from './address.ts';
import { address, addressOrOff, choice, durationMs, endpoint, endpoints, integer, nodeId, ratio, text } from './kinds.ts';
import type { Relation, SettingValues } from './parse-settings.ts';
import { optional } from './setting.ts';
import type { ShownSettings } from './shown-settings.ts';

/** The HTTP port of a process is its gRPC port plus this. */
export const HTTP_PORT_OFFSET = 1000;

/** Prefix of the settings that every service shares. */
export const COMMON_PREFIX = 'ATOLL_';

/** What every service can be told. `id` and `listen` are the app's defaults: `router-1`, `127.0.0.1:7400`. */
export function commonSettings(defaults: { readonly id: string; readonly listen: string }) {
  return {
    ATOLL_ID: nodeId({ default: defaults.id, description: 'Name of this process, unique in its cluster.' }),
    ATOLL_LISTEN: address({
      default: defaults.listen,
      description: 'Address of the gRPC server. Nothing is authenticated: listen beyond this machine only on a trusted network.',
    }),
    ATOLL_ADVERTISE: optional(
      address({ description: 'Address that other processes and clients use to reach this one.' }),
      'same as `ATOLL_LISTEN`',
    ),
    ATOLL_HTTP_LISTEN: optional(
      addressOrOff({ description: 'Address of /metrics, /healthz, /readyz and /settings.' }),
      `host of \`ATOLL_LISTEN\`, its port + ${HTTP_PORT_OFFSET}`,
    ),
    ATOLL_ETCD: endpoints({ default: 'http://127.0.0.1:2379', description: 'etcd endpoints.' }),
    ATOLL_CLUSTER_ID: optional(
      text({ pattern: /^[A-Za-z0-9_-]{1,64}$/, range: '1 to 64 characters of A-Z, a-z, 0-9, _ and -', description: 'Refuse to join any other cluster.' }),
      'any cluster',
    ),
    ATOLL_LOG_LEVEL: choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal'], { default: 'info', description: 'Least severe level that is logged.' }),
    ATOLL_LOG_FORMAT: choice(['json', 'pretty'], { default: 'json', description: 'json for machines, pretty for people.' }),
    ATOLL_METRICS: choice(['on', 'off'], {
      default: 'on',
      description: 'off: nothing is counted, /metrics answers 404, and atoll top, atoll doctor and alerts are blind to this process. What counting costs is in docs/benchmarks.md.',
    }),
    ATOLL_TRACE_RATIO: ratio({
      default: '0.001',
      description: 'Share of requests that start a trace here; a request whose caller traces it is always traced.',
    }),
    ATOLL_TRACES_PER_SECOND: integer({
      min: 0,
      max: 1_000_000,
      default: '10',
      description: 'Most traces that requests start here in a second, so that tracing costs no more at a high rate of requests; 0: no bound. Without effect where ATOLL_TRACE_RATIO is 1, which is every request.',
    }),
    ATOLL_SHUTDOWN_MS: durationMs({
      min: 100,
      max: 600_000,
      default: '10000',
      description: 'Time for a graceful stop after SIGTERM; what still runs then is cut off.',
    }),
    OTEL_EXPORTER_OTLP_ENDPOINT: optional(endpoint({ description: 'OTLP/gRPC collector for traces.' }), 'traces are not exported'),
  };
}

export type CommonSettings = ReturnType<typeof commonSettings>;

/** The common part of each app's Config. */
export interface CommonConfig {
  readonly id: string;
  readonly listen: Address;
  /** Port 0 when `listen` has port 0: the app tells the bound port instead. */
  readonly advertise: Address;
  /** undefined: no HTTP endpoint. */
  readonly httpListen: Address | undefined;
  readonly etcdEndpoints: readonly string[];
  readonly clusterId: string | undefined;
  readonly log: { readonly level: LogLevel; readonly format: 'json' | 'pretty' };
  readonly hasMetrics: boolean;
  /** 0 to 1. */
  readonly traceRatio: number;
  /** Traces that requests may start in a second; Infinity: no bound. */
  readonly tracesPerSecond: number;
  readonly shutdownMs: number;
  /** undefined: traces are not exported. */
  readonly otlpEndpoint: string | undefined;
  /** All settings of the service, for `/settings`. */
  readonly shownSettings: ShownSettings;
}

export type LogLevel = SettingValues<CommonSettings>['ATOLL_LOG_LEVEL'];

/** What must hold between the common settings; pass them on to `parseSettings`. */
export const COMMON_RELATIONS: readonly Relation<CommonSettings>[] = [
  {
    settings: ['ATOLL_LISTEN', 'ATOLL_ADVERTISE'],
    problem: ({ ATOLL_LISTEN: listen, ATOLL_ADVERTISE: advertise }) =>
      isWildcard(advertise ?? listen)
        ? `ATOLL_ADVERTISE must be an address that others can reach, because ${advertise === undefined ? 'ATOLL_LISTEN' : 'it'} stands for every interface`
        : undefined,
  },
  {
    settings: ['ATOLL_LISTEN', 'ATOLL_HTTP_LISTEN'],
    problem: ({ ATOLL_LISTEN: listen, ATOLL_HTTP_LISTEN: http }) => {
      if (http === undefined && listen.port + HTTP_PORT_OFFSET > 65_535) {
        return `ATOLL_HTTP_LISTEN must be set, because the port of ATOLL_LISTEN + ${HTTP_PORT_OFFSET} is above 65535`;
      }
      if (http !== undefined && http !== 'off' && http.port !== 0 && http.port === listen.port && http.host === listen.host) {
        return 'ATOLL_HTTP_LISTEN must differ from ATOLL_LISTEN';
      }
      return undefined;
    },
  },
];

/** The common settings as a nested Config with the computed defaults filled in. */
export function toCommonConfig(values: SettingValues<CommonSettings>, shown: ShownSettings = {}): CommonConfig {
  const { ATOLL_LISTEN: listen, ATOLL_HTTP_LISTEN: http } = values;
  const standardHttp = { host: listen.host, port: listen.port === 0 ? 0 : listen.port + HTTP_PORT_OFFSET };
  return Object.freeze({
    id: values.ATOLL_ID,
    listen,
    advertise: values.ATOLL_ADVERTISE ?? listen,
    httpListen: http === 'off' ? undefined : (http ?? standardHttp),
    etcdEndpoints: values.ATOLL_ETCD,
    clusterId: values.ATOLL_CLUSTER_ID,
    log: Object.freeze({ level: values.ATOLL_LOG_LEVEL, format: values.ATOLL_LOG_FORMAT }),
    hasMetrics: values.ATOLL_METRICS === 'on',
    traceRatio: values.ATOLL_TRACE_RATIO,
    tracesPerSecond: values.ATOLL_TRACE_RATIO === 1 || values.ATOLL_TRACES_PER_SECOND === 0 ? Infinity : values.ATOLL_TRACES_PER_SECOND,
    shutdownMs: values.ATOLL_SHUTDOWN_MS,
    otlpEndpoint: values.OTEL_EXPORTER_OTLP_ENDPOINT,
    shownSettings: shown,
  });
}
