import type { Mutant } from './mutant.ts';
import { World, type WorldFigures } from './world.ts';

export interface SeedOptions {
  readonly mutant?: Mutant | undefined;
  /** The mutant's kind of worlds, without its fault. */
  readonly planOf?: Mutant | undefined;
  /** Worlds in which the keyspace is copied (R37). */
  readonly copies?: boolean | undefined;
}

export interface SeedOutcome {
  readonly seed: number;
  readonly figures: WorldFigures | undefined;
  /** What was found, with the command that finds it again; undefined for a world in which everything held. */
  readonly problem: string | undefined;
  readonly trace: readonly string[];
}

export function runSeed(seed: number, { mutant, planOf = mutant, copies = planOf?.copies }: SeedOptions = {}): SeedOutcome {
  const world = new World(seed, { mutant, plan: planOf?.plan, copies });
  try {
    return { seed, figures: world.run(), problem: undefined, trace: world.traceLines() };
  } catch (error) {
    const option = mutant === undefined ? ' --plan-of ' : ' --mutant ';
    const name = planOf === undefined ? (copies === true ? ' --copies' : '') : `${option}${planOf.name}`;
    const { message, stack } = error as Error;
    const isOwn = /\((?:I|R)\d+|^not so /.test(message);
    return { seed, figures: undefined, problem: `${isOwn ? message : stack}\n  again: npm run sim -- --seed ${seed}${name} --trace`, trace: world.traceLines() };
  }
}

export interface SearchOptions extends SeedOptions {
  readonly from: number;
  readonly count: number;
  /** Ends the search at the first problem. Default false. */
  readonly isFirstEnough?: boolean | undefined;
  readonly onProblem?: (found: { readonly seed: number; readonly problem: string }) => void;
}

/** Worlds of consecutive seeds, one after the other. */
export function searchSeeds({ from, count, onProblem, isFirstEnough, ...options }: SearchOptions): {
  readonly problems: readonly { readonly seed: number; readonly problem: string }[];
  readonly figures: WorldFigures;
} {
  const problems: { seed: number; problem: string }[] = [];
  const sum: { -readonly [Name in keyof WorldFigures]: number } = { operations: 0, answered: 0, committed: 0, promotions: 0, installs: 0, resets: 0, moved: 0, movedBack: 0, cutOvers: 0, cutOversGivenUp: 0, comparedPlaces: 0, simulatedMs: 0 };
  for (let seed = from; seed < from + count; seed += 1) {
    const { problem, figures } = runSeed(seed, options);
    if (problem !== undefined) {
      problems.push({ seed, problem });
      onProblem?.({ seed, problem });
      if (isFirstEnough === true) break;
    }
    for (const name of Object.keys(sum) as (keyof WorldFigures)[]) sum[name] += figures?.[name] ?? 0;
  }
  return { problems, figures: sum };
}
