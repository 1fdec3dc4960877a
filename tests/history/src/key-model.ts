// What one key does, one operation after another: the sequential half of linearizability.
import type { KeyAction, KeyAnswer } from './operation.ts';

/** `value` undefined: absent. `version` undefined: the entry's version is not known, since its writer was not told. */
export interface KeyState {
  readonly value: string | undefined;
  readonly version: string | undefined;
}

export const ABSENT: KeyState = { value: undefined, version: undefined };

export const stateName = ({ value, version }: KeyState): string => (value === undefined ? '' : `${version ?? '?'} ${value}`);

/** True when the action overwrites whatever is there and its answer says nothing about it. */
export function isBlind(action: KeyAction, answer: KeyAnswer | undefined): boolean {
  if (action.kind === 'set') return action.condition === 'NONE';
  return action.kind === 'delete' && action.expectedVersion === undefined && answer?.applied === undefined;
}

/** Every state that `action` may leave, when it was told `answer` (undefined: not known); none when that cannot be. */
export function applyAction(action: KeyAction, answer: KeyAnswer | undefined, state: KeyState): readonly KeyState[] {
  switch (action.kind) {
    case 'read': {
      if (answer === undefined) return [state];
      if (answer.value !== state.value || !mayBeVersion(state, answer.version)) return [];
      return [state.value === undefined ? ABSENT : { value: state.value, version: state.version ?? answer.version }];
    }
    case 'set':
      return branch(holds(action, state), answer, { value: action.value, version: answer?.version }, state);
    case 'delete':
      return branch(state.value === undefined ? ['no'] : matches(state, action.expectedVersion), answer, ABSENT, state);
    case 'touch':
      return branch([state.value === undefined ? 'no' : 'yes'], answer, { value: state.value, version: answer?.version }, state);
    case 'increment':
      return increment(action, answer, state);
    default:
      return action satisfies never;
  }
}

type Verdict = 'yes' | 'no';

function holds(action: Extract<KeyAction, { kind: 'set' }>, state: KeyState): readonly Verdict[] {
  switch (action.condition) {
    case 'NONE':
      return ['yes'];
    case 'IF_ABSENT':
      return [state.value === undefined ? 'yes' : 'no'];
    case 'IF_PRESENT':
      return [state.value === undefined ? 'no' : 'yes'];
    case 'IF_VERSION':
      return state.value === undefined ? ['no'] : matches(state, action.expectedVersion ?? '');
    default:
      return action.condition satisfies never;
  }
}

/** Both, where the entry's version is not known. */
function matches({ version }: KeyState, expected: string | undefined): readonly Verdict[] {
  if (expected === undefined) return ['yes'];
  if (version === undefined) return ['yes', 'no'];
  return [version === expected ? 'yes' : 'no'];
}

const mayBeVersion = (state: KeyState, version: string | undefined): boolean =>
  state.value === undefined || version === undefined || state.version === undefined || state.version === version;

function branch(verdicts: readonly Verdict[], answer: KeyAnswer | undefined, applied: KeyState, kept: KeyState): readonly KeyState[] {
  return verdicts.flatMap((verdict) => {
    const isApplied = verdict === 'yes';
    if (answer?.applied !== undefined && answer.applied !== isApplied) return [];
    return [isApplied ? applied : kept];
  });
}

function increment(action: Extract<KeyAction, { kind: 'increment' }>, answer: KeyAnswer | undefined, state: KeyState): readonly KeyState[] {
  if (state.value !== undefined && !/^-?\d+$/.test(state.value)) return answer === undefined ? [state] : [];
  const value = String((state.value === undefined ? action.initial : BigInt(state.value)) + action.delta);
  if (answer?.value !== undefined && answer.value !== value) return [];
  return [{ value, version: answer?.version }];
}
