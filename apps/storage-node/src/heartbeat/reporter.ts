import type { PartitionEpoch, PeerView, ReportResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import type { Discards } from '../discards/discards.ts';
import type { DiskHealth } from '../disk-health.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import type { ReplicaHost } from '../replica-host.ts';
import type { EtcdContact } from './etcd-contact.ts';
import type { GuardedMetadataStore } from '@atoll/platform-etcd';
import type { FencedPartitions } from './fenced-partitions.ts';
import type { LeaseLinks } from './lease-links.ts';
import { markMessage } from './mark-message.ts';
import type { LoopLag } from './loop-lag.ts';
import type { RemovalQuestions } from './removal-questions.ts';

export interface ReporterOptions {
  readonly incarnation: string;
  readonly host: ReplicaHost;
  readonly lag: LoopLag;
  readonly disk: DiskHealth;
  readonly store: Pick<GuardedMetadataStore, 'mark' | 'reasons'>;
  readonly etcd: EtcdContact;
  readonly links: LeaseLinks;
  readonly questions: RemovalQuestions;
  readonly fenced: FencedPartitions;
  readonly discards: Pick<Discards, 'list'>;
  /** Time that an office may take beyond the wait for leases, in ms (R27). */
  readonly takeOfficeMs: number;
}

/** What this node knows of itself and of its peers, for the elected coordinator. */
export class Reporter {
  readonly #options: ReporterOptions;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** One per stream of reports, so that each has the longest stall and the slowest flush since its own last report. */
  open(): { report(beat: number, nowMs: number): ReportResponse; close(): void } {
    const { incarnation, host, lag, disk, etcd, questions, store, discards } = this.#options;
    const stalls = lag.reader();
    const flushes = disk.reader();
    return {
      report: (beat, nowMs) => ({
        beat,
        incarnation,
        loopLagMs: stalls.take(),
        memoryUsed: Math.min(1, host.memory.usedBytes / host.memory.bytesMax),
        diskError: disk.error,
        diskFlushMs: flushes.take(nowMs),
        etcdSilentMs: etcd.silentMs(nowMs),
        peers: this.#peers(nowMs),
        stuckOffices: this.#stuckOffices(nowMs),
        questions: questions.list(nowMs),
        stopped: this.#stopped(),
        metadata: markMessage(store),
        discards: discards.list(),
      }),
      close: () => {
        stalls.close();
        flushes.close();
      },
    };
  }

  /**
   * A node is heard by its answers alone: one that only talks, because nobody gets through to it, serves nobody, and
   * must be succeeded (R30).
   */
  #peers(nowMs: number): PeerView[] {
    return Array.from(this.#options.links.links(), ({ peer, heardMs, isRefused }) => ({
      node: peer,
      // One that was never heard yet has been silent for as long as this process lives, or longer.
      silentMs: Math.min(nowMs, nowMs - heardMs),
      refused: isRefused,
    }));
  }

  #stuckOffices(nowMs: number): PartitionEpoch[] {
    const stuck: PartitionEpoch[] = [];
    for (const hosted of this.#options.host.replicas()) {
      const epoch = this.#stuckIn(hosted, nowMs);
      if (epoch !== undefined) stuck.push({ keyspace: hosted.keyspace, partition: hosted.partition, epoch });
    }
    return stuck;
  }

  /** The epoch that this process was given and has not taken up in time: every member would have to wait for leases. */
  #stuckIn({ replica, epochSinceMs }: HostedReplica, nowMs: number): number | undefined {
    const { leader, state } = replica;
    const record = replica.record?.record;
    if (record?.leader?.replica !== state.identity.self.replica || record.leaderIncarnation !== this.#options.incarnation) return undefined;
    if (leader?.epoch === record.epoch && leader.isServing) return undefined;
    const dueMs = Math.max(epochSinceMs, record.relinquished ? 0 : replica.promiseUntilMs);
    return nowMs - dueMs > this.#options.takeOfficeMs ? record.epoch : undefined;
  }

  #stopped(): PartitionEpoch[] {
    const { fenced, host } = this.#options;
    const stopped: PartitionEpoch[] = [];
    for (const each of fenced.list()) if (host.replica(each.keyspace, each.partition)?.replica.leader === undefined) stopped.push(each);
    return stopped;
  }
}
