import type { WriteOutcome } from './uncommitted.ts';
import { follow, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

const VALUE = 'x'.repeat(100);

/** A leader whose store is full to the last byte, with a follower in sync that is served by hand. */
function full(eviction: 'LRU' | 'NONE') {
  const state = openState('a');
  let freeBytes = 1_000_000;
  const settings = { eviction, freeBytes: () => freeBytes - state.store.liveBytes };
  const solo = takeOffice({ state, record: recordOf({ leader: 'a', inSync: ['a', 'b'] }), settings });
  const follower = follow(solo, openState('b'));
  const exchange = (nowMs: number): void => {
    follower.receive(nowMs);
    follower.acknowledge(nowMs);
  };
  follower.subscribe(0);
  exchange(0);
  for (let count = 0; count < 200; count += 1) solo.write(`old-${count}`, setTo(VALUE), momentAt(1));
  exchange(2);
  freeBytes = state.store.liveBytes;
  return { ...solo, exchange };
}

describe('a full store (R22)', () => {
  it('gives up as much as the writes need, however many of them wait for their commit', () => {
    const { state, write, exchange } = full('LRU');
    expect(state.store.entryCount).toBe(200);
    // 100 writes that need an old entry's room each are on their way before the first of them commits
    const outcomes = Array.from({ length: 100 }, (_, count) => write(`new-${count}`, setTo(VALUE), momentAt(10)));
    exchange(11);
    expect(outcomes.flat().every(({ kind }) => kind === 'done')).toBe(true);
    expect(state.store.entryCount).toBeGreaterThanOrEqual(195);
  });

  it('refuses growth without a seq where nothing may be evicted, and takes what does not grow (R20)', () => {
    const { state, write, exchange } = full('NONE');
    const endSeq = state.log.end.seq;
    const refused = write('new', setTo(VALUE), momentAt(10));
    expect(refused.map((outcome: WriteOutcome) => outcome.kind === 'failed' && outcome.reason)).toEqual(['MEMORY_EXHAUSTED']);
    expect(state.log.end.seq).toBe(endSeq);
    const replaced = write('old-1', setTo(VALUE), momentAt(10));
    write('old-2', { kind: 'delete' }, momentAt(10));
    exchange(11);
    const afterDelete = write('new', setTo(VALUE), momentAt(12));
    exchange(13);
    expect([...replaced, ...afterDelete].map(({ kind }) => kind)).toEqual(['done', 'done']);
  });
});

describe('the log of a leader that is alone (I10)', () => {
  it('is trimmed by the writes themselves: a burst between two ticks is no overload', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }), settings: { logBytesMax: 64 * 1024 } });
    const outcomes = Array.from({ length: 100 }, (_, count) => solo.write(`k${count}`, setTo('x'.repeat(10_000)), momentAt(1)));
    expect(outcomes.flat().every(({ kind }) => kind === 'done')).toBe(true);
    expect(solo.state.log.bytes).toBeLessThan(256 * 1024);
  });
});
