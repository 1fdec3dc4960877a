import { describe, expect, it } from '@jest/globals';
import { SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import { EvictedState, PendingWrite, UncommittedStates, toKeyText, type UncommittedState } from './uncommitted.ts';

const keyOf = (index: number) => Buffer.from(`key-${index}`);

function pendingWrite(key: Buffer, seq: number): PendingWrite {
  const entry = { epoch: 1, seq, stampMs: 0, opId: undefined, evicted: [], operation: { kind: 'put' as const, key, value: Buffer.from('v'), expiresAtMs: 0 }, fence: undefined };
  return new PendingWrite({
    entry,
    keyText: toKeyText(key),
    hash: keyHash(key),
    version: { generation: 1, epoch: 1, seq },
    mutation: { kind: 'put', value: entry.operation.value, expiresAtMs: 0 },
    bytes: 1,
    reservedBytes: 1,
  });
}

describe('UncommittedStates', () => {
  it.each([
    ['few keys', 5],
    ['many keys', 1000],
  ])('answers with the newest state of each key, until its own write is settled (R18): %s', (_, keys) => {
    const random = new SeededRandom(11);
    const states = new UncommittedStates();
    const model = new Map<string, UncommittedState>();
    const underWay: PendingWrite[] = [];
    for (let seq = 1; seq <= 5000; seq += 1) {
      const key = keyOf(randomBelow(random, keys));
      const write = pendingWrite(key, seq);
      const state = randomBelow(random, 4) === 0 ? new EvictedState(key, write) : write;
      states.set(state);
      model.set(state.keyText, state);
      underWay.push(write);
      // Committed in the order of the log, many at a time.
      if (randomBelow(random, 200) === 0) {
        for (const settled of underWay.splice(0, randomBelow(random, underWay.length + 1))) {
          states.settle(settled.keyText, settled.hash, settled);
          if (model.get(settled.keyText)?.write === settled) model.delete(settled.keyText);
        }
      }
      const asked = keyOf(randomBelow(random, keys));
      const known = model.get(toKeyText(asked));
      if (states.get(toKeyText(asked), keyHash(asked)) !== known || states.size !== model.size) throw new Error(`write ${seq}: ${states.size} states, not ${model.size}`);
    }
    for (const write of underWay) states.settle(write.keyText, write.hash, write);
    expect(states.size).toBe(0);
  });

  it('lets go what it is done with: a state names no other one', () => {
    const states = new UncommittedStates();
    const writes = Array.from({ length: 100 }, (_, index) => pendingWrite(keyOf(index), index + 1));
    for (const write of writes) states.set(write);
    for (const write of writes) states.settle(write.keyText, write.hash, write);
    expect(writes.filter(({ nextState }) => nextState !== undefined)).toEqual([]);
  });

  it('says that an evicted key holds nothing', () => {
    const states = new UncommittedStates();
    const write = pendingWrite(keyOf(1), 1);
    states.set(write);
    states.set(new EvictedState(keyOf(2), write));
    const stateOf = (index: number) => states.get(toKeyText(keyOf(index)), keyHash(keyOf(index)));
    expect([stateOf(1)?.value?.toString(), stateOf(2)?.value, stateOf(2)?.write, stateOf(3)]).toEqual(['v', undefined, write, undefined]);
    states.clear();
    expect([states.size, stateOf(1)]).toEqual([0, undefined]);
  });
});
