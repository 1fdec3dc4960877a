// npm run sim -- --seed N | --seeds N | --mutants | --pins: replays, searches, and proves that it finds; see USAGE.
import { parseArgs } from 'node:util';
import type { Mutant } from './mutant.ts';
import { MUTANTS } from './mutants.ts';
import { drawPins } from './pins.ts';
import { runSeed, searchSeeds } from './search.ts';

const USAGE = `usage: npm run sim -- --seed N [--trace] [--mutant NAME]     replays one world
       npm run sim -- --seeds N [--from N] [--first] [--mutant NAME]  searches worlds from a seed on (default 1)
       npm run sim -- --mutants [--seeds N]                 how many worlds catch each mutant (default 200 worlds each)
       npm run sim -- --pins [--seeds N]                    draws the seed of each mutant anew where it does not catch it any more,
                                                            from the first N (default 500)
       npm run sim -- ... --copies                          worlds whose keyspace is copied, and the copies take its place
       npm run sim -- ... --plan-of NAME                    correct code in the kind of worlds that catch this mutant
mutants: ${MUTANTS.map(({ name }) => name).join(', ')}`;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    mutant: { type: 'string' },
    'plan-of': { type: 'string' },
    mutants: { type: 'boolean', default: false },
    pins: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    first: { type: 'boolean', default: false },
    copies: { type: 'boolean', default: false },
  },
});

const named = (wanted: string | undefined): Mutant | undefined => MUTANTS.find(({ name }) => name === wanted);
const mutant = named(values.mutant);
const planOf = mutant ?? named(values['plan-of']);
const numbers = [values.seed, values.seeds, values.from].filter((text) => text !== undefined);
if (numbers.some((text) => !/^\d+$/.test(text)) || (values.mutant !== undefined && mutant === undefined) || (values['plan-of'] !== undefined && planOf === undefined)) {
  console.error(USAGE);
  process.exitCode = 2;
} else if (values.seed !== undefined) {
  const { problem, figures, trace } = runSeed(Number(values.seed), { mutant, planOf, ...(values.copies && { copies: true }) });
  if (values.trace) console.log(trace.join('\n'));
  console.log(problem ?? JSON.stringify(figures));
  if (problem !== undefined) process.exitCode = 1;
} else if (values.pins) {
  const pins = drawPins(Number(values.seeds ?? 500), (line) => console.log(line));
  if (Object.keys(pins).length < MUTANTS.length) process.exitCode = 1;
} else if (values.mutants) {
  const count = Number(values.seeds ?? 200);
  console.log(`| mutant | rules | caught in ${count} worlds | first seed |\n|---|---|---|---|`);
  for (const each of MUTANTS) {
    const found = searchSeeds({ from: Number(values.from), count, mutant: each });
    const problems = found.problems.filter(({ problem }) => each.breaks.test(problem));
    console.log(`| ${each.name} | ${each.rules} | ${problems.length} | ${problems[0]?.seed ?? 'none'} |`);
    if (problems.length === 0) process.exitCode = 1;
  }
} else if (values.seeds === undefined) {
  console.error(USAGE);
  process.exitCode = 2;
} else {
  const startedMs = performance.now();
  const started = process.cpuUsage();
  const { problems, figures } = searchSeeds({ from: Number(values.from), count: Number(values.seeds), mutant, planOf, ...(values.copies && { copies: true }), isFirstEnough: values.first, onProblem: ({ seed, problem }) => console.log(`seed ${seed}: ${problem}`) });
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(started);
  const cpuSeconds = (user + system) / 1_000_000;
  const speed = figures.simulatedMs / 1000 / cpuSeconds;
  console.log(`${values.seeds} worlds, ${problems.length} with problems; ${JSON.stringify(figures)}; ${seconds.toFixed(1)} s, ${cpuSeconds.toFixed(1)} s of processor time: ${speed.toFixed(0)} simulated seconds per second of it`);
  if (problems.length > 0 && mutant === undefined) process.exitCode = 1;
}
