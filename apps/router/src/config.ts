import { MIB } from '@atoll/core-runtime';
import {
  COMMON_PREFIX,
  COMMON_RELATIONS,
  bytes,
  choice,
  commonSettings,
  integer,
  optional,
  parseSettings,
  shownSettings,
  ratio,
  text,
  toCommonConfig,
  type CommonConfig,
  type Env,
  type Relation,
} from '@atoll/platform-config';
import type { DispatcherOptions } from './dispatcher.ts';

export const ROUTER_PREFIX = 'ROUTER_';

export const SETTINGS = {
  ...commonSettings({ id: 'router-1', listen: '127.0.0.1:7400' }),
  ROUTER_ZONE: optional(
    text({
      pattern: /^[A-Za-z0-9_.-]{1,64}$/,
      range: '1 to 64 characters of A-Z, a-z, 0-9, _, . and -',
      description: 'Zone of this router: BOUNDED and EVENTUAL reads go to replicas of the same STORAGE_NODE_ZONE where there are any.',
    }),
    'reads go to replicas of all zones alike',
  ),
  ROUTER_OPERATIONS_MAX: integer({
    min: 1,
    max: 10_000_000,
    default: '65536',
    description: 'Operations that the router holds at most; beyond it callers hear OVERLOADED.',
  }),
  ROUTER_REQUEST_BYTES_MAX: bytes({
    min: MIB,
    max: 2 ** 40,
    default: '512MiB',
    description: 'Bytes of requests that the router holds at most; beyond it callers hear OVERLOADED.',
  }),
  ROUTER_RESULT_BYTES_MAX: bytes({
    min: 64 * MIB,
    max: 2 ** 40,
    default: '1GiB',
    description: 'Bytes of values above 1 MiB that may be on their way from storage nodes, and bytes of results that wait for slow clients; beyond it callers hear OVERLOADED.',
  }),
  ROUTER_STREAM_WINDOW_OPERATIONS: integer({
    min: 1,
    max: 1_000_000,
    default: '2048',
    description: 'Operations under way per Execute stream of a client; beyond it the router stops reading. More hides latency and lets one client take more of the router.',
  }),
  ROUTER_WATCHES_MAX: integer({
    min: 0,
    max: 10_000,
    default: '500',
    description: 'Watch streams of clients at a time; further ones hear OVERLOADED. Each is one stream to every leading node and may hold some MiB while its client is slow.',
  }),
  ROUTER_COPY_SOURCES: choice(['on', 'off'], {
    default: 'off',
    description: 'Whether other clusters may copy keyspaces of this one through this router. A copy reads all of a keyspace, at the pace of full syncs; this router does not ask who wants it.',
  }),
  ROUTER_COPY_CUT_OVERS: choice(['on', 'off'], {
    default: 'off',
    description: 'Whether copies of other clusters may take the place of their sources here, by a cut-over that comes through this router: the source takes no writes from then on. Needs ROUTER_COPY_SOURCES=on. This router does not ask who wants it.',
  }),
  ROUTER_COPY_STREAMS_MAX: integer({
    min: 1,
    max: 100_000,
    default: '1024',
    description: 'Streams of copies by other clusters at a time; further ones hear OVERLOADED and come again. A copy takes one for each pair of a partition and the one that it is copied to; each may hold some 2 MiB, or one value, while its reader is slow.',
  }),
  ROUTER_NODE_IN_FLIGHT_OPERATIONS_MAX: integer({
    min: 1,
    max: 1_000_000,
    default: '8192',
    description: 'Operations that one storage node has unanswered; further ones wait here.',
  }),
  ROUTER_NODE_IN_FLIGHT_BYTES_MAX: bytes({
    min: 64 * 1024,
    max: 2 ** 40,
    default: '64MiB',
    description: 'Bytes of requests that one storage node has unanswered; further ones wait here.',
  }),
  ROUTER_NODE_QUEUED_OPERATIONS_MAX: integer({
    min: 1,
    max: 10_000_000,
    default: '32768',
    description: 'Operations that wait for one storage node; beyond it callers hear OVERLOADED.',
  }),
  ROUTER_NODE_QUEUED_BYTES_MAX: bytes({
    min: MIB,
    max: 2 ** 40,
    default: '256MiB',
    description: 'Bytes of requests that wait for one storage node; beyond it callers hear OVERLOADED.',
  }),
  ROUTER_RETRY_RATIO: ratio({
    default: '0.1',
    description: 'Repeats at the node that failed, as a share of operations. Less spares a node in trouble, more hides short trouble.',
  }),
  ROUTER_RETRIES_PER_SECOND: integer({ min: 0, max: 1_000_000, default: '10', description: 'Repeats per second that are allowed beside that share.' }),
  ROUTER_RETRIES_SAVED_MAX: integer({ min: 1, max: 1_000_000, default: '1000', description: 'Repeats that may be saved up in quiet times.' }),
};

