import { credentials } from '@grpc/grpc-js';
import { CopyClient, CopyPhase as PhaseMessage, type CopyStatus, type GetCopiesResponse } from '@atoll/contracts/atoll/v1/copy';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { sourcePartitionsOf } from '@atoll/core-placement';
import type { CopyPhase, DiscardReport, Leader } from '@atoll/core-replication';
import { MIB } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import { ByteRate, SharedClients, createChannelOptions } from '@atoll/platform-grpc';
import type { Counter, Logger, Metrics, Tracing } from '@atoll/platform-telemetry';
import type { HostedKeyspace } from '../hosted-keyspace.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import type { ReplicaHost } from '../replica-host.ts';
import { readMoment } from '../turn.ts';
import { CopyPuller, type CopyPullerOptions } from './copy-puller.ts';
import { followedSource } from './followed-source.ts';
import { Slots } from './slots.ts';

/** How often offices and keyspaces are looked at, in ms. */
export const COPIES_TICK_MS = 200;
/** Pairs of partitions whose sub-ranges are copied at a time on this node; those that follow are not counted. */
const COPYING_MAX = 8;
/** What a source sends ahead of what is taken here, on each stream: bounds on rates would mean little if it were much. */
const WINDOW_BYTES = MIB;

const PHASES: Record<CopyPhase, PhaseMessage> = {
  EMPTYING: PhaseMessage.COPY_PHASE_EMPTYING,
  COPYING: PhaseMessage.COPY_PHASE_COPYING,
  FOLLOWING: PhaseMessage.COPY_PHASE_FOLLOWING,
  COMPARING: PhaseMessage.COPY_PHASE_COMPARING,
  ENDED: PhaseMessage.COPY_PHASE_UNSPECIFIED,
  RESUMED: PhaseMessage.COPY_PHASE_UNSPECIFIED,
};

export interface CopiesOptions {
  readonly host: ReplicaHost;
  readonly view: ClusterView;
  readonly clusterId: string;
  readonly incarnation: string;
  readonly metrics: Metrics;
  readonly tracing: Pick<Tracing, 'startSpan'>;
  readonly logger: Logger;
  readonly random: () => number;
  /** What was written to a partition before it became a copy, and its source does not have, is gone from here. */
  readonly onDiscards: (hosted: HostedReplica, report: DiscardReport) => void;
}

/** What a puller is made for. */
type Pulling = Pick<CopyPullerOptions, 'hosted' | 'leader' | 'source' | 'target' | 'rate'>;

interface Pulled {
  readonly leader: Leader;
  /** Id of the source, and number of the copy. */
  readonly source: string;
  readonly pullers: ReadonlyMap<number, CopyPuller>;
}

/** Has the partitions of copies that this node leads follow their sources, for as long as it leads them (R37). */
export class Copies {
  readonly #options: CopiesOptions;
  readonly #pulled = new Map<HostedReplica, Pulled>();
  /** Apart from all others: bulk data must not delay them (R14). */
  readonly #clients = new SharedClients((address) => new CopyClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk', windowBytes: WINDOW_BYTES })));
  readonly #slots = new Slots(COPYING_MAX);
  readonly #restarts: Counter;
  /** Of each copy, by the id of its keyspace: what this node may copy of it. */
  readonly #rates = new Map<string, ByteRate>();

  constructor(options: CopiesOptions) {
    this.#options = options;
    const { metrics, host } = options;
    const worst = (of: (status: CopyStatus) => number | undefined) => () =>
      [...host.keyspaces()].filter(({ spec }) => spec.copyOf !== undefined).flatMap(({ spec }) => {
        // One that nobody knows is not shown as none: the copy is paused, or its source is away.
        const known = this.#statuses(spec.name).map(of).filter((lag) => lag !== undefined);
        return known.length === 0 ? [] : [{ labels: { keyspace: spec.name }, value: Math.max(...known) }];
      });
    metrics.gaugeFamily('atoll_copy_lag_seconds', { description: 'How old the state of its source is that a partition of a copy holds, where it is oldest on this node.', unit: 's' }, worst(({ lagMs }) => lagMs && lagMs / 1000));
    metrics.gaugeFamily('atoll_copy_lag_entries', { description: 'Largest number of log entries of its source that a partition of a copy on this node has yet to apply.' }, worst(({ lagSeq }) => lagSeq));
    this.#restarts = metrics.counter('atoll_copy_restarts_total', { description: 'Times that a partition of a copy had to begin anew: the log of its source was gone, or its data began anew.' });
  }

