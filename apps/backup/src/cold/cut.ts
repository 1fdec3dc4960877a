// The cut of a backup (R39): every leader puts a marker into its log and lets writes wait behind it, then, when all markers are
// committed, every leader says whether its hold stood until it was released. docs/design/backup.md has the proof.
import { randomUUID } from 'node:crypto';
import { cutTime } from '@atoll/core-archive';
import type { ArchivePartition } from '@atoll/contracts/atoll/v1/archive';
import { callUnary } from '@atoll/platform-grpc';
import type { ClusterView } from '@atoll/platform-etcd';
import { traceparentOf } from '@atoll/platform-telemetry';
import type { Marker, RangeJob, RangeName } from './archived-range.ts';
import type { NodeClients } from './node-clients.ts';

/** Left to the answer beside the hold itself. */
const ANSWER_MS = 2000;

export interface Cut<R extends RangeName = RangeJob> {
  readonly id: string;
  /** Wall clock of this service while all partitions were held, unless it is certainly wrong (`cutTime`). */
  readonly atMs: number;
  /** From the first marker asked for to the last release. */
  readonly holdMs: number;
  readonly markers: ReadonlyMap<R, Marker>;
}

export interface CutOptions<R extends RangeName> {
  readonly ranges: readonly R[];
  readonly view: ClusterView;
  readonly clients: NodeClients;
  readonly holdMs: number;
  readonly signal: AbortSignal;
}

/** The cut, or why it is void: then it may be tried again. Does not throw but for the signal. */
export async function takeCut<R extends RangeName>({ ranges, view, clients, holdMs, signal }: CutOptions<R>): Promise<Cut<R> | { readonly problem: string }> {
  const id = randomUUID();
  const { clusterId } = view;
  const groups = byLeader(ranges, view);
  if ('problem' in groups) return groups;
  const traceparent = traceparentOf();
  const startMs = performance.now();
  const markers = new Map<R, Marker>();
  const problems: string[] = [];
  await Promise.all(
    groups.map(async ({ address, members, partitions }) => {
      try {
        const answer = await callUnary(clients.calls(address), 'holdBarrier', { clusterId, barrier: id, holdMs, partitions }, { deadlineMs: holdMs + ANSWER_MS, signal, traceparent });
        members.forEach((range, index) => {
          const held = answer.partitions[index];
          if (held?.marker !== undefined && held.generation !== undefined) markers.set(range, { position: held.marker, generation: held.generation, stampMs: held.stampMs });
          else problems.push(`${range.keyspace.name}/${range.partition}: ${held?.problem ?? 'no answer'}`);
        });
      } catch (error) {
        problems.push(`${address}: ${(error as Error).message}`);
      }
    }),
  );
  const atMs = Date.now();
  // Also of a cut that is void: writes wait for it.
  await Promise.all(
    groups.map(async ({ address, members, partitions }) => {
      try {
        const answer = await callUnary(clients.calls(address), 'releaseBarrier', { clusterId, barrier: id, partitions }, { deadlineMs: ANSWER_MS, traceparent });
        members.forEach((range, index) => {
          const problem = answer.problems[index] ?? 'no answer';
          if (problem !== '') problems.push(`${range.keyspace.name}/${range.partition}: ${problem}`);
        });
      } catch (error) {
        problems.push(`${address}: ${(error as Error).message}`);
      }
    }),
  );
  signal.throwIfAborted();
  const tookMs = performance.now() - startMs;
  if (problems.length > 0) return { problem: problems[0]! };
  return { id, atMs: cutTime(atMs, Array.from(markers.values(), ({ stampMs }) => stampMs)), holdMs: tookMs, markers };
}

interface Group<R> {
  readonly address: string;
  readonly members: readonly R[];
  readonly partitions: ArchivePartition[];
}

function byLeader<R extends RangeName>(ranges: readonly R[], view: ClusterView): readonly Group<R>[] | { readonly problem: string } {
  const groups = new Map<string, { address: string; members: R[]; partitions: ArchivePartition[] }>();
  for (const range of ranges) {
    const { keyspace, partition } = range;
    const leader = view.partition(keyspace.name, partition)?.record.leader;
    const address = leader && view.nodes().get(leader.node)?.address;
    if (address === undefined) return { problem: `${keyspace.name}/${partition} has no leader` };
    const group = groups.get(address) ?? { address, members: [], partitions: [] };
    groups.set(address, group);
    group.members.push(range);
    group.partitions.push({ keyspace: keyspace.name, keyspaceId: keyspace.id, partition });
  }
  return [...groups.values()];
}
