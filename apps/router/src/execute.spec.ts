import { once } from 'node:events';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import {
  GetRequest,
  IncrementRequest,
  SetRequest,
  type ExecuteRequest,
  type ExecuteResponse,
  type Operation,
  type OperationResult,
} from '@atoll/contracts/atoll/v1/cache';
import { MIB, WIRE_PART_BYTES_MAX } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { RouterWorld, reasonOf, type WorldOptions } from './testing/router-world.ts';
import { refuse, serve } from './testing/scripted-node.ts';

let world: RouterWorld;
let client: ExecuteClient;
afterEach(async () => {
  client.cancel();
  await world.stop();
});
const start = async (options?: WorldOptions): Promise<void> => {
  world = await RouterWorld.start(options);
  client = new ExecuteClient(world.client.execute());
};

const operation = (id: number, kind: Operation['kind'], fields: Partial<Operation> = {}): Operation => ({ id, deadlineMs: 5000, traceparent: '', valueBytes: 0, kind, ...fields });
const get = (id: number, key: string, fields?: Partial<Operation>) => operation(id, { $case: 'get', value: GetRequest.create({ key: Buffer.from(key) }) }, fields);
const set = (id: number, key: string, value: string, fields?: Partial<Operation>) =>
  operation(id, { $case: 'set', value: SetRequest.create({ key: Buffer.from(key), value: Buffer.from(value) }) }, fields);
const increment = (id: number, key: string) => operation(id, { $case: 'increment', value: IncrementRequest.create({ key: Buffer.from(key), delta: 1n }) });

/** A client that knows nothing but the proto. */
class ExecuteClient {
  readonly results = new Map<number, OperationResult>();
  readonly order: number[] = [];
  readonly values = new Map<number, Buffer[]>();
  failure: unknown;
  readonly #stream: ClientDuplexStream<ExecuteRequest, ExecuteResponse>;

  constructor(stream: ClientDuplexStream<ExecuteRequest, ExecuteResponse>) {
    this.#stream = stream;
    stream.on('data', ({ results, parts }: ExecuteResponse) => {
      for (const result of results) {
        this.results.set(result.id, result);
        this.order.push(result.id);
      }
      for (const { id, data } of parts) this.values.set(id, [...(this.values.get(id) ?? []), data]);
    });
    stream.on('error', (error) => (this.failure = error));
  }

  send(...operations: Operation[]): void {
    this.#stream.write({ operations, parts: [] });
  }

  sendPart(id: number, data: Buffer): boolean {
    return this.#stream.write({ operations: [], parts: [{ id, data }] });
  }

