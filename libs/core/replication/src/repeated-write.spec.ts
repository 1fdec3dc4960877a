import { keyHash } from '@atoll/core-runtime';
import type { WriteCommand } from '@atoll/core-store';
import type { Leader } from './leader.ts';
import { GENERATION, alone, momentAt, openState, pair, recordOf, setTo, takeOffice, type SoloLeader } from './testing/solo.ts';
import type { WriteOutcome } from './uncommitted.ts';

const increment: WriteCommand = { kind: 'increment', delta: 1n, initial: 0n, expiresAtMs: 0 };
const onlyAbsent: WriteCommand = { kind: 'set', value: Buffer.from('x'), expiresAtMs: 0, condition: 'IF_ABSENT' };

interface Sending {
  readonly counter: number;
  readonly key?: string;
  readonly atMs?: number;
  readonly repeatAgeMs?: number;
  readonly ack?: 'IN_SYNC' | 'LEADER';
}

/** Sends a write and returns the list into which its outcome goes. */
function send(leader: Leader, command: WriteCommand, { counter, key = 'key', atMs = 1, repeatAgeMs = 0, ack = 'IN_SYNC' }: Sending): WriteOutcome[] {
  const outcomes: WriteOutcome[] = [];
  const opId = { clientId: Buffer.from('client-1'), counter };
  const bytes = Buffer.from(key);
  leader.write({ key: bytes, hash: keyHash(bytes), command, opId, ack, repeatAgeMs }, momentAt(atMs), (outcome) => outcomes.push(outcome));
  return outcomes;
}

const saying = ([outcome]: WriteOutcome[]): unknown => {
  if (outcome === undefined) return 'nothing yet';
  if (outcome.kind === 'failed') return outcome.reason;
  const { answer, version } = outcome;
  return [answer.kind === 'increment' ? answer.value : answer.applied, version?.epoch, version?.seq];
};

describe('a write that comes again (R21)', () => {
  it.each<[string, WriteCommand, unknown]>([
    ['set', setTo('one'), [true, 1, 2]],
    ['increment', increment, [1n, 1, 2]],
  ])('%s is answered as before, and not done again', (_kind, command, answer) => {
    const { leader, state } = alone();
    expect(saying(send(leader, command, { counter: 1 }))).toEqual(answer);
    expect(saying(send(leader, command, { counter: 1, repeatAgeMs: 50 }))).toEqual(answer);
    expect(saying(send(leader, command, { counter: 1 }))).toEqual(answer);
    expect(state.log.end.seq).toBe(2);
  });

  it('delete and touch, too', () => {
    const { leader } = alone();
    send(leader, setTo('one'), { counter: 1 });
    const touch: WriteCommand = { kind: 'touch', expiresAtMs: 1_900_000_000_000 };
    const first = send(leader, touch, { counter: 2 });
    expect(send(leader, touch, { counter: 2, repeatAgeMs: 9 })).toEqual(first);
    expect(saying(send(leader, { kind: 'delete' }, { counter: 3 }))).toEqual([true, 1, 4]);
    expect(saying(send(leader, { kind: 'delete' }, { counter: 3, repeatAgeMs: 9 }))).toEqual([true, 1, 4]);
  });

  it('does not overwrite what came behind its first sending: 1, 2, not 1 again', () => {
    const { leader, state } = alone();
    send(leader, setTo('1'), { counter: 1 });
    send(leader, setTo('2'), { counter: 2 });
    send(leader, setTo('1'), { counter: 1, repeatAgeMs: 10 });
    expect(state.store.get(Buffer.from('key'), keyHash(Buffer.from('key')))?.value.toString()).toBe('2');
  });

  it('waits for the commit of its first sending, unless the leader alone is asked', () => {
    const { a, exchange } = pair();
    const first = send(a.leader, increment, { counter: 1 });
    const again = send(a.leader, increment, { counter: 1, repeatAgeMs: 5 });
    expect([saying(first), saying(again)]).toEqual(['nothing yet', 'nothing yet']);
    expect(saying(send(a.leader, increment, { counter: 1, repeatAgeMs: 5, ack: 'LEADER' }))).toEqual([1n, 1, 2]);
    exchange(2);
    expect([saying(first), saying(again)]).toEqual([[1n, 1, 2], [1n, 1, 2]]);
  });

  it('is in doubt with it when the leader loses its office (R20)', () => {
    const { a } = pair();
    send(a.leader, increment, { counter: 1 });
    const again = send(a.leader, increment, { counter: 1, repeatAgeMs: 5 });
    a.leader.leaveOffice();
    expect(saying(again)).toBe('WRITE_IN_DOUBT');
  });

  it('is answered by the next leader, whether it was committed or only in its log', () => {
    const { a, b, exchange } = pair();
    send(a.leader, increment, { counter: 1 });
    exchange(2);
    send(a.leader, increment, { counter: 2 });
    b.receive(3);
    a.leader.leaveOffice();
    const next = takeOffice({ state: b.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2 }), now: momentAt(5) });
    expect(saying(send(next.leader, increment, { counter: 1, atMs: 6, repeatAgeMs: 5 }))).toEqual([1n, 1, 2]);
    expect(saying(send(next.leader, increment, { counter: 2, atMs: 6, repeatAgeMs: 5 }))).toEqual([2n, 1, 3]);
  });

  it('is done by the next leader when that never had it, and then by no one else', () => {
    const { a, b } = pair();
    send(a.leader, increment, { counter: 1 });
    a.leader.leaveOffice();
    // What a appended and lost is no result of its.
    expect(a.state.results.find({ clientId: Buffer.from('client-1'), counter: 1 })).toBeUndefined();
    const next = takeOffice({ state: b.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2 }), now: momentAt(5) });
    expect(saying(send(next.leader, increment, { counter: 1, atMs: 6, repeatAgeMs: 5 }))).toEqual([1n, 2, 3]);
    // The first sending, held up on its way, comes last.
    expect(saying(send(next.leader, increment, { counter: 1, atMs: 7 }))).toEqual([1n, 2, 3]);
    expect(next.state.store.get(Buffer.from('key'), keyHash(Buffer.from('key')))?.value.toString()).toBe('1');
  });

  it('that changed nothing keeps its first sending from changing something', () => {
    const { leader, state } = alone();
    send(leader, setTo('there'), { counter: 1 });
    // 1. the repeat overtakes its first sending and finds the key
    expect(saying(send(leader, onlyAbsent, { counter: 2, repeatAgeMs: 5 }))).toEqual([false, 1, 2]);
    send(leader, { kind: 'delete' }, { counter: 3 });
    // 2. the first sending finds it gone, and is answered as the repeat was
    expect(saying(send(leader, onlyAbsent, { counter: 2 }))).toEqual([false, 1, 2]);
    expect(state.store.entryCount).toBe(0);
  });

  it('that changed nothing is answered so by followers that lead later', () => {
    const { a, b, exchange } = pair();
    const missing = send(a.leader, { kind: 'touch', expiresAtMs: 5 }, { counter: 1, repeatAgeMs: 5 });
    expect(saying(missing)).toBe('nothing yet');
    exchange(2);
    expect(saying(missing)).toEqual([false, undefined, undefined]);
    a.leader.leaveOffice();
    b.receive(3);
    const next = takeOffice({ state: b.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2 }), now: momentAt(5) });
    expect(saying(send(next.leader, { kind: 'touch', expiresAtMs: 5 }, { counter: 1, atMs: 6 }))).toEqual([false, undefined, undefined]);
  });

  it('under an op id of another write is refused', () => {
    const { leader } = alone();
    send(leader, setTo('text'), { counter: 1 });
    const reasons = [
      send(leader, setTo('text'), { counter: 1, key: 'other' }),
      send(leader, { kind: 'delete' }, { counter: 1 }),
      send(leader, increment, { counter: 1 }),
    ].map(saying);
    expect(reasons).toEqual(['INVALID_ARGUMENT', 'INVALID_ARGUMENT', 'INVALID_ARGUMENT']);
  });
});

