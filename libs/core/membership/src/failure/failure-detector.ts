// The coordinator's failure detector: from reports, refused connections and probes through peers to one verdict per
// node (R11, R30). After SWIM (Das, Gupta, Motivala, DSN 2002): suspicion before a verdict, indirect probes. Pure: the
// shell brings every input with its time, calls `tick` every `tickMs`, and carries out the probes it returns.
import type { NodeRecord, NodeSpec } from '../node-record.ts';
import { Evidence } from './evidence.ts';
import { Health } from './health.ts';
import { judgeEvidence, type JudgeOptions, type Judgement } from './judge.ts';
import type { NodeReport, Probe, ProbeOutcome } from './node-report.ts';
import { StallClock } from './stall-clock.ts';
import type { NodeVerdict } from './verdict.ts';

export interface FailureDetectorOptions extends JudgeOptions {
  /** Longest time between two ticks of a coordinator that is awake, in ms. */
  readonly tickMs: number;
  /** Nobody is down before so much time has passed since the detector began (R11). */
  readonly graceMs: number;
  /** A node that etcd has not answered for so long has lost it, provided that the coordinator has not (R30), in ms. */
  readonly etcdLostMs: number;
}

export interface VerdictChange {
  readonly node: string;
  readonly former: NodeVerdict | undefined;
  readonly verdict: NodeVerdict;
}

export interface TickOutcome {
  /** Verdicts with another state, other degradation or other contact with etcd than at the last tick. */
  readonly changes: readonly VerdictChange[];
  readonly probes: readonly Probe[];
}

/** Nodes that are asked about one target at a time. */
const PROBERS = 3;

interface Watched {
  readonly id: string;
  readonly incarnation: string;
  address: string;
  isRegistered: boolean;
  isStopping: boolean;
  evidence: Evidence;
  readonly health: Health;
  etcdSilentMs: number;
  /** Evidence that felled it, kept until it is heard again. */
  felled: { readonly judgement: Judgement; readonly atMs: number } | undefined;
  verdict: NodeVerdict | undefined;
  /** When each peer was last asked about it. */
  readonly askedMs: Map<string, number>;
}

export class FailureDetector {
  readonly #options: FailureDetectorOptions;
  readonly #clock: StallClock;
  readonly #nodes = new Map<string, Watched>();
  /** Own time since when etcd has answered the coordinator without a break; undefined while it does not. */
  #etcdSinceMs: number | undefined;

  constructor(options: FailureDetectorOptions, nowMs: number) {
    this.#options = options;
    this.#clock = new StallClock(2 * options.tickMs, nowMs);
  }

