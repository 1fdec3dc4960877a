import { WriteBrake } from './write-brake.ts';

const ROOMY = { bytes: 0, bytesMax: 1000 };
const LOOK_MS = 250;

/** A learner that appends `learnerRate` entries/s, and writers of which `clients` wait for their answers, each for `answerMs` at least. */
function chase(options: { learnerRate: number; clients: number; answerMs: number; seconds: number }) {
  const { learnerRate, clients, answerMs, seconds } = options;
  const brake = new WriteBrake();
  let lag = 0;
  let matchSeq = 0;
  let longestPauseMs = 0;
  let caughtUpMs = Number.POSITIVE_INFINITY;
  for (let nowMs = 0; nowMs <= seconds * 1000; nowMs += LOOK_MS) {
    const pauseMs = brake.pauseMs(ROOMY);
    const writeRate = (clients / (answerMs + pauseMs)) * 1000;
    const written = (writeRate * LOOK_MS) / 1000;
    const appended = Math.min(lag + written, (learnerRate * LOOK_MS) / 1000);
    lag += written - appended;
    matchSeq += appended;
    // It keeps pace when what it has yet to append takes it less than 300 ms.
    const isBehind = lag > learnerRate * 0.3;
    if (!isBehind && nowMs > 2000) caughtUpMs = Math.min(caughtUpMs, nowMs);
    brake.look(isBehind ? { lagEntries: lag, matchSeq } : undefined, nowMs);
    longestPauseMs = Math.max(longestPauseMs, pauseMs);
  }
  return { caughtUpMs, longestPauseMs, pauseMs: brake.pauseMs(ROOMY), lag };
}

describe('the brake of writers (R33)', () => {
  it('no answer waits while there is room and every learner keeps pace', () => {
    expect(chase({ learnerRate: 5000, clients: 16, answerMs: 4, seconds: 60 }).longestPauseMs).toBe(0);
  });

  it('a learner is caught up with by writers several times as fast, and the pause is of the size that this takes', () => {
    // 16,000 writes/s, of which the learner takes 3000: 16 clients must wait about 5.3 ms each.
    const { caughtUpMs, longestPauseMs } = chase({ learnerRate: 3000, clients: 16, answerMs: 1, seconds: 120 });
    expect(caughtUpMs).toBeLessThan(40_000);
    expect(longestPauseMs).toBeGreaterThan(3);
    expect(longestPauseMs).toBeLessThan(40);
  });

  it('thirty thousand writes/s of a thousand clients converge, too (valkey#4545)', () => {
    expect(chase({ learnerRate: 10_000, clients: 1000, answerMs: 33, seconds: 120 }).caughtUpMs).toBeLessThan(60_000);
  });

  it('acknowledgements that come in bursts are waited for: between them nobody is slowed more', () => {
    const brake = new WriteBrake();
    // Every 2 s it appends 1000 entries, and 600 are written.
    for (let nowMs = 0; nowMs < 60_000; nowMs += LOOK_MS) {
      const bursts = Math.floor(nowMs / 2000);
      const written = (nowMs / 1000) * 300;
      brake.look({ lagEntries: 100_000 + written - bursts * 1000, matchSeq: bursts * 1000 }, nowMs);
    }
    expect(brake.pauseMs(ROOMY)).toBe(0);
  });

  it('nobody waits for a learner that is behind for a moment', () => {
    const brake = new WriteBrake();
    for (let nowMs = 0; nowMs < 1000; nowMs += LOOK_MS) brake.look({ lagEntries: nowMs + 1, matchSeq: nowMs }, nowMs);
    expect(brake.pauseMs(ROOMY)).toBe(0);
  });

  it('the pause ends when the learner has come, or is gone', () => {
    const brake = new WriteBrake();
    let nowMs = 0;
    for (; nowMs < 20_000; nowMs += LOOK_MS) brake.look({ lagEntries: nowMs + 1, matchSeq: nowMs }, nowMs);
    expect(brake.pauseMs(ROOMY)).toBe(500);
    for (const endMs = nowMs + 12_000; nowMs < endMs; nowMs += LOOK_MS) brake.look(undefined, nowMs);
    expect(brake.pauseMs(ROOMY)).toBe(0);
  });

  it.each([
    [0, 0],
    [1000, 0],
    [1100, 5],
    [1500, 125],
    [2000, 500],
    [9000, 500],
  ])('with %i bytes of log, which a learner pins at a bound of 1000, an answer waits for %i ms', (bytes, pauseMs) => {
    const brake = new WriteBrake();
    brake.look({ lagEntries: 10, matchSeq: 5 }, 0);
    expect(brake.pauseMs({ bytes, bytesMax: 1000 })).toBe(pauseMs);
  });

  it('a log that no learner pins slows nobody down', () => {
    expect(new WriteBrake().pauseMs({ bytes: 9000, bytesMax: 1000 })).toBe(0);
  });
});
