export { ManualClock } from './clock.ts';
export type { Clock } from './clock.ts';
export { checksum32, compareHash, hash64, hashOfHalves, keyHash, tokenHash } from './hash.ts';
export type { Hash64 } from './hash.ts';
export { isNodeId, isReplicaId, toEpoch, toNodeId, toPartitionId, toReplicaId, toSeq } from './ids.ts';
export type { Epoch, NodeId, PartitionId, ReplicaId, Seq } from './ids.ts';
export {
  DEFAULT_KEYSPACE,
  KEYSPACE_NAME_MAX,
  KEY_BYTES_MAX,
  KEY_BYTES_MIN,
  PARTITION_COUNT_MAX,
  REPLICATION_FACTOR_MAX,
  TTL_MS_MAX,
  VALUE_BYTES_MAX,
  WIRE_PART_BYTES_MAX,
} from './limits.ts';
export { NumberMap } from './number-map.ts';
export { SeededRandom, randomBelow, randomHex } from './random.ts';
export type { Random } from './random.ts';
export { GIB, KIB, MIB, MINUTE_MS, SECOND_MS } from './units.ts';
