import { MUTANTS } from './testing/mutants.ts';
import { PINNED_SEEDS } from './testing/pinned-seeds.ts';
import { ReplicaWorld } from './testing/replica-world.ts';

const SEEDS = 200;
const BATCH = 20;
const REPLAY = 'replay: new ReplicaWorld(SEED).run() of libs/core/replication/src/testing/replica-world.ts';

describe('replicas among faults hold I2, I4, I5, I6, I7, R18 to R20 and come together again', () => {
  const figures = { writes: 0, committed: 0, epochs: 0, installs: 0 };

  it.each(Array.from({ length: SEEDS / BATCH }, (_, batch) => batch * BATCH + 1))('seeds %i and on', (first) => {
    const seeds = Array.from({ length: BATCH }, (_, index) => first + index);
    const problems = seeds.flatMap((seed) => {
      try {
        const run = new ReplicaWorld(seed).run();
        figures.writes += run.writes;
        figures.committed += run.committed;
        figures.epochs += run.epochs - 1;
        figures.installs += run.installs;
        return [];
      } catch (error) {
        return [`seed ${seed}: ${(error as Error).message}; ${REPLAY}`];
      }
    });
    expect(problems).toEqual([]);
  });

  it('really meets what it is about', () => {
    expect(figures.committed).toBeGreaterThan(SEEDS * 100);
    expect(figures.epochs).toBeGreaterThan(SEEDS / 2);
    expect(figures.installs).toBeGreaterThan(SEEDS / 2);
  });

  it('gives the same run for the same seed', () => {
    expect(new ReplicaWorld(3).run()).toEqual(new ReplicaWorld(3).run());
  });
});

describe('the world catches wrong implementations', () => {
  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s', (name, mutant) => {
    const { seed, plan, breaks } = PINNED_SEEDS[name]!;
    new ReplicaWorld(seed, { plan }).run();
    expect(() => new ReplicaWorld(seed, { mutant, plan }).run()).toThrow(breaks);
  });
});
