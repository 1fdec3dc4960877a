import type { NodeReport } from '@atoll/core-membership';
import type { SimStream } from '../base/network.ts';
import type { Stored } from '../base/sim-etcd.ts';
import type { RemovalAnswer } from '../node/report-desk.ts';
import type { World } from '../world.ts';
import type { Term } from './term.ts';

interface Link {
  readonly node: string;
  readonly incarnation: string;
  stream: SimStream | undefined;
  report: NodeReport | undefined;
  records: Map<string, Stored>;
  answers: RemovalAnswer[];
  /** A beat that is not answered: the next one waits for it. */
  beatMs: number | undefined;
}

const SILENT_MS_MAX = 1800;

/** The elected coordinator's streams of beats and reports, one per node. */
export class ReportStreams {
  readonly #world: World;
  readonly #term: Term;
  readonly #links = new Map<string, Link>();

  constructor(options: { world: World; term: Term }) {
    this.#world = options.world;
    this.#term = options.term;
  }

  close(): void {
    for (const { stream } of this.#links.values()) stream?.break();
    this.#links.clear();
  }

  /** Newest report of each process that is not given up. */
  *reports(): Iterable<readonly [string, NodeReport]> {
    for (const { node, report } of this.#links.values()) {
      const state = this.#term.detector.verdicts().get(node)?.state;
      if (report !== undefined && (state === 'UP' || state === 'LEFT')) yield [node, report];
    }
  }

  tellRecord(node: string, key: string, stored: Stored): void {
    const link = this.#links.get(node);
    link?.records.set(key, stored);
    if (link !== undefined) this.#beat(link);
  }

  answer(node: string, answer: RemovalAnswer): void {
    this.#links.get(node)?.answers.push(answer);
  }

  /** One link to the registered process of each node, else to the last that was. */
  follow(): void {
    const { view } = this.#term.coordinator;
    const wanted = new Map<string, string>();
    for (const [id, { incarnation, stopped }] of view.specs) if (!stopped) wanted.set(id, incarnation);
    for (const [id, { incarnation }] of view.nodes) wanted.set(id, incarnation);
    for (const [id, link] of this.#links) {
      if (wanted.get(id) === link.incarnation) continue;
      link.stream?.break();
      this.#links.delete(id);
    }
    for (const [node, incarnation] of wanted) {
      if (this.#links.has(node)) continue;
      this.#links.set(node, { node, incarnation, stream: undefined, report: undefined, records: new Map(), answers: [], beatMs: undefined });
    }
  }

  beat(): void {
    for (const link of this.#links.values()) this.#beat(link);
  }

  #beat(link: Link): void {
    const { coordinator, detector, revision, nowMs } = this.#term;
    if (link.stream === undefined) this.#connect(link);
    const { stream } = link;
    if (stream === undefined) return;
    if (link.beatMs !== undefined) {
      if (nowMs - link.beatMs > SILENT_MS_MAX) stream.break();
      if (link.records.size === 0) return;
    }
    const node = this.#world.nodeOf(stream.acceptor.id);
    if (node !== stream.acceptor) return;
    const beatMs = nowMs;
    link.beatMs ??= beatMs;
    const { records, answers } = link;
    link.records = new Map();
    link.answers = [];
    const { word } = coordinator.etcd;
    stream.toAcceptor(() => {
      // A coordinator that another one has succeeded is not heard (R11, I9).
      if (!node.reports.accepts(revision) && this.#world.mutant?.ignoresElection !== true) return stream.break();
      node.etcd.hear(word);
      for (const [key, stored] of records) node.onStored(key, stored);
      for (const answer of answers) node.reports.onAnswer(answer);
      const report = node.reports.report();
      const { word: nodesWord } = node.etcd;
      stream.toOpener(() => {
        if (this.#links.get(link.node) !== link || coordinator.isDead) return;
        coordinator.etcd.hear(nodesWord);
        link.beatMs = undefined;
        if (report.incarnation === link.incarnation) link.report = report;
        this.#term.onReport(link.node, report, detector === this.#term.detector ? this.#term.nowMs - beatMs : 0);
      });
    });
  }

  #connect(link: Link): void {
    const { coordinator, detector } = this.#term;
    const { network } = this.#world;
    const node = this.#world.nodeOf(link.node);
    if (network.isCut(coordinator.id, link.node) || network.isCut(link.node, coordinator.id)) return;
    if (node === undefined) return detector.onRefused(link.node, this.#term.nowMs);
    const stream = network.open(coordinator, node);
    link.stream = stream;
    link.beatMs = undefined;
    stream.onBreak('opener', () => {
      if (link.stream === stream) link.stream = undefined;
    });
  }
}
