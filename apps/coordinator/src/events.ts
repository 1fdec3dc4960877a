import { RangeState, type PartitionComparison } from '@atoll/contracts/atoll/v1/admin';
import type { HoldSourceRequest } from '@atoll/contracts/atoll/v1/copy';
import type { DiscardedWrites } from '@atoll/contracts/atoll/v1/heartbeat';
import type { CopyJob, MigrationJob } from '@atoll/core-migration';
import type { DecisionKind, KeyspaceSpec, PartitionRecord, VerdictChange, WriteRecord } from '@atoll/core-membership';
import { RECOVERY_COMMAND, type ClusterEvent } from '@atoll/platform-etcd';
import type { Counter, Family, Logger, Metrics } from '@atoll/platform-telemetry';
import type { SpecAction } from './adapters/record-writer.ts';
import { discardText } from './domain/discard-text.ts';
import type { SeenReplica } from './domain/last-seen.ts';
import { lossOf, lossText } from './domain/loss.ts';

/** Every kind that is told. Each is counted from the start, at 0: a rate needs a value before the first event. */
const KINDS = [
  'DATA_LOSS', 'DATA_DISCARDED', 'LEADER_CHANGED', 'LEADER_TRANSFERRED', 'PARTITIONS_FENCED', 'PARTITIONS_WAITING', 'NODE_DRAINING',
  'NODE_WANTED', 'NODE_REMOVED', 'NODE_DOWN', 'NODE_UP', 'NODE_DEGRADED', 'NODE_ETCD_LOST', 'NODE_JOINED', 'NODE_RESTARTED', 'NODE_LEFT',
  'METADATA_REGRESSED', 'METADATA_RECOVERED', 'KEYSPACE_CREATED', 'KEYSPACE_DELETED', 'KEYSPACE_FROZEN',
  'KEYSPACE_UNFROZEN', 'KEYSPACE_MOVED', 'REPLICA_REPAIRED', 'REPLICA_DIFFERS',
  'REPLICAS_CONTESTED', 'MIGRATION_BEGAN', 'MIGRATION_SUCCEEDED', 'MIGRATION_FAILED', 'MIGRATION_CANCELLED', 'CUT_OVER_BEGAN',
  'CUT_OVER_GIVEN_UP',
  'STANDBY_PROMOTED',
  'PRIMARY_FENCED',
] as const;

type EventKind = (typeof KINDS)[number];

/** Those of nodes and migrations are put together; one of a state that is never told would type, too. */
type ToldKind = EventKind | `NODE_${SpecAction['news']}` | `MIGRATION_${MigrationJob['state'] | CopyJob['state']}`;

