import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Mutant } from './mutant.ts';
import { MUTANTS } from './mutants.ts';
import { PINNED_SEEDS } from './pinned-seeds.ts';
import { runSeed } from './search.ts';

const HEADER = `/**
 * For each mutant the seed of a world that catches it, and in which everything holds without it. A change of the world or
 * of the core draws other worlds: \`npm run sim -- --pins\` then finds other seeds and writes this file.
 */
export const PINNED_SEEDS: Readonly<Record<string, number>> = {
`;

/** Whether the world of this seed catches the mutant by what it breaks, and finds nothing without it. */
export function isCaught(mutant: Mutant, seed: number): boolean {
  const { problem } = runSeed(seed, { mutant });
  if (problem === undefined || !mutant.breaks.test(problem)) return false;
  return runSeed(seed, { planOf: mutant }).problem === undefined;
}

/** Keeps the seeds that still catch, finds others for the rest among the first `seedsMax`, and writes them down. */
export function drawPins(seedsMax: number, say: (line: string) => void): Readonly<Record<string, number>> {
  const pins: Record<string, number> = {};
  for (const mutant of MUTANTS) {
    const seed = findSeed(mutant, seedsMax, say);
    if (seed !== undefined) pins[mutant.name] = seed;
    const lines = Object.entries(pins).map(([name, pinned]) => `  '${name}': ${pinned},\n`);
    writeFileSync(fileURLToPath(new URL('pinned-seeds.ts', import.meta.url)), `${HEADER}${lines.join('')}};\n`);
  }
  return pins;
}

function findSeed(mutant: Mutant, seedsMax: number, say: (line: string) => void): number | undefined {
  const { name } = mutant;
  const pinned = PINNED_SEEDS[name];
  if (pinned !== undefined && isCaught(mutant, pinned)) {
    say(`${name}: ${pinned} still catches it`);
    return pinned;
  }
  for (let seed = 1; seed <= seedsMax; seed += 1) {
    if (isCaught(mutant, seed)) {
      say(`${name}: ${seed} catches it`);
      return seed;
    }
    if (seed % 100 === 0) say(`${name}: not caught in ${seed} worlds yet`);
  }
  say(`${name}: NOT CAUGHT in ${seedsMax} worlds`);
  return undefined;
}
