import { MUTANTS } from './mutants.ts';
import { PINNED_SEEDS } from './pinned-seeds.ts';
import { runSeed } from './search.ts';

const AGAIN = 'npm run sim -- --pins   draws another seed, and is slow where none is found';

describe('the simulator catches wrong implementations (protocol.md, section 10)', () => {
  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))(
    '%s',
    (name, mutant) => {
      const seed = PINNED_SEEDS[name];
      expect(seed === undefined ? AGAIN : 'pinned').toBe('pinned');
      expect(runSeed(seed!, { planOf: mutant }).problem).toBeUndefined();
      expect(runSeed(seed!, { mutant }).problem ?? AGAIN).toMatch(mutant.breaks);
    },
    60_000,
  );
});
