import type { CopyTarget, StartMigrationRequest, StartMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { checkKeyspaceName, createKeyspaceSpec, keyspaceNotFound, resolveKeyspace, type KeyspaceSpec, type SourceCluster } from '@atoll/core-membership';
import { FILL_SHARE_MAX, type CopyJob } from '@atoll/core-migration';
import { WHOLE_RANGE, overlaps, tokenRangeOf, type TokenRange } from '@atoll/core-placement';
import { DEFAULT_KEYSPACE, randomHex, toPartitionId } from '@atoll/core-runtime';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { toCopiedPartition, toCopyMigration } from '../copy/copy-messages.ts';
import { askSourceCluster, checkSourceRouters } from '../copy/source-cluster.ts';
import { sizeIn, type ClusterSurvey } from '../migration/cluster-survey.ts';
import { askedTokens } from './asked-tokens.ts';
import { checkBytesPerSecond } from './bytes-per-second.ts';
import { beginOnce, checkMigrationId, existingMigration } from './known-migrations.ts';

/** As many times a source may be reset, or recovered uncleanly, before a version of it could be one of its copy. */
const GENERATIONS = 2 ** 16;

/**
 * `StartMigration` with the method COPY. Throws INVALID_ARGUMENT that names the field, KEYSPACE_NOT_FOUND, KEYSPACE_EXISTS, CAPACITY_SHORT,
 * MIGRATION_CONFLICT, and as askSourceCluster.
 */
export async function startCopy(context: AdminContext, request: StartMigrationRequest): Promise<StartMigrationResponse> {
  const { view, term } = requireTerm(context);
  const { target, tokens } = checkCopyRequest(request);
  const known = await existingMigration(term, request.id);
  if (known !== undefined) return known;
  const { source, cluster, firstGeneration } = await findSource(context, request);
  const id = request.id || `copy-${randomHex(context.random, 8)}`;
  const spec = specOf(source, target, { id: randomHex(context.random, 8), job: id, bytesPerSecond: request.bytesPerSecond, tokens, cluster, firstGeneration });
  if (view.keyspace(spec.name) !== undefined || resolveKeyspace(view.keyspaces(), spec.name) !== undefined) {
    throw new AtollError('KEYSPACE_EXISTS', `target.name: there is a keyspace named ${spec.name} already`, { metadata: { field: 'target.name', keyspace: spec.name } });
  }
  // How much another cluster has is not known here.
  if (cluster === undefined) requireRoom(source, spec, await term.migrations.survey());
  const job: CopyJob = {
    id,
    state: 'RUNNING',
    source: source.name,
    sourceId: source.id,
    target: spec.name,
    targetId: spec.id,
    partitionCount: spec.partitionCount,
    ...(cluster !== undefined && { cluster }),
    ...(tokens !== undefined && { tokens }),
    bytesPerSecond: request.bytesPerSecond,
    traceparent: '',
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

interface FoundSource {
  readonly source: KeyspaceSpec;
  readonly cluster: SourceCluster | undefined;
  /** Of the copy. */
  readonly firstGeneration: number | undefined;
}

/** In this cluster, or as the routers of another one say. */
async function findSource(context: AdminContext, { keyspace, sourceRouters }: StartMigrationRequest): Promise<FoundSource> {
  const { view, term } = requireTerm(context);
  const name = keyspace || DEFAULT_KEYSPACE;
  const notWhole = (from: string) => invalidArgument('keyspace', `${name} is itself being copied, from ${from}, and not whole`);
  if (sourceRouters.length > 0) {
    const { source, cluster, copiedFrom } = await askSourceCluster(sourceRouters, name, view.clusterId);
    if (copiedFrom !== undefined) throw notWhole(copiedFrom);
    // It does not take the place of a keyspace there: versions need not be told apart.
    return { source, cluster, firstGeneration: undefined };
  }
  const source = view.keyspace(name);
  if (source === undefined || source.movedTo !== undefined || term.keyspaces.isDeleting(source.id)) throw keyspaceNotFound(name);
  if (source.copyOf !== undefined) throw notWhole(source.copyOf.keyspace);
  const generations = view.partitions(source.name).map(({ record }) => record.generation.counter);
  return { source, cluster: undefined, firstGeneration: Math.max(0, ...generations) + GENERATIONS };
}

interface CheckedCopy {
  readonly target: CopyTarget;
  /** Undefined: all keys. */
  readonly tokens: TokenRange | undefined;
}

function checkCopyRequest(request: StartMigrationRequest): CheckedCopy {
  const { id, target, partitions, allKeyspaces, from, to, bytesPerSecond, fullVerify, shards, sourceRouters } = request;
  checkMigrationId(id);
  checkSourceRouters(sourceRouters);
  checkBytesPerSecond(bytesPerSecond);
  const strangers = { partitions: partitions.length > 0, all_keyspaces: allKeyspaces, from: from !== '', to: to !== '', full_verify: fullVerify, shards: shards !== 0 };
  for (const [field, isThere] of Object.entries(strangers)) if (isThere) throw invalidArgument(field, 'does not belong to a COPY');
  if (target === undefined) throw invalidArgument('target', 'is missing: a COPY makes a keyspace');
  return { target, tokens: askedTokens(request) };
}

interface CopyAsk {
  readonly id: string;
  readonly job: string;
  readonly bytesPerSecond: number;
  readonly tokens: TokenRange | undefined;
  readonly cluster: SourceCluster | undefined;
  readonly firstGeneration: number | undefined;
}

/** As its source, but for what was asked for. */
function specOf(source: KeyspaceSpec, target: CopyTarget, { id, job, bytesPerSecond, tokens, cluster, firstGeneration }: CopyAsk): KeyspaceSpec {
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
      copyOf: {
        job,
        keyspace: source.name,
        keyspaceId: source.id,
        isPaused: false,
        ...(bytesPerSecond > 0 && { bytesPerSecond }),
        ...(tokens !== undefined && { tokens }),
        ...(cluster !== undefined && { cluster }),
        ...(firstGeneration !== undefined && { firstGeneration }),
      },
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
  // Of a range of tokens, all of the partitions that have some of it.
  const { tokens = WHOLE_RANGE } = target.copyOf ?? {};
  const copied = Array.from({ length: source.partitionCount }, (_, partition) => partition).filter((partition) => overlaps(tokens, tokenRangeOf(toPartitionId(partition), source.partitionCount)));
  const held = copied.reduce((total, partition) => total + sizeIn(survey, { keyspace: source.name, partition }).bytes, 0);
  const replicas = Math.min(target.replicationFactor, nodes.length);
  const freeBytes = nodes.reduce((sum, { usedBytes, limitBytes }) => sum + Math.max(0, Math.floor(limitBytes * FILL_SHARE_MAX) - usedBytes), 0);
  if (held * replicas <= freeBytes) return;
  throw new AtollError('CAPACITY_SHORT', `target: ${replicas} replicas of ${held} bytes do not fit into the ${freeBytes} bytes that ${nodes.length} nodes have free below ${FILL_SHARE_MAX * 100} %`, {
    metadata: { field: 'target' },
  });
}
