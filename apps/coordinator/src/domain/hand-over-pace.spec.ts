import type { HandOverReason } from '@atoll/core-membership';
import { HandOverPace } from './hand-over-pace.ts';

const of = (reason: HandOverReason, count: number): { readonly reason: HandOverReason }[] => Array.from({ length: count }, () => ({ reason }));

/** Ends every batch `batchMs` after its beginning. Returns when each began, and when the last had ended. */
function run(reason: HandOverReason, count: number, { handOversMax = 16, batchMs = 30 } = {}): { readonly begunMs: readonly number[]; readonly endMs: number } {
  const pace = new HandOverPace({ handOversMax });
  const begunMs: number[] = [];
  let nowMs = 0;
  let endMs = 0;
  for (let left = count; left > 0; ) {
    const planned = of(reason, left);
    pace.plan(planned, nowMs);
    const batch = planned.slice(0, handOversMax).filter((each) => pace.mayBegin(each, nowMs));
    begunMs.push(nowMs);
    expect(pace.isSpreading).toBe(true);
    left -= batch.length;
    endMs = nowMs + batchMs;
    nowMs = endMs + pace.end(batch, endMs);
  }
  pace.plan([], nowMs);
  expect(pace.isSpreading).toBe(false);
  return { begunMs, endMs };
}

describe('the pace of planned transfers (R29)', () => {
  it('takes one after the other from a node that stops, with a rest behind each', () => {
    expect(run('STOPPING', 4).begunMs).toEqual([0, 180, 360, 540]);
  });

  it('makes the rests shorter where many are to go, then takes several at a time, so that the node need not wait', () => {
    const some = run('STOPPING', 40);
    expect(some.begunMs).toHaveLength(40);
    expect(some.endMs).toBeLessThan(3000);
    const many = run('STOPPING', 300);
    expect(many.begunMs.length).toBeLessThan(80);
    expect(many.endMs).toBeLessThan(3500);
  });

  it('never takes more at a time than is allowed', () => {
    expect(run('STOPPING', 1000, { handOversMax: 8 }).begunMs.length).toBeGreaterThanOrEqual(125);
  });

  it('takes its time where no process waits for the end', () => {
    for (const reason of ['DRAINING', 'BALANCE'] as const) expect(run(reason, 50).endMs).toBe(49 * 180 + 30);
  });

  it('takes two on request at a time, without a rest', () => {
    const pace = new HandOverPace({ handOversMax: 16 });
    const asked = of('REQUESTED', 3);
    pace.plan(asked, 0);
    expect(asked.map((each) => pace.mayBegin(each, 0))).toEqual([true, true, false]);
    expect(pace.end(asked.slice(0, 1), 5)).toBe(0);
    expect(pace.mayBegin(asked[2]!, 5)).toBe(true);
  });

  it('begins nothing that is spread during a rest, and everything else at once', () => {
    const pace = new HandOverPace({ handOversMax: 1 });
    const [first, second] = of('STOPPING', 2);
    pace.plan([first!, second!], 0);
    expect(pace.mayBegin(first!, 0)).toBe(true);
    expect(pace.end([first!], 10)).toBe(150);
    expect(pace.mayBegin(second!, 100)).toBe(false);
    for (const reason of ['REQUESTED', 'ETCD_LOST', 'DEGRADED'] as const) {
      const [urgent] = of(reason, 1);
      expect(pace.mayBegin(urgent!, 100)).toBe(true);
      expect(pace.end([urgent!], 110)).toBe(0);
    }
    expect(pace.mayBegin(second!, 160)).toBe(true);
  });
});
