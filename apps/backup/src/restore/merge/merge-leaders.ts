// Hands entries to the leaders of the partitions that they belong to, until each was decided of. Leaders that are away, change or have
// too much to do are waited for.
import type { MergeEntriesRequest, MergeEntriesResponse } from '@atoll/contracts/atoll/v1/archive';
import type { ArchivedRange, FoldedEntry } from '@atoll/core-archive';
import { AtollError, isErrorReason, type ErrorReason } from '@atoll/core-errors';
import { encodeRows, type MergeOutcome } from '@atoll/core-store';
import { callUnary } from '@atoll/platform-grpc';
import { fromMergeOutcomeByte } from '@atoll/platform-wire';
import type { NodeClients } from '../../cold/node-clients.ts';
import type { JobRun } from '../../jobs/job-kind.ts';
import { mayPass, patiently } from '../../jobs/patience.ts';
import { eachOf } from '../../jobs/side-by-side.ts';
import type { RestoreFence } from './restore-fence.ts';

/** Leaders that are told at a time that the restore is over. */
const FENCES_AT_ONCE = 16;
/** A request waits for commits: a leader without a lease, or a change of leaders, takes some seconds. */
const CALL_MS = 30_000;
/** Tokens that are refused one after the other: no later one is to be had. */
const RENEWALS_MAX = 3;
/** What the leader of a partition answers while another one is about to be found. */
const PASSING: ReadonlySet<ErrorReason> = new Set(['REPLICA_UNKNOWN', 'WRITE_IN_DOUBT', 'NOT_ENOUGH_REPLICAS', 'CANCELLED']);
/** Of a keyspace that takes nothing anyway. */
const CLOSED: ReadonlySet<ErrorReason> = new Set(['KEYSPACE_NOT_FOUND', 'KEYSPACE_FROZEN', 'KEYSPACE_COPYING']);
const EMPTY: Buffer = Buffer.alloc(0);

/** A keyspace that entries are merged into. */
export interface MergeTarget {
  /** Its own name. */
  readonly keyspace: string;
  readonly keyspaceId: string;
  readonly partitionCount: number;
}

export interface MergeLeadersOptions {
  readonly run: Pick<JobRun, 'duty' | 'signal' | 'waitsFor'>;
  readonly target: MergeTarget;
  readonly clients: NodeClients;
  readonly fence: RestoreFence;
}

export interface MergeAsk {
  /** All of one partition of the target; none: nothing but the fence is put. */
  readonly entries: readonly FoldedEntry[];
  /** Where versions tell which entry is newer: lineage of the data that was archived (R3). */
  readonly generation: ArchivedRange['generation'] | undefined;
  /** Nothing is written: what would become of them, as far as that can be told without their values. */
  readonly dryRun: boolean;
}

export class MergeLeaders {
  readonly #options: MergeLeadersOptions;

  constructor(options: MergeLeadersOptions) {
    this.#options = options;
  }

  /**
   * Resolves when each entry was decided of, told once by `onDecided`, and what was written is committed. A failure may leave some
   * written. Throws KEYSPACE_NOT_FOUND where the keyspace is gone or another one, KEYSPACE_FROZEN, KEYSPACE_COPYING, MEMORY_EXHAUSTED.
   */
  async merge(partition: number, { entries, generation, dryRun }: MergeAsk, onDecided: (entry: FoldedEntry, outcome: MergeOutcome) => void, patienceMs?: number): Promise<void> {
    const { run, fence, target } = this.#options;
    let left = entries;
    const attempt = async (): Promise<void> => {
      for (let renewals = 0; ; renewals += 1) {
        const { token } = fence;
        const rows = encodeRows(dryRun ? left.map((entry) => ({ ...entry, value: EMPTY })) : left);
        const { outcomes, reason, problem } = await this.#call(partition, { rows, generation: generation && { ...generation }, fencingToken: token, dryRun });
        const undecided: FoldedEntry[] = [];
        for (const [index, entry] of left.entries()) {
          const outcome = fromMergeOutcomeByte(outcomes[index]);
          if (outcome === undefined) undecided.push(entry);
          else onDecided(entry, outcome);
        }
        left = undecided;
        if (reason === '' && left.length === 0) return;
        if (reason !== 'STALE_FENCING_TOKEN') throw new AtollError(isErrorReason(reason) ? reason : 'INTERNAL', `${target.keyspace}/${partition}: ${problem || 'its leader did not decide of all entries'}`);
        // Locks of clients may have outdated the token (R38). That of another run of the job means that this one is off duty.
        if (renewals === RENEWALS_MAX) throw new AtollError('METADATA_REGRESSED', `${target.keyspace}/${partition} has seen later fencing tokens than etcd gives: ${problem}`);
        await fence.renew(token);
      }
    };
    await patiently(run, attempt, { isPassing: (error) => mayPass(error) || (error instanceof AtollError && PASSING.has(error.reason)), ...(patienceMs !== undefined && { patienceMs }) });
  }

  /**
   * From now on nothing is taken that this restore, or an earlier one, sent and that is still on its way. Of a keyspace that takes nothing
   * at all that is so anyway. Throws what keeps a leader from being told.
   */
  async close(patienceMs?: number): Promise<void> {
    const { partitionCount } = this.#options.target;
    await eachOf(Array.from({ length: partitionCount }, (_, partition) => partition), FENCES_AT_ONCE, async (partition) => {
      try {
        await this.merge(partition, { entries: [], generation: undefined, dryRun: false }, () => undefined, patienceMs);
      } catch (error) {
        if (!(error instanceof AtollError) || !CLOSED.has(error.reason)) throw error;
      }
    });
  }

  async #call(partition: number, fields: Pick<MergeEntriesRequest, 'rows' | 'generation' | 'fencingToken' | 'dryRun'>): Promise<MergeEntriesResponse> {
    const { run, clients, target } = this.#options;
    const { keyspace, keyspaceId } = target;
    const { view } = run.duty;
    if (view.keyspace(keyspace)?.id !== keyspaceId) throw new AtollError('KEYSPACE_NOT_FOUND', `keyspace ${keyspace} was deleted, or another one took its place, while it was restored into`, { metadata: { keyspace } });
    const leader = view.partition(keyspace, partition)?.record.leader;
    const address = leader && view.nodes().get(leader.node)?.address;
    if (address === undefined) throw new AtollError('PARTITION_UNAVAILABLE', `${keyspace}/${partition} has no leader at the moment`);
    const request = { clusterId: view.clusterId, partition: { keyspace, keyspaceId, partition }, ...fields };
    return callUnary(clients.bulk(address), 'mergeEntries', request, { deadlineMs: CALL_MS, signal: run.signal });
  }
}
