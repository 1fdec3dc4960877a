import { MIGRATION_REASONS, OPERATOR_STEPS, type CopyJob, type MigrationJob, type MigrationOperator, type MigrationReason } from '@atoll/core-migration';
import { toPartitionId } from '@atoll/core-runtime';
import { z } from 'zod';

import { encodeJson, parseJson } from './json-codec.ts';
import type { Parsed } from './json-codec.ts';
import { nodeId, replicaId, sourceCluster, tokenRange } from './record-codecs.ts';

const count = z.number().int().nonnegative();
const ms = z.number().nonnegative();
const reason = z.enum(MIGRATION_REASONS as [MigrationReason, ...MigrationReason[]]);

const jobSchema = z.object({
  id: z.string().min(1).max(64),
  method: z.enum(['MOVE', 'SHARDED']),
  // A job of an older coordinator does not have them.
  shards: count.default(1),
  partitionsAtOnce: count.default(0),
  methodReason: z.string().default(''),
  reason,
  state: z.enum(['PREPARING', 'RUNNING', 'PAUSED', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED']),
  createdMs: ms,
  endedMs: ms,
  description: z.string(),
  problem: z.string(),
  bytesPerSecond: count,
  fullVerify: z.boolean(),
  traceparent: z.string(),
  total: count,
  done: count,
  rolledBack: count,
  bytes: count,
  entries: count,
  pauseMsMax: ms,
}) satisfies z.ZodType<MigrationJob>;

const operatorSchema: z.ZodType<MigrationOperator> = z
  .object({
    job: z.string().min(1),
    keyspace: z.string().min(1),
    keyspaceId: z.string().min(1),
    partition: count.transform(toPartitionId),
    reason,
    before: z.array(nodeId),
    after: z.array(nodeId),
    step: z.enum(OPERATOR_STEPS),
    stepSinceMs: ms,
    proof: z.object({ epoch: count, seq: count, entries: count, equal: count, repaired: count, comparedEntries: count.default(0), replicas: z.array(replicaId).optional() }).optional(),
    pauseMs: ms.optional(),
    bytes: count,
    entries: count,
    bytesTotal: count,
    entriesTotal: count,
    problem: z.string(),
    traceparent: z.string(),
  })
  .transform((operator): MigrationOperator => ({ ...operator, proof: operator.proof, pauseMs: operator.pauseMs }));

const copySchema: z.ZodType<CopyJob> = z.object({
  id: z.string().min(1).max(64),
  state: z.enum(['RUNNING', 'PAUSED', 'CUTTING_OVER', 'SUCCEEDED', 'CANCELLING', 'CANCELLED']),
  source: z.string().min(1),
  sourceId: z.string().min(1),
  target: z.string().min(1),
  targetId: z.string().min(1),
  partitionCount: count,
  cluster: sourceCluster.optional(),
  takesPlaceOf: z.object({ name: z.string().min(1), id: z.string().min(1) }).optional(),
  tokens: tokenRange.optional(),
  // A job of an older coordinator does not have them.
  bytesPerSecond: count.default(0),
  traceparent: z.string().default(''),
  createdMs: ms,
  endedMs: ms,
  problem: z.string(),
  cutOver: z.object({ id: z.string().min(1), maxPauseMs: ms, hold: z.string().min(1).optional(), heldSinceMs: ms.optional() }).optional(),
  pausesMs: z.array(ms).optional(),
  pauseMsMax: ms.optional(),
  comparedEntries: count.optional(),
  bytes: count.optional(),
  entries: count.optional(),
  isStandby: z.boolean().optional(),
  promotion: z
    .object({
      atMs: ms,
      missingKnown: count,
      ageMs: ms,
      unknown: count,
      incomplete: count,
      isFenced: z.boolean(),
      places: z.array(z.object({ target: count, source: count, heldSeq: count, heldMs: ms, knownSeq: count.optional(), knownMs: ms.optional() })),
    })
    .optional(),
  sourceRemains: z.boolean().optional(),
});

/** These throw when the record is larger than 8 KiB: a bug of its writer. */
export const encodeMigrationJob = (job: MigrationJob): string => encodeJson(`migration ${job.id}`, job);
export const parseMigrationJob = (text: string): Parsed<MigrationJob> => parseJson(jobSchema, text);

export const encodeMigrationOperator = (operator: MigrationOperator): string => encodeJson(`operator ${operator.keyspace}/${operator.partition}`, operator);
export const parseMigrationOperator = (text: string): Parsed<MigrationOperator> => parseJson(operatorSchema, text);

export const encodeCopyJob = (job: CopyJob): string => encodeJson(`copy ${job.id}`, job);
export const parseCopyJob = (text: string): Parsed<CopyJob> => parseJson(copySchema, text);
