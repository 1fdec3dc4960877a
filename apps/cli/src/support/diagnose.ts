// What is wrong with a cluster, from what a survey saw, and what to do about it.
import { Durability, NodeState, type Keyspace, type Node } from '@atoll/contracts/atoll/v1/admin';
import { MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { bytesText, durationText, timeText } from '../output/quantities.ts';
import { isExpected, type ServiceReading } from './services.ts';
import type { Survey } from './survey.ts';

export const CHECKS = ['coordinator', 'etcd', 'reachable', 'ready', 'versions', 'clocks', 'nodes', 'redundancy', 'memory', 'disk', 'settings', 'jobs', 'backup'] as const;
export type Check = (typeof CHECKS)[number];

export interface Finding {
  /** problem: something does not work or data is in danger. warning: it works, and should be changed. */
  readonly level: 'problem' | 'warning';
  readonly check: Check;
  readonly message: string;
  /** What to do. */
  readonly advice: string;
}

/** A wall clock further away than this is wrong: TTLs are in seconds. */
const CLOCK_SKEW_MS_MAX = 1000;
const MEMORY_USED_MAX = 0.9;
const DISK_FREE_MIN = 0.1;
const BACKUP_FREE_BYTES_MIN = 1024 ** 3;
const LOOP_LAG_MS_MAX = 100;
const NAMED_MAX = 5;

/** Findings in the order of CHECKS, problems before warnings. Pure. */
export function diagnose(survey: Survey): Finding[] {
  const findings: Finding[] = [];
  const of = (check: Check) => ({
    problem: (message: string, advice: string): void => void findings.push({ level: 'problem', check, message, advice }),
    warning: (message: string, advice: string): void => void findings.push({ level: 'warning', check, message, advice }),
  });
  checkCoordinator(survey, of('coordinator'));
  checkEtcd(survey, of('etcd'));
  checkReachable(survey, of('reachable'));
  checkReady(survey, of('ready'));
  checkVersions(survey, of('versions'));
  checkClocks(survey, of('clocks'));
  checkNodes(survey, of('nodes'));
  checkRedundancy(survey, of('redundancy'));
  checkMemory(survey, of('memory'));
  checkDisk(survey, of('disk'));
  checkSettings(survey, of('settings'));
  checkJobs(survey, of('jobs'));
  checkBackup(survey, of('backup'));
  return CHECKS.flatMap((check) => ['problem', 'warning'].flatMap((level) => findings.filter((finding) => finding.check === check && finding.level === level)));
}

interface Note {
  problem(message: string, advice: string): void;
  warning(message: string, advice: string): void;
}

const nameOf = ({ target }: ServiceReading): string => (target.name === target.address ? `${target.role} ${target.address}` : `${target.name} (${target.address})`);
const answering = ({ services }: Survey): ServiceReading[] => services.filter(({ problem }) => problem === undefined);
const named = (names: readonly string[]): string => `${names.slice(0, NAMED_MAX).join(', ')}${names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : ''}`;
/** Stopped on purpose, and nobody has said that it is not to come back. */
const isStopped = ({ state, wanted }: Node): boolean => state === NodeState.NODE_STATE_LEFT && wanted === 'UP';

/** Whether the next process may be restarted: nothing is wrong, everybody is ready, and no node is missing. */
export function isSettled(survey: Survey, findings: readonly Finding[]): boolean {
  return findings.every(({ level }) => level !== 'problem') && survey.services.every(({ ready }) => ready) && !(survey.nodes.value ?? []).some(isStopped);
}

function checkCoordinator({ cluster, services }: Survey, note: Note): void {
  if (cluster.problem !== undefined) {
    note.problem(`no coordinator answers for the cluster: ${cluster.problem}`, 'start a coordinator, or name one with --coordinator; without one nothing fails over');
    return;
  }
  for (const reason of cluster.value.metadataRegressed) note.problem(`etcd went back: ${reason}`, 'atoll cluster recover-metadata; restart no storage node before that');
  if (cluster.value.coordinator === '') note.problem('no coordinator is elected', 'look at the log of the coordinators: they cannot write to etcd');
  if (services.filter(({ target }) => target.role === 'coordinator').length < 2) note.warning('one coordinator is known', 'run two: while the only one is away nothing fails over; several are named with commas in ATOLL_COORDINATOR');
}

function checkEtcd(survey: Survey, note: Note): void {
  const { etcd } = survey;
  for (const { endpoint, problem } of etcd) if (problem !== undefined) note.problem(`${endpoint}: ${problem}`, 'bring this server of etcd back: its log, its disk, its network');
  if (etcd.length === 0) note.warning('no etcd server is known', 'name them with --etcd host:port,...');
  const disconnected = answering(survey).filter(({ metrics }) => metrics.value('atoll_etcd_connected') === 0);
  if (disconnected.length > 0) note.problem(`etcd tells ${named(disconnected.map(nameOf))} nothing`, 'they serve on by what they saw last; check ATOLL_ETCD and the network between');
  if (etcd.length > 0 && etcd.length % 2 === 0) note.warning(`etcd has ${etcd.length} servers`, 'an odd number bears as many failures with one server less');
}

function checkReachable({ services }: Survey, note: Note): void {
  for (const reading of services) {
    if (reading.problem !== undefined) note.problem(`${nameOf(reading)} does not answer at ${reading.target.httpAddress ?? 'HTTP'}: ${reading.problem}`, 'ECONNREFUSED: start it, its log tells why it ended; a timeout: it hangs or is cut off');
  }
}

function checkReady(survey: Survey, note: Note): void {
  for (const reading of answering(survey)) {
    if (!reading.ready) note.warning(`${nameOf(reading)} is not ready: ${reading.reasons.join('; ')}`, 'wait until it is before another process is restarted');
    const lagMs = (reading.metrics.value('nodejs_eventloop_lag_seconds', { quantile: '0.99' }) ?? 0) * 1000;
    if (lagMs > LOOP_LAG_MS_MAX) note.warning(`the event loop of ${nameOf(reading)} is ${Math.round(lagMs)} ms late (p99)`, 'it has too much work, or too little CPU: limits of the container, neighbours, swap');
  }
}

function checkVersions(survey: Survey, note: Note): void {
  const versions = Map.groupBy(answering(survey), ({ metrics }) => metrics.samples('atoll_build_info')[0]?.labels['version'] ?? 'unknown');
  if (versions.size < 2) return;
  const list = Array.from(versions, ([version, readings]) => `${version}: ${named(readings.map(nameOf))}`);
  note.warning(`several versions run: ${list.join('; ')}`, 'go on with the upgrade, one process after the other, or go back');
}

function checkClocks(survey: Survey, note: Note): void {
  const told = answering(survey).flatMap((reading) => (reading.clock === undefined ? [] : [{ reading, ...reading.clock }]));
  const off = told.filter(({ offsetMs, errorMs }) => Math.abs(offsetMs) - errorMs > CLOCK_SKEW_MS_MAX);
  if (off.length > 1 && off.length === told.length) {
    note.warning(`the clocks of all ${off.length} services are ${durationText(Math.abs(off[0]!.offsetMs))} ${off[0]!.offsetMs > 0 ? 'ahead' : 'behind'}`, 'it is the clock of this machine that is wrong');
    return;
  }
  for (const { reading, offsetMs } of off) note.problem(`the clock of ${nameOf(reading)} is ${(Math.abs(offsetMs) / 1000).toFixed(1)} s ${offsetMs > 0 ? 'ahead' : 'behind'}`, 'start its time service, and let it slew: a step drops leases (R17); entries expire by the clock of their leader');
}

function checkNodes({ nodes }: Survey, note: Note): void {
  for (const node of nodes.value ?? []) {
    if (isStopped(node)) note.warning(`${node.id} was stopped ${durationText(node.stateMs)} ago`, `start it again; if it is not to come back: atoll node drain ${node.id}, then atoll node remove ${node.id}`);
    if (!isExpected(node)) continue;
    if (node.state === NodeState.NODE_STATE_DOWN) note.problem(`${node.id} is DOWN for ${durationText(node.stateMs)}: ${node.reason}`, `start it again; or atoll nodes replace ${node.id} NEW; or, when its data is gone for good, atoll node remove ${node.id} --data-is-lost`);
    else if (node.state === NodeState.NODE_STATE_SUSPECT) note.warning(`${node.id} is suspected: ${node.reason}`, 'look at its machine: it does not answer heartbeats in time');
    for (const reason of node.degraded) note.warning(`${node.id} serves badly: ${reason}`, 'its leaderships go elsewhere by themselves; look at its disk and CPU');
    if (node.etcdLost) note.problem(`${node.id} cannot reach etcd`, 'check ATOLL_ETCD there, and the network');
  }
}

/** Not one whose place another one has taken, which may be gone with its nodes. */
const isServed = ({ movedTo = '' }: Pick<Keyspace, 'movedTo'>): boolean => movedTo === '';

function checkRedundancy({ cluster, partitions: all, nodes, keyspaces }: Survey, note: Note): void {
  const text = ({ keyspace, id }: { keyspace: string; id: number }): string => `${keyspace}/${id}`;
  const retired = new Set((keyspaces.value ?? []).filter((each) => !isServed(each)).map(({ name }) => name));
  const partitions = (all.value ?? []).filter(({ keyspace }) => !retired.has(keyspace));
  const without = partitions.filter(({ leader }) => leader === '');
  if (without.length > 0) note.problem(`${without.length} partitions have no leader: ${named(without.map(text))}`, 'bring the nodes back that have their data; atoll partitions recover shows what going on without them loses');
  else if ((cluster.value?.partitionsWithoutLeader ?? 0) > 0) note.problem(`${cluster.value?.partitionsWithoutLeader} partitions have a leader whose process is gone`, 'a failover is under way: ask again in some seconds');
  const specs = new Map((keyspaces.value ?? []).map((keyspace) => [keyspace.name, keyspace]));
  const alone = partitions.filter(({ keyspace, inSync }) => inSync.length < 2 && (specs.get(keyspace)?.replicationFactor ?? 2) > 1);
  if (alone.length > 0) note.problem(`${alone.length} partitions have no second replica in sync: ${named(alone.map(text))}`, 'stop no node now; they are filled again when the missing nodes are back, or on others after COORDINATOR_RE_REPLICATE_AFTER_MS');
  const short = cluster.value?.partitionsUnderReplicated ?? 0;
  if (short > alone.length) note.warning(`${short} partitions have fewer replicas in sync than their replication factor`, 'atoll nodes shows who is missing or learns');
  const hasPools = new Set((nodes.value ?? []).map(({ pool }) => pool)).size > 1;
  for (const { name, replicationFactor, pool } of (keyspaces.value ?? []).filter(isServed)) {
    const up = (nodes.value ?? []).filter((node) => node.state === NodeState.NODE_STATE_UP && node.pool === pool).length;
    if (nodes.value !== undefined && replicationFactor > up) note.warning(`keyspace ${name} wants ${replicationFactor} replicas, and ${up} nodes${hasPools ? ` of pool ${pool}` : ''} are up`, 'start more storage nodes');
  }
  for (const { name } of (keyspaces.value ?? []).filter((each) => isServed(each) && each.replicationFactor === 1)) {
    note.warning(`keyspace ${name} has a replication factor of 1`, 'the end of one node takes its entries away: fine for what can be had again');
  }
}

function checkMemory(survey: Survey, note: Note): void {
  for (const reading of answering(survey)) {
    const used = reading.metrics.value('atoll_memory_used_bytes');
    const max = reading.metrics.value('atoll_memory_bytes_max');
    if (used === undefined || max === undefined || used <= max * MEMORY_USED_MAX) continue;
    note.warning(`${nameOf(reading)} uses ${bytesText(used)} of ${bytesText(max)} for entries`, 'keyspaces with eviction LRU go on by evicting, others refuse writes: add nodes, or raise STORAGE_NODE_MEMORY_BYTES_MAX');
  }
}

function checkDisk(survey: Survey, note: Note): void {
  for (const reading of answering(survey)) {
    const free = reading.metrics.value('atoll_disk_free_bytes');
    const size = reading.metrics.value('atoll_disk_bytes');
    if (free === undefined || size === undefined || !(free < size * DISK_FREE_MIN)) continue;
    note.problem(`the disk of ${nameOf(reading)} has ${bytesText(free)} of ${bytesText(size)} left`, 'a full disk ends the node: make room, or drain it and give it a larger one');
  }
}

/** Settings that have to be the same everywhere. */
const SHARED_SETTINGS = ['STORAGE_NODE_LEASE_MS', 'STORAGE_NODE_CLOCK_DRIFT_MS', 'COORDINATOR_FENCE_AFTER_MS', 'ATOLL_CLUSTER_ID'] as const;
const LOOPBACK = /^(?:127\.|localhost|\[?::1)/;

function checkSettings(survey: Survey, note: Note): void {
  const readings = answering(survey);
  for (const name of SHARED_SETTINGS) {
    const values = Map.groupBy(readings.filter(({ settings }) => settings[name] !== undefined), ({ settings }) => settings[name]!.value);
    if (values.size > 1) note.problem(`${name} differs: ${Array.from(values, ([value, those]) => `${value === '' ? 'not set' : value} (${named(those.map(nameOf))})`).join(', ')}`, 'give all of them the same');
  }
  const nodes = (survey.nodes.value ?? []).filter(isExpected);
  const local = nodes.filter(({ address }) => LOOPBACK.test(address));
  if (local.length > 0 && local.length < nodes.length) note.problem(`${named(local.map(({ id }) => id))} told others a loopback address`, 'set ATOLL_ADVERTISE to an address that other machines reach');
  checkKeyspaces((survey.keyspaces.value ?? []).filter(isServed), readings, note);
}

function checkKeyspaces(keyspaces: readonly Keyspace[], readings: readonly ServiceReading[], note: Note): void {
  const diskless = readings.filter(({ target, settings }) => target.role === 'storage-node' && settings['STORAGE_NODE_DATA_DIR']?.value === '');
  for (const { name, durability, replicationFactor, minInSync, freeze } of keyspaces) {
    if (freeze !== undefined && freeze.movedToCluster === '') note.warning(`keyspace ${name} is frozen and takes no writes since ${timeText(freeze.sinceMs)}${freeze.note === '' ? '' : `: ${freeze.note}`}`, `atoll keyspace unfreeze ${name}, unless whoever froze it is about to`);
    if (durability > Durability.DURABILITY_NONE && diskless.length > 0) note.problem(`keyspace ${name} is kept on disk, and ${named(diskless.map(nameOf))} have none`, 'set STORAGE_NODE_DATA_DIR there');
    if (replicationFactor > 1 && minInSync >= replicationFactor) note.warning(`keyspace ${name} has minInSync ${minInSync} of ${replicationFactor} replicas`, 'writes stop as soon as one node is away: one less bears that');
  }
}

function checkJobs({ migrations }: Survey, note: Note): void {
  const all = migrations.value ?? [];
  for (const { id, description } of all.filter(({ state }) => state === MigrationState.MIGRATION_STATE_PAUSED)) {
    note.warning(`migration ${id} is paused: ${description}`, `atoll migrate resume ${id}, or cancel ${id}; it holds its partitions`);
  }
  for (const { id, problem } of all.filter(({ state, problem: why }) => state === MigrationState.MIGRATION_STATE_RUNNING && why !== '')) {
    note.warning(`migration ${id} runs, and says: ${problem}`, `atoll migrate show ${id}`);
  }
}

function checkBackup({ repositories }: Survey, note: Note): void {
  for (const { address, answer } of repositories) {
    if (answer.value === undefined) note.warning(`the backup service at ${address} does not answer: ${answer.problem}`, 'start it, or name it with --backup');
    else if (!answer.value.writable) note.problem(`the repository ${answer.value.location} cannot be written to: ${answer.value.problem}`, 'set BACKUP_REPOSITORY to a place that the service may write to');
    else if (answer.value.refusal !== '') note.problem(`the backup service at ${address} does not use the repository ${answer.value.location}: ${answer.value.refusal}`, 'mount its storage, or mend BACKUP_REPOSITORY; atoll backup repository --help tells how another one is accepted');
    else if (answer.value.bytesFree > 0 && answer.value.bytesFree < BACKUP_FREE_BYTES_MIN) note.warning(`the repository ${answer.value.location} has ${bytesText(answer.value.bytesFree)} left`, 'make room');
  }
}
