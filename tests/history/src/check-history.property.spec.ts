import { array, assert, boolean, constant, constantFrom, integer, oneof, property, record } from 'fast-check';
import { checkHistory } from './check-history.ts';
import { ABSENT, applyAction, type KeyState } from './key-model.ts';
import type { KeyAction, KeyOperation, KeyOutcome } from './operation.ts';

/** By the definition: some order of all answered operations, and of any of the unknown ones, that keeps time and fits. */
function isLinearizable(operations: readonly KeyOperation[]): boolean {
  const relevant = operations.filter(({ outcome }) => outcome.kind !== 'failed');
  const search = (rest: readonly KeyOperation[], state: KeyState): boolean => {
    if (rest.every(({ outcome }) => outcome.kind === 'unknown')) return true;
    return rest.some((next) => {
      const isFirst = rest.every((other) => other === next || other.outcome.kind === 'unknown' || next.calledAt <= other.returnedAt);
      if (!isFirst) return false;
      const others = rest.filter((other) => other !== next);
      return applyAction(next.action, next.outcome.kind === 'ok' ? next.outcome.answer : undefined, state).some((after) => search(others, after));
    });
  };
  return search(relevant, ABSENT);
}

const action = oneof(
  constant<KeyAction>({ kind: 'read' }),
  constantFrom('NONE' as const, 'IF_ABSENT' as const, 'IF_PRESENT' as const).chain((condition) =>
    constantFrom('1', '2').map((value): KeyAction => ({ kind: 'set', value, condition })),
  ),
  constant<KeyAction>({ kind: 'delete' }),
  constantFrom(1n, 2n).map((delta): KeyAction => ({ kind: 'increment', delta, initial: 0n })),
);

const operation = record({
    action,
    calledAt: integer({ min: 0, max: 40 }),
    lasts: integer({ min: 1, max: 20 }),
    value: constantFrom(undefined, '1', '2', '3', '4'),
    applied: boolean(),
    fate: constantFrom('ok' as const, 'ok' as const, 'ok' as const, 'unknown' as const, 'failed' as const),
  })
  .map(({ action: asked, calledAt, lasts, value, applied, fate }): KeyOperation => {
    const isWrite = asked.kind === 'set' || asked.kind === 'delete';
    const outcome: KeyOutcome = fate === 'ok' ? { kind: 'ok', answer: isWrite ? { applied } : { value } } : { kind: fate };
    return { client: 'c', key: 'k', calledAt, returnedAt: calledAt + lasts, action: asked, outcome };
  });

describe('checkHistory against the definition', () => {
  it('agrees on every small history', () => {
    let accepted = 0;
    assert(
      property(array(operation, { minLength: 1, maxLength: 6 }), (operations) => {
        const expected = isLinearizable(operations);
        if (expected) accepted += 1;
        expect(checkHistory(operations).length === 0).toBe(expected);
      }),
      { numRuns: 3000, seed: 7 },
    );
    expect(accepted).toBeGreaterThan(300);
    expect(accepted).toBeLessThan(2700);
  });
});
