import type { NodeMemory } from '@atoll/core-migration';
import { partitionName, type NodeRecord } from '@atoll/core-membership';
import type { TransferPeers } from './transfer-peers.ts';

/** What the partitions take and what room the nodes have, as they said just now. A node that did not answer is missing. */
export interface ClusterSurvey {
  readonly memory: ReadonlyMap<string, NodeMemory>;
  /** By `partitionName`. */
  readonly sizes: ReadonlyMap<string, { readonly bytes: number; readonly entries: number }>;
  /** Bound on what each node sends of snapshots; 0: none. */
  readonly sendBytesPerSecond: ReadonlyMap<string, number>;
  /** Share of time for which each node is busy, 0 to 1. */
  readonly load: ReadonlyMap<string, number>;
}

/** Asks every node that is registered. */
export async function surveyCluster(peers: TransferPeers, nodes: ReadonlyMap<string, NodeRecord>): Promise<ClusterSurvey> {
  const memory = new Map<string, NodeMemory>();
  const sizes = new Map<string, { readonly bytes: number; readonly entries: number }>();
  const sendBytesPerSecond = new Map<string, number>();
  const load = new Map<string, number>();
  await Promise.all(
    [...nodes.values()].map(async ({ id, address }) => {
      const answer = await peers.ask(address).catch(() => undefined);
      if (answer === undefined) return;
      memory.set(id, { usedBytes: answer.memoryUsedBytes, limitBytes: answer.memoryLimitBytes });
      sendBytesPerSecond.set(id, answer.sendBytesPerSecond);
      load.set(id, answer.load);
      for (const { keyspace, partition, bytes, entries } of answer.sizes) sizes.set(partitionName(keyspace, partition), { bytes, entries });
    }),
  );
  return { memory, sizes, sendBytesPerSecond, load };
}

const NOTHING = { bytes: 0, entries: 0 };

interface Place {
  readonly keyspace: string;
  readonly partition: number;
}

interface Size {
  readonly bytes: number;
  readonly entries: number;
}

/** What a partition takes; undefined where its leader's node did not say. */
export const knownSizeIn = ({ sizes }: ClusterSurvey, { keyspace, partition }: Place): Size | undefined => sizes.get(partitionName(keyspace, partition));

/** The same, and nothing where it did not say. */
export const sizeIn = (survey: ClusterSurvey, place: Place): Size => knownSizeIn(survey, place) ?? NOTHING;
