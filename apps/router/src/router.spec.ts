import { CacheClient, GetRequest, WatchTopologyRequest, type WatchTopologyResponse } from '@atoll/contracts/atoll/v1/cache';
import { credentials } from '@grpc/grpc-js';
import type { AtollError } from '@atoll/core-errors';
import { createKeyspaceSpec } from '@atoll/core-membership';
import { StartupError, formatAddress } from '@atoll/platform-config';
import { ensureClusterId } from '@atoll/platform-etcd';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { createLogger, startTelemetry } from '@atoll/platform-telemetry';
import { parseConfig } from './config.ts';
import { startRouter, type Router } from './router.ts';
import { RouterWorld } from './testing/router-world.ts';

const logger = createLogger({ service: 'router', instanceId: 'test', level: 'silent', format: 'json' });

async function startAlone(store: InMemoryMetadataStore, env: Record<string, string> = {}): Promise<{ router: Router; stop: () => Promise<void> }> {
  const telemetry = await startTelemetry({ service: 'router', instanceId: 'test', version: '0', traceRatio: 0 });
  const config = parseConfig({ ATOLL_LISTEN: '127.0.0.1:0', ATOLL_HTTP_LISTEN: '127.0.0.1:0', ...env });
  const router = await startRouter({ config, logger, telemetry, store });
  return {
    router,
    stop: async () => {
      await router.stop(AbortSignal.timeout(2000));
      await telemetry.shutdown();
    },
  };
}

describe('starting', () => {
  it('waits for etcd, says so, and tells callers', async () => {
    const etcd = new InMemoryEtcd();
    const { router, stop } = await startAlone(new InMemoryMetadataStore({ etcd }));
    const client = new CacheClient(formatAddress(router.address), credentials.createInsecure());
    expect(router.readiness()).toEqual({ ready: false, reasons: ['waiting for etcd: the routing table has not been read'] });
    const http = await fetch(`http://${formatAddress(router.httpAddress!)}/readyz`);
    expect(http.status).toBe(503);
    const failure = (await callUnary(client, 'get', GetRequest.create({ key: Buffer.from('a') }), { deadlineMs: 2000 }).catch((error: unknown) => error)) as AtollError;
    expect(failure.reason).toBe('METADATA_UNAVAILABLE');
    await ensureClusterId(new InMemoryMetadataStore({ etcd }), () => 'late');
    await eventually('the router is ready', () => router.readiness().ready);
    client.close();
    await stop();
  });

  it('fails in the etcd of another cluster', async () => {
    const etcd = new InMemoryEtcd();
    await ensureClusterId(new InMemoryMetadataStore({ etcd }), () => 'theirs');
    const { router, stop } = await startAlone(new InMemoryMetadataStore({ etcd }), { ATOLL_CLUSTER_ID: 'ours' });
    await expect(router.failed).rejects.toBeInstanceOf(StartupError);
    await stop();
  });
});

describe('running', () => {
  let world: RouterWorld;
  afterEach(() => world.stop());

  it('serves on by the table last seen while etcd is away (R12)', async () => {
    world = await RouterWorld.start();
    await callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from('a') }), { deadlineMs: 2000 });
    await world.store.transact([], [{ kind: 'delete', key: 'nodes/a' }]); // its registration lapses
    await world.lead((world.partitionOf('a') + 1) % 4, 1);
    for (let index = 0; index < 5; index += 1) {
      expect((await callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from('a') }), { deadlineMs: 2000 })).found).toBe(false);
    }
  });

  it('pushes the partition table and its changes', async () => {
    world = await RouterWorld.start();
    const messages: WatchTopologyResponse[] = [];
    const call = world.client.watchTopology(WatchTopologyRequest.create({}));
    call.on('data', (message: WatchTopologyResponse) => messages.push(message));
    call.on('error', () => undefined);
    await eventually('the whole table', () => messages.length > 0);
    const [whole] = messages;
    expect(whole).toMatchObject({ full: true, keyspaces: [{ name: 'default', partitionCount: 4 }] });
    expect(whole!.nodes.map(({ id, address }) => [id, address])).toEqual(world.nodes.map((node, index) => ['ab'[index], node.address]));
    expect(whole!.partitions.map(({ id, leader, inSync }) => [id, leader, inSync])).toEqual([0, 1, 2, 3].map((id) => [id, 'a', ['a', 'b']]));
    await world.lead(2, 1);
    await world.putKeyspace(createKeyspaceSpec({ name: 'second', id: 'ks2' }));
    await eventually('both changes', () => messages.flatMap(({ keyspaces }) => keyspaces).length === 2 && messages.slice(1).some(({ partitions }) => partitions.length > 0));
    expect(messages.slice(1).flatMap(({ partitions }) => partitions)).toMatchObject([{ keyspace: 'default', id: 2, leader: 'b' }]);
    expect(messages.slice(1).every(({ full }) => !full)).toBe(true);
    const revisions = messages.map(({ revision }) => revision);
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
    call.cancel();
  });

  it('shows what it does in its metrics', async () => {
    world = await RouterWorld.start();
    for (let index = 0; index < 3; index += 1) await callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from('a') }), { deadlineMs: 2000 });
    await callUnary(world.client, 'get', GetRequest.create({}), { deadlineMs: 2000 }).catch(() => undefined);
    const { resourceMetrics } = await world.telemetry.metrics.collect();
    const points = new Map(resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics).map((metric) => [metric.descriptor.name, metric.dataPoints]));
    expect(points.get('atoll_router_operations_total')).toContainEqual(expect.objectContaining({ attributes: { operation: 'get', reason: 'OK' }, value: 3 }));
    expect(points.get('atoll_router_in_flight_operations')).toContainEqual(expect.objectContaining({ attributes: { node: world.node(0).address }, value: 0 }));
    expect([...points.keys()].filter((name) => name.startsWith('atoll_router_')).toSorted()).toEqual([
      'atoll_router_batch_operations',
      'atoll_router_copy_bytes_total',
      'atoll_router_copy_streams',
      'atoll_router_in_flight_operations',
      'atoll_router_node_connections_lost_total',
      'atoll_router_operation_duration_seconds',
      'atoll_router_operations',
      'atoll_router_operations_total',
      'atoll_router_queued_operations',
      'atoll_router_repeats_total',
      'atoll_router_routing_table_revision',
      'atoll_router_waiting_operations',
      'atoll_router_watch_moves_total',
      'atoll_router_watches',
    ]);
  });
});
