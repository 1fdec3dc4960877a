import { searchSeeds } from './search.ts';

const SEEDS = 500;
const BATCH = 20;

const COPIED_SEEDS = 40;

describe('a keyspace that is copied among faults: what was acknowledged is in the copy that takes its place, whoever dies at whichever step (R37)', () => {
  const figures = { answered: 0, cutOvers: 0, cutOversGivenUp: 0, comparedPlaces: 0, promotions: 0 };

  it.each(Array.from({ length: COPIED_SEEDS / BATCH }, (_, batch) => batch * BATCH + 1))(
    'seeds %i and on of the worlds with copies',
    (from) => {
      const { problems, figures: found } = searchSeeds({ from, count: BATCH, copies: true });
      for (const name of Object.keys(figures) as (keyof typeof figures)[]) figures[name] += found[name];
      expect(problems).toEqual([]);
    },
    120_000,
  );

  it('really meets what it is about', () => {
    expect(figures.answered).toBeGreaterThan(COPIED_SEEDS * 100);
    expect(figures.cutOvers).toBeGreaterThan(COPIED_SEEDS);
    expect(figures.cutOversGivenUp).toBeGreaterThan(COPIED_SEEDS / 4);
    expect(figures.comparedPlaces).toBeGreaterThan(COPIED_SEEDS * 40);
    expect(figures.promotions).toBeGreaterThan(COPIED_SEEDS);
  });
});

describe('a cluster among faults holds I1 to I10, its histories are linearizable, and it comes together again', () => {
  const figures = { answered: 0, promotions: 0, installs: 0, resets: 0, moved: 0, movedBack: 0 };

  it.each(Array.from({ length: SEEDS / BATCH }, (_, batch) => batch * BATCH + 1))(
    'seeds %i and on',
    (from) => {
      const { problems, figures: found } = searchSeeds({ from, count: BATCH });
      for (const name of Object.keys(figures) as (keyof typeof figures)[]) figures[name] += found[name];
      expect(problems).toEqual([]);
    },
    120_000,
  );

  it('really meets what it is about', () => {
    expect(figures.answered).toBeGreaterThan(SEEDS * 100);
    expect(figures.promotions).toBeGreaterThan(SEEDS);
    expect(figures.installs).toBeGreaterThan(SEEDS / 2);
    expect(figures.resets).toBeGreaterThan(0);
    expect(figures.moved).toBeGreaterThan(SEEDS);
    expect(figures.movedBack).toBeGreaterThan(SEEDS / 5);
  });

  it('gives the same run for the same seed', () => {
    expect(searchSeeds({ from: 3, count: 1 })).toEqual(searchSeeds({ from: 3, count: 1 }));
  });
});
