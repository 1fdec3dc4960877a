import type { TokenRange } from '@atoll/core-placement';

/** SHARED ones stand side by side; an EXCLUSIVE one stands alone. */
export type LockMode = 'EXCLUSIVE' | 'SHARED';

/** What a lock guards: a name of its user's choice, or the keys of a keyspace whose tokens lie in a range. */
export type LockScope =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'range'; readonly keyspace: string; readonly range: TokenRange };
