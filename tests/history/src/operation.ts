// What clients asked of one key and what they were told. Values are text: callers choose one that tells their writes
// apart, since two writes of equal values cannot be told apart by a reader.

export type KeyAction =
  | { readonly kind: 'read' }
  | {
      readonly kind: 'set';
      readonly value: string;
      readonly condition: 'NONE' | 'IF_ABSENT' | 'IF_PRESENT' | 'IF_VERSION';
      /** For IF_VERSION. */
      readonly expectedVersion?: string | undefined;
    }
  | { readonly kind: 'delete'; readonly expectedVersion?: string | undefined }
  /** The value is a decimal integer; a key that is absent becomes `initial + delta`. */
  | { readonly kind: 'increment'; readonly delta: bigint; readonly initial: bigint }
  | { readonly kind: 'touch' };

/** What an operation was told. What is left out is not compared. */
export interface KeyAnswer {
  /** Of a read: what it saw, undefined when the key was absent. Of an increment: the new value. */
  readonly value?: string | undefined;
  /** Of the entry that a read saw, or that a write made. */
  readonly version?: string | undefined;
  /** Of a write: whether its condition held. Of a delete or a touch: whether the key was there. */
  readonly applied?: boolean | undefined;
}

/**
 * `ok`: told `answer`. `failed`: certainly without effect, now and later. `unknown`: it may take effect at any time
 * from its call on, once or never; a deadline, a lost connection, WRITE_IN_DOUBT.
 */
export type KeyOutcome =
  | { readonly kind: 'ok'; readonly answer: KeyAnswer }
  | { readonly kind: 'failed' }
  | { readonly kind: 'unknown' };

/**
 * One operation of one client. `calledAt` and `returnedAt` order the calls and the returns of a whole history: by one
 * counter, or by one clock (a call and a return at the same time count as overlapping).
 */
export interface KeyOperation {
  readonly client: string;
  readonly key: string;
  readonly calledAt: number;
  readonly returnedAt: number;
  readonly action: KeyAction;
  readonly outcome: KeyOutcome;
}

/** One line for people. */
export function describeOperation({ client, key, calledAt, returnedAt, action, outcome }: KeyOperation): string {
  const { kind, ...details } = action;
  const asked = Object.entries(details).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${String(value)}`]));
  return `[${calledAt}, ${outcome.kind === 'unknown' ? 'ever' : returnedAt}] ${client} ${kind} ${key} ${asked.join(' ')} -> ${describeOutcome(action, outcome)}`;
}

function describeOutcome(action: KeyAction, outcome: KeyOutcome): string {
  if (outcome.kind !== 'ok') return outcome.kind;
  const { value, version, applied } = outcome.answer;
  const parts = [
    action.kind === 'read' ? (value ?? 'absent') : value,
    applied === undefined ? undefined : `applied=${applied}`,
    version === undefined ? undefined : `version=${version}`,
  ];
  return parts.filter((part) => part !== undefined).join(' ') || 'ok';
}
