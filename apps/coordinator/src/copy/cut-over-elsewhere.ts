// The cut-over of a copy whose source is in another cluster, as the coordinator that was asked for it carries it out (R37). The
// other cluster decides how it ends, by one write to its own etcd; this one follows. ADR 13 has the argument.
//
//   HOLD     the other cluster holds writes back, and tells where the log of each partition ends
//   DRAIN    the copy takes what is before that
//   MOVE     the job says that the other cluster is about to be asked; it is asked until it answers
//   OPEN     the keyspace was moved: the copy takes writes, in one transaction with the end of the job
//
// Up to MOVE it is given up when anything is amiss: the other cluster has its writes taken again by itself. From MOVE on, whoever
// is elected asks until it knows.
import type { HoldSourceResponse, SettleHoldResponse } from '@atoll/contracts/atoll/v1/copy';
import { beginMove, completeCutOver, hasCopyEnded, nextCutOverStep, type CopyExtent, type CopyJob, type FrozenSource } from '@atoll/core-migration';
import { pairsOf, type CutOverPorts } from './cut-over-run.ts';
import type { CutOverSpan } from './cut-over-spans.ts';
import type { HoldCalls } from './hold-calls.ts';
import { withSourceName } from './standbys.ts';

/** How often it is looked at while something is waited for, in ms. */
const LOOK_MS = 10;
/** Pause between two questions whether the keyspace was moved, in ms. */
const ASK_AGAIN_MS = 200;

export interface CutOverElsewherePorts extends Pick<CutOverPorts, 'view' | 'store' | 'nowMs' | 'wallMs' | 'statuses' | 'isHeld' | 'wake'> {
  readonly calls: HoldCalls;
  /** For tests: whether what follows from the move is to wait. */
  readonly isHeldBehind: (job: CopyJob) => boolean;
}

export class CutOverElsewhere {
  readonly id: string;
  readonly span: CutOverSpan;
  readonly #extent: CopyExtent | undefined;
  readonly #ports: CutOverElsewherePorts;
  readonly #leaving = new AbortController();
  #router = '';
  /** Monotonic: from before the other cluster was asked. */
  #sinceMs: number | undefined;
  #held: HoldSourceResponse | undefined;
  /** Why writes are not held back there. */
  #failure: string | undefined;
  #settled: SettleHoldResponse | undefined;
  #askAgainAtMs = 0;
  #isAsking = false;
  /** Why it does not go on, for people; empty otherwise. */
  problem = '';

  /** `extent` undefined: another coordinator came as far as MOVE. */
  constructor(ports: CutOverElsewherePorts, options: { readonly id: string; readonly extent: CopyExtent | undefined; readonly span: CutOverSpan }) {
    this.#ports = ports;
    this.id = options.id;
    this.span = options.span;
    this.#extent = options.extent;
  }

  /** Finds a router before writes wait. Throws what routers say. */
  async connect({ cluster, source, sourceId }: CopyJob): Promise<void> {
    this.#router = await this.#ports.calls.findRouter(cluster!.routers, source, sourceId);
  }

