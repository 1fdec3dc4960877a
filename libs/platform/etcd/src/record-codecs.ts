import { assertRecord, createKeyspaceSpec } from '@atoll/core-membership';
import type { KeyspaceSpec, NodeRecord, NodeSpec, PartitionRecord, SourceCluster } from '@atoll/core-membership';
import type { TokenRange } from '@atoll/core-placement';
import { isNodeId, isReplicaId, toEpoch, toPartitionId } from '@atoll/core-runtime';
import type { NodeId, ReplicaId } from '@atoll/core-runtime';
import { z } from 'zod';

import { encodeJson, parseJson } from './json-codec.ts';
import type { Parsed } from './json-codec.ts';

// The records of architecture.md, section 4, as JSON.

export const nodeId = z.custom<NodeId>((value) => typeof value === 'string' && isNodeId(value), 'is not a node id');
export const replicaId = z.custom<ReplicaId>((value) => typeof value === 'string' && isReplicaId(value), 'is not a replica id');
const count = z.number().int().nonnegative();
const weight = z.number().min(0.01).max(100);
const member = z.object({ node: nodeId, replica: replicaId });

const partitionSchema: z.ZodType<PartitionRecord> = z
  .object({
    keyspace: z.string().min(1),
    keyspaceId: z.string().min(1),
    partition: count.transform(toPartitionId),
    state: z.enum(['ACTIVE', 'WAITING', 'FENCING']),
    generation: z.object({ counter: count, id: z.string() }),
    continues: z.object({ counter: count, id: z.string() }).optional(),
    epoch: count.transform(toEpoch),
    leader: member.optional(),
    leaderIncarnation: z.string(),
    relinquished: z.boolean().default(false),
    frozen: z.string().min(1).optional(),
    hasStandby: z.boolean().optional(),
    inSync: z.array(member),
    eligible: z.array(member),
    learners: z.array(member),
    leaving: z.array(member),
    traceparent: z.string().optional(),
    changeId: z.string(),
  })
  .transform((record): PartitionRecord => ({ ...record, leader: record.leader }))
  .superRefine((record, context) => {
    try {
      assertRecord(record);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
    }
  });

const nodeSchema: z.ZodType<NodeRecord> = z.object({
  id: nodeId,
  address: z.string().min(1),
  httpAddress: z.string(),
  zone: z.string(),
  pool: z.string().min(1).optional(),
  weight,
  incarnation: z.string().min(1),
  phase: z.enum(['SERVING', 'STOPPING']),
});

const nodeSpecSchema: z.ZodType<NodeSpec> = z.object({
  id: nodeId,
  state: z.enum(['UP', 'DRAINING', 'REMOVED']),
  zone: z.string(),
  pool: z.string().min(1).optional(),
  weight,
  incarnation: z.string(),
  address: z.string(),
  stopped: z.boolean(),
});

const word = z.number().int().min(0).max(2 ** 32 - 1);
const token = z.object({ high: word, low: word });
export const tokenRange: z.ZodType<TokenRange> = z.object({ start: token, end: token.optional() }).transform(({ start, end }) => ({ start, end }));
export const sourceCluster: z.ZodType<SourceCluster> = z.object({ id: z.string().min(1), routers: z.array(z.string().min(1)).min(1), partitionCount: z.number().int().positive(), archive: z.string().min(1).optional() });

const keyspaceSchema: z.ZodType<KeyspaceSpec> = z
  .object({
    name: z.string(),
    id: z.string().min(1),
    partitionCount: z.number(),
    replicationFactor: z.number(),
    minInSync: z.number(),
    ack: z.enum(['IN_SYNC', 'LEADER']),
    durability: z.enum(['NONE', 'ASYNC', 'SYNC']),
    defaultTtlMs: z.number(),
    memoryShare: z.number(),
    eviction: z.enum(['LRU', 'NONE']),
    onDataLoss: z.enum(['WAIT', 'RESET']),
    valueBytesMax: z.number(),
    pool: z.string().min(1).optional(),
    copyOf: z
      .object({
        job: z.string().min(1),
        keyspace: z.string().min(1),
        keyspaceId: z.string().min(1),
        isPaused: z.boolean(),
        bytesPerSecond: count.optional(),
        tokens: tokenRange.optional(),
        traceparent: z.string().optional(),
        cluster: sourceCluster.optional(),
        firstGeneration: z.number().int().positive().optional(),
        run: z.number().int().positive().optional(),
      })
      .optional(),
    cutOver: z.object({ job: z.string().min(1), id: z.string().min(1), fencesBelow: z.number().int().nonnegative(), timeMs: z.number().nonnegative(), from: z.object({ cluster: z.string().min(1), keyspaceId: z.string().min(1) }).optional() }).optional(),
    aliases: z.array(z.string().min(1)).optional(),
    movedTo: z.string().min(1).optional(),
    freeze: z
      .object({
        id: z.string().min(1),
        sinceMs: z.number().nonnegative(),
        note: z.string(),
        movedTo: z.object({ cluster: z.string().min(1), keyspace: z.string().min(1), hold: z.string().min(1), timeMs: z.number().nonnegative() }).optional(),
        forStandby: z.string().min(1).optional(),
      })
      .optional(),
    standby: z.string().min(1).optional(),
  })
  .superRefine((spec, context) => {
    try {
      createKeyspaceSpec(spec);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
    }
  });

/** Throws when the record contradicts itself or is larger than 8 KiB: a bug of its writer. */
export function encodePartitionRecord(record: PartitionRecord): string {
  assertRecord(record);
  return encodeJson(`partition ${record.keyspace}/${record.partition}`, record);
}

export const parsePartitionRecord = (text: string): Parsed<PartitionRecord> => parseJson(partitionSchema, text);

export const encodeNodeRecord = (record: NodeRecord): string => encodeJson(`node ${record.id}`, record);
export const parseNodeRecord = (text: string): Parsed<NodeRecord> => parseJson(nodeSchema, text);

export const encodeNodeSpec = (spec: NodeSpec): string => encodeJson(`node spec ${spec.id}`, spec);
export const parseNodeSpec = (text: string): Parsed<NodeSpec> => parseJson(nodeSpecSchema, text);

export const encodeKeyspaceSpec = (spec: KeyspaceSpec): string => encodeJson(`keyspace ${spec.name}`, spec);
export const parseKeyspaceSpec = (text: string): Parsed<KeyspaceSpec> => parseJson(keyspaceSchema, text);
