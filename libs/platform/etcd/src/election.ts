import { setTimeout as sleep } from 'node:timers/promises';

import { ELECTION_PREFIX } from './cluster-keys.ts';
import { encodeCandidate } from './coordinator-record.ts';
import { QueuePlace } from './lease-queue.ts';
import type { Comparison, MetadataStore } from './metadata-store.ts';
import { pause } from './pause.ts';

const RETRY_MS = 500;
/** While etcd is away a resignation is not confirmed; the term is over for this process at once all the same. */
const RESIGN_MS_MAX = 3000;

export interface CampaignOptions {
  readonly store: MetadataStore;
  readonly id: string;
  /** host:port of the candidate's gRPC server, for those who look for the coordinator. */
  readonly address: string;
  /** A coordinator that died is followed after at most so long; a small value deposes on a long pause. 1000 at least. */
  readonly ttlMs: number;
  /** Same as resign(). */
  readonly signal?: AbortSignal;
}

export interface CampaignHandlers {
  onElected(revision: number, term: ElectionTerm): void;
  /** The term may be over: stop acting at once. Not called after resign(). */
  onLost(revision: number): void;
  /** etcd did not let the candidate in; it tries again every 500 ms. */
  onProblem?(error: unknown): void;
}

/** One time of being elected. */
export interface ElectionTerm {
  /** Create revision of the election key: fencing token of the coordinator's commands (R11). */
  readonly revision: number;
  /** Stands in every transaction of the coordinator (R11). */
  readonly comparison: Comparison;
  /**
   * Whether the term certainly stands at this moment. To be asked in the same turn of the event loop as each act
   * that no comparison guards: onLost comes late when the loop was blocked.
   */
  isHeld(): boolean;
}

export interface Election {
  /** Undefined while somebody else is, or may be, elected. */
  term(): ElectionTerm | undefined;
  /** Leaves the election for good; a successor need not wait for the ttl. Never throws; takes 3 s at most. */
  resign(): Promise<void>;
}

/**
 * Stands for election until it resigns: enters the queue, waits to be first, and enters it again after it lost
 * its place. At most one candidate at a time has a term that isHeld().
 */
export function campaign(options: CampaignOptions, handlers: CampaignHandlers): Election {
  const stopping = new AbortController();
  let term: ElectionTerm | undefined;
  const stop = (): void => {
    term = undefined;
    stopping.abort();
  };
  options.signal?.addEventListener('abort', stop);
  if (options.signal?.aborted) stop();

  const standOnce = async (): Promise<void> => {
    const gone = Promise.withResolvers<void>();
    const place = await QueuePlace.enter(options.store, {
      prefix: ELECTION_PREFIX,
      value: encodeCandidate(options),
      ttlMs: options.ttlMs,
      onFirst: (first) => {
        if (stopping.signal.aborted) return;
        term = { revision: first.createRevision, comparison: first.comparison, isHeld: () => first.isFirst() };
        handlers.onElected(term.revision, term);
      },
      onGone: () => {
        const lost = term;
        term = undefined;
        gone.resolve();
        if (lost !== undefined && !stopping.signal.aborted) handlers.onLost(lost.revision);
      },
    });
    const leave = (): void => gone.resolve();
    stopping.signal.addEventListener('abort', leave);
    if (stopping.signal.aborted) leave();
    await gone.promise;
    stopping.signal.removeEventListener('abort', leave);
    term = undefined;
    await place.leave();
  };

  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await standOnce();
      } catch (error) {
        term = undefined;
        handlers.onProblem?.(error);
        await pause(RETRY_MS, stopping.signal);
      }
    }
    options.signal?.removeEventListener('abort', stop);
  };

  const running = run();
  return {
    term: () => (term?.isHeld() === true ? term : undefined),
    resign: async () => {
      stop();
      const giveUp = new AbortController();
      await Promise.race([running, sleep(RESIGN_MS_MAX, undefined, { signal: giveUp.signal }).catch(() => undefined)]);
      giveUp.abort();
    },
  };
}
