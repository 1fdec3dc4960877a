import { ClockGuard, type ClockReading } from './clock-guard.ts';

const LEASE_MS = 1000;
const DRIFT_MS = 50;

/** Three clocks that a case moves apart. */
class Clocks {
  #monotonicMs = 5000;
  #uptimeMs = 90_000;
  #wallMs = 1_700_000_000_000;

  pass(ms: number, others: { uptimeMs?: number; wallMs?: number } = {}): this {
    this.#monotonicMs += ms;
    this.#uptimeMs += others.uptimeMs ?? ms;
    this.#wallMs += others.wallMs ?? ms;
    return this;
  }

  look(widthMs = 0): ClockReading {
    return { monotonicMs: this.#monotonicMs, monotonicAfterMs: this.#monotonicMs + widthMs, uptimeMs: this.#uptimeMs, wallMs: this.#wallMs };
  }
}

describe('ClockGuard (R17)', () => {
  let clocks: Clocks;
  let guard: ClockGuard;

  beforeEach(() => {
    clocks = new Clocks();
    guard = new ClockGuard({ leaseMs: LEASE_MS, driftMs: DRIFT_MS });
    guard.check(clocks.look());
  });

  it('is silent while the clocks go together, however long, and when the process was stopped but no clock was', () => {
    for (let tick = 0; tick < 100; tick += 1) expect(guard.check(clocks.pass(100).look())).toBe(0);
    expect(guard.check(clocks.pass(30_000).look())).toBe(0);
  });

  it.each([
    ['a suspend: uptime and wall went on', { uptimeMs: 30_100, wallMs: 30_100 }, 30_000],
    ['a guest that was stopped: only the wall clock was told', { wallMs: 400 }, 300],
    ['a wall clock that was set back', { wallMs: -500 }, 600],
    ['a jump just above the allowance', { uptimeMs: 151 }, 51],
  ])('notices %s', (_, others, partedMs) => {
    guard.check(clocks.pass(100).look());
    expect(guard.check(clocks.pass(100, others).look())).toBe(partedMs);
    // Told once: what is held from then on is good.
    expect(guard.check(clocks.pass(100).look())).toBe(0);
  });

  it('bears what clocks are inexact by', () => {
    for (let tick = 0; tick < 100; tick += 1) expect(guard.check(clocks.pass(100, { uptimeMs: tick % 2 === 0 ? 110 : 90, wallMs: 100.05 }).look())).toBe(0);
  });

  it('adds up small steps as long as a lease may stand on them', () => {
    let partedMs = 0;
    for (let tick = 0; tick < 10 && partedMs === 0; tick += 1) partedMs = guard.check(clocks.pass(100, { wallMs: 110 }).look());
    expect(partedMs).toBeGreaterThan(DRIFT_MS);
  });

  it('asks for a look in the very turn in which the two clocks of a request have parted, before any tick', () => {
    const moment = () => ({ monotonicMs: clocks.look().monotonicMs, wallMs: clocks.look().wallMs });
    expect(guard.isLookDue(moment())).toBe(false);
    clocks.pass(60_000);
    expect(guard.isLookDue(moment())).toBe(false);
    clocks.pass(0, { uptimeMs: 30_000, wallMs: 30_000 });
    expect(guard.isLookDue(moment())).toBe(true);
    expect(guard.check(clocks.look())).toBe(30_000);
    expect(guard.isLookDue(moment())).toBe(false);
    expect(new ClockGuard({ leaseMs: LEASE_MS, driftMs: DRIFT_MS }).isLookDue(moment())).toBe(true);
  });

  it('believes no look that was itself interrupted, and goes by the next', () => {
    expect(guard.check(clocks.pass(100, { uptimeMs: 300 }).look(30))).toBe(0);
    expect(guard.check(clocks.pass(100).look())).toBe(200);
  });

  it('keeps no more looks than a lease needs (I10)', () => {
    for (let tick = 0; tick < 50; tick += 1) guard.check(clocks.pass(100).look());
    // What lies more than a lease and one look back is forgotten: a slow slew never adds up.
    for (let tick = 0; tick < 1000; tick += 1) expect(guard.check(clocks.pass(100, { wallMs: 103 }).look())).toBe(0);
  });
});