  /** By node id: every node that is registered or was, and is not removed. */
  verdicts(): ReadonlyMap<string, NodeVerdict> {
    const verdicts = new Map<string, NodeVerdict>();
    for (const { id, verdict } of this.#nodes.values()) if (verdict !== undefined) verdicts.set(id, verdict);
    return verdicts;
  }

  /** The processes to judge: the registered one of each node, else the last that was. A vanished registration fells nobody. */
  setNodes(registered: ReadonlyMap<string, NodeRecord>, specs: ReadonlyMap<string, NodeSpec>, nowMs: number): void {
    const ownMs = this.#clock.advance(nowMs);
    for (const id of this.#nodes.keys()) {
      const isKept = registered.has(id) || (specs.has(id) && specs.get(id)!.state !== 'REMOVED');
      if (!isKept) this.#forget(id);
    }
    for (const record of registered.values()) this.#watch(record, { isRegistered: true, isStopping: record.phase === 'STOPPING' }, ownMs);
    for (const spec of specs.values()) {
      if (!registered.has(spec.id) && spec.state !== 'REMOVED') this.#watch(spec, { isRegistered: false, isStopping: spec.stopped }, ownMs);
    }
  }

  /** @param beatMs From the sending of the beat to this answer. */
  onReport(node: string, report: NodeReport, { beatMs, nowMs }: { readonly beatMs: number; readonly nowMs: number }): void {
    const ownMs = this.#clock.advance(nowMs);
    const watched = this.#nodes.get(node);
    if (watched === undefined) return;
    // Another process has its address: the one that is registered does not listen there any more.
    if (report.incarnation !== watched.incarnation) return watched.evidence.refused(ownMs);
    watched.evidence.heard(ownMs);
    watched.felled = undefined;
    watched.etcdSilentMs = report.etcdSilentMs;
    watched.health.take(report, beatMs, ownMs);
    for (const sight of report.peers) {
      if (sight.node !== node) this.#nodes.get(sight.node)?.evidence.sight(node, sight, { lagMs: report.loopLagMs, nowMs: ownMs });
    }
  }

  /** The node's address refused a connection of the coordinator. */
  onRefused(node: string, nowMs: number): void {
    this.#nodes.get(node)?.evidence.refused(this.#clock.advance(nowMs));
  }

  onProbe({ via, target, address }: Probe, outcome: ProbeOutcome, nowMs: number): void {
    const ownMs = this.#clock.advance(nowMs);
    const watched = this.#nodes.get(target);
    // An answer about another address is about another process.
    if (watched === undefined || watched.address !== address || !this.#nodes.has(via)) return;
    const askedMs = watched.askedMs.get(via) ?? ownMs;
    watched.evidence.probed(via, outcome, { incarnation: watched.incarnation, askedMs, nowMs: ownMs });
  }

  tick(nowMs: number, { isEtcdConnected }: { readonly isEtcdConnected: boolean }): TickOutcome {
    const ownMs = this.#clock.advance(nowMs);
    this.#etcdSinceMs = isEtcdConnected ? (this.#etcdSinceMs ?? ownMs) : undefined;
    const heard = [...this.#nodes.values()].filter(({ evidence }) => evidence.heardMs !== undefined && this.#isHeard(evidence, ownMs));
    const changes: VerdictChange[] = [];
    const probes: Probe[] = [];
    for (const watched of this.#nodes.values()) {
      const witnesses = heard.filter(({ id }) => id !== watched.id);
      const judgement = this.#judge(watched, witnesses, ownMs);
      const isUp = judgement.state === 'UP';
      const verdict: NodeVerdict = {
        ...judgement,
        sinceMs: watched.verdict?.state === judgement.state ? watched.verdict.sinceMs : nowMs,
        degraded: isUp ? watched.health.degraded(witnesses.map(({ health }) => health), ownMs) : [],
        isEtcdLost: isUp && this.#hasLostEtcd(watched, ownMs),
      };
      const former = watched.verdict;
      watched.verdict = verdict;
      if (former === undefined || isChanged(former, verdict)) changes.push({ node: watched.id, former, verdict });
      if (judgement.state === 'SUSPECT' || !this.#isHeard(watched.evidence, ownMs)) probes.push(...this.#probesOf(watched, witnesses, ownMs));
    }
    return { changes, probes };
  }

  #judge(watched: Watched, witnesses: readonly Watched[], ownMs: number): Pick<NodeVerdict, 'state' | 'reason'> {
    if (watched.isStopping && !watched.isRegistered) return { state: 'LEFT', reason: 'it stopped on purpose' };
    const { evidence, felled, isStopping } = watched;
    const names = witnesses.map(({ id }) => id);
    if (felled !== undefined) {
      const hearing = names.filter((peer) => evidence.isHeardBy(peer, felled.atMs));
      if (hearing.length === 0) return felled.judgement;
      watched.felled = undefined;
    }
    const hasOthers = [...this.#nodes.values()].some((other) => other !== watched && other.felled === undefined && other.verdict?.state !== 'LEFT');
    const judgement = judgeEvidence(evidence, { nowMs: ownMs, witnesses: names, hasOthers, isStopping }, this.#options);
    if (judgement.state === 'DOWN') {
      if (ownMs < this.#options.graceMs) return { state: 'SUSPECT', reason: 'it cannot be reached; this coordinator has just been elected' };
      watched.felled = { judgement, atMs: ownMs };
      return judgement;
    }
    if (isStopping) return { state: 'LEFT', reason: 'it is stopping on purpose' };
    if (watched.isRegistered || judgement.state === 'SUSPECT') return judgement;
    if (evidence.heardMs === undefined) return { state: 'SUSPECT', reason: 'its registration lapsed; it may still be serving' };
    return { state: 'UP', reason: 'it answers, although its registration lapsed' };
  }

  #hasLostEtcd({ etcdSilentMs }: Watched, ownMs: number): boolean {
    const { etcdLostMs } = this.#options;
    return etcdSilentMs > etcdLostMs && this.#etcdSinceMs !== undefined && ownMs - this.#etcdSinceMs > etcdLostMs;
  }

  /** Asks those first that were asked longest ago. */
  #probesOf(target: Watched, witnesses: readonly Watched[], ownMs: number): Probe[] {
    if (target.felled !== undefined || (target.isStopping && !target.isRegistered)) return [];
    const lastMs = ({ id }: Watched): number => target.askedMs.get(id) ?? -Infinity;
    const due = witnesses.filter((via) => ownMs - lastMs(via) >= this.#options.suspectAfterMs).toSorted((a, b) => lastMs(a) - lastMs(b));
    const underWay = witnesses.length - due.length;
    return due.slice(0, Math.max(0, PROBERS - underWay)).map(({ id }) => {
      target.askedMs.set(id, ownMs);
      return { via: id, target: target.id, address: target.address };
    });
  }

  #isHeard(evidence: Evidence, ownMs: number): boolean {
    return evidence.refusedMs === undefined && ownMs - evidence.lastMs <= this.#options.suspectAfterMs;
  }

  #watch(
    { id, incarnation, address }: Pick<NodeRecord, 'id' | 'incarnation' | 'address'>,
    { isRegistered, isStopping }: { readonly isRegistered: boolean; readonly isStopping: boolean },
    ownMs: number,
  ): void {
    const known = this.#nodes.get(id);
    if (known?.incarnation === incarnation) {
      if (known.address !== address) known.evidence = new Evidence(ownMs);
      Object.assign(known, { address, isRegistered, isStopping });
      return;
    }
    this.#forget(id);
    this.#nodes.set(id, {
      id,
      incarnation,
      address,
      isRegistered,
      isStopping,
      evidence: new Evidence(ownMs),
      health: new Health(),
      etcdSilentMs: 0,
      felled: undefined,
      verdict: undefined,
      askedMs: new Map(),
    });
  }

  #forget(id: string): void {
    this.#nodes.delete(id);
    for (const { evidence, askedMs } of this.#nodes.values()) {
      evidence.dismiss(id);
      askedMs.delete(id);
    }
  }
}

function isChanged(former: NodeVerdict, verdict: NodeVerdict): boolean {
  return former.state !== verdict.state || former.isEtcdLost !== verdict.isEtcdLost || former.degraded.length !== verdict.degraded.length;
}
