// Who holds a lock follows from the requests that stand, and from nothing else (R38): a request holds its lock when no
// conflicting one of lower create revision is left. Waiting ones count as well, so order is arrival: a reader that
// comes behind a waiting writer waits, and nobody is overtaken.
//
//   revision   10 SHARED    20 SHARED    30 EXCLUSIVE    40 SHARED
//              holds        holds        waits for both  waits for 30
import { overlaps } from '@atoll/core-placement';
import type { LockMode, LockScope } from './lock-scope.ts';

/** One request as it stands in etcd. */
export interface LockRequest {
  readonly scope: LockScope;
  readonly mode: LockMode;
  /** Order of arrival; of a holder it is the fencing token. */
  readonly createRevision: number;
}

/** Whether the two may not hold at a time. */
export function conflict(a: Pick<LockRequest, 'scope' | 'mode'>, b: Pick<LockRequest, 'scope' | 'mode'>): boolean {
  if (a.mode === 'SHARED' && b.mode === 'SHARED') return false;
  if (a.scope.kind === 'name') return b.scope.kind === 'name' && a.scope.name === b.scope.name;
  return b.scope.kind === 'range' && a.scope.keyspace === b.scope.keyspace && overlaps(a.scope.range, b.scope.range);
}

/** The first of the requests that `request` waits for; undefined when it holds its lock. It may be among `requests`. */
export function blockerOf<Request extends LockRequest>(request: LockRequest, requests: Iterable<Request>): Request | undefined {
  let first: Request | undefined;
  for (const other of requests) {
    if (other.createRevision >= request.createRevision || !conflict(request, other)) continue;
    if (first === undefined || other.createRevision < first.createRevision) first = other;
  }
  return first;
}
