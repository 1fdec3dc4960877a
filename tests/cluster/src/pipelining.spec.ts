// One client that sends very much at once, and clients that are gone before they have their answers.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { jest } from '@jest/globals';
import { GetRequest, SetRequest, type ExecuteRequest, type ExecuteResponse, type OperationResult } from '@atoll/contracts/atoll/v1/cache';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(90_000);

const VANISHING_CLIENT = fileURLToPath(new URL('testdata/vanishing-client.ts', import.meta.url));
const REST_MS = 30_000;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 2 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

describe('10,000 pipelined requests of one client', () => {
  it('are all answered on one Execute stream, and the operations of each key happen in the order sent', async () => {
    // Of each key: set 0, get, set 1, get, ... so that each read must show the write just before it.
    const requests = 10_000;
    const keys = 50;
    const operations = Array.from({ length: requests }, (_, index): ExecuteRequest['operations'][number] => {
      const round = Math.floor(index / keys);
      const key = Buffer.from(`ordered-${index % keys}`);
      const kind: ExecuteRequest['operations'][number]['kind'] =
        round % 2 === 0
          ? { $case: 'set', value: SetRequest.fromPartial({ key, value: Buffer.from(String(round)) }) }
          : { $case: 'get', value: GetRequest.fromPartial({ key }) };
      return { id: index + 1, deadlineMs: 60_000, traceparent: '', valueBytes: 0, kind };
    });
    const results = await executeAll(operations);
    expect(results.size).toBe(requests);
    const wrong: string[] = [];
    for (const { id, kind } of operations) {
      const answer = results.get(id)!.kind;
      const expected = String(Math.floor((id - 1) / keys) - 1);
      if (answer?.$case !== kind?.$case) wrong.push(`${id}: ${answer?.$case === 'error' ? answer.value.reason : answer?.$case}`);
      else if (answer?.$case === 'get' && answer.value.value.toString() !== expected) wrong.push(`${id}: ${answer.value.value.toString()}, not ${expected}`);
    }
    expect({ count: wrong.length, first: wrong.slice(0, 10) }).toEqual({ count: 0, first: [] });
  });

  it('are all answered through the SDK, and increments of a key count in the order called', async () => {
    const client = cluster.client({ maxInFlight: 10_000, deadlineMs: 60_000 });
    const keys = 10;
    const values = await Promise.all(Array.from({ length: 10_000 }, (_, index) => client.increment(`counter-${index % keys}`)));
    const expected = values.map((_value, index) => BigInt(Math.floor(index / keys) + 1));
    expect(values.map(({ value }) => value)).toEqual(expected);
    client.close();
  });
});

describe('a client that vanishes in mid-stream', () => {
  it('leaves nothing behind when it is killed', async () => {
    const child = spawn(process.execPath, [VANISHING_CLIENT, cluster.routerAddress], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await untilItStreams(child);
      await eventually('its operations are under way', async () => (await cluster.metrics('router-1')).sum('atoll_router_operations') > 0, REST_MS);
    } finally {
      child.kill('SIGKILL');
    }
    expect(await restAtLast()).toEqual(AT_REST);
    await expectHealthy();
  });

  it('leaves nothing behind when it cancels', async () => {
    const client = cluster.rawClient();
    const call = client.execute();
    call.on('error', () => undefined);
    const operations = Array.from({ length: 5000 }, (_, index) => ({
      id: index + 1,
      deadlineMs: 60_000,
      traceparent: '',
      valueBytes: 0,
      kind: { $case: 'set' as const, value: SetRequest.fromPartial({ key: Buffer.from(`cancelled-${index}`), value: Buffer.alloc(500) }) },
    }));
    call.write({ operations, parts: [] });
    await once(call, 'data');
    call.cancel();
    expect(await restAtLast()).toEqual(AT_REST);
    await expectHealthy();
  });
});

async function untilItStreams(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit').then(() => {
    throw new Error('the client ended by itself');
  });
  ended.catch(() => undefined);
  await Promise.race([once(child.stdout!, 'data'), ended]);
}

const AT_REST = { operations: 0, inFlight: 0, queued: 0, waiting: 0, clientStreams: 0, uncommitted: 0 };

async function readRest(): Promise<typeof AT_REST> {
  const router = await cluster.metrics('router-1');
  const nodes = await Promise.all(cluster.up.storageNodes.map(({ id }) => cluster.metrics(id)));
  return {
    operations: router.sum('atoll_router_operations'),
    inFlight: router.sum('atoll_router_in_flight_operations'),
    queued: router.sum('atoll_router_queued_operations'),
    waiting: router.sum('atoll_router_waiting_operations'),
    clientStreams: router.sum('atoll_rpc_server_open_streams', 'rpc="Cache/Execute"'),
    uncommitted: nodes.reduce((total, node) => total + node.sum('atoll_uncommitted_writes'), 0),
  };
}

/** What is left under way when nothing is, or when the time for that is over. */
async function restAtLast(): Promise<typeof AT_REST> {
  let rest = await readRest();
  const isAtRest = async (): Promise<boolean> => {
    rest = await readRest();
    return Object.values(rest).every((value) => value === 0);
  };
  await eventually('nothing is left under way', isAtRest, REST_MS).catch(() => undefined);
  return rest;
}

async function expectHealthy(): Promise<void> {
  for (const { id } of cluster.services) expect([id, await cluster.readiness(id)]).toMatchObject([id, { status: 200 }]);
  const client = cluster.client();
  await client.set('after', 'well');
  expect((await client.get('after'))?.value.toString()).toBe('well');
  client.close();
  const { problems } = await cluster.compareReplicas();
  expect(problems).toEqual([]);
}

/** Sends everything in one message and resolves with the results by id. */
function executeAll(operations: ExecuteRequest['operations']): Promise<Map<number, OperationResult>> {
  return new Promise((resolve, reject) => {
    const results = new Map<number, OperationResult>();
    const call = cluster.rawClient().execute();
    call.on('error', reject);
    call.on('data', (response: ExecuteResponse) => {
      for (const result of response.results) {
        if (results.has(result.id)) reject(new Error(`${result.id} was answered twice`));
        results.set(result.id, result);
      }
      if (results.size === operations.length) call.end();
    });
    call.on('end', () => resolve(results));
    call.write({ operations, parts: [] });
  });
}