const RELATIONS: readonly Relation<typeof SETTINGS>[] = [
  ...(COMMON_RELATIONS as readonly Relation<typeof SETTINGS>[]),
  {
    settings: ['ROUTER_STREAM_WINDOW_OPERATIONS', 'ROUTER_OPERATIONS_MAX'],
    problem: ({ ROUTER_STREAM_WINDOW_OPERATIONS: window, ROUTER_OPERATIONS_MAX: all }) =>
      window > all ? 'ROUTER_STREAM_WINDOW_OPERATIONS must not be above ROUTER_OPERATIONS_MAX' : undefined,
  },
  {
    settings: ['ROUTER_COPY_CUT_OVERS', 'ROUTER_COPY_SOURCES'],
    problem: ({ ROUTER_COPY_CUT_OVERS: cutOvers, ROUTER_COPY_SOURCES: copies }) => (cutOvers === 'on' && copies === 'off' ? 'ROUTER_COPY_CUT_OVERS=on needs ROUTER_COPY_SOURCES=on' : undefined),
  },
];

export interface Config extends Pick<DispatcherOptions, 'operationsMax' | 'bytesMax' | 'resultBytesMax' | 'link' | 'retryBudget'> {
  readonly common: CommonConfig;
  /** undefined: no replica is nearer than another. */
  readonly zone: string | undefined;
  readonly streamWindowOperations: number;
  readonly watchesMax: number;
  /** Other clusters may copy from this one through here. */
  readonly offersCopies: boolean;
  readonly offersCutOvers: boolean;
  readonly copyStreamsMax: number;
}

/** Throws one ConfigError with every problem. */
export function parseConfig(env: Env): Config {
  const values = parseSettings(SETTINGS, env, { prefixes: [COMMON_PREFIX, ROUTER_PREFIX], relations: RELATIONS });
  return Object.freeze({
    common: toCommonConfig(values, shownSettings(SETTINGS, env)),
    zone: values.ROUTER_ZONE,
    operationsMax: values.ROUTER_OPERATIONS_MAX,
    bytesMax: values.ROUTER_REQUEST_BYTES_MAX,
    resultBytesMax: values.ROUTER_RESULT_BYTES_MAX,
    streamWindowOperations: values.ROUTER_STREAM_WINDOW_OPERATIONS,
    watchesMax: values.ROUTER_WATCHES_MAX,
    offersCopies: values.ROUTER_COPY_SOURCES === 'on',
    offersCutOvers: values.ROUTER_COPY_CUT_OVERS === 'on',
    copyStreamsMax: values.ROUTER_COPY_STREAMS_MAX,
    link: Object.freeze({
      inFlightOperationsMax: values.ROUTER_NODE_IN_FLIGHT_OPERATIONS_MAX,
      inFlightBytesMax: values.ROUTER_NODE_IN_FLIGHT_BYTES_MAX,
      queuedOperationsMax: values.ROUTER_NODE_QUEUED_OPERATIONS_MAX,
      queuedBytesMax: values.ROUTER_NODE_QUEUED_BYTES_MAX,
    }),
    retryBudget: Object.freeze({
      perOperation: values.ROUTER_RETRY_RATIO,
      perSecond: values.ROUTER_RETRIES_PER_SECOND,
      max: values.ROUTER_RETRIES_SAVED_MAX,
    }),
  });
}
