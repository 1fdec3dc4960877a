import { invalidArgument } from '@atoll/core-errors';

const BYTES_PER_SECOND_MIN = 1024;

/** Throws INVALID_ARGUMENT for a bound that is none: 0 stands for that of the nodes. */
export function checkBytesPerSecond(value: number): void {
  if (value !== 0 && (value < BYTES_PER_SECOND_MIN || !Number.isSafeInteger(value))) throw invalidArgument('bytes_per_second', `must be 0 or a whole number of at least ${BYTES_PER_SECOND_MIN}`);
}
