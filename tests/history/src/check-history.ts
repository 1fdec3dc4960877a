// Whether a history is linearizable (Herlihy and Wing 1990): every operation seems to take effect at one moment between
// its call and its return. Keys are independent, so each is judged alone (the locality theorem).
//
// The search goes along the history and keeps every configuration that may be: the state of the key, and which of the
// operations under way have taken effect already. It chooses as late as it can: only the return of an operation forces
// it, and what comes before it, to have happened (Lowe, "Testing for linearizability", 2017, section 4; Wing and Gong
// 1993). Operations of unknown outcome stay under way for ever, and what keeps them cheap is this:
//   - of two configurations of one state, the one that used more of them is dropped: it can do nothing that the other
//     cannot;
//   - one that is overwritten unseen need not have happened;
//   - of several that ask the same, the first called is taken first;
//   - one that has taken effect in every configuration is forgotten.
import { ABSENT, applyAction, isBlind, stateName, type KeyState } from './key-model.ts';
import { describeOperation, type KeyOperation } from './operation.ts';

export interface CheckOptions {
  /** Whether an entry of this key may vanish by itself, by eviction or expiry. Default: none may. */
  readonly mayVanish?: (key: string) => boolean;
  /** Configurations of one key that may be open at once; beyond it the verdict is `undecided` (I10). Default 100,000. */
  readonly configurationsMax?: number;
}

export interface HistoryProblem {
  readonly key: string;
  /** `undecided`: the search became too large; nothing was found against the history until there. */
  readonly kind: 'not-linearizable' | 'undecided';
  /** The operation whose answer fits no order. */
  readonly operation: KeyOperation;
  /** For people: what the key may have held, and the operations around it. */
  readonly story: string;
}

interface Configuration {
  readonly state: KeyState;
  /** Operations under way that have taken effect, ascending. */
  readonly done: readonly number[];
}

const CONFIGURATIONS_MAX = 100_000;
/** Operations of the key that a story shows before the one that does not fit. */
const STORY_LENGTH = 24;

/** One problem per key that has any; none when the history is linearizable. */
export function checkHistory(history: readonly KeyOperation[], options: CheckOptions = {}): HistoryProblem[] {
  const byKey = new Map<string, KeyOperation[]>();
  for (const operation of history) {
    // What had no effect constrains nothing, nor does a read without an answer.
    if (operation.outcome.kind === 'failed' || (operation.outcome.kind === 'unknown' && operation.action.kind === 'read')) continue;
    const list = byKey.get(operation.key);
    if (list === undefined) byKey.set(operation.key, [operation]);
    else list.push(operation);
  }
  return [...byKey].flatMap(([key, operations]) => {
    const problem = new KeySearch(operations, options.mayVanish?.(key) === true, options.configurationsMax ?? CONFIGURATIONS_MAX).run();
    return problem === undefined ? [] : [{ key, ...problem }];
  });
}

class KeySearch {
  readonly #operations: readonly KeyOperation[];
  /** Of each operation: whether it shows nothing of the state before it, and what it asks. */
  readonly #traits: readonly { readonly isUnseeing: boolean; readonly name: string }[];
  readonly #mayVanish: boolean;
  readonly #max: number;
  /** Called and not returned, ascending; those of unknown outcome never leave. */
  #open: number[] = [];
  #configurations: readonly Configuration[] = [{ state: ABSENT, done: [] }];

