import { KIB, MIB } from '@atoll/core-runtime';
import { follow, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';
import type { WriteOutcome } from './uncommitted.ts';

const CLIENTS = 16;
/** Without a pause: 800 writes/s of a KiB each. */
const ANSWER_MS = 20;
const VALUE = 'v'.repeat(KIB);
/** The learner takes 300 KiB/s. */
const LEARNER_BYTES_PER_MS = 0.3 * KIB;
const END_MS = 60_000;

/** 16 clients write, each the next time when it has its answer, while a learner reads more slowly than they write. */
function run(options: { readonly obeysPause: boolean; readonly wasExpelled?: boolean; readonly endMs?: number }) {
  const { endMs = END_MS } = options;
  const record = options.wasExpelled === true ? recordOf({ leader: 'a', inSync: ['a', 'b'] }) : recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] });
  const solo = takeOffice({ state: openState('a', { memoryBytes: 64 * MIB }), record, settings: { logBytesMax: 64 * MIB, freeBytes: () => 32 * MIB, uncommittedBytesMax: 32 * MIB, rejoinAfterMs: 1000 } });
  const learner = follow(solo, openState('b', { memoryBytes: 64 * MIB }));
  if (options.wasExpelled === true) {
    for (let nowMs = 0; nowMs < 2000 && solo.changes.length === 0; nowMs += 50) solo.leader.tick(momentAt(nowMs));
    solo.leader.onChangeOutcome(solo.changes[0]!, { kind: 'succeeded', modRevision: 2 }, 2000);
    solo.changes.length = 0;
  }
  const startMs = options.wasExpelled === true ? 2000 : 0;
  // What was written while it was being filled.
  for (let index = 0; index < 2000; index += 1) solo.write(`key-${index % 500}`, setTo(VALUE), momentAt(startMs));
  learner.subscribe(startMs);
  const nextMs = Array.from({ length: CLIENTS }, (): number => startMs);
  const outcomes: (WriteOutcome[] | undefined)[] = Array.from({ length: CLIENTS }, () => undefined);
  const failures: WriteOutcome[] = [];
  let budget = 0;
  let longestPauseMs = 0;
  let count = 0;
  for (let nowMs = startMs + 1; nowMs < endMs && solo.changes.length === 0; nowMs += 1) {
    for (let client = 0; client < CLIENTS; client += 1) {
      const answer = outcomes[client]?.[0];
      if (answer !== undefined) {
        if (answer.kind === 'failed') failures.push(answer);
        const pauseMs = solo.leader.answerPauseMs;
        longestPauseMs = Math.max(longestPauseMs, pauseMs);
        outcomes[client] = undefined;
        nextMs[client] = nowMs + ANSWER_MS + (options.obeysPause ? pauseMs : 0);
      }
      if (outcomes[client] === undefined && nowMs >= nextMs[client]!) outcomes[client] = solo.write(`key-${(count += 1) % 500}`, setTo(VALUE), momentAt(nowMs));
    }
    budget = Math.min(budget + LEARNER_BYTES_PER_MS, 16 * KIB);
    if (budget >= 8 * KIB) {
      const progress = solo.leader.follower(learner.member.replica)!;
      const next = solo.leader.nextMessage(progress, 8 * KIB, nowMs);
      if (next !== undefined && 'append' in next) {
        learner.follower.onAppend(next.append, nowMs);
        budget -= next.append.entries.length;
        learner.acknowledge(nowMs);
      }
    }
    if (nowMs % 20 === 0) solo.leader.tick(momentAt(nowMs));
    if (solo.changes.length > 0) return { inSyncMs: nowMs, longestPauseMs, failures };
  }
  return { inSyncMs: Number.POSITIVE_INFINITY, longestPauseMs, failures };
}

describe('a learner that is slower than the writers (R33)', () => {
  it('comes in sync, since they wait a little for their answers, and none of them fails (valkey#4545)', () => {
    const { inSyncMs, longestPauseMs, failures } = run({ obeysPause: true });
    expect(inSyncMs).toBeLessThan(END_MS);
    expect(longestPauseMs).toBeGreaterThan(20);
    expect(longestPauseMs).toBeLessThan(200);
    expect(failures).toEqual([]);
  });

  it('would never come in sync else', () => {
    expect(run({ obeysPause: false, endMs: 20_000 }).inSyncMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('that was in sync and fell behind is not waited for: a slow disk would slow the partition down for good (R24)', () => {
    expect(run({ obeysPause: true, wasExpelled: true, endMs: 10_000 }).longestPauseMs).toBe(0);
  });
});
