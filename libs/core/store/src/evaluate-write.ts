import type { EntryVersion } from './entry-version.ts';
import { compareVersion } from './entry-version.ts';
import { isExpired } from './expiry-plan.ts';
import { formatInteger, isInt64, parseInteger } from './integer-value.ts';
import type { DeleteCommand, Evaluation, IncrementCommand, MergeCommand, MergeOutcome, SetCommand, TouchCommand, WriteCommand } from './write-command.ts';

/** The newest appended state of the key. */
export interface CurrentEntry {
  readonly value: Uint8Array;
  readonly version: EntryVersion;
  readonly expiresAtMs: number;
}

/**
 * Turns a command into its result, once, at the leader (R18). `nowMs` is the partition's time (R23): an entry that is
 * expired by it counts as absent.
 */
export function evaluateWrite(command: WriteCommand, current: CurrentEntry | undefined, nowMs: number): Evaluation {
  const live = current !== undefined && isExpired(current.expiresAtMs, nowMs) ? undefined : current;
  switch (command.kind) {
    case 'set':
      return evaluateSet(command, live);
    case 'delete':
      return evaluateDelete(command, live);
    case 'increment':
      return evaluateIncrement(command, live);
    case 'merge':
      return evaluateMerge(command, live, nowMs);
    default:
      return evaluateTouch(command, live);
  }
}

function evaluateSet(command: SetCommand, live: CurrentEntry | undefined): Evaluation {
  const applied = isSetAllowed(command, live);
  const answer = { kind: 'set', applied, current: live?.version } as const;
  if (!applied) return { kind: 'noop', answer };
  return { kind: 'mutation', mutation: { kind: 'put', value: command.value, expiresAtMs: command.expiresAtMs }, answer };
}

function isSetAllowed(command: SetCommand, live: CurrentEntry | undefined): boolean {
  switch (command.condition) {
    case 'NONE':
      return true;
    case 'IF_ABSENT':
      return live === undefined;
    case 'IF_PRESENT':
      return live !== undefined;
    default:
      command.condition satisfies 'IF_VERSION';
      return live !== undefined && command.expectedVersion !== undefined && compareVersion(live.version, command.expectedVersion) === 0;
  }
}

function evaluateDelete(command: DeleteCommand, live: CurrentEntry | undefined): Evaluation {
  const { expectedVersion } = command;
  const applied = live !== undefined && (expectedVersion === undefined || compareVersion(live.version, expectedVersion) === 0);
  const answer = { kind: 'delete', found: live !== undefined, applied, current: live?.version } as const;
  return applied ? { kind: 'mutation', mutation: { kind: 'delete' }, answer } : { kind: 'noop', answer };
}

function evaluateIncrement(command: IncrementCommand, live: CurrentEntry | undefined): Evaluation {
  const before = live === undefined ? command.initial : parseInteger(live.value);
  if (before === undefined) return { kind: 'refused', reason: 'VALUE_NOT_INTEGER' };
  const after = before + command.delta;
  if (!isInt64(after)) return { kind: 'refused', reason: 'INTEGER_OVERFLOW' };
  const expiresAtMs = live?.expiresAtMs ?? command.expiresAtMs;
  return {
    kind: 'mutation',
    mutation: { kind: 'put', value: formatInteger(after), expiresAtMs },
    answer: { kind: 'increment', value: after, expiresAtMs },
  };
}

function evaluateTouch(command: TouchCommand, live: CurrentEntry | undefined): Evaluation {
  const { expiresAtMs } = command;
  if (live === undefined) return { kind: 'noop', answer: { kind: 'touch', applied: false, expiresAtMs: 0 } };
  return {
    kind: 'mutation',
    mutation: { kind: 'put', value: live.value, expiresAtMs },
    answer: { kind: 'touch', applied: true, expiresAtMs },
  };
}

function evaluateMerge(command: MergeCommand, live: CurrentEntry | undefined, nowMs: number): Evaluation {
  const { value, expiresAtMs } = command;
  const outcome = mergeOutcome(command, live, nowMs);
  const applied = outcome === 'written';
  const answer = { kind: 'merge', applied, outcome } as const;
  return applied ? { kind: 'mutation', mutation: { kind: 'put', value, expiresAtMs }, answer } : { kind: 'noop', answer };
}

function mergeOutcome({ value, expiresAtMs, version }: MergeCommand, live: CurrentEntry | undefined, nowMs: number): MergeOutcome {
  if (isExpired(expiresAtMs, nowMs)) return 'expired';
  if (live === undefined) return 'written';
  if (live.expiresAtMs === expiresAtMs && Buffer.compare(live.value, value) === 0) return 'same';
  return version !== undefined && compareVersion(live.version, version) < 0 ? 'written' : 'kept';
}