/** What an operator may want to know: one line in the log, one count, one event in the cluster's list. */
export class Events {
  readonly #logger: Logger;
  readonly #append: (event: ClusterEvent) => void;
  readonly #wallMs: () => number;
  readonly #events: Family<Counter>;
  /** Nodes that were told to be DOWN and are not up again. */
  readonly #down = new Set<string>();

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
    for (const kind of KINDS) this.#events.with(kind);
  }

  /**
   * What one round did to leaders and data: one event per kind and keyspace. `seen`: what a replica held when its node
   * was last asked.
   */
  recordsWritten(writes: readonly (WriteRecord & { readonly former: PartitionRecord | undefined })[], seen: (replica: string) => SeenReplica | undefined): void {
    for (const { kind, level, decisions, text } of RECORD_EVENTS) {
      for (const [keyspace, group] of Map.groupBy(writes.filter(({ decision }) => decisions.includes(decision)), ({ record }) => record.keyspace)) {
        const partitions = group.map(({ record }) => record.partition);
        const loss = kind === 'DATA_LOSS' ? `; lost: ${lossText(group.map(({ record, former }) => lossOf(record, former, seen)))}` : '';
        const message = `${partitions.length} partitions of keyspace ${keyspace} ${text}${loss}`;
        this.#logger[level]({ keyspace, partitions }, message);
        this.#tell({ kind, keyspace, partitions, message });
      }
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

  /**
   * Joins, restarts and planned stops have events of their own; suspicion, which comes and goes on a busy machine,
   * stays in the log.
   */
  verdictChanged({ node, former, verdict }: VerdictChange): void {
    const { state, reason, degraded, isEtcdLost } = verdict;
    if (state !== former?.state && state === 'SUSPECT') this.#logger.info({ node, reason }, 'node is suspected');
    if (state !== former?.state && state === 'DOWN') this.#judged(node, 'NODE_DOWN', `node ${node} is DOWN: ${reason}`);
    if (state === 'UP' && this.#down.has(node)) this.#judged(node, 'NODE_UP', `node ${node} is UP again: ${reason}`);
    if (state === 'DOWN') this.#down.add(node);
    if (state === 'UP' || state === 'LEFT') this.#down.delete(node);
    if (degraded.length > (former?.degraded.length ?? 0)) this.#judged(node, 'NODE_DEGRADED', `node ${node} serves badly: ${degraded.join('; ')}`);
    if (isEtcdLost && former?.isEtcdLost !== true) this.#judged(node, 'NODE_ETCD_LOST', `node ${node} cannot reach etcd, this coordinator can`);
  }

  /** An operator decided on a node. */
  nodeWanted({ id, state }: SpecAction['spec']): void {
    const { kind, message } = WANTED[state];
    this.#logger.info({ node: id }, `node ${id} ${message}`);
    this.#tell({ kind, node: id, message: `node ${id} ${message}` });
  }

  /** etcd shows less than was seen (R13). */
  metadataRegressed(reasons: readonly string[]): void {
    this.#tell({ kind: 'METADATA_REGRESSED', message: `etcd went back: ${reasons.join('; ')}; nothing is changed until ${RECOVERY_COMMAND}` });
  }

  metadataRecovered(keyspaces: number, partitions: number): void {
    const message = `the metadata was recovered from the nodes: ${keyspaces} keyspaces, ${partitions} partitions`;
    this.#logger.warn({ keyspaces, partitions }, message);
    this.#tell({ kind: 'METADATA_RECOVERED', message });
  }

  /** A node found writes that are gone since a reset or an unclean recovery. Their keys are in the event alone, not in the log. */
  dataDiscarded(node: string, discards: DiscardedWrites): void {
    const { keyspace, partitions, discarded, superseded, kept, unknown } = discards;
    this.#logger.warn({ node, keyspace, partitions, discarded, superseded, kept, unknown }, 'a node held writes that are gone');
    this.#tell({ kind: 'DATA_DISCARDED', keyspace, node, partitions, message: discardText(node, discards) });
  }

  migrationBegan({ id, description, total }: MigrationJob): void {
    const message = `migration ${id} began: ${description}, ${total} partitions`;
    this.#logger.info({ migration: id, partitions: total }, message);
    this.#tell({ kind: 'MIGRATION_BEGAN', message });
  }

  migrationEnded({ id, state, done, rolledBack, bytes, problem }: MigrationJob): void {
    const message = `migration ${id} ended: ${state}, ${done} partitions done, ${rolledBack} went back, ${bytes} bytes copied${problem === '' ? '' : `; ${problem}`}`;
    this.#logger[state === 'FAILED' ? 'warn' : 'info']({ migration: id, state, done, rolledBack, bytes }, message);
    this.#tell({ kind: `MIGRATION_${state}`, message });
  }

  copyBegan({ id, source, target, partitionCount }: CopyJob): void {
    const message = `migration ${id} began: copy ${source} to ${target}, ${partitionCount} partitions`;
    this.#logger.info({ migration: id, keyspace: source, partitions: partitionCount }, message);
    this.#tell({ kind: 'MIGRATION_BEGAN', message });
  }

  copyEnded({ id, state, source, target, problem, pauseMsMax }: CopyJob): void {
    const message = state === 'SUCCEEDED' ? `migration ${id} ended: ${state}, ${target} has the place of ${source}; writes waited for ${pauseMsMax ?? 0} ms` : `migration ${id} ended: ${state}, copy ${source} to ${target}${problem === '' ? '' : `; ${problem}`}`;
    this.#logger.info({ migration: id, state }, message);
    this.#tell({ kind: `MIGRATION_${state}`, message });
  }

  cutOverBegan({ id, source, target, cutOver }: CopyJob): void {
    const message = `migration ${id}: ${target} is about to take the place of ${source}; writes wait for ${cutOver?.maxPauseMs ?? 0} ms at most`;
    this.#logger.info({ migration: id, keyspace: source }, message);
    this.#tell({ kind: 'CUT_OVER_BEGAN', keyspace: source, message });
  }

  cutOverGivenUp({ id, source, problem }: CopyJob): void {
    const message = `migration ${id}: ${problem}; ${source} is written to as before`;
    this.#logger.warn({ migration: id, keyspace: source }, message);
    this.#tell({ kind: 'CUT_OVER_GIVEN_UP', keyspace: source, message });
  }

  /** Without its primary: what is known to be missing. */
  standbyPromoted({ id, source, target, cluster, promotion }: CopyJob): void {
    const { missingKnown = 0, ageMs = 0, unknown = 0, incomplete = 0 } = promotion ?? {};
    const message = `standby ${target} was promoted without its primary ${cluster === undefined ? source : `in cluster ${cluster.id}`}: its state was up to ${ageMs} ms old, ${missingKnown} log entries are known to be missing, nothing is known of ${unknown} partitions, ${incomplete} lacked keys`;
    this.#logger.warn({ migration: id, keyspace: target, missingKnown, ageMs, unknown, incomplete }, message);
    this.#tell({ kind: 'STANDBY_PROMOTED', keyspace: target, message });
  }

  primaryFenced({ id, source, target, cluster }: CopyJob): void {
    const message = `${source} of cluster ${cluster?.id ?? ''}, the former primary of ${target}, takes no writes any more`;
    this.#logger.info({ migration: id, keyspace: target }, message);
    this.#tell({ kind: 'PRIMARY_FENCED', keyspace: target, message });
  }

  keyspaceCreated(keyspace: string): void {
    this.#logger.info({ keyspace }, 'keyspace created');
    this.#tell({ kind: 'KEYSPACE_CREATED', keyspace, message: `keyspace ${keyspace} was created` });
  }

  /** Another cluster has a copy of it that is about to take its place. */
  sourceHeld({ keyspace, toClusterId, toKeyspace, maxPauseMs }: HoldSourceRequest): void {
    const message = `${toKeyspace} of cluster ${toClusterId} is about to take the place of ${keyspace}; writes wait for ${maxPauseMs} ms at most`;
    this.#logger.info({ keyspace }, message);
    this.#tell({ kind: 'CUT_OVER_BEGAN', keyspace, message });
  }

  sourceReleased({ keyspace, toClusterId, toKeyspace }: HoldSourceRequest, why: string): void {
    const message = `${toKeyspace} of cluster ${toClusterId} did not take the place of ${keyspace}, which is written to as before: ${why}`;
    this.#logger.warn({ keyspace }, message);
    this.#tell({ kind: 'CUT_OVER_GIVEN_UP', keyspace, message });
  }

  /** It was frozen, moved to another cluster, or takes writes again. */
  keyspaceFrozen({ name: keyspace, freeze }: KeyspaceSpec): void {
    const { movedTo, note = '' } = freeze ?? {};
    const why = movedTo === undefined ? `is frozen${note === '' ? '' : `: ${note}`}` : `was moved to ${movedTo.keyspace} of cluster ${movedTo.cluster}, and takes no writes here any more`;
    const message = `keyspace ${keyspace} ${freeze === undefined ? 'takes writes again' : why}`;
    this.#logger.info({ keyspace }, message);
    this.#tell({ kind: freeze === undefined ? 'KEYSPACE_UNFROZEN' : movedTo === undefined ? 'KEYSPACE_FROZEN' : 'KEYSPACE_MOVED', keyspace, message });
  }

  keyspaceDeleted(keyspace: string): void {
    this.#logger.info({ keyspace }, 'keyspace deleted');
    this.#tell({ kind: 'KEYSPACE_DELETED', keyspace, message: `keyspace ${keyspace} was deleted` });
  }

  /** Replicas were compared at a marker (R34). What was equal is no event. */
  replicasCompared(report: PartitionComparison): void {
    const { keyspace, partition, leader, replicas } = report;
    for (const { node, ranges } of replicas) {
      const inState = (state: RangeState) => ranges.filter((range) => range.state === state);
      const repaired = inState(RangeState.RANGE_STATE_REPAIRED);
      const contested = inState(RangeState.RANGE_STATE_CONTESTED);
      const different = inState(RangeState.RANGE_STATE_DIFFERENT);
      const subject = `partition ${partition} of keyspace ${keyspace}, replica on ${node}`;
      const fields = { keyspace, partition, node, leader };
      if (repaired.length > 0) {
        const bytes = repaired.reduce((sum, range) => sum + range.bytes, 0);
        const message = `${subject}: ${repaired.length} of 64 sub-ranges were installed again from ${leader}, ${bytes} bytes`;
        this.#logger.warn({ ...fields, ranges: repaired.length, bytes }, message);
        this.#tell({ kind: 'REPLICA_REPAIRED', keyspace, node, partitions: [partition], message });
      }
      if (different.length > 0) {
        const message = `${subject}: ${different.length} of 64 sub-ranges differ from the leader ${leader} and were not repaired`;
        this.#logger.error({ ...fields, ranges: different.length }, message);
        this.#tell({ kind: 'REPLICA_DIFFERS', keyspace, node, partitions: [partition], message });
      }
      if (contested.length > 0) {
        const message = `${subject}: the leader ${leader} stands alone in ${contested.length} of 64 sub-ranges against equal followers; nothing was repaired. Move the leadership to a follower that is right, or trust the leader with atoll sync --trust-leader`;
        this.#logger.error({ ...fields, ranges: contested.length }, message);
        this.#tell({ kind: 'REPLICAS_CONTESTED', keyspace, node, partitions: [partition], message });
      }
    }
  }

  #judged(node: string, kind: EventKind, message: string): void {
    this.#logger.warn({ node }, message);
    this.#tell({ kind, node, message });
  }

  #tell(event: Pick<ClusterEvent, 'message'> & Partial<ClusterEvent> & { readonly kind: ToldKind }): void {
    this.#events.with(event.kind).add();
    this.#append({ atMs: this.#wallMs(), keyspace: '', node: '', partitions: [], ...event });
  }
}

