import { MIB, VALUE_BYTES_MAX } from '@atoll/core-runtime';

/** Largest message that is sent or taken: the largest value plus 1 MiB for its key, session and framing. */
export const MESSAGE_BYTES_MAX = VALUE_BYTES_MAX + 1 * MIB;
