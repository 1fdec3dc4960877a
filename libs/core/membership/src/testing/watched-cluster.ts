// Storage nodes as a failure detector sees them, in virtual time: who runs, who is cut off from whom, what each
// reports. Beats every 100 ms, ticks every 50 ms; messages take no time.
import { toNodeId } from '@atoll/core-runtime';
import { FailureDetector, type VerdictChange } from '../failure/failure-detector.ts';
import type { NodeReport, PeerSight, Probe, ProbeOutcome } from '../failure/node-report.ts';
import type { NodeVerdict } from '../failure/verdict.ts';
import type { NodeRecord, NodeSpec } from '../node-record.ts';

const TICK_MS = 50;
const BEAT_MS = 100;
const PROBE_TIMEOUT_MS = 300;

interface Process {
  incarnation: string;
  state: 'RUNNING' | 'DEAD' | 'PAUSED';
  isRegistered: boolean;
  phase: NodeRecord['phase'];
  report: Partial<NodeReport>;
  beatMs: number;
  heardMs: Map<string, number>;
}

export class WatchedCluster {
  nowMs = 0;
  isEtcdConnected = true;
  /** The coordinator is stopped: it ticks not, and takes nothing. */
  isStalled = false;
  readonly processes = new Map<string, Process>();
  readonly changes: (VerdictChange & { readonly atMs: number })[] = [];
  readonly probes: Probe[] = [];
  readonly detector: FailureDetector;
  /** Pairs "a b" that cannot reach each other, "c" is the coordinator. */
  readonly #cuts = new Set<string>();
  #answers: { readonly atMs: number; readonly probe: Probe; readonly outcome: ProbeOutcome }[] = [];
  #starts = 0;

  constructor(nodes: readonly string[]) {
    for (const node of nodes) this.start(node);
    this.detector = new FailureDetector({ tickMs: TICK_MS, suspectAfterMs: 300, downAfterMs: 900, graceMs: 250, etcdLostMs: 3000 }, 0);
  }

  start(node: string): void {
    this.#starts += 1;
    this.processes.set(node, { incarnation: `i${this.#starts}`, state: 'RUNNING', isRegistered: true, phase: 'SERVING', report: {}, beatMs: 1, heardMs: new Map() });
  }

  of(node: string): Process {
    return this.processes.get(node)!;
  }

  /** Nothing passes between the two in either direction; "coordinator" is one of them, or both are nodes. */
  cut(a: string, b: string): void {
    this.#cuts.add(`${a} ${b}`).add(`${b} ${a}`);
  }

  /** Each of `nodes` is cut from all others and from the coordinator. */
  isolate(node: string): void {
    for (const other of ['coordinator', ...this.processes.keys()]) if (other !== node) this.cut(node, other);
  }

  heal(): void {
    this.#cuts.clear();
  }

  verdict(node: string): NodeVerdict {
    return this.detector.verdicts().get(node)!;
  }

  states(): Record<string, string> {
    return Object.fromEntries([...this.detector.verdicts()].map(([id, { state }]) => [id, state]));
  }

  /** When the node's verdict last became `state`, in ms from `sinceMs`. */
  delayOf(node: string, state: NodeVerdict['state'], sinceMs: number): number {
    const change = this.changes.findLast((one) => one.node === node && one.verdict.state === state);
    return (change?.atMs ?? Infinity) - sinceMs;
  }

  run(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (; this.nowMs < untilMs; this.nowMs += TICK_MS) this.#step();
  }

  #step(): void {
    const { nowMs, detector } = this;
    for (const [id, process] of this.processes) {
      if (process.state !== 'RUNNING') continue;
      for (const peer of this.processes.keys()) if (peer !== id && this.#reaches(id, peer) === 'ANSWERED') process.heardMs.set(peer, nowMs);
    }
    if (this.isStalled) return;
    detector.setNodes(this.#registered(), this.#specs(), nowMs);
    for (const [id, process] of this.processes) {
      const reach = this.#reaches('coordinator', id);
      if (reach === 'REFUSED') detector.onRefused(id, nowMs);
      if (reach === 'ANSWERED' && nowMs % BEAT_MS === 0) detector.onReport(id, this.#report(id, process), { beatMs: process.beatMs, nowMs });
    }
    const due = this.#answers.filter(({ atMs }) => atMs <= nowMs);
    this.#answers = this.#answers.filter(({ atMs }) => atMs > nowMs);
    for (const { probe, outcome } of due) detector.onProbe(probe, outcome, nowMs);
    const { changes, probes } = detector.tick(nowMs, this);
    this.changes.push(...changes.map((change) => ({ ...change, atMs: nowMs })));
    for (const probe of probes) {
      this.probes.push(probe);
      const kind = this.#reaches('coordinator', probe.via) === 'ANSWERED' ? this.#reaches(probe.via, probe.target) : 'FAILED';
      const outcome: ProbeOutcome = kind === 'ANSWERED' ? { kind, incarnation: this.of(probe.target).incarnation } : { kind };
      this.#answers.push({ probe, outcome, atMs: nowMs + (kind === 'SILENT' || kind === 'FAILED' ? PROBE_TIMEOUT_MS : TICK_MS) });
    }
  }

  #reaches(from: string, to: string): 'ANSWERED' | 'REFUSED' | 'SILENT' {
    if (this.#cuts.has(`${from} ${to}`)) return 'SILENT';
    return ({ RUNNING: 'ANSWERED', DEAD: 'REFUSED', PAUSED: 'SILENT' } as const)[this.of(to).state];
  }

  #report(id: string, { incarnation, heardMs, report }: Process): NodeReport {
    const peers = [...heardMs].map(([node, atMs]): PeerSight => ({ node, silentMs: this.nowMs - atMs, isRefused: this.#reaches(id, node) === 'REFUSED' }));
    return { incarnation, loopLagMs: 0, memoryUsed: 0.5, diskError: '', diskFlushMs: 0, etcdSilentMs: 0, peers, stuckOffices: [], questions: [], stopped: [], ...report };
  }

  #registered(): Map<string, NodeRecord> {
    const records = new Map<string, NodeRecord>();
    for (const [id, { incarnation, phase, isRegistered }] of this.processes) {
      if (isRegistered) records.set(id, { id: toNodeId(id), address: `${id}:1`, httpAddress: '', zone: 'z', weight: 1, incarnation, phase });
    }
    return records;
  }

  #specs(): Map<string, NodeSpec> {
    const specs = new Map<string, NodeSpec>();
    for (const [id, { incarnation, phase }] of this.processes) {
      specs.set(id, { id: toNodeId(id), state: 'UP', zone: 'z', weight: 1, incarnation, address: `${id}:1`, stopped: phase === 'STOPPING' });
    }
    return specs;
  }
}
