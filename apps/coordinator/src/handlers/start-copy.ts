import type { CopyTarget, StartMigrationRequest, StartMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { checkKeyspaceName, createKeyspaceSpec, keyspaceNotFound, resolveKeyspace, type KeyspaceSpec } from '@atoll/core-membership';
import { FILL_SHARE_MAX, type CopyJob } from '@atoll/core-migration';
import { DEFAULT_KEYSPACE, randomHex } from '@atoll/core-runtime';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { toCopiedPartition, toCopyMigration } from '../copy/copy-messages.ts';
import { sizeIn, type ClusterSurvey } from '../migration/cluster-survey.ts';
import { beginOnce, checkMigrationId, existingMigration } from './known-migrations.ts';

/** As many times a source may be reset, or recovered uncleanly, before a version of it could be one of its copy. */
const GENERATIONS = 2 ** 16;

/** `StartMigration` with the method COPY. Throws INVALID_ARGUMENT that names the field, KEYSPACE_NOT_FOUND, KEYSPACE_EXISTS, CAPACITY_SHORT, MIGRATION_CONFLICT. */
export async function startCopy(context: AdminContext, request: StartMigrationRequest): Promise<StartMigrationResponse> {
  const { view, term } = requireTerm(context);
  const target = checkCopyRequest(request);
  const known = await existingMigration(term, request.id);
  if (known !== undefined) return known;
  const name = request.keyspace || DEFAULT_KEYSPACE;
  const source = view.keyspace(name);
  if (source === undefined || source.movedTo !== undefined || term.keyspaces.isDeleting(source.id)) throw keyspaceNotFound(name);
  if (source.copyOf !== undefined) throw invalidArgument('keyspace', `${name} is itself being copied, from ${source.copyOf.keyspace}, and not whole`);
  const id = request.id || `copy-${randomHex(context.random, 8)}`;
  const generations = view.partitions(source.name).map(({ record }) => record.generation.counter);
  const spec = specOf(source, target, { id: randomHex(context.random, 8), job: id, firstGeneration: Math.max(0, ...generations) + GENERATIONS });
  if (view.keyspace(spec.name) !== undefined || resolveKeyspace(view.keyspaces(), spec.name) !== undefined) {
    throw new AtollError('KEYSPACE_EXISTS', `target.name: there is a keyspace named ${spec.name} already`, { metadata: { field: 'target.name', keyspace: spec.name } });
  }
  requireRoom(source, spec, await term.migrations.survey());
  const job: CopyJob = {
    id,
    state: 'RUNNING',
    source: source.name,
    sourceId: source.id,
    target: spec.name,
    targetId: spec.id,
    partitionCount: spec.partitionCount,
    createdMs: term.wallMs(),
    endedMs: 0,
    problem: '',
  };
  if (!request.dryRun) {
    await beginOnce(() => term.copies.begin(job, spec));
    const written = await existingMigration(term, job.id);
    if (written !== undefined) return written;
  }
  const partitions = Array.from({ length: spec.partitionCount }, (_, partition) => toCopiedPartition(job, { partition, leader: undefined, sourceLeaders: [], sources: 1, statuses: [] }));
  return { migration: toCopyMigration(job, partitions, 0, ''), partitions };
}

function checkCopyRequest({ id, target, partitions, allKeyspaces, from, to, bytesPerSecond, fullVerify, shards }: StartMigrationRequest): CopyTarget {
  checkMigrationId(id);
  const strangers = { partitions: partitions.length > 0, all_keyspaces: allKeyspaces, from: from !== '', to: to !== '', bytes_per_second: bytesPerSecond !== 0, full_verify: fullVerify, shards: shards !== 0 };
  for (const [field, isThere] of Object.entries(strangers)) if (isThere) throw invalidArgument(field, 'does not belong to a COPY, which takes all of a keyspace');
  if (target === undefined) throw invalidArgument('target', 'is missing: a COPY makes a keyspace');
  return target;
}

/** As its source, but for what was asked for. */
function specOf(source: KeyspaceSpec, target: CopyTarget, { id, job, firstGeneration }: { readonly id: string; readonly job: string; readonly firstGeneration: number }): KeyspaceSpec {
  const replicationFactor = target.replicationFactor || source.replicationFactor;
  const minInSync = target.minInSync || (replicationFactor === source.replicationFactor ? source.minInSync : undefined);
  try {
    checkKeyspaceName(target.name);
    return createKeyspaceSpec({
      ...source,
      name: target.name,
      id,
      partitionCount: target.partitionCount || source.partitionCount,
      replicationFactor,
      minInSync,
      cutOver: undefined,
      aliases: undefined,
      copyOf: { job, keyspace: source.name, keyspaceId: source.id, isPaused: false, firstGeneration },
    });
  } catch (error) {
    // The fields are those of the target here.
    if (!isAtollError(error) || error.reason !== 'INVALID_ARGUMENT') throw error;
    throw invalidArgument(error.metadata['field']!.replace(/^keyspace\./, 'target.'), error.message.replace(/^keyspace\.\w+: /, ''));
  }
}

/** Throws CAPACITY_SHORT with the numbers when the nodes together lack memory for it. A node without a limit has room for all. */
function requireRoom(source: KeyspaceSpec, target: KeyspaceSpec, survey: ClusterSurvey): void {
  const nodes = [...survey.memory.values()];
  if (nodes.length === 0 || nodes.some(({ limitBytes }) => limitBytes === 0)) return;
  const held = Array.from({ length: source.partitionCount }, (_, partition) => sizeIn(survey, { keyspace: source.name, partition }).bytes).reduce((a, b) => a + b, 0);
  const replicas = Math.min(target.replicationFactor, nodes.length);
  const freeBytes = nodes.reduce((sum, { usedBytes, limitBytes }) => sum + Math.max(0, Math.floor(limitBytes * FILL_SHARE_MAX) - usedBytes), 0);
  if (held * replicas <= freeBytes) return;
  throw new AtollError('CAPACITY_SHORT', `target: ${replicas} replicas of ${held} bytes do not fit into the ${freeBytes} bytes that ${nodes.length} nodes have free below ${FILL_SHARE_MAX * 100} %`, {
    metadata: { field: 'target' },
  });
}
