import type { StartMigrationRequest } from '@atoll/contracts/atoll/v1/migration';
import type { TokenRange } from '@atoll/core-placement';
import { toTokenRange } from '@atoll/platform-wire';

/** The range of tokens that a request names; undefined: none. Throws INVALID_ARGUMENT. */
export function askedTokens({ tokenFrom, tokenTo }: Pick<StartMigrationRequest, 'tokenFrom' | 'tokenTo'>): TokenRange | undefined {
  return tokenFrom === 0n && tokenTo === 0n ? undefined : toTokenRange({ start: 'token_from', end: 'token_to' }, tokenFrom, tokenTo);
}
