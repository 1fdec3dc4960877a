import type { KeyAction, KeyOperation, KeyOutcome } from './operation.ts';

/** An operation that was begun; `end` is called once. One that never ends counts as of unknown outcome. */
export interface BegunOperation {
  end(outcome: KeyOutcome): void;
}

/** Writes down what the clients of one process do, in the order in which calls and returns really happened. */
export class HistoryRecorder {
  readonly #operations: (Omit<KeyOperation, 'returnedAt' | 'outcome'> & { returnedAt: number; outcome: KeyOutcome })[] = [];
  #clock = 0;

  get length(): number {
    return this.#operations.length;
  }

  /** Now, in the order of calls and returns: for what else happened between them. */
  tick(): number {
    return (this.#clock += 1);
  }

  begin(client: string, key: string, action: KeyAction): BegunOperation {
    const operation = {
      client,
      key,
      calledAt: (this.#clock += 1),
      returnedAt: Number.MAX_SAFE_INTEGER,
      action,
      outcome: { kind: 'unknown' } as KeyOutcome,
    };
    this.#operations.push(operation);
    return {
      end: (outcome) => {
        if (operation.returnedAt !== Number.MAX_SAFE_INTEGER) throw new Error(`an operation of ${client} on ${key} ended twice`);
        operation.returnedAt = this.#clock += 1;
        operation.outcome = outcome;
      },
    };
  }

  /** A copy; operations that have not ended are of unknown outcome in it. */
  operations(): readonly KeyOperation[] {
    return this.#operations.map((operation) => ({ ...operation }));
  }
}
