// What operators and generic tools rely on: health and reflection for clients that know no proto, metrics by name.
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { eventually, itWith } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { runCommand } from './run-command.ts';

jest.setTimeout(60_000);

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 2 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

/** `buf curl` without a schema: it asks the server's reflection for everything. */
async function curl(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand('buf', ['curl', '--protocol', 'grpc', '--http2-prior-knowledge', ...args]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

const HEALTH = ['grpc.health.v1.Health/Check', 'grpc.health.v1.Health/List', 'grpc.health.v1.Health/Watch'];
const CACHE = ['Delete', 'DeleteMany', 'Execute', 'Get', 'GetMany', 'Increment', 'Scan', 'Set', 'SetMany', 'Touch', 'WatchTopology'].map((name) => `atoll.v1.Cache/${name}`);

const SERVICES = [
  { id: 'router-1', service: 'atoll.v1.Cache', methods: CACHE },
  { id: 'node-1', service: 'atoll.v1.Cache', methods: ['atoll.v1.Cache/Get', 'atoll.v1.Cache/Execute', 'atoll.v1.Replication/Follow', 'atoll.v1.Replication/DigestReplica'] },
  { id: 'coordinator-1', service: 'atoll.v1.Admin', methods: ['atoll.v1.Admin/CreateKeyspace', 'atoll.v1.Admin/ListEvents', 'atoll.v1.Admin/ListNodes', 'atoll.v1.Admin/ListPartitions'] },
  { id: 'backup-1', service: 'atoll.v1.Backup', methods: ['atoll.v1.Backup/GetRepository'] },
];

describe('a client that knows no proto', () => {
  it.each(SERVICES)('$id tells its methods by reflection and its health', async ({ id, service, methods }) => {
    const { address } = cluster.process(id);
    const listed = (await curl('--list-methods', `http://${address}`)).trim().split('\n');
    expect(listed).toEqual(expect.arrayContaining([...methods, HEALTH[0]]));
    expect(JSON.parse(await curl('-d', '{}', `http://${address}/grpc.health.v1.Health/Check`))).toEqual({ status: 'SERVING' });
    expect(JSON.parse(await curl('-d', JSON.stringify({ service }), `http://${address}/grpc.health.v1.Health/Check`))).toEqual({ status: 'SERVING' });
  });

  it('sets and gets an entry', async () => {
    const url = `http://${cluster.routerAddress}/atoll.v1.Cache`;
    const bytes = (text: string): string => Buffer.from(text).toString('base64');
    expect(JSON.parse(await curl('-d', JSON.stringify({ key: bytes('curl'), value: bytes('was here') }), `${url}/Set`))).toMatchObject({ applied: true });
    expect(JSON.parse(await curl('-d', JSON.stringify({ key: bytes('curl') }), `${url}/Get`))).toMatchObject({ found: true, value: bytes('was here') });
  });
});

const COMMON = [
  'atoll_build_info',
  'process_start_time_seconds',
  'process_cpu_seconds_total',
  'process_memory_bytes',
  'nodejs_eventloop_lag_seconds',
  'nodejs_eventloop_utilization_ratio',
  'atoll_rpc_server_requests_total',
  'atoll_rpc_server_duration_seconds',
];

const METRICS: Readonly<Record<string, readonly string[]>> = {
  'router-1': [
    'atoll_router_operations_total',
    'atoll_router_operation_duration_seconds',
    'atoll_router_batch_operations',
    'atoll_router_in_flight_operations',
    'atoll_router_queued_operations',
    'atoll_router_operations',
    'atoll_router_waiting_operations',
    'atoll_router_routing_table_revision',
  ],
  'node-1': [
    'atoll_replicas',
    'atoll_entries',
    'atoll_entry_bytes',
    'atoll_log_bytes',
    'atoll_uncommitted_writes',
    'atoll_memory_bytes_max',
    'atoll_memory_used_bytes',
    'atoll_installs_running',
    'atoll_installs_total',
    'atoll_replication_lag_entries',
    'atoll_replica_staleness_seconds',
    'atoll_role_changes_total',
    'atoll_wal_bytes',
    'atoll_wal_buffered_bytes',
    'atoll_operations_total',
    'atoll_operation_duration_seconds',
  ],
  'coordinator-1': [
    'atoll_coordinator_elected',
    'atoll_coordinator_decisions_total',
    'atoll_coordinator_events_total',
    'atoll_cluster_nodes',
    'atoll_cluster_partitions',
    'atoll_cluster_partitions_without_leader',
    'atoll_cluster_partitions_under_replicated',
  ],
  'backup-1': [],
};

describe('/metrics', () => {
  it.each(Object.entries(METRICS))('%s has the documented names', async (id, names) => {
    // Some names come with the first request of their kind.
    await cluster.client().set('metrics', 'x');
    await curl('-d', '{}', `http://${cluster.process(id).address}/grpc.health.v1.Health/Check`);
    let missing: string[] = [];
    await eventually('all are there', async () => {
      const present = new Set((await cluster.metrics(id)).names());
      missing = [...COMMON, ...names].filter((name) => !present.has(name));
      return missing.length === 0;
    }, 10_000).catch(() => undefined);
    expect(missing).toEqual([]);
  });

  it('counts what is done', async () => {
    const sets = async (): Promise<number> => (await cluster.metrics('router-1')).sum('atoll_router_operations_total', 'operation="set",reason="OK"');
    const before = await sets();
    const client = cluster.client();
    await Promise.all(Array.from({ length: 10 }, (_, index) => client.set(`counted-${index}`, 'x')));
    expect(await sets()).toBe(before + 10);
  });
});

describe('a Python client', () => {
  const PYTHON = `
import sys, grpc
from atoll.v1 import cache_pb2, cache_pb2_grpc
cache = cache_pb2_grpc.CacheStub(grpc.insecure_channel(sys.argv[1]))
written = cache.Set(cache_pb2.SetRequest(key=b"snake", value=b"ssss"), timeout=10)
read = cache.Get(cache_pb2.GetRequest(key=b"snake", session=written.session), timeout=10)
assert written.applied and read.found and read.value == b"ssss" and read.version == written.version
try:
    cache.Get(cache_pb2.GetRequest(key=b""), timeout=10)
    raise AssertionError("an empty key was taken")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
print("served")
`;

  const hasGrpc = spawnSync('python3', ['-c', 'import grpc, grpc_tools']).status === 0;
  const itWithTool = itWith(hasGrpc, 'python3 has no grpcio and grpcio-tools; `python3 -m pip install grpcio grpcio-tools` brings them');

  itWithTool('made by grpc_tools from the proto files sets and gets', async () => {
    const out = await mkdtemp(join(tmpdir(), 'atoll-python-'));
    try {
      const generated = await runCommand('python3', ['-m', 'grpc_tools.protoc', '-Iproto', `--python_out=${out}`, `--grpc_python_out=${out}`, 'atoll/v1/cache.proto']);
      expect(generated).toMatchObject({ code: 0 });
      const ran = await runCommand('python3', ['-c', PYTHON, cluster.routerAddress], { env: { ...process.env, PYTHONPATH: out } });
      expect(ran).toMatchObject({ code: 0, stdout: 'served\n' });
    } finally {
      await rm(out, { recursive: true, force: true });
    }
  });
});
