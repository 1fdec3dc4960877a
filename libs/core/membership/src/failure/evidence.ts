import type { PeerSight, ProbeOutcome } from './node-report.ts';

/** What one peer has told of a node. Times are own time of the detector; undefined: never. */
interface Testimony {
  heardMs: number | undefined;
  refusedMs: number | undefined;
  /** The peer has not heard it from then on, and said so last at `toldMs`. */
  silentFromMs: number | undefined;
  toldMs: number;
}

/**
 * All that is known of one process: what the coordinator heard itself, and what peers tell. One rule for both:
 * hearing it makes every earlier refusal and silence void.
 */
export class Evidence {
  /** Silence counts from here as long as nothing was heard. */
  readonly sinceMs: number;
  heardMs: number | undefined;
  /** The coordinator's first refused connection since it last heard of the process. */
  refusedMs: number | undefined;
  readonly #testimonies = new Map<string, Testimony>();

  constructor(sinceMs: number) {
    this.sinceMs = sinceMs;
  }

  heard(atMs: number): void {
    this.heardMs = atMs;
    this.refusedMs = undefined;
  }

  refused(atMs: number): void {
    this.refusedMs ??= atMs;
  }

  /** When the coordinator last heard of it, or began to listen. */
  get lastMs(): number {
    return this.heardMs ?? this.sinceMs;
  }

  /** @param lagMs Stall of the peer itself: it heard nobody meanwhile. */
  sight(peer: string, { silentMs, isRefused }: PeerSight, { lagMs, nowMs }: { readonly lagMs: number; readonly nowMs: number }): void {
    const testimony = this.#testimony(peer);
    const heardMs = nowMs - Math.max(0, silentMs - lagMs);
    hearing(testimony, Math.max(testimony.heardMs ?? -Infinity, heardMs));
    testimony.silentFromMs ??= testimony.heardMs;
    testimony.toldMs = nowMs;
    if (isRefused) testimony.refusedMs = nowMs;
  }

  /** @param incarnation Of the process that this evidence is about. */
  probed(peer: string, outcome: ProbeOutcome, { incarnation, askedMs, nowMs }: { readonly incarnation: string; readonly askedMs: number; readonly nowMs: number }): void {
    if (outcome.kind === 'FAILED') return;
    const testimony = this.#testimony(peer);
    testimony.toldMs = nowMs;
    if (outcome.kind === 'ANSWERED' && outcome.incarnation === incarnation) return hearing(testimony, nowMs);
    testimony.silentFromMs ??= askedMs;
    // Another process at its address: the one that is judged does not listen there any more.
    if (outcome.kind !== 'SILENT') testimony.refusedMs = nowMs;
  }

  /** Whether the peer has heard it later than `afterMs`. */
  isHeardBy(peer: string, afterMs: number): boolean {
    return (this.#testimonies.get(peer)?.heardMs ?? -Infinity) > afterMs;
  }

  isRefusedTo(peer: string): boolean {
    return (this.#testimonies.get(peer)?.refusedMs ?? -Infinity) > this.lastMs;
  }

  /** Whether the peer has told, since the coordinator last heard of it, that it is silent from `fromMs` or earlier. */
  isSilentTo(peer: string, fromMs: number): boolean {
    const testimony = this.#testimonies.get(peer);
    return testimony !== undefined && testimony.toldMs > this.lastMs && (testimony.silentFromMs ?? Infinity) <= fromMs;
  }

  /** A peer that is another process now, or gone, is no witness. */
  dismiss(peer: string): void {
    this.#testimonies.delete(peer);
  }

  #testimony(peer: string): Testimony {
    const known = this.#testimonies.get(peer);
    if (known !== undefined) return known;
    const made: Testimony = { heardMs: undefined, refusedMs: undefined, silentFromMs: undefined, toldMs: -Infinity };
    this.#testimonies.set(peer, made);
    return made;
  }
}

function hearing(testimony: Testimony, atMs: number): void {
  testimony.heardMs = atMs;
  if (testimony.silentFromMs !== undefined && atMs > testimony.silentFromMs) testimony.silentFromMs = undefined;
  if (testimony.refusedMs !== undefined && atMs > testimony.refusedMs) testimony.refusedMs = undefined;
}
