import type { CopyTarget, StartMigrationRequest, StartMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { checkKeyspaceName, createKeyspaceSpec, keyspaceNotFound, poolOf, resolveKeyspace, type KeyspaceSpec, type SourceCluster } from '@atoll/core-membership';
import { lackOfRoom, type CopyJob } from '@atoll/core-migration';
import { WHOLE_RANGE, overlaps, tokenRangeOf, type TokenRange } from '@atoll/core-placement';
import { DEFAULT_KEYSPACE, randomHex, toPartitionId } from '@atoll/core-runtime';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { toCopiedPartition, toCopyMigration } from '../copy/copy-messages.ts';
import { askSourceCluster, checkSourceRouters } from '../copy/source-cluster.ts';
import { sizeIn, type ClusterSurvey } from '../migration/cluster-survey.ts';
import { askedTokens } from './asked-tokens.ts';
import { checkBytesPerSecond } from './bytes-per-second.ts';
import { requirePool } from './create-keyspace.ts';
import { beginOnce, checkMigrationId, existingMigration } from './known-migrations.ts';

/** As many times a source may be reset, or recovered uncleanly, before a version of it could be one of its copy. */
const GENERATIONS = 2 ** 16;

/** What a copy is made for. */
export interface CopyRole {
  readonly isStandby: boolean;
  /** A keyspace of the target's name becomes the copy. */
  readonly resyncs: boolean;
}

/**
 * `StartMigration` with the method COPY. Throws INVALID_ARGUMENT that names the field, KEYSPACE_NOT_FOUND, KEYSPACE_EXISTS, CAPACITY_SHORT,
 * MIGRATION_CONFLICT, and as askSourceCluster.
 */
export async function startCopy(context: AdminContext, request: StartMigrationRequest, as: CopyRole = { isStandby: false, resyncs: false }): Promise<StartMigrationResponse> {
  const { view, term } = requireTerm(context);
  const { target, tokens } = checkCopyRequest(request);
  const known = await existingMigration(term, request.id);
  if (known !== undefined) return known;
  const { source, cluster, firstGeneration, sizes, generations } = await findSource(context, request);
  if (as.isStandby && cluster?.archive !== undefined) throw invalidArgument('source_routers', 'belong to a backup service that serves an archive, which nobody writes to');
  const id = request.id || `copy-${randomHex(context.random, 8)}`;
  const made = specOf(source, target, { id: randomHex(context.random, 8), job: id, bytesPerSecond: request.bytesPerSecond, tokens, cluster, firstGeneration });
  const present = view.keyspace(made.name);
  const isResync = as.resyncs && present !== undefined;
  if (isResync) requireResync(context, present, source, generations);
  else requirePool(view, made, 'target.pool');
  const spec = isResync ? { ...present, copyOf: made.copyOf } : made;
  if (!isResync && (present !== undefined || resolveKeyspace(view.keyspaces(), spec.name) !== undefined)) {
    throw new AtollError('KEYSPACE_EXISTS', `target.name: there is a keyspace named ${spec.name} already`, { metadata: { field: 'target.name', keyspace: spec.name } });
  }
  const takesPlaceOf = retiring(context, target.takesPlaceOf, cluster);
  const survey = await term.migrations.survey();
  if (!isResync) requireRoom(source, spec, { survey, isOfPool: (node) => poolOf(view.nodeSpecs().get(node) ?? {}) === poolOf(spec), bytesOf: sizes === undefined ? (partition) => sizeIn(survey, { keyspace: source.name, partition }).bytes : (partition) => sizes.get(partition) });
  const job: CopyJob = {
    id,
    state: 'RUNNING',
    source: source.name,
    sourceId: source.id,
    target: spec.name,
    targetId: spec.id,
    partitionCount: spec.partitionCount,
    ...(cluster !== undefined && { cluster }),
    ...(takesPlaceOf !== undefined && { takesPlaceOf }),
    ...(tokens !== undefined && { tokens }),
    bytesPerSecond: request.bytesPerSecond,
    traceparent: '',
    ...(as.isStandby && { isStandby: true }),
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
  /** By partition of a source in another cluster, what it takes there, in bytes; those that are missing did not say. */
  readonly sizes: ReadonlyMap<number, number> | undefined;
  /** Counters of those of its partitions, as far as they are known. */
  readonly generations: readonly number[];
}

/** In this cluster, or as the routers of another one say. */
async function findSource(context: AdminContext, { keyspace, sourceRouters }: StartMigrationRequest): Promise<FoundSource> {
  const { view, term } = requireTerm(context);
  const name = keyspace || DEFAULT_KEYSPACE;
  const notWhole = (from: string) => invalidArgument('keyspace', `${name} is itself being copied, from ${from}, and not whole`);
  if (sourceRouters.length > 0) {
    const { source, cluster, partitions, copiedFrom, movedTo } = await askSourceCluster(sourceRouters, name, view.clusterId);
    if (copiedFrom !== undefined) throw notWhole(copiedFrom);
    if (movedTo !== undefined) throw new AtollError('KEYSPACE_MOVED', `keyspace: cluster ${movedTo} has ${name}, and cluster ${cluster.id} takes no writes to it any more`, { metadata: { field: 'keyspace', keyspace: name, moved_to_cluster: movedTo } });
    // Clients of the source may come with versions that they had there (R3).
    const generations = partitions.map(({ generation }) => generation);
    const firstGeneration = Math.max(0, ...generations) + GENERATIONS;
    return { source, cluster, firstGeneration, generations, sizes: new Map(partitions.map(({ partition, bytes }) => [partition, bytes])) };
  }
  const source = view.keyspace(name);
  if (source === undefined || source.movedTo !== undefined || term.keyspaces.isDeleting(source.id)) throw keyspaceNotFound(name);
  if (source.copyOf !== undefined) throw notWhole(source.copyOf.keyspace);
  const generations = view.partitions(source.name).map(({ record }) => record.generation.counter);
  return { source, cluster: undefined, firstGeneration: Math.max(0, ...generations) + GENERATIONS, sizes: undefined, generations };
}

/**
 * Whether a keyspace may become a copy with what it has. It begins no new generation for that, so its versions must be none of
 * the source's: they are not where one began as a copy of the other (R3).
 */
function requireResync(context: AdminContext, present: KeyspaceSpec, source: KeyspaceSpec, generations: readonly number[]): void {
  const { view, term } = requireTerm(context);
  const { name } = present;
  const metadata = { field: 'target.name', keyspace: name };
  const isFormer = present.movedTo === source.name;
  if ((present.movedTo !== undefined && !isFormer) || term.keyspaces.isDeleting(present.id)) throw keyspaceNotFound(name);
  if (present.copyOf !== undefined) throw new AtollError('KEYSPACE_COPYING', `target.name: ${name} is being copied already`, { metadata });
  if (present.freeze !== undefined && present.freeze.movedTo === undefined && !isFormer) throw new AtollError('KEYSPACE_FROZEN', `target.name: ${name} is frozen by an operator; it is unfrozen before it follows another one`, { metadata });
  const copy = term.copies.copyWith(present)?.id ?? term.copies.cutOverOf(present);
  if (copy !== undefined) throw new AtollError('MIGRATION_CONFLICT', `target.name: ${name} is part of ${copy}`, { metadata });
  const band = (generation: number): number => Math.floor(generation / GENERATIONS);
  const theirs = new Set(generations.map(band));
  if (theirs.size === 0) throw new AtollError('SOURCE_UNREACHABLE', `keyspace: no partition of it answers`, { metadata: { field: 'keyspace' } });
  if (view.partitions(name).some(({ record }) => theirs.has(band(record.generation.counter)))) {
    throw new AtollError('KEYSPACE_EXISTS', `target.name: ${name} here is not related to the one that it is to follow, and their versions could be mistaken for each other: delete it here first`, { metadata });
  }
}

/** The keyspace whose place the copy is to take; undefined where none is named. */
function retiring(context: AdminContext, name: string | undefined, cluster: SourceCluster | undefined): { readonly name: string; readonly id: string } | undefined {
  const { view, term } = requireTerm(context);
  const field = 'target.takes_place_of';
  if (name === undefined) return undefined;
  if (cluster?.archive === undefined) throw invalidArgument(field, 'belongs to a restore of an archive: a copy of a keyspace takes the place of its source');
  const present = resolveKeyspace(view.keyspaces(), name);
  if (present === undefined || term.keyspaces.isDeleting(present.id)) throw keyspaceNotFound(name);
  const job = term.copies.copyWith(present);
  if (job !== undefined) throw new AtollError('MIGRATION_CONFLICT', `${field}: ${name} is part of migration ${job.id}`, { metadata: { field, migration: job.id } });
  return { name: present.name, id: present.id };
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
      pool: target.pool || (cluster === undefined ? source.pool : undefined),
      cutOver: undefined,
      aliases: undefined,
      freeze: undefined,
      standby: undefined,
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

interface RoomAsk {
  readonly survey: ClusterSurvey;
  /** Whether it may hold some of it. */
  readonly isOfPool: (node: string) => boolean;
  /** Of a partition of the source; undefined where nobody said. */
  readonly bytesOf: (partition: number) => number | undefined;
}

/**
 * Throws CAPACITY_SHORT with the numbers when the nodes together lack memory for it. A node without a limit has room for all.
 * Partitions of which nobody said what they take count as much as the others on average.
 */
function requireRoom(source: KeyspaceSpec, target: KeyspaceSpec, { survey, isOfPool, bytesOf }: RoomAsk): void {
  // Of a range of tokens, all of the partitions that have some of it.
  const { tokens = WHOLE_RANGE } = target.copyOf ?? {};
  const copied = Array.from({ length: source.partitionCount }, (_, partition) => partition).filter((partition) => overlaps(tokens, tokenRangeOf(toPartitionId(partition), source.partitionCount)));
  const known = copied.flatMap((partition) => bytesOf(partition) ?? []);
  const knownBytes = known.reduce((total, bytes) => total + bytes, 0);
  const held = known.length === 0 ? 0 : Math.ceil((knownBytes * copied.length) / known.length);
  const lack = lackOfRoom({ bytes: held, replicationFactor: target.replicationFactor, memory: new Map([...survey.memory].filter(([id]) => isOfPool(id))) });
  if (lack === undefined) return;
  throw new AtollError('CAPACITY_SHORT', `target: ${lack.text}`, { metadata: { field: 'target', needed_bytes: String(lack.neededBytes), free_bytes: String(lack.freeBytes) } });
}
