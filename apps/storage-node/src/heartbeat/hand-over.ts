import type { HandOverItem, HandOverRequest, HandOverResponse, HandOverResult } from '@atoll/contracts/atoll/v1/heartbeat';
import { invalidArgument } from '@atoll/core-errors';
import { toReplicaId } from '@atoll/core-runtime';
import type { ReplicaHost } from '../replica-host.ts';
import { readMoment } from '../turn.ts';
import type { GuardedMetadataStore } from '@atoll/platform-etcd';
import type { CoordinatorFence } from './coordinator-fence.ts';

/** A few at a time: the writes of each wait meanwhile. */
const ITEMS_MAX = 64;
const HOLD_MS_MAX = 10_000;
/** Requests that come with an older table of partitions are refused for a while after the transfer. */
const TRACED_MS = 10_000;

/** Handler of `Heartbeat.HandOver` (R29). The offices of one request are given up side by side. */
export function createHandOverHandler(options: { host: ReplicaHost; fence: CoordinatorFence; store: Pick<GuardedMetadataStore, 'requireSound'> }): (request: HandOverRequest) => Promise<HandOverResponse> {
  const { host, fence, store } = options;
  return async ({ coordinatorRevision, items, holdMs }) => {
    store.requireSound();
    fence.accept(coordinatorRevision);
    if (items.length > ITEMS_MAX) throw invalidArgument('items', `at most ${ITEMS_MAX} offices can be handed over at a time`);
    if (holdMs < 1 || holdMs > HOLD_MS_MAX) throw invalidArgument('hold_ms', `must be 1 to ${HOLD_MS_MAX}`);
    return { results: await Promise.all(items.map((item) => handOver(host, item, holdMs))) };
  };
}

function handOver(host: ReplicaHost, item: HandOverItem, holdMs: number): Promise<HandOverResult> {
  const hosted = host.replica(item.keyspace, item.partition);
  const leader = hosted?.replica.leader;
  if (hosted === undefined || leader?.epoch !== item.epoch) return Promise.resolve(kept(`this node does not lead ${item.keyspace}/${item.partition} in epoch ${item.epoch}`));
  const trace = item.traceparent === '' ? undefined : { epoch: item.epoch, traceparent: item.traceparent, untilMs: performance.now() + TRACED_MS };
  return new Promise((resolve) => {
    const wasHandingOver = leader.isHandingOver;
    if (!wasHandingOver) hosted.handOver = trace;
    leader.handOver({ target: toReplicaId(item.targetReplicaId), holdMs }, readMoment(), (outcome) => {
      if (outcome.kind === 'given-up') return resolve({ givenUp: true, modRevision: outcome.modRevision, end: { ...outcome.end }, problem: '' });
      if (!wasHandingOver) hosted.handOver = undefined;
      resolve(kept(outcome.problem));
    });
  });
}

const kept = (problem: string): HandOverResult => ({ givenUp: false, modRevision: 0, end: undefined, problem });
