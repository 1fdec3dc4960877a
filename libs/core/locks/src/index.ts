export { FENCING_TOKEN_MAX, decodeFence, encodeFence, fenceBytes } from './fence.ts';
export type { Fence, FencedLock } from './fence.ts';
export { FENCED_LOCKS_MAX, FenceTable } from './fence-table.ts';
export { LockBook } from './lock-book.ts';
export type { BookedRequest } from './lock-book.ts';
export { blockerOf, conflict } from './lock-queue.ts';
export type { LockRequest } from './lock-queue.ts';
export type { LockMode, LockScope } from './lock-scope.ts';