  constructor(operations: readonly KeyOperation[], mayVanish: boolean, max: number) {
    this.#operations = operations.toSorted((a, b) => a.calledAt - b.calledAt);
    this.#traits = this.#operations.map(({ action, outcome }) => ({
      isUnseeing: isBlind(action, outcome.kind === 'ok' ? outcome.answer : undefined),
      name: askedName(action),
    }));
    this.#mayVanish = mayVanish;
    this.#max = max;
  }

  run(): Omit<HistoryProblem, 'key'> | undefined {
    for (const { index, isReturn } of this.#events()) {
      if (!isReturn) {
        this.#open.push(index);
        continue;
      }
      const next = this.#afterReturn(index);
      if (next === 'too many') return this.#problem('undecided', index);
      if (next.length === 0) return this.#problem('not-linearizable', index);
      this.#configurations = next;
      this.#open = this.#open.filter((other) => other !== index);
      this.#forgetSpent();
    }
    return undefined;
  }

  /** What has taken effect wherever one looks chooses nothing any more. */
  #forgetSpent(): void {
    const [first, ...others] = this.#configurations;
    const spent = first!.done.filter((index) => this.#isOptional(index) && others.every(({ done }) => done.includes(index)));
    if (spent.length === 0) return;
    this.#open = this.#open.filter((index) => !spent.includes(index));
    this.#configurations = this.#configurations.map(({ state, done }) => ({ state, done: done.filter((index) => !spent.includes(index)) }));
  }

  #events(): { readonly index: number; readonly isReturn: boolean }[] {
    const events = this.#operations.flatMap(({ calledAt, returnedAt, outcome }, index) => {
      const call = { at: calledAt, index, isReturn: false };
      return outcome.kind === 'unknown' ? [call] : [call, { at: returnedAt, index, isReturn: true }];
    });
    return events.sort((a, b) => a.at - b.at || Number(a.isReturn) - Number(b.isReturn));
  }

  /** Every configuration in which `index` has taken effect. */
  #afterReturn(index: number): readonly Configuration[] | 'too many' {
    const found = new Map<string, Configuration>();
    const visited = new Set<string>();
    const stack: { readonly configuration: Configuration; readonly last: number | undefined }[] = [];
    const keep = ({ state, done }: Configuration): void => {
      const left = { state, done: done.filter((other) => other !== index) };
      found.set(nameOf(left), left);
    };
    for (const configuration of this.#configurations) {
      if (configuration.done.includes(index)) keep(configuration);
      else stack.push({ configuration, last: undefined });
    }
    for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
      if (visited.size + found.size > this.#max) return 'too many';
      const { configuration, last } = item;
      for (const candidate of this.#candidates(configuration, last)) {
        for (const state of this.#apply(candidate, configuration.state)) {
          const next = { state, done: [...configuration.done, candidate].sort((a, b) => a - b) };
          if (candidate === index) {
            keep(next);
            continue;
          }
          const name = `${nameOf(next)} ${this.#isOptional(candidate) ? candidate : ''}`;
          if (visited.has(name)) continue;
          visited.add(name);
          stack.push({ configuration: next, last: candidate });
        }
      }
    }
    return this.#withoutDominated([...found.values()]);
  }

  /** What may take effect next. `last` took effect just before, in the same search. */
  *#candidates({ done }: Configuration, last: number | undefined): Iterable<number> {
    const asked = new Set<string>();
    const isOverwritable = last !== undefined && this.#isOptional(last);
    for (const index of this.#open) {
      const { isUnseeing, name } = this.#traits[index]!;
      if ((isOverwritable && isUnseeing) || done.includes(index)) continue;
      if (this.#isOptional(index)) {
        if (asked.has(name)) continue;
        asked.add(name);
      }
      yield index;
    }
  }

  #apply(index: number, state: KeyState): readonly KeyState[] {
    const { action, outcome } = this.#operations[index]!;
    const answer = outcome.kind === 'ok' ? outcome.answer : undefined;
    const states = applyAction(action, answer, state);
    if (!this.#mayVanish || state.value === undefined) return states;
    return [...states, ...applyAction(action, answer, ABSENT)];
  }

  #isOptional(index: number): boolean {
    return this.#operations[index]!.outcome.kind === 'unknown';
  }

  #withoutDominated(configurations: readonly Configuration[]): readonly Configuration[] {
    const byRest = Map.groupBy(configurations, ({ state, done }) => `${stateName(state)}|${done.filter((index) => !this.#isOptional(index)).join()}`);
    return [...byRest.values()].flatMap((group) => {
      const kept: Configuration[] = [];
      for (const one of group.toSorted((a, b) => a.done.length - b.done.length)) {
        if (!kept.some((other) => other.done.every((index) => one.done.includes(index)))) kept.push(one);
      }
      return kept;
    });
  }

  #problem(kind: HistoryProblem['kind'], index: number): Omit<HistoryProblem, 'key'> {
    const operation = this.#operations[index]!;
    const held = [...new Set(this.#configurations.map(({ state }) => state.value ?? 'absent'))].slice(0, 8);
    const until = this.#operations.filter((other) => other.calledAt <= operation.returnedAt);
    const story = [
      kind === 'undecided' ? `more than ${this.#max} configurations at this operation:` : 'no order explains this operation:',
      `  ${describeOperation(operation)}`,
      `before it the key held one of: ${held.join(', ')}; the operations up to then:`,
      ...until.slice(-STORY_LENGTH).map((other) => `  ${describeOperation(other)}`),
    ];
    return { kind, operation, story: story.join('\n') };
  }
}

const nameOf = ({ state, done }: Configuration): string => `${stateName(state)}|${done.join()}`;

const askedName = (action: KeyOperation['action']): string => JSON.stringify(Object.values(action), (_key, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value));
