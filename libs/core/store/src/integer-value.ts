const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
/** "-9223372036854775808" */
const INT64_TEXT_LENGTH_MAX = 20;
const DECIMAL = /^(?:0|-?[1-9][0-9]*)$/;

export function isInt64(value: bigint): boolean {
  return value >= INT64_MIN && value <= INT64_MAX;
}

/**
 * The int64 that `value` spells: decimal ASCII digits with an optional minus, and nothing else: no plus, no leading
 * zero, no space, as in Redis. Undefined if it spells none.
 */
export function parseInteger(value: Uint8Array): bigint | undefined {
  if (value.length === 0 || value.length > INT64_TEXT_LENGTH_MAX) return undefined;
  const text = String.fromCharCode(...value);
  if (!DECIMAL.test(text)) return undefined;
  const integer = BigInt(text);
  return isInt64(integer) ? integer : undefined;
}

export function formatInteger(integer: bigint): Buffer {
  return Buffer.from(integer.toString(), 'latin1');
}
