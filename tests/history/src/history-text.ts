// A history as text, one operation per line of JSON, so that a failed run can be kept and read again.
import type { KeyOperation } from './operation.ts';

export function formatHistory(history: readonly KeyOperation[]): string {
  return history.map((operation) => `${JSON.stringify(operation, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))}\n`).join('');
}

/** Throws for a line that is no operation, with its number. */
export function parseHistory(text: string): KeyOperation[] {
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [checkOperation(JSON.parse(line, (key, value: unknown) => (key === 'delta' || key === 'initial' ? toBigInt(value) : value)))];
    } catch (error) {
      throw new Error(`line ${index + 1} is no operation: ${(error as Error).message}`, { cause: error });
    }
  });
}

function toBigInt(value: unknown): bigint {
  if (typeof value !== 'string' || !/^-?\d+n$/.test(value)) throw new Error(`not an integer: ${JSON.stringify(value)}`);
  return BigInt(value.slice(0, -1));
}

function checkOperation(value: unknown): KeyOperation {
  const { client, key, calledAt, returnedAt, action, outcome } = value as Partial<KeyOperation>;
  const isWhole =
    typeof client === 'string' &&
    typeof key === 'string' &&
    typeof calledAt === 'number' &&
    typeof returnedAt === 'number' &&
    ['read', 'set', 'delete', 'increment', 'touch'].includes(String(action?.kind)) &&
    ['ok', 'failed', 'unknown'].includes(String(outcome?.kind));
  if (!isWhole) throw new Error('client, key, calledAt, returnedAt, action and outcome are needed');
  return value as KeyOperation;
}
