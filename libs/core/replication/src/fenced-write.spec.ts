import type { Fence } from '@atoll/core-locks';
import { keyHash } from '@atoll/core-runtime';
import type { WriteCommand } from '@atoll/core-store';
import type { Leader } from './leader.ts';
import { alone, momentAt, pair, recordOf, setTo, takeOffice } from './testing/solo.ts';
import type { WriteOutcome } from './uncommitted.ts';

const by = (token: number, name = 'lock', isShared = false): Fence => ({ lock: { kind: 'name', name }, token, isShared });
const onlyAbsent: WriteCommand = { kind: 'set', value: Buffer.from('x'), expiresAtMs: 0, condition: 'IF_ABSENT' };

function write(leader: Leader, fence: Fence, command: WriteCommand = setTo('v'), atMs = 1): unknown[] {
  const told: unknown[] = [];
  const key = Buffer.from('key');
  leader.write({ key, hash: keyHash(key), command, opId: undefined, ack: 'IN_SYNC', fence }, momentAt(atMs), (outcome) => told.push(saying(outcome)));
  return told;
}

function read(leader: Leader, fence: Fence, atMs = 1): unknown[] {
  const told: unknown[] = [];
  const key = Buffer.from('key');
  leader.readUnder(fence, { key, hash: keyHash(key) }, momentAt(atMs), (outcome) => told.push(outcome.kind === 'failed' ? outcome.reason : (outcome.entry?.value.toString() ?? 'none')));
  return told;
}

const saying = (outcome: WriteOutcome): unknown => (outcome.kind === 'failed' ? outcome.reason : 'applied' in outcome.answer && outcome.answer.applied);
describe('a write under a lock (R38, I9)', () => {
  it('is refused, and gets no seq, once a later holder was seen', () => {
    const { leader, state } = alone();
    expect(write(leader, by(10))).toEqual([true]);
    expect(write(leader, by(20))).toEqual([true]);
    const { seq } = state.log.end;
    expect(write(leader, by(10))).toEqual(['STALE_FENCING_TOKEN']);
    expect(write(leader, by(10, 'another lock'))).toEqual([true]);
    expect(state.log.end.seq).toBe(seq + 1);
  });

  it('is refused from the moment at which the later one is appended, not first at its commit', () => {
    const { a, exchange } = pair();
    const later = write(a.leader, by(20));
    expect(later).toEqual([]);
    expect(write(a.leader, by(10))).toEqual(['STALE_FENCING_TOKEN']);
    exchange(2);
    expect(later).toEqual([true]);
  });

  it('is refused by a successor too: the tokens are in the log', () => {
    const { a, b, exchange } = pair();
    write(a.leader, by(20));
    exchange(2);
    exchange(3);
    const successor = takeOffice({ state: b.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2, revision: 2 }), now: momentAt(4) });
    expect(write(successor.leader, by(10), setTo('v'), 5)).toEqual(['STALE_FENCING_TOKEN']);
    expect(write(successor.leader, by(20), setTo('v'), 5)).toEqual([true]);
  });

  it('is refused by a successor that inherits the later one without its commit', () => {
    const { a, b } = pair();
    write(a.leader, by(20));
    b.receive(2);
    expect(b.state.fences.isEmpty).toBe(true);
    const successor = takeOffice({ state: b.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2, revision: 2 }), now: momentAt(4) });
    expect(write(successor.leader, by(10), setTo('v'), 5)).toEqual(['STALE_FENCING_TOKEN']);
  });

  it('carries its fence into the log only while that is news', () => {
    const { leader, state } = alone();
    write(leader, by(10));
    write(leader, by(10));
    write(leader, by(10, 'lock', true));
    const fences = [2, 3, 4].map((seq) => state.log.entryAt(seq).fence?.token);
    expect(fences).toEqual([10, undefined, undefined]);
  });

  it('that changes nothing refuses earlier holders all the same, and is answered when its fence is committed', () => {
    const { a, exchange } = pair();
    const first = write(a.leader, by(10), onlyAbsent);
    exchange(2);
    expect(first).toEqual([true]);
    const second = write(a.leader, by(20), onlyAbsent);
    const third = write(a.leader, by(20), onlyAbsent);
    expect(write(a.leader, by(10))).toEqual(['STALE_FENCING_TOKEN']);
    expect([second, third]).toEqual([[], []]);
    exchange(3);
    expect([second, third]).toEqual([[false], [false]]);
  });

  it('is answered only when the uncommitted write that it rests on is committed, too (R18)', () => {
    const { a, exchange } = pair();
    write(a.leader, by(20));
    exchange(2);
    const present = write(a.leader, by(20));
    const condition = write(a.leader, by(20), onlyAbsent);
    expect([present, condition]).toEqual([[], []]);
    exchange(3);
    expect([present, condition]).toEqual([[true], [false]]);
  });

  it('keeps shared holders beside each other until an exclusive one comes', () => {
    const { leader } = alone();
    expect([10, 20, 10].map((token) => write(leader, by(token, 'lock', true))[0])).toEqual([true, true, true]);
    expect(write(leader, by(30))).toEqual([true]);
    expect(write(leader, by(20, 'lock', true))).toEqual(['STALE_FENCING_TOKEN']);
  });
});

describe('a read under a lock (I9)', () => {
  it('refuses earlier holders from then on, and waits until that is certain', () => {
    const { a, exchange } = pair();
    const later = read(a.leader, by(20));
    const again = read(a.leader, by(20));
    expect([later, again, write(a.leader, by(10))]).toEqual([[], [], ['STALE_FENCING_TOKEN']]);
    exchange(2);
    expect([later, again]).toEqual([['none'], ['none']]);
    expect(read(a.leader, by(10))).toEqual(['STALE_FENCING_TOKEN']);
    expect(a.state.store.entryCount).toBe(0);
  });

  it('waits for the write that it saw, and shows none that came behind it', () => {
    const { a, exchange } = pair();
    write(a.leader, by(20));
    exchange(2);
    write(a.leader, by(20), setTo('seen'));
    const told = read(a.leader, by(20));
    write(a.leader, by(20), setTo('later'));
    expect(told).toEqual([]);
    exchange(3);
    expect(told).toEqual(['seen']);
  });

  it('costs nothing once the token is known', () => {
    const { leader, state } = alone();
    read(leader, by(20));
    const { seq } = state.log.end;
    expect(read(leader, by(20))).toEqual(['none']);
    expect(state.log.end.seq).toBe(seq);
  });

  it('is told to ask again when the leader loses its office meanwhile', () => {
    const { a } = pair();
    const told = read(a.leader, by(20));
    a.leader.leaveOffice();
    expect(told).toEqual(['NOT_LEADER']);
    expect(read(a.leader, by(30))).toEqual(['NOT_LEADER']);
  });
});

describe('what a replica knows of fencing tokens (R38)', () => {
  it('stays when its data begins anew: tokens mean the same in every lineage', () => {
    const { leader, state } = alone();
    write(leader, by(20));
    leader.leaveOffice();
    state.adoptEmpty({ counter: 2, id: 'g2' });
    expect(state.fences.outdatedBy(by(10))).toBe(20);
    state.beginInstall({ counter: 3, id: 'g3' }, { epoch: 5, seq: 50 });
    expect(state.fences.outdatedBy(by(10))).toBe(20);
  });
});