  drained(): Promise<unknown> {
    return once(this.#stream, 'drain');
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  end(): Promise<unknown> {
    const ended = once(this.#stream, 'end');
    this.#stream.end();
    return ended;
  }

  cancel(): void {
    this.#stream.cancel();
  }

  answered(count: number): Promise<unknown> {
    return eventually(`${count} results`, () => this.results.size >= count);
  }

  /** Kind of a result, or the reason of its failure. */
  outcome(id: number): string {
    const { kind } = this.results.get(id)!;
    return kind?.$case === 'error' ? kind.value.reason : (kind?.$case ?? 'nothing');
  }
}

describe('Execute', () => {
  it('answers each operation under its id', async () => {
    await start();
    client.send(set(7, 'a', '1'), get(9, 'a'), increment(11, 'n'), get(13, ''));
    await client.answered(4);
    expect([7, 9, 11, 13].map((id) => client.outcome(id))).toEqual(['set', 'get', 'increment', 'KEY_EMPTY']);
    expect((client.results.get(9)!.kind as { value: { value: Buffer } }).value.value.toString()).toBe('1');
    await client.end();
    expect(client.failure).toBeUndefined();
  });

  it('takes 10,000 pipelined operations of one client', async () => {
    await start({ env: { ROUTER_STREAM_WINDOW_OPERATIONS: '500' } });
    for (let batch = 0; batch < 10; batch += 1) client.send(...Array.from({ length: 1000 }, (_, index) => set(batch * 1000 + index + 1, `k${index % 97}`, String(index))));
    await client.answered(10_000);
    expect(new Set([...client.results.keys()].map((id) => client.outcome(id)))).toEqual(new Set(['set']));
  });

  it.each<[string, Operation[], string]>([
    ['an id that is under way', [set(1, 'a', '1'), set(1, 'b', '1')], 'INVALID_ARGUMENT'],
    ['no kind', [operation(1, undefined)], 'INVALID_ARGUMENT'],
    ['a deadline beyond an hour', [get(1, 'a', { deadlineMs: 3_600_001 })], 'INVALID_ARGUMENT'],
    ['value_bytes of a get', [get(1, 'a', { valueBytes: 5 })], 'INVALID_ARGUMENT'],
  ])('refuses %s and nothing else', async (_name, operations, reason) => {
    await start();
    client.send(...operations, get(99, 'z'));
    await eventually('all are answered', () => client.order.length === operations.length + 1);
    expect(client.order).toContain(99);
    expect(world.node(0).operations.length).toBe(operations.length);
    expect(reason).toBe('INVALID_ARGUMENT');
  });

  it('ends the stream of a client that sends what is no batch', async () => {
    await start();
    client.sendPart(5, Buffer.alloc(5 * MIB));
    await eventually('the stream is closed', () => client.failure !== undefined);
    expect(reasonOf(client.failure)).toBe('INVALID_ARGUMENT');
  });
});

describe('(R26) order', () => {
  it('holds for pipelined operations on one key', async () => {
    await start();
    client.send(...Array.from({ length: 50 }, (_, index) => set(index + 1, 'a', String(index))), get(100, 'a'));
    await client.answered(51);
    expect((client.results.get(100)!.kind as { value: { value: Buffer } }).value.value.toString()).toBe('49');
  });

  it('holds when the leader moves among them', async () => {
    await start();
    const partition = world.partitionOf('a');
    let refused = 0;
    // Node a gives up its office after ten operations.
    world.node(0).script = (received, node) => {
      if (node.operations.length <= 10) return serve(received, node);
      refused += 1;
      return refuse('NOT_LEADER', { leader: 'b', leader_address: world.node(1).address, epoch: '5' });
    };
    for (let index = 0; index < 40; index += 1) client.send(increment(index + 1, 'a'));
    await client.answered(40);
    expect(refused).toBeGreaterThan(0);
    const values = Array.from({ length: 40 }, (_, index) => (client.results.get(index + 1)!.kind as { value: { value: bigint } }).value.value);
    expect(values).toEqual(Array.from({ length: 40 }, (_, index) => BigInt(index + 1)));
    expect(partition).toBe(world.partitionOf('a'));
  });

  it('lets a refusal stand when a later write of the key was applied', async () => {
    await start({ script: () => undefined });
    client.send(set(1, 'a', 'first'), set(2, 'a', 'second'));
    await eventually('the node has both', () => world.node(0).heldCount === 2);
    world.node(0).release(() => refuse('NOT_LEADER'), 1);
    world.node(0).release(serve);
    await client.answered(2);
    expect([client.outcome(1), client.outcome(2)]).toEqual(['NOT_LEADER', 'set']);
    expect(world.node(0).operations).toHaveLength(2);
    expect(world.node(0).entries.get('a')!.toString()).toBe('second');
  });

  it('holds later operations back while one is repeated', async () => {
    await start({ script: () => undefined });
    client.send(set(1, 'a', 'first'));
    await eventually('the node has it', () => world.node(0).heldCount === 1);
    world.node(0).release(() => refuse('NOT_LEADER'));
    client.send(set(2, 'a', 'second'), set(3, 'b', 'other'));
    await eventually('the other key and the repeat are there', () => world.node(0).heldCount === 2);
    world.node(0).script = serve;
    world.node(0).release();
    await client.answered(3);
    expect(world.node(0).entries.get('a')!.toString()).toBe('second');
  });
});

describe('large values', () => {
  const large = Buffer.alloc(3 * MIB + 17, 'atoll');

  it('travel in parts both ways, and later operations on the key wait for them', async () => {
    await start();
    client.send(set(1, 'big', '', { valueBytes: large.length }), increment(2, 'n'), get(3, 'big'));
    for (let offset = 0; offset < large.length; offset += WIRE_PART_BYTES_MAX) {
      if (!client.sendPart(1, large.subarray(offset, offset + WIRE_PART_BYTES_MAX))) await client.drained();
    }
    await client.answered(3);
    await eventually('the value is there', () => Buffer.concat(client.values.get(3) ?? []).length === large.length);
    expect(Buffer.concat(client.values.get(3)!).equals(large)).toBe(true);
    expect(client.results.get(3)!.valueBytes).toBe(large.length);
  });

  it('are whole in unary calls', async () => {
    await start();
    await callUnary(world.client, 'set', SetRequest.create({ key: Buffer.from('big'), value: large }), { deadlineMs: 5000 });
    expect(world.node(0).operations[0]!.valueBytes).toBe(large.length);
    const { value, found } = await callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from('big') }), { deadlineMs: 5000 });
    expect(found).toBe(true);
    expect(value.equals(large)).toBe(true);
  });

  it('beyond the bound of what may be on its way are refused (I10)', async () => {
    await start({ env: { ROUTER_RESULT_BYTES_MAX: '64MiB' } });
    world.node(0).entries.set('big', Buffer.alloc(24 * MIB));
    world.node(0).withholdsParts = true;
    client.send(...[1, 2, 3].map((id) => get(id, 'big', { deadlineMs: 500 })));
    await client.answered(3);
    expect([1, 2, 3].map((id) => client.outcome(id))).toEqual(['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED', 'OVERLOADED']);
    world.node(0).withholdsParts = false;
    client.send(get(4, 'big'));
    await client.answered(4);
    expect(client.outcome(4)).toBe('get');
  });

  it.each([
    ['more bytes than announced', 10, 11],
    ['an empty part', 10, 0],
  ])('end the stream on %s', async (_name, announced, sent) => {
    await start();
    client.send(set(1, 'big', '', { valueBytes: announced }));
    client.sendPart(1, Buffer.alloc(sent));
    await eventually('the stream is closed', () => client.failure !== undefined);
    expect(reasonOf(client.failure)).toBe('INVALID_ARGUMENT');
    await eventually('nothing is left', () => world.router.operationCount() === 0);
  });

  it('that never arrive end at the deadline', async () => {
    await start();
    client.send(set(1, 'big', '', { valueBytes: 10, deadlineMs: 100 }), set(2, 'big', 'x'));
    await client.answered(2);
    expect([client.outcome(1), client.outcome(2)]).toEqual(['DEADLINE_EXCEEDED', 'set']);
  });
});

