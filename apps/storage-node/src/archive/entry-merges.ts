// Entries of an archive that come into a keyspace while it is served (docs/design/restore.md). The leader decides of each, in the turn
// in which it is written, against the newest state of its key: there is no moment between looking and writing at which a client's
// write could be lost.
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import type { MergeEntriesRequest, MergeEntriesResponse } from '@atoll/contracts/atoll/v1/archive';
import type { Generation } from '@atoll/contracts/atoll/v1/replication';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { FENCING_TOKEN_MAX, type Fence } from '@atoll/core-locks';
import type { Leader, WriteOutcome } from '@atoll/core-replication';
import { keyHash } from '@atoll/core-runtime';
import { FIRST_HASH, decodeRows, evaluateWrite, type EntryRow, type MergeCommand } from '@atoll/core-store';
import { toMergeOutcomeByte } from '@atoll/platform-wire';
import type { CacheOperations } from '../cache/cache-operations.ts';
import type { HostedKeyspace } from '../hosted-keyspace.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import { requireOwnCluster } from '../own-cluster.ts';
import type { ReplicaHost } from '../replica-host.ts';
import { readMoment } from '../turn.ts';

/** Entries that are decided in one turn: what waits behind them waits some ms. */
const TURN_ENTRIES_MAX = 250;
/** Requests that may be under way; one more is refused as OVERLOADED, and comes again (I10). */
const REQUESTS_MAX = 64;
/** What fences of restores are of: of two that come, the one that was begun later goes on. */
const FENCE_NAME = 'atoll.restore';
const EMPTY: Buffer = Buffer.alloc(0);

export interface EntryMergesOptions {
  readonly host: ReplicaHost;
  readonly clusterId: string;
  readonly operations: Pick<CacheOperations, 'notLeaderOf'>;
}

interface Target {
  readonly keyspace: HostedKeyspace;
  readonly hosted: HostedReplica;
  readonly leader: Leader;
}

export class EntryMerges {
  readonly #options: EntryMergesOptions;
  #requests = 0;

  constructor(options: EntryMergesOptions) {
    this.#options = options;
  }

