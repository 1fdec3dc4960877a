import { AtollError, invalidArgument } from '@atoll/core-errors';
import type { TokenRange } from '@atoll/core-placement';
import {
  KEYSPACE_NAME_MAX,
  PARTITION_COUNT_MAX,
  REPLICATION_FACTOR_MAX,
  TTL_MS_MAX,
  VALUE_BYTES_MAX,
} from '@atoll/core-runtime';
import { checkPoolName, poolOf, withPool } from './pool.ts';

export type Durability = 'NONE' | 'ASYNC' | 'SYNC';
export type AckLevel = 'IN_SYNC' | 'LEADER';
export type Eviction = 'LRU' | 'NONE';
export type OnDataLoss = 'WAIT' | 'RESET';

/** Another cluster that has the source of a copy. */
export interface SourceCluster {
  /** What stands behind an address may be another cluster one day: it is not copied from. */
  readonly id: string;
  /** host:port of its routers, 1 to SOURCE_ROUTERS_MAX; any of them will do. */
  readonly routers: readonly string[];
  /** Partitions of the source there. */
  readonly partitionCount: number;
  /** The source is an archive, in these words, and `routers` are backup services. */
  readonly archive?: string | undefined;
}

/** Routers that are named of another cluster at most. */
export const SOURCE_ROUTERS_MAX = 16;

/** A copy that is under way (R37). */
export interface CopyOf {
  /** The migration that makes it. */
  readonly job: string;
  /** Its source, and the id that this had when the copy began: one that was made again is not followed. */
  readonly keyspace: string;
  readonly keyspaceId: string;
  /** Nothing is taken from the source for the time being. */
  readonly isPaused: boolean;
  /** Bound on what is copied by sub-ranges, over all nodes; undefined or 0: those of the nodes. */
  readonly bytesPerSecond?: number | undefined;
  /** Only keys whose tokens lie in it are copied; undefined: all. */
  readonly tokens?: TokenRange | undefined;
  /** The trace of the job, for those who do the work; undefined or empty where it is not traced. */
  readonly traceparent?: string | undefined;
  /** Undefined: the source is in this cluster. */
  readonly cluster?: SourceCluster | undefined;
  /**
   * Counter of the generation with which its partitions begin, 1 where it is left out: above any of the source, so that a
   * version of the one is never one of the other (R3).
   */
  readonly firstGeneration?: number | undefined;
  /**
   * Of a keyspace that becomes a copy with what it has: a revision of etcd, above any at which it was a copy before. Its
   * partitions' logs name it, so that what is left of an earlier copy is told from this one. Undefined: it began empty.
   */
  readonly run?: number | undefined;
}

/** That a keyspace was a copy and has taken the place of its source (R37). */
export interface CutOver {
  /** The migration. */
  readonly job: string;
  /** What the records of the source say that are frozen for it. */
  readonly id: string;
  /** Fencing tokens below it may have been outdated at the source: they are refused. A revision of etcd. */
  readonly fencesBelow: number;
  /** The source's time when it was last read, in ms since the epoch: what had expired there stays expired (I7, R23). */
  readonly timeMs: number;
  /** The source, where that is in another cluster: it may become a copy of this keyspace one day. */
  readonly from?: { readonly cluster: string; readonly keyspaceId: string } | undefined;
}

/** Where a keyspace went, by a cut-over of its copy in another cluster (R37). */
export interface MovedTo {
  /** Id of the cluster. */
  readonly cluster: string;
  /** Its name there. */
  readonly keyspace: string;
  /** The hold that ended with it: the other cluster asks by that whether it has the keyspace. */
  readonly hold: string;
  /** The latest time of its partitions, in ms since the epoch: what has expired by it stays expired (I7, R23). */
  readonly timeMs: number;
}

