import type { KeyspaceSpec } from '@atoll/core-membership';

/** One that takes no writes since somebody froze it. */
export interface FrozenKeyspace {
  readonly keyspace: string;
  readonly forMs: number;
}

/** Those that clients wait for. One whose place another one has taken, here or in another cluster, stays closed and is none. */
export function frozenKeyspaces(keyspaces: Iterable<Pick<KeyspaceSpec, 'name' | 'freeze' | 'movedTo'>>, wallMs: number): FrozenKeyspace[] {
  return [...keyspaces].flatMap(({ name, freeze, movedTo }) => (freeze === undefined || freeze.movedTo !== undefined || movedTo !== undefined ? [] : [{ keyspace: name, forMs: wallMs - freeze.sinceMs }]));
}