describe('bounds of a stream (I10)', () => {
  it('reads no further than its window', async () => {
    await start({ script: () => undefined, env: { ROUTER_STREAM_WINDOW_OPERATIONS: '10' } });
    for (let index = 1; index <= 200; index += 1) client.send(get(index, `k${index}`));
    await eventually('the window is full', () => world.node(0).heldCount === 10);
    expect(world.router.operationCount()).toBe(10);
    world.node(0).script = serve;
    world.node(0).release();
    await client.answered(200);
  });

  it('keeps results for a client that reads slowly', async () => {
    await start();
    await callUnary(world.client, 'set', SetRequest.create({ key: Buffer.from('big'), value: Buffer.alloc(900_000) }), { deadlineMs: 5000 });
    client.pause();
    for (let index = 1; index <= 100; index += 1) client.send(get(index, 'big'));
    await eventually('the router stops asking', () => world.node(0).operations.length > 30);
    client.resume();
    await client.answered(100);
    expect(client.failure).toBeUndefined();
  });

  it('drops what a client that vanishes has queued', async () => {
    await start({ script: () => undefined, env: { ROUTER_NODE_IN_FLIGHT_OPERATIONS_MAX: '5' } });
    client.send(...Array.from({ length: 50 }, (_, index) => set(index + 1, `k${index}`, 'x')), ...Array.from({ length: 50 }, (_, index) => set(index + 100, `k${index}`, 'y')));
    await eventually('some are at the node', () => world.node(0).heldCount === 5);
    client.cancel();
    await eventually('nothing is left', () => world.router.operationCount() === 0);
    expect(world.node(0).operations).toHaveLength(5);
    world.node(0).script = serve;
    world.node(0).release();
    const { found } = await callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from('k40') }), { deadlineMs: 5000 });
    expect(found).toBe(false);
  });
});

describe('stopping', () => {
  it('answers what was read, then ends streams with SHUTTING_DOWN', async () => {
    await start({ script: () => undefined });
    client.send(set(1, 'a', '1'), get(2, 'b'));
    await eventually('the node has both', () => world.node(0).heldCount === 2);
    const stopped = world.router.stop(AbortSignal.timeout(5000));
    client.send(set(3, 'c', '1'));
    world.node(0).script = serve;
    world.node(0).release();
    await stopped;
    await eventually('the stream is closed', () => client.failure !== undefined);
    expect([...client.results.keys()].slice(0, 2)).toEqual([1, 2]);
    expect(reasonOf(client.failure)).toBe('SHUTTING_DOWN');
    // What has no answer never left the router.
    expect(world.node(0).entries.has('c')).toBe(client.results.has(3));
  });

  it('waits for nothing that may take long: no leader, a node that hangs', async () => {
    await start({ script: () => undefined, env: { ATOLL_SHUTDOWN_MS: '600' } });
    await world.lead(0, undefined);
    const waiting = world.keyIn(0);
    const [reading, writing] = [world.keyIn(1), world.keyIn(2)];
    client.send(get(2, reading, { deadlineMs: 60_000 }), set(3, writing, 'x', { deadlineMs: 60_000 }));
    await eventually('the node has both', () => world.node(0).heldCount === 2);
    client.send(set(1, waiting, 'x', { deadlineMs: 60_000 }));
    await eventually('all are under way', () => world.router.operationCount() === 3);
    await world.router.stop(AbortSignal.timeout(5000));
    await client.answered(3);
    expect([1, 2, 3].map((id) => client.outcome(id))).toEqual(['SHUTTING_DOWN', 'SHUTTING_DOWN', 'WRITE_IN_DOUBT']);
  });
});