const WANTED = {
  UP: { kind: 'NODE_WANTED', message: 'is wanted again: it gets its share' },
  DRAINING: { kind: 'NODE_DRAINING', message: 'is drained: its leaderships and replicas go to others' },
  REMOVED: { kind: 'NODE_REMOVED', message: 'is removed: nothing of its data is waited for any more' },
} as const;

const RECORD_EVENTS: readonly { readonly kind: EventKind; readonly level: 'info' | 'warn' | 'error'; readonly decisions: readonly DecisionKind[]; readonly text: string }[] = [
  { kind: 'DATA_LOSS', level: 'error', decisions: ['RESET'], text: 'lost their data: no replica that had it can be waited for; they are served again, empty' },
  { kind: 'DATA_LOSS', level: 'error', decisions: ['RECOVER'], text: 'go on, by the word of an operator, from replicas that may miss writes' },
  { kind: 'PARTITIONS_FENCED', level: 'warn', decisions: ['FENCE'], text: 'have no in-sync replica that could lead; they wait until their former leaders are certain to have stopped' },
  { kind: 'PARTITIONS_WAITING', level: 'warn', decisions: ['WAIT'], text: 'wait for a replica that has their data' },
  { kind: 'LEADER_CHANGED', level: 'info', decisions: ['PROMOTE', 'PROMOTE_ELIGIBLE'], text: 'were given new leaders' },
  { kind: 'LEADER_TRANSFERRED', level: 'info', decisions: ['TRANSFER'], text: 'were handed over by their leaders' },
];
