import type { NodeVerdict, VerdictChange, WriteRecord } from '@atoll/core-membership';
import type { ClusterEvent } from '@atoll/platform-etcd';
import type { Counter, Family, Logger, Metrics } from '@atoll/platform-telemetry';
import type { SpecAction } from './adapters/record-writer.ts';

/** What an operator may want to know: one line in the log, one count, one event in the cluster's list. */
export class Events {
  readonly #logger: Logger;
  readonly #append: (event: ClusterEvent) => void;
  readonly #wallMs: () => number;
  readonly #events: Family<Counter>;

  constructor(options: {
    readonly logger: Logger;
    readonly metrics: Pick<Metrics, 'counterFamily'>;
    readonly wallMs: () => number;
    /** Must not throw; a lost event loses nothing else. */
    readonly append: (event: ClusterEvent) => void;
  }) {
    this.#logger = options.logger;
    this.#append = options.append;
    this.#wallMs = options.wallMs;
    this.#events = options.metrics.counterFamily('atoll_coordinator_events_total', ['kind'], { description: 'Events told to operators.' });
  }

  /** One event per keyspace for all that one round reset. */
  dataLost(writes: readonly WriteRecord[]): void {
    for (const [keyspace, partitions] of byKeyspace(writes)) {
      const message = `${partitions.length} partitions of keyspace ${keyspace} lost their data: every replica that had it has come back without it; they are served again, empty`;
      this.#logger.error({ keyspace, partitions }, message);
      this.#tell({ kind: 'DATA_LOSS', keyspace, partitions, message });
    }
  }

  leadersChanged(writes: readonly WriteRecord[]): void {
    for (const [keyspace, partitions] of byKeyspace(writes)) {
      const message = `${partitions.length} partitions of keyspace ${keyspace} were given new leaders`;
      this.#logger.info({ keyspace, partitions }, message);
      this.#tell({ kind: 'LEADER_CHANGED', keyspace, partitions, message });
    }
  }

  nodeChanged({ spec, news }: SpecAction): void {
    const messages = {
      JOINED: `node ${spec.id} joined`,
      RESTARTED: `node ${spec.id} started again`,
      LEFT: `node ${spec.id} stops on purpose`,
      UPDATED: undefined,
    } as const;
    const message = messages[news];
    if (message === undefined) return;
    this.#logger.info({ node: spec.id, address: spec.address, incarnation: spec.incarnation }, message);
    this.#tell({ kind: `NODE_${news}`, node: spec.id, message });
  }

  /** Joins, restarts and planned stops have events of their own. */
  verdictChanged({ node, former, verdict }: VerdictChange): void {
    for (const [kind, message] of newsOf(node, former, verdict)) {
      this.#logger.warn({ node, state: verdict.state, reason: verdict.reason }, message);
      this.#tell({ kind, node, message });
    }
  }

  keyspaceCreated(keyspace: string): void {
    this.#logger.info({ keyspace }, 'keyspace created');
    this.#tell({ kind: 'KEYSPACE_CREATED', keyspace, message: `keyspace ${keyspace} was created` });
  }

  keyspaceDeleted(keyspace: string): void {
    this.#logger.info({ keyspace }, 'keyspace deleted');
    this.#tell({ kind: 'KEYSPACE_DELETED', keyspace, message: `keyspace ${keyspace} was deleted` });
  }

  #tell(event: Pick<ClusterEvent, 'kind' | 'message'> & Partial<ClusterEvent>): void {
    this.#events.with(event.kind).add();
    this.#append({ atMs: this.#wallMs(), keyspace: '', node: '', partitions: [], ...event });
  }
}

function newsOf(node: string, former: NodeVerdict | undefined, verdict: NodeVerdict): [string, string][] {
  const news: [string, string][] = [];
  const { state, reason, degraded, isEtcdLost } = verdict;
  const isOther = state !== former?.state;
  if (isOther && (state === 'SUSPECT' || state === 'DOWN')) news.push([`NODE_${state}`, `node ${node} is ${state}: ${reason}`]);
  if (isOther && state === 'UP' && (former?.state === 'SUSPECT' || former?.state === 'DOWN')) news.push(['NODE_UP', `node ${node} is UP again: ${reason}`]);
  if (degraded.length > (former?.degraded.length ?? 0)) news.push(['NODE_DEGRADED', `node ${node} serves badly: ${degraded.join('; ')}`]);
  if (isEtcdLost && former?.isEtcdLost !== true) news.push(['NODE_ETCD_LOST', `node ${node} cannot reach etcd, this coordinator can`]);
  return news;
}

function byKeyspace(writes: readonly WriteRecord[]): Map<string, number[]> {
  const partitions = new Map<string, number[]>();
  for (const { record } of writes) partitions.set(record.keyspace, [...(partitions.get(record.keyspace) ?? []), record.partition]);
  return partitions;
}