  /** Handler of `Archive.MergeEntries`. */
  async merge(request: MergeEntriesRequest): Promise<MergeEntriesResponse> {
    const { clusterId, rows, fencingToken, dryRun } = request;
    requireOwnCluster(this.#options.clusterId, clusterId);
    if (!(fencingToken >= 1 && fencingToken <= FENCING_TOKEN_MAX)) throw invalidArgument('fencing_token', `must be 1 to 2^48 - 1, not ${fencingToken}`);
    const { keyspace } = this.#target(request);
    const entries = decoded(rows);
    const stranger = entries.find(({ key }) => keyspace.partitionOf(key) !== request.partition!.partition);
    if (stranger !== undefined) throw invalidArgument('rows', `have a key of partition ${keyspace.partitionOf(stranger.key)}`);
    if (this.#requests >= REQUESTS_MAX) throw new AtollError('OVERLOADED', `${REQUESTS_MAX} requests with entries of archives are under way at this node`);
    this.#requests += 1;
    try {
      return await (dryRun ? this.#judge(request, entries) : this.#write(request, entries));
    } finally {
      this.#requests -= 1;
    }
  }

  async #write(request: MergeEntriesRequest, entries: readonly EntryRow[]): Promise<MergeEntriesResponse> {
    const fence: Fence = { lock: { kind: 'name', name: FENCE_NAME }, token: request.fencingToken, isShared: false };
    const { leader, keyspace } = this.#target(request);
    if (keyspace.spec.cutOver !== undefined) leader.endCopy(keyspace.spec.cutOver, readMoment());
    if (entries.length === 0) return putFence(leader, fence);
    const outcomes = Buffer.alloc(entries.length);
    let failure: Failure | undefined;
    const settled: Promise<void>[] = [];
    for (let at = 0; at < entries.length && failure === undefined; at += TURN_ENTRIES_MAX) {
      if (at > 0) await nextTurn();
      // Who leads, and of which data, may be another one in each turn.
      const target = tried(() => this.#target(request));
      if (!('leader' in target)) {
        failure = target;
        break;
      }
      const now = readMoment();
      const { cutOver } = target.keyspace.spec;
      if (cutOver !== undefined) target.leader.endCopy(cutOver, now);
      for (const [index, entry] of entries.slice(at, at + TURN_ENTRIES_MAX).entries()) {
        if (failure !== undefined) break;
        const command = commandOf(entry, isContinued(request.generation, target));
        const done = Promise.withResolvers<void>();
        settled.push(done.promise);
        const write = { key: entry.key, hash: keyHash(entry.key), command, opId: undefined, ack: 'IN_SYNC', fence, evictsNothing: true } as const;
        target.leader.write(write, now, (outcome) => {
          if (outcome.kind === 'failed') failure ??= { reason: outcome.reason, problem: outcome.message };
          else outcomes[at + index] = byteOf(outcome);
          done.resolve();
        });
      }
    }
    await Promise.all(settled);
    // As writes of clients: replicas that are catching up come first (R33).
    if (leader.answerPauseMs > 0) await pause(leader.answerPauseMs);
    if (failure?.reason === 'NOT_LEADER') failure = { ...failure, problem: this.#options.operations.notLeaderOf(keyspace.spec.name, request.partition!.partition).message };
    return { outcomes, reason: failure?.reason ?? '', problem: failure?.problem ?? '' };
  }

  /** By what is committed: clients write on meanwhile anyway. */
  async #judge(request: MergeEntriesRequest, entries: readonly EntryRow[]): Promise<MergeEntriesResponse> {
    const outcomes = Buffer.alloc(entries.length);
    for (let at = 0; at < entries.length; at += TURN_ENTRIES_MAX) {
      if (at > 0) await nextTurn();
      const target = this.#target(request);
      const { store, clock } = target.hosted.replica.state;
      const timeMs = clock.read(performance.now());
      for (const [index, entry] of entries.slice(at, at + TURN_ENTRIES_MAX).entries()) {
        const evaluation = evaluateWrite(commandOf(entry, isContinued(request.generation, target)), store.peek(entry.key, keyHash(entry.key)), timeMs);
        if ('answer' in evaluation && evaluation.answer.kind === 'merge') outcomes[at + index] = toMergeOutcomeByte(evaluation.answer.outcome);
      }
    }
    return { outcomes, reason: '', problem: '' };
  }

  /** Throws INVALID_ARGUMENT, REPLICA_UNKNOWN, NOT_LEADER, KEYSPACE_COPYING, OVERLOADED. */
  #target({ partition: place }: Pick<MergeEntriesRequest, 'partition'>): Target {
    if (place === undefined) throw invalidArgument('partition', 'is missing');
    const { host, operations } = this.#options;
    const keyspace = host.keyspace(place.keyspace);
    const hosted = keyspace?.id === place.keyspaceId ? keyspace.replica(place.partition) : undefined;
    if (keyspace === undefined || hosted === undefined || hosted.isDropped) throw new AtollError('REPLICA_UNKNOWN', `this node has no replica of ${place.keyspace}/${place.partition}`);
    const { copyOf, name } = keyspace.spec;
    if (copyOf !== undefined) throw new AtollError('KEYSPACE_COPYING', `keyspace: ${name} is being copied from ${copyOf.keyspace} and takes no other writes`, { metadata: { field: 'keyspace', keyspace: name } });
    const { leader } = hosted.replica;
    if (leader === undefined) throw operations.notLeaderOf(name, place.partition);
    if (hosted.journal !== undefined && host.isJournalFull) throw new AtollError('OVERLOADED', 'the disk of this node is behind');
    return { keyspace, hosted, leader };
  }
}

interface Failure {
  readonly reason: string;
  readonly problem: string;
}

function tried(look: () => Target): Target | Failure {
  try {
    return look();
  } catch (error) {
    if (!isAtollError(error)) throw error;
    return { reason: error.reason, problem: error.message };
  }
}

function decoded(rows: Buffer): readonly EntryRow[] {
  try {
    return decodeRows(rows);
  } catch (error) {
    throw invalidArgument('rows', (error as Error).message);
  }
}

/** Entries of another lineage say nothing about which is newer (R3). */
function isContinued(archived: Generation | undefined, { hosted }: Target): boolean {
  if (archived === undefined) return false;
  const { counter, id } = hosted.replica.state.generation;
  return archived.counter < counter || (archived.counter === counter && archived.id === id);
}

const commandOf = ({ value, expiresAtMs, version }: EntryRow, isComparable: boolean): MergeCommand => ({ kind: 'merge', value, expiresAtMs, version: isComparable ? version : undefined });

function byteOf({ answer }: Extract<WriteOutcome, { kind: 'done' }>): number {
  return answer.kind === 'merge' ? toMergeOutcomeByte(answer.outcome) : 0;
}

function putFence(leader: Leader, fence: Fence): Promise<MergeEntriesResponse> {
  return new Promise((resolve) => {
    leader.readUnder(fence, { key: EMPTY, hash: FIRST_HASH }, readMoment(), (outcome) =>
      resolve(outcome.kind === 'failed' ? { outcomes: EMPTY, reason: outcome.reason, problem: outcome.message } : { outcomes: EMPTY, reason: '', problem: '' }),
    );
  });
}
