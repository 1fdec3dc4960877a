// Everything that can be asked of a cluster from outside, asked at once. Whoever does not answer is told as such: a survey
// is of most use where half of the cluster is gone.
import { resolve } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import type { Event, GetClusterResponse, Keyspace, Node, Partition } from '@atoll/contracts/atoll/v1/admin';
import { BackupClient, type GetRepositoryResponse } from '@atoll/contracts/atoll/v1/backup';
import type { Migration } from '@atoll/contracts/atoll/v1/migration';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { messageOf } from '../cli-error.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { backupAddresses, coordinatorAddresses, routerAddresses, type ConnectionFlags } from '../connection/addresses.ts';
import { etcdPorts, HOST } from '../dev/ports.ts';
import { readState } from '../dev/state-file.ts';
import type { Io } from '../io.ts';
import { isExpected, nodeTarget, readService, reasonOf, toTarget, type ServiceReading } from './services.ts';

export interface SurveyFlags extends ConnectionFlags {
  readonly backup?: string;
  readonly etcd?: readonly string[];
}

/** What was asked for, or why it is not known. */
export type Answer<T> = { readonly value: T; readonly problem?: undefined } | { readonly value?: undefined; readonly problem: string };

export interface EtcdReading {
  readonly endpoint: string;
  /** Undefined: it answers and has a leader. */
  readonly problem: string | undefined;
  readonly version: string;
}

export interface Survey {
  readonly cluster: Answer<GetClusterResponse>;
  readonly nodes: Answer<readonly Node[]>;
  readonly partitions: Answer<readonly Partition[]>;
  readonly keyspaces: Answer<readonly Keyspace[]>;
  readonly migrations: Answer<readonly Migration[]>;
  readonly events: Answer<readonly Event[]>;
  readonly repositories: readonly { readonly address: string; readonly answer: Answer<GetRepositoryResponse> }[];
  readonly services: readonly ServiceReading[];
  readonly etcd: readonly EtcdReading[];
}

const EVENTS_MAX = 1000;
const MIGRATIONS_MAX = 200;

const NOT_ASKED: Answer<never> = { problem: 'not asked' };

/**
 * `flags.timeout` bounds each question, not all together. Never rejects but for a data directory that holds no cluster.
 * `isBrief` leaves out what is much, and the probe of the repository: for a look every few seconds.
 */
export async function takeSurvey(io: Io, flags: SurveyFlags, { isBrief = false }: { readonly isBrief?: boolean } = {}): Promise<Survey> {
  const coordinators = coordinatorAddresses(io, flags);
  const routers = routerAddresses(io, flags);
  const backups = backupAddresses(io, flags.backup, flags.dataDir);
  const ask = <T>(call: Parameters<typeof askCoordinator<T>>[2]): Promise<Answer<T>> => answered(askCoordinator(coordinators, flags.timeout, call));
  const askMuch = <T>(call: Parameters<typeof askCoordinator<T>>[2]): Promise<Answer<T>> => (isBrief ? Promise.resolve(NOT_ASKED) : ask(call));
  const [cluster, nodes, partitions, keyspaces, migrations, events, repositories] = await Promise.all([
    ask((client, settings) => callUnary(client, 'getCluster', {}, settings)),
    ask(async (client, settings) => (await callUnary(client, 'listNodes', {}, settings)).nodes),
    askMuch(async (client, settings) => (await callUnary(client, 'listPartitions', { keyspace: '' }, settings)).partitions),
    askMuch(async (client, settings) => (await callUnary(client, 'listKeyspaces', {}, settings)).keyspaces),
    ask(async (client, settings) => (await callUnary(client, 'listMigrations', { limit: MIGRATIONS_MAX, active: isBrief }, settings)).migrations),
    askMuch(async (client, settings) => (await callUnary(client, 'listEvents', { limit: EVENTS_MAX, kind: '' }, settings)).events),
    Promise.all((isBrief ? [] : backups).map(async (address) => ({ address, answer: await askRepository(address, flags.timeout) }))),
  ]);
  const targets = [...coordinators.map((address) => toTarget('coordinator', address)), ...(nodes.value ?? []).filter(isExpected).map(nodeTarget), ...routers.map((address) => toTarget('router', address)), ...backups.map((address) => toTarget('backup', address))];
  const services = await Promise.all(targets.map((target) => readService(target, flags.timeout)));
  const etcd = await Promise.all(etcdEndpoints(io, flags, services).map((endpoint) => readEtcd(endpoint, flags.timeout)));
  return { cluster, nodes, partitions, keyspaces, migrations, events, repositories, services, etcd };
}

async function answered<T>(call: Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await call };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

async function askRepository(address: string, timeoutMs: number): Promise<Answer<GetRepositoryResponse>> {
  const client = new BackupClient(address, credentials.createInsecure(), createChannelOptions());
  try {
    return await answered(callUnary(client, 'getRepository', {}, { deadlineMs: timeoutMs }));
  } finally {
    client.close();
  }
}

/** Those of --etcd; of the local cluster; else those that the services say they use. */
function etcdEndpoints(io: Io, flags: SurveyFlags, services: readonly ServiceReading[]): string[] {
  if (flags.etcd !== undefined) return flags.etcd.map((address) => `http://${address}`);
  const layout = flags.dataDir === undefined ? undefined : readState(resolve(io.cwd, flags.dataDir))?.layout;
  if (layout !== undefined) return [`http://${HOST}:${etcdPorts(layout.basePort).client}`];
  return [...new Set(services.flatMap(({ settings }) => (settings['ATOLL_ETCD']?.value ?? '').split(',')).filter((endpoint) => endpoint !== ''))].toSorted();
}

/** etcd's /health, which asks its quorum, and /version. */
async function readEtcd(endpoint: string, timeoutMs: number): Promise<EtcdReading> {
  const fetchJson = async (path: string): Promise<Record<string, string | undefined>> => (await (await fetch(`${endpoint}${path}`, { signal: AbortSignal.timeout(timeoutMs) })).json()) as Record<string, string | undefined>;
  try {
    const [health, version] = await Promise.all([fetchJson('/health'), fetchJson('/version')]);
    const isWell = health['health'] === 'true';
    return { endpoint, problem: isWell ? undefined : health['reason'] || 'it says that it is not healthy', version: version['etcdserver'] ?? '' };
  } catch (error) {
    return { endpoint, problem: reasonOf(error), version: '' };
  }
}
