// Pools: sets of storage nodes that have nothing to do with each other's data. Each node is of one pool, each keyspace lies on
// the nodes of one pool and on no others, whatever becomes of them: so what takes one pool away leaves the others.
import { invalidArgument } from '@atoll/core-errors';

/** Where nothing else is said. */
export const MAIN_POOL = 'main';

/** Of a node, or of a keyspace. */
interface Pooled {
  /** Undefined: MAIN_POOL. */
  readonly pool?: string | undefined;
}

const NAME = /^[a-z][a-z0-9_-]{0,63}$/;

export const POOL_NAME_RANGE = '1 to 64 characters of [a-z0-9_-] that begin with a letter';

export const poolOf = ({ pool }: Pooled): string => pool ?? MAIN_POOL;

/** As a record says it: the main pool is said by nothing, so that records are as they were before there were pools. */
export const withPool = (pool: string): Pooled => (pool === MAIN_POOL ? {} : { pool });

export const isPoolName = (name: string): boolean => NAME.test(name);

/** Throws INVALID_ARGUMENT that names the field. */
export function checkPoolName(field: string, name: string): void {
  if (!isPoolName(name)) throw invalidArgument(field, `must be ${POOL_NAME_RANGE}, not ${JSON.stringify(name.slice(0, 80))}`);
}
