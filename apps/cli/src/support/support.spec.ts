import { gunzipSync, gzipSync } from 'node:zlib';
import { GetClusterResponse, Keyspace, Node, NodeState, Partition } from '@atoll/contracts/atoll/v1/admin';
import { Migration, MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { FakeCoordinator, runCollected } from '../testing/run-cli.ts';
import { bundleFiles } from './debug-bundle.ts';
import { diagnose, isSettled, type Check } from './diagnose.ts';
import { MetricsText, quantileBetween } from './metrics-text.ts';
import { redactJson, redactText } from './redact.ts';
import { nodeTarget, type ServiceReading, type ServiceRole } from './services.ts';
import type { Survey } from './survey.ts';
import { packTar } from './tar.ts';
import { topRows } from './top-table.ts';

const GIB = 1024 ** 3;

const WELL: Readonly<Record<string, number>> = { atoll_etcd_connected: 1, process_wall_clock_seconds: 1000 };

/** A service that answers; metrics by series. */
function service(role: ServiceRole, name: string, { metrics = {}, ...more }: Partial<Omit<ServiceReading, 'metrics'>> & { metrics?: Readonly<Record<string, number>> } = {}): ServiceReading {
  const metricsText = Object.entries({ ...WELL, 'atoll_build_info{version="0.1.0"}': 1, ...metrics })
    .map(([series, value]) => `${series} ${value}\n`)
    .join('');
  const target = { role, name, address: '127.0.0.1:7410', httpAddress: '127.0.0.1:8410' };
  return { target, problem: undefined, metricsText, metrics: new MetricsText(metricsText), ready: true, reasons: [], settings: {}, clock: { offsetMs: 0, errorMs: 2 }, ...more };
}

const node = (id: string, more: Partial<Node> = {}): Node => Node.fromPartial({ id, address: '127.0.0.1:7410', state: NodeState.NODE_STATE_UP, ...more });
const partition = (id: number, leader: string, inSync: string[]): Partition => Partition.fromPartial({ keyspace: 'default', id, leader, inSync });

/** Two nodes, two coordinators, one partition: nothing is wrong with them. */
const healthy: Survey = {
  cluster: { value: GetClusterResponse.fromPartial({ coordinator: 'coordinator-1', nodesUp: 2, nodesTotal: 2, partitions: 1 }) },
  nodes: { value: [node('node-1'), node('node-2')] },
  partitions: { value: [partition(0, 'node-1', ['node-1', 'node-2'])] },
  keyspaces: { value: [Keyspace.fromPartial({ name: 'default', replicationFactor: 2, minInSync: 1 })] },
  migrations: { value: [] },
  events: { value: [] },
  repositories: [{ address: '127.0.0.1:7430', answer: { value: { location: 'file:///b', writable: true, problem: '', bytesFree: 100 * GIB, probeMs: 1, id: 'r', knownId: 'r', refusal: '' } } }],
  services: [service('coordinator', 'coordinator-1'), service('coordinator', 'coordinator-2'), service('storage-node', 'node-1'), service('storage-node', 'node-2'), service('router', 'router-1')],
  etcd: [{ endpoint: 'http://127.0.0.1:2379', problem: undefined, version: '3.5.21' }],
};

const withService = (reading: ServiceReading): Partial<Survey> => ({ services: [...healthy.services.filter(({ target }) => target.name !== reading.target.name), reading] });

describe('atoll doctor', () => {
  it('finds nothing where nothing is wrong', () => {
    expect(diagnose(healthy)).toEqual([]);
  });

  it.each<[what: string, survey: Partial<Survey>, level: 'problem' | 'warning', check: Check, message: RegExp]>([
    ['no coordinator', { cluster: { problem: 'ECONNREFUSED' } }, 'problem', 'coordinator', /no coordinator answers/],
    ['etcd that went back', { cluster: { value: { ...healthy.cluster.value!, metadataRegressed: ['epoch 4 of default/1'] } } }, 'problem', 'coordinator', /went back: epoch 4/],
    ['an etcd server that is silent', { etcd: [...healthy.etcd, { endpoint: 'http://b:2379', problem: 'ECONNREFUSED', version: '' }, healthy.etcd[0]!] }, 'problem', 'etcd', /http:\/\/b:2379: ECONNREFUSED/],
    ['an even number of etcd servers', { etcd: [healthy.etcd[0]!, healthy.etcd[0]!] }, 'warning', 'etcd', /2 servers/],
    ['a node that etcd tells nothing', withService(service('storage-node', 'node-2', { metrics: { atoll_etcd_connected: 0 } })), 'problem', 'etcd', /node-2/],
    ['a service that is silent', withService(service('router', 'router-1', { problem: 'ECONNREFUSED' })), 'problem', 'reachable', /router-1.*ECONNREFUSED/],
    ['a service that is not ready', withService(service('storage-node', 'node-1', { ready: false, reasons: ['waits'] })), 'warning', 'ready', /node-1.*waits/],
    ['an event loop that is late', withService(service('router', 'router-1', { metrics: { 'nodejs_eventloop_lag_seconds{quantile="0.99"}': 0.3 } })), 'warning', 'ready', /300 ms late/],
    ['another version', { services: [...healthy.services.slice(0, 4), otherVersion()] }, 'warning', 'versions', /0\.1\.0: .*0\.2\.0: router-1/],
    ['a clock', withService(service('storage-node', 'node-2', { clock: { offsetMs: -4000, errorMs: 10 } })), 'problem', 'clocks', /node-2.*4\.0 s behind/],
    ['a node that is down', { nodes: { value: [node('node-1'), node('node-2', { state: NodeState.NODE_STATE_DOWN, reason: 'refused', stateMs: 5000 })] } }, 'problem', 'nodes', /node-2 is DOWN for 5s: refused/],
    ['a node that somebody stopped and left', { nodes: { value: [node('node-1'), node('node-2', { state: NodeState.NODE_STATE_LEFT, wanted: 'UP', stateMs: 90_000 })] } }, 'warning', 'nodes', /node-2 was stopped 1m30s ago/],
    ['partitions without a leader', { partitions: { value: [partition(7, '', ['node-1', 'node-2'])] } }, 'problem', 'redundancy', /no leader: default\/7/],
    ['partitions without a second replica', { partitions: { value: [partition(7, 'node-1', ['node-1'])] } }, 'problem', 'redundancy', /no second replica.*default\/7/],
    ['more replicas than nodes', { keyspaces: { value: [Keyspace.fromPartial({ name: 'k', replicationFactor: 3, minInSync: 2 })] } }, 'warning', 'redundancy', /k wants 3 replicas, and 2 nodes/],
    ['memory', withService(service('storage-node', 'node-1', { metrics: { atoll_memory_used_bytes: 95, atoll_memory_bytes_max: 100 } })), 'warning', 'memory', /95 B of 100 B/],
    ['a full disk', withService(service('storage-node', 'node-1', { metrics: { atoll_disk_free_bytes: GIB, atoll_disk_bytes: 100 * GIB } })), 'problem', 'disk', /1\.0 GiB of 100 GiB/],
    [
      'leases that differ',
      { services: [...healthy.services.slice(0, 2), service('storage-node', 'node-1', { settings: { STORAGE_NODE_LEASE_MS: { value: '1000', given: false } } }), service('storage-node', 'node-2', { settings: { STORAGE_NODE_LEASE_MS: { value: '5000', given: true } } })] },
      'problem',
      'settings',
      /STORAGE_NODE_LEASE_MS differs: 1000 \(node-1.*5000 \(node-2/,
    ],
    ['a loopback address among others', { nodes: { value: [node('node-1'), node('node-2', { address: '10.0.0.2:7410' })] } }, 'problem', 'settings', /node-1 told others a loopback/],
    ['a durable keyspace without a disk', { ...withService(service('storage-node', 'node-1', { settings: { STORAGE_NODE_DATA_DIR: { value: '', given: false } } })), keyspaces: { value: [Keyspace.fromPartial({ name: 'k', replicationFactor: 2, minInSync: 1, durability: 3 })] } }, 'problem', 'settings', /k is kept on disk/],
    ['a keyspace that somebody froze', { keyspaces: { value: [Keyspace.fromPartial({ name: 'k', replicationFactor: 2, minInSync: 1, freeze: { id: 'f', sinceMs: 1_790_000_000_000, note: 'backup nightly-1' } })] } }, 'warning', 'settings', /k is frozen and takes no writes since 2026-09-\S+: backup nightly-1/],
    ['minInSync as high as the replication factor', { keyspaces: { value: [Keyspace.fromPartial({ name: 'k', replicationFactor: 2, minInSync: 2 })] } }, 'warning', 'settings', /minInSync 2 of 2/],
    ['a migration that somebody forgot', { migrations: { value: [Migration.fromPartial({ id: 'm', state: MigrationState.MIGRATION_STATE_PAUSED, description: 'moves' })] } }, 'warning', 'jobs', /m is paused: moves/],
    ['a repository that is not the one of the cluster', { repositories: [{ address: 'b', answer: { value: { location: 'file:///b', writable: true, problem: '', bytesFree: 0, probeMs: 1, id: 'other', knownId: 'ours', refusal: 'BACKUP_REPOSITORY: the repository other is there' } } }] }, 'problem', 'backup', /repository other is there/],
    ['a repository that cannot be written to', { repositories: [{ address: 'b', answer: { value: { location: 'file:///b', writable: false, problem: 'EACCES', bytesFree: 0, probeMs: 1, id: '', knownId: '', refusal: '' } } }] }, 'problem', 'backup', /EACCES/],
  ])('finds %s', (_, survey, level, check, message) => {
    const found = diagnose({ ...healthy, ...survey });
    expect(found).toContainEqual({ level, check, message: expect.stringMatching(message), advice: expect.stringMatching(/.{10}/) });
    expect(found.filter((finding) => finding.check === check)).toHaveLength(1);
  });

  // The pool of the primary is lost, and its standby was promoted.
  it('finds nothing wrong with a keyspace whose place another one has taken', () => {
    const retired = Keyspace.fromPartial({ name: 'orders', replicationFactor: 3, minInSync: 3, movedTo: 'orders-standby', pool: 'gone', freeze: { id: 'f', sinceMs: 1, note: 'promotion of orders-standby' } });
    expect(diagnose({ ...healthy, keyspaces: { value: [retired] }, partitions: { value: [{ ...partition(7, '', []), keyspace: 'orders' }] } })).toEqual([]);
  });

  it('has the next process restarted when nothing is wrong, everybody is ready, and no node is stopped but those that are drained', () => {
    const settled = (survey: Partial<Survey>): boolean => isSettled({ ...healthy, ...survey }, diagnose({ ...healthy, ...survey }));
    const stopped = (wanted: string): Partial<Survey> => ({ nodes: { value: [node('node-1'), node('node-2', { state: NodeState.NODE_STATE_LEFT, wanted })] } });
    expect(settled({})).toBe(true);
    expect(settled({ keyspaces: { value: [Keyspace.fromPartial({ name: 'k', replicationFactor: 1 })] } })).toBe(true);
    expect(settled(stopped('DRAINING'))).toBe(true);
    expect(settled(stopped('UP'))).toBe(false);
    expect(settled(withService(service('storage-node', 'node-1', { ready: false, reasons: ['too few replicas are in sync of default/1'] })))).toBe(false);
    expect(settled({ partitions: { value: [partition(7, '', ['node-1', 'node-2'])] } })).toBe(false);
  });

  it.each([
    ['0.0.0.0:8410', 'node-1:8410'],
    ['[::]:8410', 'node-1:8410'],
    ['10.0.0.7:9999', '10.0.0.7:9999'],
    ['', undefined],
  ])('asks a node in a container, which listens at %j, at %j', (httpAddress, asked) => {
    expect(nodeTarget({ id: 'n', address: 'node-1:7410', httpAddress }).httpAddress).toBe(asked);
  });

  it('takes clocks that are all wrong alike for its own', () => {
    const services = healthy.services.map((reading) => ({ ...reading, clock: { offsetMs: 60_000, errorMs: 1 } }));
    expect(diagnose({ ...healthy, services })).toMatchObject([{ level: 'warning', check: 'clocks', advice: expect.stringContaining('this machine') }]);
  });

  it('asks no node that left on purpose or was removed: nobody misses them', async () => {
    const nodes = [node('stays', { address: '127.0.0.1:1' }), node('drained', { state: NodeState.NODE_STATE_LEFT, wanted: 'DRAINING' }), node('removed', { state: NodeState.NODE_STATE_DOWN, wanted: 'REMOVED' })];
    const coordinator = await FakeCoordinator.start({ listNodes: (_call, reply) => reply(null, { nodes }) });
    const nowhere = '127.0.0.1:1';
    const { out } = await runCollected(['doctor', '--json', '--coordinator', coordinator.address, '--router', nowhere, '--backup', nowhere, '--etcd', nowhere, '--timeout', '2s']);
    coordinator.stop();
    const asked = (JSON.parse(out) as { services: { role: string; name: string }[] }).services.filter(({ role }) => role === 'storage-node').map(({ name }) => name);
    expect(asked).toEqual(['stays']);
  });

  it.each([[[]], [['--wait', '1500ms']]])('ends with 3 when nothing answers, %j', async (options) => {
    const nowhere = '127.0.0.1:1';
    const { code, out } = await runCollected(['doctor', '--coordinator', nowhere, '--router', nowhere, '--backup', nowhere, '--etcd', nowhere, '--timeout', '2s', ...options]);
    expect(code).toBe(3);
    expect(out).toContain('PROBLEM  coordinator: no coordinator answers');
  });
});

function otherVersion(): ServiceReading {
  const reading = service('router', 'router-1');
  return { ...reading, metrics: new MetricsText(reading.metricsText.replace('0.1.0', '0.2.0')) };
}

describe('metrics of two readings', () => {
  const page = (fast: number, slow: number): MetricsText =>
    new MetricsText(`# TYPE d histogram\nd_bucket{op="a",le="0.1"} ${fast}\nd_bucket{op="a",le="1"} ${fast + slow}\nd_bucket{op="a",le="+Inf"} ${fast + slow}\nx{text="a \\"b\\", c"} 3\n`);

  it('are read with labels that have quotes in them', () => {
    expect(page(1, 1).samples('x')).toEqual([{ name: 'x', labels: { text: 'a "b", c' }, value: 3 }]);
  });

  it('give quantiles of what came in between', () => {
    expect(quantileBetween(page(1000, 0), page(1098, 2), 'd', 0.5)).toBeCloseTo(0.051, 2);
    expect(quantileBetween(page(1000, 0), page(1098, 2), 'd', 0.99)).toBeCloseTo(0.55, 2);
    expect(quantileBetween(page(5, 5), page(5, 5), 'd', 0.99)).toBeUndefined();
  });

  it('give rates, but none over a restart', () => {
    const look = (takenMs: number, count: number, began: number) => ({
      takenMs,
      survey: { ...healthy, services: [service('router', 'router-1', { metrics: { 'atoll_router_operations_total{operation="get",reason="OK"}': count, process_start_time_seconds: began } })] },
    });
    expect(topRows(look(0, 100, 1), look(2000, 300, 1))).toMatchObject([{ service: 'router-1', operationsPerSecond: 100, failuresPerSecond: 0 }]);
    expect(topRows(look(0, 100, 1), look(2000, 30, 2))).toMatchObject([{ operationsPerSecond: null, p99Ms: null }]);
  });
});

describe('atoll top', () => {
  it('is drawn anew on a terminal until Ctrl-C', async () => {
    const nowhere = '127.0.0.1:1';
    const listeners = process.listenerCount('SIGINT');
    let drawn = 0;
    const onOut = (text: string): void => {
      if (text.includes('SERVICE') && (drawn += 1) === 2) process.emit('SIGINT');
    };
    const { code, out } = await runCollected(['top', '--coordinator', nowhere, '--router', nowhere, '--backup', nowhere, '--etcd', nowhere, '--interval', '20ms', '--timeout', '1s'], { terminal: { rows: 24, columns: 120 }, onOut });
    expect([code, drawn]).toEqual([0, 2]);
    expect(out).toContain('no coordinator answers');
    expect(out).toMatch(/router 127\.0\.0\.1:1 +silent/);
    expect(process.listenerCount('SIGINT')).toBe(listeners);
  });
});

describe('atoll debug bundle', () => {
  it.each([
    ['http://me:s3cret@etcd:2379', 'http://[redacted]@etcd:2379'],
    ['authorization: Bearer s3cret.s3cret', 'authorization: [redacted]'],
    ['{"password":"s3cret","id":1}', '{"password":[redacted],"id":1}'],
    ['client_secret=s3cret next', 'client_secret=[redacted] next'],
    ['{"tokenStart":"00ff"}', '{"tokenStart":"00ff"}'],
    ['13 tokens; secretly fast', '13 tokens; secretly fast'],
  ])('makes of %s: %s', (text, redacted) => {
    expect(redactText(text)).toBe(redacted);
  });

  it('shows no setting with a secret name', () => {
    const settings = { BACKUP_ENCRYPTION_KEY: { value: 's3cret', given: true }, ATOLL_ID: { value: 'node-1', given: true } };
    expect(redactJson(settings)).toEqual({ BACKUP_ENCRYPTION_KEY: { value: '[redacted]', given: true }, ATOLL_ID: { value: 'node-1', given: true } });
  });

  it('names no key of an event, and tells who is missing', async () => {
    const event = { atMs: 1, kind: 'DATA_DISCARDED', keyspace: 'default', node: 'node-1', partitions: [1], message: 'lost: user:s3cret' };
    const survey: Survey = { ...healthy, events: { value: [event] }, ...withService(service('router', 'router-1', { problem: 'ECONNREFUSED' })) };
    const files = await bundleFiles(survey, { root: 'b', takenAtMs: 0, logDirectory: undefined });
    const text = files.map(({ content }) => content.toString()).join('\n');
    expect(text).not.toContain('s3cret');
    expect(text).toContain('DATA_DISCARDED');
    expect(files.find(({ name }) => name === 'b/services/router-router-1.json')?.content.toString()).toContain('ECONNREFUSED');
  });

  it('is packed as tar', () => {
    const packed = gunzipSync(gzipSync(packTar([{ name: 'a/b.txt', content: Buffer.from('hello') }], 1000)));
    expect(packed.length).toBe(4 * 512);
    expect(packed.toString('latin1', 0, 7)).toBe('a/b.txt');
    expect(packed.toString('latin1', 257, 265)).toBe('ustar\x0000');
    expect(packed.toString('latin1', 512, 517)).toBe('hello');
    expect(() => packTar([{ name: 'x'.repeat(101), content: Buffer.alloc(0) }], 0)).toThrow('too long');
  });
});
