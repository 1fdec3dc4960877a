import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { createOperation } from '../testing/operation.ts';
import { KeyOrder } from './key-order.ts';
import type { RoutedOperation } from './routed-operation.ts';

const setOf = (): RoutedOperation => createOperation({ kind: 'set' });
const getOf = (): RoutedOperation => createOperation({ kind: 'get' });
const NOTHING = { overtaken: [], released: [] };

describe('(R26) order of operations on one key of one stream', () => {
  it('pipelines while all goes well, and forgets the key', () => {
    const order = new KeyOrder();
    const [a, b] = [setOf(), setOf()];
    expect([order.enter(a), order.enter(b)]).toEqual([true, true]);
    expect(order.settle(a, true)).toEqual(NOTHING);
    expect(order.settle(b, true)).toEqual(NOTHING);
    expect(order.keyCount).toBe(0);
  });

  it('repeats a refused one at once when nothing came after it, and holds what comes then', () => {
    const order = new KeyOrder();
    const [a, b, c] = [setOf(), setOf(), setOf()];
    order.enter(a);
    expect(order.refuse(a)).toBe(a);
    expect([order.enter(b), order.enter(c)]).toEqual([false, false]);
    expect(order.settle(a, true)).toEqual({ overtaken: [], released: [b, c] });
  });

  it('repeats refused ones one by one, in the order sent', () => {
    const order = new KeyOrder();
    const [a, b, c, d] = [setOf(), setOf(), setOf(), setOf()];
    for (const operation of [a, b, c]) order.enter(operation);
    expect(order.refuse(b)).toBeUndefined();
    expect(order.enter(d)).toBe(false);
    expect(order.refuse(a)).toBeUndefined();
    expect(order.refuse(c)).toBe(a);
    expect(order.settle(a, true)).toEqual({ overtaken: [], released: [b] });
    expect(order.refuse(b)).toBe(b);
    expect(order.settle(b, true)).toEqual({ overtaken: [], released: [c] });
    expect(order.settle(c, true)).toEqual({ overtaken: [], released: [d] });
    expect(order.settle(d, true)).toEqual(NOTHING);
    expect(order.keyCount).toBe(0);
  });

  it('keeps newer ones behind a write that is at another node than the leader', () => {
    const order = new KeyOrder();
    const [a, b, c] = [setOf(), setOf(), getOf()];
    order.enter(a);
    a.target = 'the former leader';
    expect([order.enter(b), order.enter(c)]).toEqual([false, false]);
    // Sent again, it goes first.
    expect(order.refuse(a)).toBe(a);
    expect(order.settle(a, true)).toEqual({ overtaken: [], released: [b, c] });
  });

  it('marks writes without an answer when a later operation took effect: to repeat them would be too late', () => {
    const order = new KeyOrder();
    const [a, b, c] = [setOf(), getOf(), setOf()];
    for (const operation of [a, b, c]) order.enter(operation);
    order.settle(c, true);
    expect([a.wasOvertaken, b.wasOvertaken]).toEqual([true, false]);
  });

  it('lets a refusal stand when a later write took effect', () => {
    const order = new KeyOrder();
    const [a, b, c] = [setOf(), setOf(), setOf()];
    for (const operation of [a, b, c]) order.enter(operation);
    expect(order.refuse(a)).toBeUndefined();
    expect(order.settle(b, true)).toEqual({ overtaken: [a], released: [] });
    expect(order.settle(c, true)).toEqual(NOTHING);
    expect(order.keyCount).toBe(0);
  });

  it('repeats it when the later one failed for good', () => {
    const order = new KeyOrder();
    const [a, b] = [setOf(), setOf()];
    order.enter(a);
    order.enter(b);
    expect(order.refuse(a)).toBeUndefined();
    expect(order.settle(b, false)).toEqual({ overtaken: [], released: [a] });
  });

  it('lets two reads change places', () => {
    const order = new KeyOrder();
    const [a, b] = [getOf(), getOf()];
    order.enter(a);
    order.enter(b);
    order.refuse(a);
    expect(order.settle(b, true)).toEqual({ overtaken: [], released: [a] });
  });

  it('repeats a read that was refused behind a later write that took effect: nothing is lost by it', () => {
    const order = new KeyOrder();
    const [a, b, c] = [getOf(), setOf(), setOf()];
    for (const operation of [a, b, c]) order.enter(operation);
    expect(order.refuse(a)).toBeUndefined();
    expect(order.settle(b, true)).toEqual(NOTHING);
    expect(order.settle(c, true)).toEqual({ overtaken: [], released: [a] });
    expect(order.settle(a, true)).toEqual(NOTHING);
    expect(order.keyCount).toBe(0);
  });

  it('has a read that did not see an earlier write asked again behind it, and the write is not given up', () => {
    const order = new KeyOrder();
    const [a, b] = [setOf(), getOf()];
    for (const operation of [a, b]) order.enter(operation);
    expect(order.isTooEarly(b)).toBe(false);
    expect(order.refuse(a)).toBeUndefined();
    expect(order.isTooEarly(b)).toBe(true);
    expect(order.refuse(b)).toBe(a);
    expect(order.settle(a, true)).toEqual({ overtaken: [], released: [b] });
    expect(order.isTooEarly(b)).toBe(false);
    expect(order.settle(b, true)).toEqual(NOTHING);
  });

  it('lets nothing overtake a barrier', () => {
    const order = new KeyOrder();
    const [a, big, c, d] = [setOf(), setOf(), setOf(), setOf()];
    big.isBarrier = true;
    expect([order.enter(a), order.enter(big), order.enter(c), order.enter(d)]).toEqual([true, false, false, false]);
    expect(order.settle(a, true).released).toEqual([big]);
    expect(order.settle(c, false)).toEqual(NOTHING); // its deadline passed
    expect(order.settle(big, true).released).toEqual([d]);
  });

  it('applies writes of one key in the order sent, has reads see all that were sent before them, and gives up no read', () => {
    const seed = 7;
    const random = new SeededRandom(seed);
    for (let round = 0; round < 1000; round += 1) {
      const { applied, given, reads } = playRandomly(random, 12);
      expect({ seed, round, applied }).toEqual({ seed, round, applied: applied.toSorted((a, b) => a - b) });
      for (const { number, seen } of reads) {
        expect({ seed, round, number, missed: applied.filter((write) => write < number && !seen.includes(write)) }).toEqual({ seed, round, number, missed: [] });
      }
      expect({ seed, round, answered: applied.length + given.length + reads.length }).toEqual({ seed, round, answered: 12 });
    }
  });
});

