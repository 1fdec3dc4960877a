import { MIB } from '@atoll/core-runtime';

/** Largest ExecuteRequest or ExecuteResponse, as cache.proto states it; one operation larger than that goes alone. */
export const BATCH_BYTES_MAX = 4 * MIB;
/** Deadline of an operation that names none, as cache.proto states it. */
export const DEADLINE_MS_DEFAULT = 10_000;
/** Longest deadline of an operation. */
export const DEADLINE_MS_MAX = 3_600_000;
