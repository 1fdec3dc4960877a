// Heartbeats between the elected coordinator and every node: reports in, news and probes out, verdicts as they are
// judged by the failure detector of @atoll/core-membership (R11, R30).
import type { DiscardedWrites, RecordNews, RemovalAnswer } from '@atoll/contracts/atoll/v1/heartbeat';
import { FailureDetector, type NodeRecord, type NodeReport, type NodeVerdict, type Probe, type RemovalQuestion, type ReportedMark, type VerdictChange } from '@atoll/core-membership';
import type { Clock } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import { ReportLink } from './adapters/report-link.ts';

/** A connection without an answer is replaced after so many times `downAfterMs`. */
const RENEW_AFTER_DOWNS = 2;

export interface NodeWatchOptions {
  readonly view: Pick<ClusterView, 'clusterId' | 'nodes' | 'nodeSpecs' | 'connected'>;
  /** Of this coordinator. */
  readonly id: string;
  /** Of its term (R11). */
  readonly revision: number;
  readonly config: {
    readonly heartbeatMs: number;
    readonly suspectAfterMs: number;
    readonly downAfterMs: number;
    readonly etcdLostMs: number;
    readonly graceMs: number;
  };
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly onVerdicts: (changes: readonly VerdictChange[]) => void;
  /** A node asks for something, or has confirmed something: see `reports`. */
  readonly onNews: () => void;
  /** What a node says of etcd, with every report (R13). */
  readonly onMetadata: (node: string, said: ReportedMark) => void;
  /** Writes that a node found to be gone. */
  readonly onDiscards: (node: string, discards: readonly DiscardedWrites[]) => void;
  readonly onProblem: (node: string, error: Error) => void;
}

interface WatchedNode {
  readonly address: string;
  readonly incarnation: string;
  readonly link: ReportLink;
  report: NodeReport | undefined;
}

export class NodeWatch {
  readonly #options: NodeWatchOptions;
  readonly #detector: FailureDetector;
  readonly #nodes = new Map<string, WatchedNode>();
  readonly #timer: NodeJS.Timeout;
  #isBeatDue = true;
  #isClosed = false;

  constructor(options: NodeWatchOptions) {
    const { config, clock } = options;
    this.#options = options;
    const tickMs = config.heartbeatMs / 2;
    this.#detector = new FailureDetector({ ...config, tickMs }, clock.monotonicMs());
    this.#timer = setInterval(() => this.#onTimer(), tickMs);
  }

  /** By node id. A node without one is not known yet. */
  verdicts(): ReadonlyMap<string, NodeVerdict> {
    return this.#detector.verdicts();
  }

  /** Newest report of each process that is not SUSPECT or DOWN, by node id. */
  reports(): ReadonlyMap<string, NodeReport> {
    const reports = new Map<string, NodeReport>();
    const verdicts = this.verdicts();
    for (const [id, { report }] of this.#nodes) {
      const state = verdicts.get(id)?.state;
      if (report !== undefined && (state === 'UP' || state === 'LEFT')) reports.set(id, report);
    }
    return reports;
  }

  /** Whether every registered process has reported, or is known to be gone. */
  haveAllReported(): boolean {
    const verdicts = this.verdicts();
    return [...this.#options.view.nodes().values()].every(({ id, incarnation }) => {
      const watched = this.#nodes.get(id);
      const state = verdicts.get(id)?.state;
      return state === 'DOWN' || state === 'LEFT' || (watched?.incarnation === incarnation && watched.report !== undefined);
    });
  }

  /** Tells a node of records that were just written, by partition name, before its own watch does (R27). An unknown node is left out. */
  tellRecords(node: string, records: ReadonlyMap<string, RecordNews>): void {
    this.#nodes.get(node)?.link.tellRecords(records);
  }

  /** Answers a question of `reports`: `mayRemove` false means that the follower is to lead instead (R10). */
  answer(asking: string, { keyspace, partition, epoch, replica }: RemovalQuestion, mayRemove: boolean): void {
    const answer: RemovalAnswer = { keyspace, partition, epoch, replicaId: replica, mayRemove };
    this.#nodes.get(asking)?.link.answer(answer);
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    for (const { link } of this.#nodes.values()) link.close();
    this.#nodes.clear();
  }

  #onTimer(): void {
    this.#follow();
    if (this.#isBeatDue) for (const { link } of this.#nodes.values()) link.beat();
    this.#isBeatDue = !this.#isBeatDue;
    this.#tick();
  }

  /** One link to the registered process of each node, else to the last that was. */
  #follow(): void {
    const { view, clock } = this.#options;
    const wanted = new Map<string, Pick<NodeRecord, 'address' | 'incarnation'>>(view.nodes());
    for (const [id, spec] of view.nodeSpecs()) {
      if (!wanted.has(id) && spec.state !== 'REMOVED' && !spec.stopped) wanted.set(id, spec);
    }
    for (const [id, { address, incarnation, link }] of this.#nodes) {
      const process = wanted.get(id);
      if (process?.address === address && process.incarnation === incarnation) continue;
      link.close();
      this.#nodes.delete(id);
    }
    for (const [id, { address, incarnation }] of wanted) if (!this.#nodes.has(id)) this.#nodes.set(id, this.#connect(id, address, incarnation));
    this.#detector.setNodes(view.nodes(), view.nodeSpecs(), clock.monotonicMs());
  }

  #connect(id: string, address: string, incarnation: string): WatchedNode {
    const { view, id: coordinatorId, revision, config, clock, onNews, onMetadata, onDiscards, onProblem } = this.#options;
    const nowMs = (): number => clock.monotonicMs();
    const link = new ReportLink({
      address,
      hello: { clusterId: view.clusterId, coordinatorId, coordinatorRevision: revision },
      renewMs: RENEW_AFTER_DOWNS * config.downAfterMs,
      nowMs,
      onReport: (report, beatMs) => {
        this.#detector.onReport(id, report, { beatMs, nowMs: nowMs() });
        if (report.incarnation !== incarnation) return;
        const former = node.report;
        node.report = report;
        if (report.metadata !== undefined) onMetadata(id, report.metadata);
        if (asksOf(report) !== (former === undefined ? NO_ASKS : asksOf(former))) onNews();
      },
      onDiscards: (discards) => onDiscards(id, discards),
      onRefused: () => {
        this.#detector.onRefused(id, nowMs());
        this.#tick();
      },
      onProblem: (error) => onProblem(id, error),
    });
    const node: WatchedNode = { address, incarnation, link, report: undefined };
    return node;
  }

  #tick(): void {
    if (this.#isClosed) return;
    const { view, clock, onVerdicts } = this.#options;
    const { changes, probes } = this.#detector.tick(clock.monotonicMs(), { isEtcdConnected: view.connected });
    if (changes.length > 0) onVerdicts(changes);
    for (const probe of probes) void this.#probe(probe);
  }

  async #probe(probe: Probe): Promise<void> {
    const { clock, config } = this.#options;
    const outcome = (await this.#nodes.get(probe.via)?.link.probe(probe.address, config.suspectAfterMs)) ?? { kind: 'FAILED' };
    this.#detector.onProbe(probe, outcome, clock.monotonicMs());
    if (outcome.kind !== 'FAILED') this.#tick();
  }
}

const NO_ASKS = JSON.stringify([[], [], []]);

/** What the coordinator is to act on; usually nothing. */
function asksOf({ stuckOffices, questions, stopped }: NodeReport): string {
  if (stuckOffices.length === 0 && questions.length === 0 && stopped.length === 0) return NO_ASKS;
  return JSON.stringify([stuckOffices, questions, stopped]);
}
