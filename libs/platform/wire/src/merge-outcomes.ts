import type { MergeOutcome } from '@atoll/core-store';

/** In the order of their numbers in MergeEntriesResponse, from 1 on. */
const OUTCOMES: readonly MergeOutcome[] = ['written', 'kept', 'same', 'expired'];

export const toMergeOutcomeByte = (outcome: MergeOutcome): number => OUTCOMES.indexOf(outcome) + 1;

/** Undefined: it was not tried, or failed. */
export const fromMergeOutcomeByte = (byte: number | undefined): MergeOutcome | undefined => (byte === undefined ? undefined : OUTCOMES[byte - 1]);
