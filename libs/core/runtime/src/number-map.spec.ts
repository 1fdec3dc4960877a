import { describe, expect, it } from '@jest/globals';
import { NumberMap } from './number-map.ts';
import { SeededRandom, randomBelow } from './random.ts';

const sorted = (values: Iterable<string>) => [...values].sort();

describe('NumberMap', () => {
  it.each([
    ['ids in a row', (random: SeededRandom, step: number) => step - randomBelow(random, 64) + 64],
    ['keys that end alike', (random: SeededRandom) => randomBelow(random, 300) * 65_536],
    ['keys beyond 32 bits', (random: SeededRandom) => randomBelow(random, 300) * 2 ** 40 + randomBelow(random, 4)],
    ['few keys, many times', (random: SeededRandom) => randomBelow(random, 9)],
  ])('does what a Map does: %s', (_, keyOf) => {
    const random = new SeededRandom(7);
    const map = new NumberMap<string>();
    const model = new Map<number, string>();
    for (let step = 0; step < 4000; step += 1) {
      const key = keyOf(random, step);
      if (map.get(key) !== model.get(key) || map.has(key) !== model.has(key)) throw new Error(`step ${step}: ${key} holds ${map.get(key)}`);
      if (randomBelow(random, 100) < 50) {
        map.set(key, `${step}`);
        model.set(key, `${step}`);
      } else if (map.delete(key) !== model.delete(key)) {
        throw new Error(`step ${step}: ${key} was not removed as from a Map`);
      }
      if (map.size !== model.size) throw new Error(`step ${step}: ${map.size} entries`);
      if (step % 400 === 0 && sorted(map.values()).join() !== sorted(model.values()).join()) throw new Error(`step ${step}: other entries`);
    }
    expect(sorted(map.values())).toEqual(sorted(model.values()));
  });

  it('takes 0 and the largest safe whole number', () => {
    const map = new NumberMap<string>();
    map.set(0, 'a');
    map.set(Number.MAX_SAFE_INTEGER, 'b');
    expect([map.get(0), map.get(Number.MAX_SAFE_INTEGER), map.get(1)]).toEqual(['a', 'b', undefined]);
  });

  it('holds many at once, and nothing after clear', () => {
    const map = new NumberMap<number>();
    for (let key = 0; key < 100_000; key += 1) map.set(key, key);
    expect(map.size).toBe(100_000);
    for (let key = 0; key < 100_000; key += 1) if (map.get(key) !== key) throw new Error(`${key} is lost`);
    map.clear();
    expect([map.size, map.get(5), [...map.values()]]).toEqual([0, undefined, []]);
  });
});