interface Play {
  /** Numbers of the writes, in the order applied. */
  readonly applied: readonly number[];
  /** Of those that were given up. */
  readonly given: readonly number[];
  /** And what each read saw. */
  readonly reads: readonly { readonly number: number; readonly seen: readonly number[] }[];
}

/** A node that takes operations in the order in which they reach it, and refuses some. */
function playRandomly(random: SeededRandom, count: number): Play {
  const order = new KeyOrder();
  const numbers = new Map<RoutedOperation, number>();
  const applied: number[] = [];
  const given: number[] = [];
  const reads: { number: number; seen: number[] }[] = [];
  const atNode: RoutedOperation[] = [];
  let next = 0;
  while (next < count || atNode.length > 0) {
    if (next < count && (atNode.length === 0 || randomBelow(random, 2) === 0)) {
      const operation = randomBelow(random, 3) === 0 ? getOf() : setOf();
      numbers.set(operation, next);
      next += 1;
      if (order.enter(operation)) atNode.push(operation);
      continue;
    }
    const operation = atNode.shift()!;
    if (randomBelow(random, 3) === 0 || order.isTooEarly(operation)) {
      const again = order.refuse(operation);
      if (again !== undefined) atNode.push(again);
      continue;
    }
    const number = numbers.get(operation)!;
    if (operation.isWrite) applied.push(number);
    else reads.push({ number, seen: [...applied] });
    const { overtaken, released } = order.settle(operation, true);
    given.push(...overtaken.map((earlier) => numbers.get(earlier)!));
    atNode.push(...released);
  }
  if (order.keyCount !== 0) throw new Error('the order still holds something');
  return { applied, given, reads };
}
