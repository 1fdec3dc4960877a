import { checkHistory, type KeyOperation } from '@atoll/tests-history';
import type { World } from '../world.ts';

/** Throws unless the history of each key is linearizable (I5). */
export function checkWorldHistory(world: World): void {
  const { mayLoseData, eviction, memoryBytes } = world.plan;
  const isAnyVanishing = mayLoseData || (eviction === 'LRU' && memoryBytes < 64 * 1024);
  const problems = checkHistory(settledHistory(world), {
    mayVanish: (name) => isAnyVanishing || world.keys.find((key) => key.name === name)!.hasTtl,
    configurationsMax: 20_000,
  });
  const [problem] = problems.filter(({ kind }) => kind === 'not-linearizable');
  if (problem !== undefined) throw new Error(`${problem.key} is not linearizable (I5): ${problem.story}`);
}

/**
 * The history with the fate of what clients were left in doubt about, which the one committed log tells: it took effect
 * before it was committed first, or never. The search is much shorter so.
 */
function settledHistory({ history, writeIds, checker }: World): KeyOperation[] {
  return history.operations().flatMap((operation, index): KeyOperation[] => {
    if (operation.outcome.kind !== 'unknown') return [operation];
    const writeId = writeIds.get(index);
    const returnedAt = writeId === undefined ? undefined : checker.committedAt(writeId);
    return returnedAt === undefined ? [] : [{ ...operation, returnedAt, outcome: { kind: 'ok', answer: {} } }];
  });
}