  /** Does what is next. Answers why it is to be given up, which is certain then; undefined while it goes on, or is done. */
  async step(job: CopyJob): Promise<string | undefined> {
    if (job.cutOver!.hold !== undefined) return this.#move(job, job.cutOver!.hold);
    const { nowMs, wake } = this.#ports;
    if (this.#sinceMs === undefined) {
      this.#sinceMs = nowMs();
      void this.#askToHold(job);
    }
    if (this.#failure !== undefined) return this.#failure;
    const { maxPauseMs } = job.cutOver!;
    const heldMs = nowMs() - this.#sinceMs;
    if (this.#held === undefined) {
      if (heldMs >= maxPauseMs) return this.giveUp(job, `the cluster of the source did not hold writes back within ${maxPauseMs} ms`);
      wake(LOOK_MS);
      return undefined;
    }
    const step = nextCutOverStep({ ...this.#facts(job, this.#held), heldMs, maxPauseMs });
    if (step.kind === 'abort') return this.giveUp(job, step.reason);
    if (step.kind !== 'commit' || this.#ports.isHeld(job)) {
      this.span.entered(step.kind === 'commit' ? 'switch' : 'drain');
      wake(LOOK_MS);
      return undefined;
    }
    return this.#begin(job, this.#held.hold, heldMs);
  }

  /** Has the other cluster take writes again, if it can be reached; it does so by itself, later. Answers the reason. */
  giveUp(job: CopyJob, reason: string): string {
    this.#leaving.abort();
    const { hold } = this.#held ?? {};
    if (hold !== undefined) void this.#ports.calls.settle(job.cluster!.routers, { ...placeOf(job), hold, move: false }).catch(() => undefined);
    return reason;
  }

  async #askToHold(job: CopyJob): Promise<void> {
    this.span.entered('freeze');
    const { view, calls, wake } = this.#ports;
    const request = { ...placeOf(job), toClusterId: view.clusterId, toKeyspace: job.target, maxPauseMs: job.cutOver!.maxPauseMs, traceparent: this.span.traceparent };
    try {
      this.#held = await calls.hold(this.#router, request, this.#leaving.signal);
      // Given up meanwhile.
      if (this.#leaving.signal.aborted) this.giveUp(job, '');
    } catch (error) {
      this.#failure = `the cluster of the source does not hold writes back: ${messageOf(error)}`;
    }
    wake(0);
  }

  #facts(job: CopyJob, { partitions }: HoldSourceResponse) {
    const sources = partitions.map(({ partition, barrier }): FrozenSource => ({ partition, isFrozen: true, generation: barrier!.generation, barrier }));
    return { sources, pairs: pairsOf(job, job.cluster!.partitionCount, this.#ports) };
  }

  /** From here on the other cluster alone knows how it ends. */
  async #begin(job: CopyJob, hold: string, heldMs: number): Promise<undefined> {
    const { store, wallMs, wake } = this.#ports;
    this.span.entered('switch');
    await store.update(job.id, (stored) => beginMove(stored, { cutOver: this.id, hold, heldSinceMs: Math.round(wallMs() - heldMs), extent: this.#extent! }));
    wake(0);
    return undefined;
  }

  async #move(job: CopyJob, hold: string): Promise<string | undefined> {
    const { store, wallMs, nowMs, wake, isHeldBehind } = this.#ports;
    if (this.#settled === undefined) {
      if (!this.#isAsking && nowMs() >= this.#askAgainAtMs) void this.#askToMove(job, hold);
      wake(this.#isAsking ? LOOK_MS : ASK_AGAIN_MS);
      return undefined;
    }
    if (!this.#settled.moved) return 'the cluster of the source took writes again before the keyspace was moved';
    if (isHeldBehind(job)) {
      wake(LOOK_MS);
      return undefined;
    }
    const { timeMs } = this.#settled;
    const complete = (stored: CopyJob): CopyJob => {
      const endedMs = wallMs();
      const pauseMs = this.#sinceMs === undefined ? endedMs - (stored.cutOver?.heldSinceMs ?? endedMs) : nowMs() - this.#sinceMs;
      return completeCutOver(stored, { pausesMs: Array.from({ length: job.cluster!.partitionCount }, () => pauseMs), endedMs });
    };
    // Tokens of locks that were given out here before say nothing of the source.
    const written = await store.open(job.id, complete, (spec, revision) => withSourceName({ ...spec, copyOf: undefined, cutOver: { job: job.id, id: this.id, fencesBelow: revision + 1, timeMs, from: { cluster: job.cluster!.id, keyspaceId: job.sourceId } } }, job));
    if (!hasCopyEnded(written)) wake(ASK_AGAIN_MS);
    return undefined;
  }

  /** Who came as far as this without having drained itself, or too late, asks whether it happened, and has it never happen otherwise. */
  async #askToMove(job: CopyJob, hold: string): Promise<void> {
    const { calls, nowMs, wake } = this.#ports;
    this.#isAsking = true;
    const isInTime = this.#sinceMs !== undefined && nowMs() - this.#sinceMs < job.cutOver!.maxPauseMs;
    try {
      this.#settled = await calls.settle(job.cluster!.routers, { ...placeOf(job), hold, move: isInTime && this.#held?.hold === hold });
      this.problem = '';
    } catch (error) {
      this.problem = `whether ${job.source} was moved is not known: ${messageOf(error)}`;
      this.#askAgainAtMs = nowMs() + ASK_AGAIN_MS;
    }
    this.#isAsking = false;
    wake(0);
  }
}

const placeOf = ({ cluster, source, sourceId }: CopyJob) => ({ clusterId: cluster!.id, keyspace: source, keyspaceId: sourceId });
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