/** Why a keyspace takes no writes until an operator has them taken again. It is read all the while. */
export interface KeyspaceFreeze {
  /** What the records of its partitions say, all of them soon: as `isLastingFreeze` knows it. */
  readonly id: string;
  /** Wall clock in ms: for people. */
  readonly sinceMs: number;
  /** What the operator said, for people; empty for nothing. */
  readonly note: string;
  /** Undefined: an operator froze it. */
  readonly movedTo?: MovedTo | undefined;
  /** Name of the keyspace of this cluster that takes its place without it, or has taken it: who reads that stops (R15). */
  readonly forStandby?: string | undefined;
}

/** Characters of a note on a freeze, at most. */
export const FREEZE_NOTE_MAX = 200;

/** One policy for a named set of entries. Everything is filled in: defaults are applied once, at creation. */
export interface KeyspaceSpec {
  readonly name: string;
  /** Random, another one each time the name is created again: data of an older keyspace is never mistaken for it. */
  readonly id: string;
  /** Power of two, 1 to 4096; fixed. */
  readonly partitionCount: number;
  /** 1 to 7. */
  readonly replicationFactor: number;
  /** Whose nodes hold it, and no others; undefined: MAIN_POOL. Fixed. */
  readonly pool?: string | undefined;
  /** 1 to replicationFactor; below it nothing commits (R9). */
  readonly minInSync: number;
  readonly ack: AckLevel;
  /** Fixed. */
  readonly durability: Durability;
  /** 0 means that entries do not expire unless they say so. */
  readonly defaultTtlMs: number;
  /** Share of each node's memory, above 0 and at most 1. */
  readonly memoryShare: number;
  readonly eviction: Eviction;
  readonly onDataLoss: OnDataLoss;
  /** 1 to VALUE_BYTES_MAX. */
  readonly valueBytesMax: number;
  /** Present while the keyspace is filled from another one: until then nobody else writes to it. */
  readonly copyOf?: CopyOf | undefined;
  readonly cutOver?: CutOver | undefined;
  /** Further names by which clients know it: those of keyspaces whose place it has taken. They go before names of keyspaces. */
  readonly aliases?: readonly string[] | undefined;
  /** Name of the keyspace that has taken the place of this one, which is served no more and is to be deleted. */
  readonly movedTo?: string | undefined;
  /** Present while it takes no writes. */
  readonly freeze?: KeyspaceFreeze | undefined;
  /**
   * Name of a keyspace of this cluster, on another pool, that stands by: it may take the place of this one when nobody of this one
   * can be asked. The records of its partitions say so, too (`hasStandby`), to those who lead them.
   */
  readonly standby?: string | undefined;
}

/** What a caller says of a keyspace: anything but the name may be left out. */
export type KeyspaceRequest = { readonly name: string; readonly id: string } & {
  readonly [Field in Exclude<keyof KeyspaceSpec, 'name' | 'id'>]?: KeyspaceSpec[Field] | undefined;
};

/** Fields of a keyspace that may change while it is served. */
export const UPDATABLE_FIELDS = [
  'minInSync',
  'ack',
  'defaultTtlMs',
  'memoryShare',
  'eviction',
  'onDataLoss',
  'valueBytesMax',
] as const satisfies readonly (keyof KeyspaceSpec)[];

export type UpdatableField = (typeof UPDATABLE_FIELDS)[number];

const NAME = /^[a-z][a-z0-9_-]*$/;

const isPowerOfTwo = (value: number): boolean => Number.isInteger(value) && value > 0 && (value & (value - 1)) === 0;

