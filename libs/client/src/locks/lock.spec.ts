import { once } from 'node:events';
import { LockMode } from '@atoll/contracts/atoll/v1/locks';
import { Lock } from './lock.ts';

const TTL_MS = 400;

interface Held {
  readonly lock: Lock;
  /** What each Renew answers: whether the request stands; undefined for silence. */
  stands: boolean | undefined;
  renewals: number;
  releases: number;
  /** Added to the clock: the process was paused. */
  pausedMs: number;
}

function hold(stands: boolean | undefined): Held {
  const held: { -readonly [Key in keyof Held]: Held[Key] } = { lock: undefined as never, stands, renewals: 0, releases: 0, pausedMs: 0 };
  const nowMs = (): number => performance.now() + held.pausedMs;
  held.lock = new Lock({
    requestId: 'request-1',
    fencingToken: 7,
    ttlMs: TTL_MS,
    scope: { name: 'n', keyspace: '', rangeStart: 0n, rangeEnd: 0n },
    mode: LockMode.LOCK_MODE_SHARED,
    renewedAtMs: nowMs(),
    hooks: {
      nowMs,
      renew: async () => {
        held.renewals += 1;
        if (held.stands === undefined) throw new Error('nobody answers');
        return held.stands;
      },
      release: async () => void (held.releases += 1),
    },
  });
  return held;
}

const lost = async (lock: Lock): Promise<void> => {
  // On a busy machine it may have been told already.
  if (!lock.signal.aborted) await once(lock.signal, 'abort');
};

describe('a lock that is held (R38)', () => {
  it('is renewed beyond its ttl, and not after its release', async () => {
    const held = hold(true);
    const startedAtMs = performance.now();
    while (performance.now() - startedAtMs < 3 * TTL_MS) await new Promise(setImmediate);
    expect(held.lock.isHeld).toBe(true);
    expect(held.renewals).toBeGreaterThanOrEqual(4);
    await held.lock.release();
    const { renewals } = held;
    expect([held.lock.isHeld, held.releases, held.lock.signal.aborted]).toEqual([false, 1, false]);
    while (performance.now() - startedAtMs < 4 * TTL_MS) await new Promise(setImmediate);
    expect(held.renewals).toBe(renewals);
  });

  it('is lost by its own count when nobody answers, no later than its ttl after the last answer (R11)', async () => {
    const held = hold(undefined);
    const startedAtMs = performance.now();
    while (performance.now() - startedAtMs < TTL_MS) await new Promise(setImmediate);
    expect(held.lock.isHeld).toBe(false);
    await lost(held.lock);
    expect(held.renewals).toBeGreaterThanOrEqual(2);
  });

  it('is lost at once when its request has ended', async () => {
    const held = hold(false);
    await lost(held.lock);
    expect([held.lock.isHeld, held.renewals]).toEqual([false, 1]);
  });

  it('is not held any more in the moment after a pause, before any timer has run', () => {
    const held = hold(true);
    held.pausedMs = TTL_MS + 1;
    expect(held.lock.isHeld).toBe(false);
    held.lock.abandon();
  });

  it('gives operations its fence', () => {
    const held = hold(true);
    expect(held.lock.fence).toEqual({ name: 'n', rangeStart: 0n, rangeEnd: 0n, fencingToken: 7, mode: LockMode.LOCK_MODE_SHARED });
    held.lock.abandon();
  });
});
