// What the configuration was before etcd went back (R13), put together from what processes remember. Each remembers the
// whole of it as its watches last showed it, and of the partitions that it holds what it wrote itself.
//
//   keyspaces, nodes' specs   as whoever saw the latest change remembers them; a keyspace of which a node holds data stays
//   partitions                highest (generation, epoch), then what the leader of that epoch holds for its record, then the
//                             highest modification revision; written in an epoch above every one that was heard of
//                             anywhere, so that no office of before and none of since is taken twice (R2)
//
// Leaders stay: the next decision, on records that are true again, sees to those that are gone.
import { randomHex, toEpoch, type Random } from '@atoll/core-runtime';
import type { HeldReplica } from '../decisions/cluster-state.ts';
import { nameOf, partitionName } from '../decisions/cluster-state.ts';
import type { KeyspaceSpec } from '../keyspace-spec.ts';
import type { NodeSpec } from '../node-record.ts';
import { assertRecord, hasReplica, membersOf, type Member, type PartitionRecord, type VersionedRecord } from '../partition-record.ts';
import type { MetadataMark } from './high-water-mark.ts';

/** What one process remembers. */
export interface Testimony {
  /** Node id, or who else; for people too. */
  readonly source: string;
  readonly mark: MetadataMark;
  readonly keyspaces: readonly KeyspaceSpec[];
  readonly nodeSpecs: readonly NodeSpec[];
  readonly records: readonly RememberedRecord[];
}

export interface RememberedRecord extends VersionedRecord {
  /** Its replica leads by this record: nobody has a newer one of this epoch. */
  readonly leads: boolean;
  /** The highest epoch heard of, by messages and in its log; 0: none. */
  readonly heardEpoch: number;
  /** What it holds of the partition. */
  readonly held: HeldReplica | undefined;
}

/** The configuration as etcd shows it. */
export interface StoredConfiguration {
  readonly keyspaces: ReadonlyMap<string, KeyspaceSpec>;
  readonly nodeSpecs: ReadonlyMap<string, NodeSpec>;
  readonly records: readonly VersionedRecord[];
}

export type KeyspaceOutcome = 'KEPT' | 'RESTORED' | 'REMOVED';

export interface RebuiltPartition {
  /** To be written. */
  readonly record: PartitionRecord;
  /** As etcd has it. */
  readonly before: PartitionRecord | undefined;
  readonly source: string;
  /** Why it may not be the newest, for people; empty: it is. */
  readonly risk: string;
}

export interface MetadataRecovery {
  /** To be written, whether etcd has them or not: what stands is to be newer than everything that was seen. */
  readonly keyspaces: readonly { readonly spec: KeyspaceSpec; readonly outcome: Exclude<KeyspaceOutcome, 'REMOVED'> }[];
  readonly removedKeyspaces: readonly KeyspaceSpec[];
  readonly nodeSpecs: readonly NodeSpec[];
  /** In order of keyspace, then partition. */
  readonly partitions: readonly RebuiltPartition[];
  /** Of keyspaces that are none any more. */
  readonly orphans: readonly PartitionRecord[];
  /** What may be lost, for people; empty: nothing. */
  readonly risks: readonly string[];
}

export interface RecoveryInput {
  readonly stored: StoredConfiguration;
  readonly testimonies: readonly Testimony[];
  /** Nodes that did not answer. */
  readonly unreachable: ReadonlySet<string>;
  readonly random: Random;
}

const FROM_ETCD = 'etcd';

export function planMetadataRecovery(input: RecoveryInput): MetadataRecovery {
  const { stored, testimonies } = input;
  const latest = testimonies.toSorted((a, b) => b.mark.changeRevision - a.mark.changeRevision || b.mark.revision - a.mark.revision)[0];
  const specs = rememberedKeyspaces(stored, testimonies, latest);
  const partitions = [...specs.values()].flatMap((spec) => rebuildPartitions(spec, input));
  const wanted = new Map((latest?.nodeSpecs ?? []).map((spec) => [spec.id as string, spec]));
  const nodeSpecs = [...new Map([...stored.nodeSpecs, ...wanted]).values()];
  const risks = partitions.filter(({ risk }) => risk !== '').map(({ record, risk }) => `${nameOf(record)}: ${risk}`);
  risks.push(...forgotten(specs.values(), partitions));
  if (latest === undefined) risks.unshift('nobody remembers anything: etcd is taken as it is, and what was changed after the backup is lost');
  return {
    keyspaces: [...specs.values()].map((spec) => ({ spec, outcome: stored.keyspaces.get(spec.name)?.id === spec.id ? 'KEPT' : 'RESTORED' })),
    removedKeyspaces: [...stored.keyspaces.values()].filter(({ name }) => !specs.has(name)),
    nodeSpecs,
    partitions,
    orphans: stored.records.filter(({ record }) => specs.get(record.keyspace) === undefined).map(({ record }) => record),
    risks,
  };
}