  /** To be called every COPIES_TICK_MS. */
  tick(): void {
    const { host } = this.#options;
    const wanted = new Set<HostedReplica>();
    const paced = new Set<string>();
    for (const keyspace of host.keyspaces()) {
      endCopies(keyspace);
      const source = followedSource(keyspace.spec.copyOf, this.#options);
      if (source === undefined) continue;
      paced.add(keyspace.spec.id);
      let led = 0;
      const rate = this.#rateOf(keyspace.spec.id);
      for (const hosted of keyspace.replicas()) {
        const { leader } = hosted.replica;
        if (leader?.isServing !== true || hosted.isDropped || isOver(hosted, source.run)) continue;
        wanted.add(hosted);
        led += 1;
        this.#pull({ hosted, leader, source, target: keyspace.spec, rate });
      }
      rate.setRate(shareOf(keyspace.spec, led), performance.now());
    }
    for (const hosted of this.#pulled.keys()) if (!wanted.has(hosted)) this.#stop(hosted);
    for (const id of this.#rates.keys()) if (!paced.has(id)) this.#rates.delete(id);
  }

  /** Answer to `Copy.GetCopies`. */
  get(): GetCopiesResponse {
    const { incarnation, host } = this.#options;
    return { incarnation, copies: [...host.keyspaces()].flatMap(({ spec }) => this.#statuses(spec.name)) };
  }

  #statuses(name: string): CopyStatus[] {
    const keyspace = this.#options.host.keyspace(name);
    const nowMs = performance.now();
    if (keyspace?.spec.copyOf === undefined) return [];
    return [...keyspace.replicas()].filter(({ replica }) => replica.leader !== undefined).flatMap((hosted) => this.#describe(keyspace.spec, hosted, nowMs));
  }

  close(): void {
    for (const hosted of this.#pulled.keys()) this.#stop(hosted);
  }

  #rateOf(keyspaceId: string): ByteRate {
    let rate = this.#rates.get(keyspaceId);
    if (rate === undefined) this.#rates.set(keyspaceId, (rate = new ByteRate(0, performance.now())));
    return rate;
  }

  #pull(pulling: Pulling): void {
    const { hosted, leader, source, target } = pulling;
    const present = this.#pulled.get(hosted);
    if (present?.leader === leader && present.source === `${source.id}/${source.run}`) return;
    if (present !== undefined) this.#stop(hosted);
    const { random, logger, tracing, clusterId, onDiscards } = this.#options;
    const shared = { ...pulling, random, tracing, logger, clusterId, onDiscards: (report: DiscardReport) => onDiscards(pulling.hosted, report), clients: this.#clients, slots: this.#slots, onRestart: () => this.#restarts.add() };
    const pullers = new Map(sourcePartitionsOf(hosted.partition, { sourceCount: source.partitionCount, targetCount: target.partitionCount, tokens: source.tokens }).map((partition) => [partition, new CopyPuller({ ...shared, partition })]));
    this.#pulled.set(hosted, { leader, source: `${source.id}/${source.run}`, pullers });
  }

  #stop(hosted: HostedReplica): void {
    const pulled = this.#pulled.get(hosted);
    this.#pulled.delete(hosted);
    for (const puller of pulled?.pullers.values() ?? []) void puller.stop();
  }

  #describe(spec: KeyspaceSpec, hosted: HostedReplica, nowMs: number): CopyStatus[] {
    const { entryCount, liveBytes } = hosted.replica.state.store;
    const pulled = this.#pulled.get(hosted);
    if (pulled === undefined) return pausedStatuses(spec, hosted, this.#options.view);
    return [...pulled.pullers].map(([sourcePartition, puller]) => {
      const { phase, ...status } = puller.status(nowMs);
      return { keyspace: spec.name, keyspaceId: spec.id, partition: hosted.partition, sourcePartition, phase: PHASES[phase], entries: entryCount, bytes: liveBytes, ...status };
    });
  }
}

/** Of the bound on a copy, by how many of its partitions are led here: all nodes together keep to it. 0: no bound. */
function shareOf({ copyOf, partitionCount }: KeyspaceSpec, led: number): number {
  const { bytesPerSecond = 0 } = copyOf ?? {};
  return (bytesPerSecond * Math.max(1, led)) / partitionCount;
}

/** A view that is old may show a copy that has ended since, or an earlier one. */
const isOver = ({ replica: { state } }: HostedReplica, run: number): boolean => (state.copies.isEnded ? run <= state.copies.turnedAt : run < state.copies.turnedAt);

/** What the log of a standby says while nothing is taken from its primary: it may be promoted as it is. */
function pausedStatuses({ name, id, partitionCount, copyOf }: KeyspaceSpec, { partition, replica: { state } }: HostedReplica, view: ClusterView): CopyStatus[] {
  const sourceCount = copyOf?.cluster?.partitionCount ?? view.keyspace(copyOf?.keyspace ?? '')?.partitionCount;
  if (copyOf?.run === undefined || copyOf.run !== state.copies.run || sourceCount === undefined) return [];
  const { entryCount, liveBytes } = state.store;
  return sourcePartitionsOf(partition, { sourceCount, targetCount: partitionCount, tokens: copyOf.tokens }).map((sourcePartition) => {
    const position = state.copies.get(sourcePartition);
    const { stampMs = 0, origin } = position ?? {};
    const lagMs = position === undefined ? undefined : Math.max(0, readMoment().wallMs - stampMs);
    return { keyspace: name, keyspaceId: id, partition, sourcePartition, phase: PHASES[position?.phase ?? 'EMPTYING'], progress: position?.phase === 'FOLLOWING' ? 1 : 0, lagSeq: undefined, lagMs, entries: entryCount, bytes: liveBytes, restarts: 0, problem: '', problemReason: '', proof: undefined, origin, stampMs, headStampMs: undefined };
  });
}

/** A copy that has the place of its source says so in its log as soon as its leader hears of it, not with the first write alone. */
function endCopies(keyspace: HostedKeyspace): void {
  const { cutOver } = keyspace.spec;
  if (cutOver === undefined) return;
  for (const { replica } of keyspace.replicas()) replica.leader?.endCopy(cutOver, readMoment());
}
