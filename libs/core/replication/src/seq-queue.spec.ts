import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { SeqQueue } from './seq-queue.ts';

describe('SeqQueue', () => {
  it.each([1, 2, 3])('gives back in order what was put in, over its own clean-ups (seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    const queue = new SeqQueue<number>();
    const model: number[] = [];
    let next = 0;
    let hasOrder = true;
    for (let step = 0; step < 20_000; step += 1) {
      // Long stretches of growth, then of shrinking, so that the queue cuts off its used part.
      const isGrowing = Math.floor(step / 3000) % 2 === 0;
      if (randomBelow(random, 100) < (isGrowing ? 70 : 30)) {
        queue.push(next);
        model.push(next);
        next += 1;
      } else {
        hasOrder &&= queue.shift() === model.shift();
      }
      hasOrder &&= queue.length === model.length && queue.peek() === model[0];
    }
    expect(hasOrder).toBe(true);
    expect(queue.drain()).toEqual(model);
    expect([queue.length, queue.peek(), queue.shift()]).toEqual([0, undefined, undefined]);
  });
});