/** Fills in the defaults and checks every field. Throws INVALID_ARGUMENT that names the field. */
export function createKeyspaceSpec(request: KeyspaceRequest): KeyspaceSpec {
  const replicationFactor = request.replicationFactor ?? 2;
  return checkKeyspaceSpec({
    name: request.name,
    id: request.id,
    partitionCount: request.partitionCount ?? 64,
    replicationFactor,
    minInSync: request.minInSync ?? (replicationFactor <= 2 ? 1 : 2),
    ack: request.ack ?? 'IN_SYNC',
    durability: request.durability ?? 'NONE',
    defaultTtlMs: request.defaultTtlMs ?? 0,
    memoryShare: request.memoryShare ?? 1,
    eviction: request.eviction ?? 'LRU',
    onDataLoss: request.onDataLoss ?? 'WAIT',
    valueBytesMax: request.valueBytesMax ?? VALUE_BYTES_MAX,
    ...withPool(poolOf(request)),
    ...(request.copyOf !== undefined && { copyOf: request.copyOf }),
    ...(request.cutOver !== undefined && { cutOver: request.cutOver }),
    ...(request.aliases !== undefined && { aliases: request.aliases }),
    ...(request.movedTo !== undefined && { movedTo: request.movedTo }),
    ...(request.freeze !== undefined && { freeze: request.freeze }),
    ...(request.standby !== undefined && { standby: request.standby }),
  });
}

/** The spec with `changes` made to it. Throws INVALID_ARGUMENT that names the field. */
export function updateKeyspaceSpec(spec: KeyspaceSpec, changes: Partial<Pick<KeyspaceSpec, UpdatableField>>): KeyspaceSpec {
  return checkKeyspaceSpec({ ...spec, ...changes });
}

export function checkKeyspaceName(name: string): void {
  if (name.length === 0 || name.length > KEYSPACE_NAME_MAX || !NAME.test(name)) {
    throw invalidArgument(
      'keyspace.name',
      `must be 1 to ${KEYSPACE_NAME_MAX} characters of [a-z0-9_-] that begin with a letter, not ${JSON.stringify(name.slice(0, 80))}`,
    );
  }
}

function checkKeyspaceSpec(spec: KeyspaceSpec): KeyspaceSpec {
  checkKeyspaceName(spec.name);
  if (!isPowerOfTwo(spec.partitionCount) || spec.partitionCount > PARTITION_COUNT_MAX) {
    throw invalidArgument('keyspace.partition_count', `must be a power of two from 1 to ${PARTITION_COUNT_MAX}, not ${spec.partitionCount}`);
  }
  if (spec.pool !== undefined) checkPoolName('keyspace.pool', spec.pool);
  checkInteger('keyspace.replication_factor', spec.replicationFactor, 1, REPLICATION_FACTOR_MAX);
  checkInteger('keyspace.min_in_sync', spec.minInSync, 1, spec.replicationFactor);
  checkInteger('keyspace.default_ttl_ms', spec.defaultTtlMs, 0, TTL_MS_MAX);
  checkInteger('keyspace.value_bytes_max', spec.valueBytesMax, 1, VALUE_BYTES_MAX);
  if (!(spec.memoryShare > 0 && spec.memoryShare <= 1)) {
    throw invalidArgument('keyspace.memory_share', `must be above 0 and at most 1, not ${spec.memoryShare}`);
  }
  return spec;
}

function checkInteger(field: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw invalidArgument(field, `must be a whole number from ${min} to ${max}, not ${value}`);
  }
}

/**
 * The keyspace that a client means by `name`: the one that has it as an alias, else the one that is called so. Undefined when
 * there is none, or only one that is served no more.
 */
export function resolveKeyspace(keyspaces: ReadonlyMap<string, KeyspaceSpec>, name: string): KeyspaceSpec | undefined {
  for (const spec of keyspaces.values()) if (spec.movedTo === undefined && spec.aliases?.includes(name) === true) return spec;
  const spec = keyspaces.get(name);
  return spec?.movedTo === undefined ? spec : undefined;
}

export function keyspaceNotFound(name: string): AtollError {
  return new AtollError('KEYSPACE_NOT_FOUND', `keyspace: there is none named ${JSON.stringify(name)}`, {
    metadata: { field: 'keyspace', keyspace: name },
  });
}
