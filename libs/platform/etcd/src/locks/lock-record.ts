import type { BookedRequest, LockMode, LockScope } from '@atoll/core-locks';
import { tokenFromBigInt, tokenToBigInt } from '@atoll/core-placement';
import { z } from 'zod';

import { LOCKS_PREFIX } from '../cluster-keys.ts';
import { encodeJson, parseJson } from '../json-codec.ts';
import type { StoredValue } from '../metadata-store.ts';

// One request for a lock as it stands in etcd: `locks/name/<name>/<request>` or `locks/range/<keyspace>/<request>`,
// so that requests which can conflict share a prefix. A name may hold anything, so it is written in base64url.

/** A request that stands: waiting, or holding. */
export interface StandingRequest extends BookedRequest {
  readonly requestId: string;
  readonly owner: string;
  readonly ttlMs: number;
  /** Of the lease that it stands under. */
  readonly leaseId: string;
}

const tokenText = z.string().regex(/^[0-9a-f]{16}$/);
const schema = z.object({
  mode: z.enum(['EXCLUSIVE', 'SHARED']),
  /** Of a range; without `end` it reaches to the last token. */
  start: tokenText.optional(),
  end: tokenText.optional(),
  owner: z.string(),
  ttlMs: z.number().int().positive(),
  leaseId: z.string().min(1),
});

const NAME_KEY = /^locks\/name\/([A-Za-z0-9_-]+)\/([A-Za-z0-9_-]+)$/;
const RANGE_KEY = /^locks\/range\/([^/]+)\/([A-Za-z0-9_-]+)$/;

/** Prefix of all requests that can conflict with one for this scope. */
export function lockGroup(scope: LockScope): string {
  return scope.kind === 'name' ? `${LOCKS_PREFIX}name/${Buffer.from(scope.name).toString('base64url')}/` : `${LOCKS_PREFIX}range/${scope.keyspace}/`;
}

export function encodeLockRequest(request: { scope: LockScope; mode: LockMode; owner: string; ttlMs: number; leaseId: string }): string {
  const { scope, mode, owner, ttlMs, leaseId } = request;
  const range = scope.kind === 'range' ? { start: toText(scope.range.start), end: scope.range.end && toText(scope.range.end) } : {};
  return encodeJson('a lock request', { mode, ...range, owner, ttlMs, leaseId });
}

/** Undefined for what is no request: it is nobody's lock. */
export function parseLockRequest({ key, value, createRevision }: StoredValue): StandingRequest | undefined {
  const parsed = parseJson(schema, value);
  if (parsed.kind === 'malformed') return undefined;
  const { mode, start, end, owner, ttlMs, leaseId } = parsed.value;
  const rest = { mode, owner, ttlMs, leaseId, key, createRevision };
  const named = NAME_KEY.exec(key);
  if (named !== null) {
    const scope: LockScope = { kind: 'name', name: Buffer.from(named[1]!, 'base64url').toString('utf8') };
    return { ...rest, scope, group: lockGroup(scope), requestId: named[2]! };
  }
  const ranged = RANGE_KEY.exec(key);
  if (ranged === null || start === undefined) return undefined;
  const scope: LockScope = { kind: 'range', keyspace: ranged[1]!, range: { start: toToken(start), end: end === undefined ? undefined : toToken(end) } };
  return { ...rest, scope, group: lockGroup(scope), requestId: ranged[2]! };
}

const toText = (token: Parameters<typeof tokenToBigInt>[0]): string => tokenToBigInt(token).toString(16).padStart(16, '0');
const toToken = (text: string): ReturnType<typeof tokenFromBigInt> => tokenFromBigInt(BigInt(`0x${text}`));