describe('a repeat that may be older than what is remembered (R21)', () => {
  /** A replica whose disk kept what was committed up to now, and no results. */
  const restarted = (): SoloLeader =>
    takeOffice({
      state: openState('a', { origin: { generation: GENERATION, applied: { epoch: 1, seq: 9 }, installed: true, timeMs: momentAt(0).wallMs } }),
      record: recordOf({ leader: 'a', inSync: ['a'], epoch: 2 }),
      now: momentAt(0),
    });

  it('is in doubt, and says that it stays so', () => {
    const outcomes = send(restarted().leader, increment, { counter: 1, atMs: 10_000, repeatAgeMs: 5000 });
    expect(outcomes).toMatchObject([{ reason: 'WRITE_IN_DOUBT', metadata: { cause: 'RESULT_FORGOTTEN' } }]);
  });

  it.each([
    ['a first sending', 0, 10_000],
    ['a repeat that is young enough for its entry to be known', 4000, 10_000],
  ])('but %s is done', (_what, repeatAgeMs, atMs) => {
    expect(saying(send(restarted().leader, increment, { counter: 1, atMs, repeatAgeMs }))).toEqual([1n, 2, 11]);
  });

  it('is known to a learner that was filled with the results of its leader, and not to one without (R33)', () => {
    const { leader, state } = alone();
    send(leader, increment, { counter: 1 });
    const fill = (name: string, withResults: boolean): SoloLeader => {
      const learner = openState(name, { origin: { generation: { counter: 0, id: '' }, applied: { epoch: 0, seq: 0 }, installed: false } });
      learner.beginInstall(GENERATION, state.appliedPosition);
      if (withResults) learner.results.absorb({ rows: state.results.encode(state.appliedSeq), appliedSeq: state.appliedSeq, floorMs: state.results.floorMs });
      const { entries } = state.store.readRange({ high: 0, low: 0 }, undefined, { entriesMax: 9, bytesMax: 999 });
      learner.install?.takeChunk({ from: { high: 0, low: 0 }, to: undefined, readSeq: state.appliedSeq, entries });
      learner.finishInstallIfComplete();
      return takeOffice({ state: learner, record: recordOf({ leader: name, inSync: [name], epoch: 2 }), now: momentAt(5) });
    };
    const again = { counter: 1, atMs: 10, repeatAgeMs: 9 };
    expect(saying(send(fill('b', true).leader, increment, again))).toEqual([1n, 1, 2]);
    expect(saying(send(fill('c', false).leader, increment, again))).toBe('WRITE_IN_DOUBT');
  });
});