/** Those that the latest knows, and those of which some node holds data. */
function rememberedKeyspaces(stored: StoredConfiguration, testimonies: readonly Testimony[], latest: Testimony | undefined): ReadonlyMap<string, KeyspaceSpec> {
  const specs = new Map(latest === undefined ? stored.keyspaces : latest.keyspaces.map((spec) => [spec.name, spec]));
  for (const { keyspaces, records } of testimonies) {
    const holding = new Set(records.filter(({ held }) => held !== undefined && !held.empty).map(({ record }) => record.keyspaceId));
    for (const spec of keyspaces) if (!specs.has(spec.name) && holding.has(spec.id)) specs.set(spec.name, spec);
  }
  return new Map([...specs].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

interface Candidate extends RememberedRecord {
  readonly source: string;
}

function rebuildPartitions(spec: KeyspaceSpec, input: RecoveryInput): RebuiltPartition[] {
  const { stored, testimonies } = input;
  const candidates = new Map<number, Candidate[]>();
  const take = (candidate: Candidate): void => {
    if (candidate.record.keyspace !== spec.name || candidate.record.keyspaceId !== spec.id) return;
    const list = candidates.get(candidate.record.partition);
    if (list === undefined) candidates.set(candidate.record.partition, [candidate]);
    else list.push(candidate);
  };
  for (const versioned of stored.records) take({ ...versioned, leads: false, heardEpoch: 0, held: undefined, source: FROM_ETCD });
  for (const { source, records } of testimonies) for (const remembered of records) take({ ...remembered, source });
  return [...candidates].toSorted(([a], [b]) => a - b).map(([, list]) => rebuild(list, input));
}

/** Newest first. A leader's own record before what others were told of it. */
function compareNewest(a: Candidate, b: Candidate): number {
  return (
    b.record.generation.counter - a.record.generation.counter ||
    b.record.epoch - a.record.epoch ||
    Number(b.leads) - Number(a.leads) ||
    b.modRevision - a.modRevision ||
    Number(a.source === FROM_ETCD) - Number(b.source === FROM_ETCD)
  );
}

function rebuild(candidates: readonly Candidate[], { unreachable, random }: RecoveryInput): RebuiltPartition {
  const [newest] = candidates.toSorted(compareNewest);
  const { record, source, leads } = newest!;
  const heard = Math.max(...candidates.map((candidate) => Math.max(candidate.record.epoch, candidate.heardEpoch)));
  const beyond = leads ? [] : candidates.filter(({ held }) => held?.generation?.id === record.generation.id && (held.end?.epoch ?? 0) > record.epoch);
  const members = beyond.length === 0 ? record : lastToWrite(record, candidates);
  const next: PartitionRecord = { ...members, epoch: toEpoch(heard + 1), relinquished: false, changeId: randomHex(random, 8) };
  assertRecord(next);
  const before = candidates.find((candidate) => candidate.source === FROM_ETCD)?.record;
  return { record: next, before, source, risk: riskOf(newest!, beyond, unreachable) };
}

function riskOf({ record, leads, source }: Candidate, beyond: readonly Candidate[], unreachable: ReadonlySet<string>): string {
  if (beyond.length > 0) {
    const { held } = beyond[0]!;
    return `${beyond.map((one) => one.source).join(', ')} wrote in epoch ${held?.end?.epoch}, of which nobody remembers the record: writes of it that ${beyond.length === 1 ? 'it does' : 'they do'} not hold are lost`;
  }
  // The leader of the epoch answered: whatever changed in it, it has changed itself.
  if (leads) return '';
  const silent = [...new Set([...(record.leader === undefined ? [] : [record.leader]), ...record.inSync, ...record.eligible].map(({ node }) => node as string))].filter((node) => unreachable.has(node));
  if (silent.length === 0) return '';
  return `${silent.join(', ')} did not answer: what changed after the record that ${source} remembers, and writes acknowledged since then, may be lost`;
}

/** Of an epoch whose record is lost: whoever has the end of its log has every write that was committed in it. */
function lastToWrite(record: PartitionRecord, candidates: readonly Candidate[]): PartitionRecord {
  const ends = candidates.flatMap(({ held }): { replica: string; epoch: number; seq: number }[] =>
    held?.installed !== false && held?.end !== undefined && held.generation?.id === record.generation.id ? [{ replica: held.replica, ...held.end }] : [],
  );
  const last = ends.toSorted((a, b) => b.epoch - a.epoch || b.seq - a.seq)[0];
  const holds = ({ replica }: Member): boolean => ends.some((end) => end.replica === replica && end.epoch === last?.epoch && end.seq === last.seq);
  const inSync = membersOf(record).filter(holds);
  const isLed = record.leader !== undefined && hasReplica(inSync, record.leader.replica);
  return {
    ...record,
    inSync,
    learners: membersOf(record).filter((member) => !hasReplica(inSync, member.replica) && !hasReplica(record.leaving, member.replica)),
    eligible: [],
    ...(isLed ? {} : { state: 'WAITING', leader: undefined, leaderIncarnation: '' }),
  };
}

/** Partitions of which nobody remembers a record, by keyspace. */
function forgotten(specs: Iterable<KeyspaceSpec>, partitions: readonly RebuiltPartition[]): readonly string[] {
  const known = new Set(partitions.map(({ record }) => nameOf(record)));
  return [...specs].flatMap(({ name, partitionCount }) => {
    const missing = Array.from({ length: partitionCount }, (_, partition) => partition).filter((partition) => !known.has(partitionName(name, partition)));
    return missing.length === 0 ? [] : [`${name}: nobody remembers a record of ${missing.length} of ${partitionCount} partitions; these begin empty`];
  });
}
