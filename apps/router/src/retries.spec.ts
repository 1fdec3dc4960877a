import { once } from 'node:events';
import { GetRequest, SetRequest, type ErrorDetail, type ExecuteResponse, type OpId } from '@atoll/contracts/atoll/v1/cache';
import { isAtollError, type AtollError, type ErrorReason } from '@atoll/core-errors';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { RouterWorld, type WorldOptions } from './testing/router-world.ts';
import { refuse, serve, type Script } from './testing/scripted-node.ts';

let world: RouterWorld;
afterEach(() => world.stop());
const start = async (options?: WorldOptions): Promise<void> => {
  world = await RouterWorld.start(options);
};

const get = (key: string, deadlineMs = 5000) => callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from(key) }), { deadlineMs });
const set = (key: string, value: string, deadlineMs = 5000) =>
  callUnary(world.client, 'set', SetRequest.create({ key: Buffer.from(key), value: Buffer.from(value) }), { deadlineMs, mayWrite: true });
const outcomeOf = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'OK',
    (error: unknown) => (isAtollError(error) ? error.reason : String(error)),
  );
const failureOf = async (call: Promise<unknown>): Promise<AtollError> =>
  call.then(
    () => Promise.reject(new Error('it succeeded')),
    (error: unknown) => error as AtollError,
  );
/** Of the writes that the node was sent, in that order. */
const opIds = (index = 0): OpId[] =>
  world.node(index).operations.flatMap(({ kind }) => (kind?.$case === 'set' && kind.value.opId !== undefined ? [kind.value.opId] : []));
/** Refuses the first `count` operations. */
const refuseFirst = (count: number, reason: string): Script => {
  let left = count;
  return (operation, node) => {
    left -= 1;
    return left >= 0 ? refuse(reason) : serve(operation, node);
  };
};

/** Why a write fails that has so long, sent by Execute: there no deadline of the transport can be faster than the answer. */
async function failureByExecute(deadlineMs: number): Promise<ErrorDetail> {
  const stream = world.client.execute();
  stream.on('error', () => undefined);
  stream.write({ operations: [{ id: 1, deadlineMs, traceparent: '', valueBytes: 0, kind: { $case: 'set', value: SetRequest.create({ key: Buffer.from('a') }) } }], parts: [] });
  const [{ results }] = (await once(stream, 'data')) as [ExecuteResponse];
  stream.cancel();
  return (results[0]!.kind as { value: ErrorDetail }).value;
}

describe('a refusal by the node', () => {
  it.each<[ErrorReason, 'repeated' | 'failed']>([
    ['NOT_LEADER', 'repeated'],
    ['NOT_ENOUGH_REPLICAS', 'repeated'],
    ['PARTITION_UNAVAILABLE', 'repeated'],
    ['REPLICA_NOT_READY', 'repeated'],
    ['SHUTTING_DOWN', 'repeated'],
    ['OVERLOADED', 'repeated'],
    ['MEMORY_EXHAUSTED', 'failed'],
    ['SESSION_LOST', 'failed'],
    ['WRITE_IN_DOUBT', 'repeated'],
    ['INTERNAL', 'failed'],
  ])('%s: reads and writes are %s (R20, R21)', async (reason, expected) => {
    await start({ script: refuseFirst(2, reason) });
    const first = await outcomeOf(set('a', '1'));
    expect(first).toBe(expected === 'repeated' ? 'OK' : reason);
    world.node(0).script = refuseFirst(2, reason);
    expect(await outcomeOf(get('a'))).toBe(first);
    expect(world.node(0).operations.length).toBe(expected === 'repeated' ? 6 : 2);
  });

  it('of a newer release becomes INTERNAL and keeps its name', async () => {
    await start({ script: () => refuse('FROM_THE_FUTURE') });
    const failure = await failureOf(get('a'));
    expect([failure.reason, failure.metadata['reason']]).toEqual(['INTERNAL', 'FROM_THE_FUTURE']);
  });

  it('with a hint sends the operation to the leader that it names', async () => {
    await start();
    const partition = world.partitionOf('a');
    world.node(0).script = () => refuse('NOT_LEADER', { leader: 'b', leader_address: world.node(1).address, epoch: '9', keyspace: 'default', partition: String(partition) });
    expect(await outcomeOf(set('a', '1'))).toBe('OK');
    expect(world.node(1).operations).toHaveLength(1);
    expect(await outcomeOf(set('a', '2'))).toBe('OK');
    expect(world.node(0).operations).toHaveLength(1); // the hint is kept
  });

  it('without one lets it wait for the table', async () => {
    await start({ script: () => refuse('NOT_LEADER') });
    world.node(1).script = serve;
    const writing = outcomeOf(set('a', '1'));
    await eventually('the write was refused', () => world.node(0).operations.length > 0);
    await world.lead(world.partitionOf('a'), 1);
    expect(await writing).toBe('OK');
  });

  it('is told when the deadline comes', async () => {
    await start({ script: () => refuse('NOT_LEADER') });
    const failure = await failureByExecute(400);
    expect([failure.reason, failure.metadata['last_reason']]).toEqual(['PARTITION_UNAVAILABLE', 'NOT_LEADER']);
    world.node(0).script = () => refuse('NOT_ENOUGH_REPLICAS');
    expect((await failureByExecute(400)).reason).toBe('NOT_ENOUGH_REPLICAS');
  });

  it('costs a token of the retry budget at the same node', async () => {
    await start({ script: () => refuse('OVERLOADED'), env: { ROUTER_RETRY_RATIO: '0', ROUTER_RETRIES_PER_SECOND: '0', ROUTER_RETRIES_SAVED_MAX: '3' } });
    const failure = await failureByExecute(2000);
    expect([failure.reason, failure.metadata['last_reason']]).toEqual(['RETRY_BUDGET_EXHAUSTED', 'OVERLOADED']);
    expect(world.node(0).operations).toHaveLength(4);
  });
});

describe('a partition in trouble', () => {
  it('is asked by one operation for all that wait, and all go when it is served', async () => {
    let isServing = false;
    await start({ script: (operation, node) => (isServing ? serve(operation, node) : refuse('NOT_LEADER')) });
    const key = (index: number): string => world.keyIn(1, `k${index}`);
    const calls = Array.from({ length: 100 }, (_, index) => outcomeOf(set(key(index), '1')));
    await eventually('all were refused', () => world.node(0).operations.length >= 100);
    const before = world.node(0).operations.length;
    await eventually('it is asked again', () => world.node(0).operations.length > before + 2);
    expect(world.node(0).operations.length - before).toBeLessThan(50);
    isServing = true;
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['OK']));
  });
});

describe('a partition without a leader', () => {
  it('makes operations wait for one', async () => {
    await start();
    await get('a');
    const partition = world.partitionOf('a');
    await world.lead(partition, undefined);
    await eventually('there is no leader', async () => (await outcomeOf(get('a', 50))) === 'PARTITION_UNAVAILABLE');
    const waiting = [outcomeOf(get('a')), outcomeOf(set('a', '1'))];
    await eventually('both wait', () => world.router.operationCount() === 2);
    await world.lead(partition, 0);
    expect(await Promise.all(waiting)).toEqual(['OK', 'OK']);
  });
});

describe('a stream that breaks', () => {
  it('sends what was handed over again: a read, and a write under its op id with its age (R21)', async () => {
    await start({ script: () => undefined });
    const results = [outcomeOf(set('a', '1')), outcomeOf(get('b'))];
    await eventually('the node has both', () => world.node(0).heldCount === 2);
    world.node(0).script = serve;
    world.node(0).breakStreams();
    expect(await Promise.all(results)).toEqual(['OK', 'OK']);
    const [first, second] = opIds();
    expect(second).toMatchObject({ clientId: first!.clientId, counter: first!.counter });
    expect([first!.repeatAgeMs, second!.repeatAgeMs > 0]).toEqual([0, true]);
  });

  it.each<[string, Script]>([
    ['a plain failure', () => refuse('MEMORY_EXHAUSTED')],
    ['that nobody knows any more', () => refuse('WRITE_IN_DOUBT', { cause: 'RESULT_FORGOTTEN' })],
  ])('leaves a write in doubt whose repeat is answered by %s (R20)', async (_what, script) => {
    await start({ script: () => undefined });
    const writing = outcomeOf(set('a', '1'));
    await eventually('the node has it', () => world.node(0).heldCount === 1);
    world.node(0).script = script;
    world.node(0).breakStreams();
    expect(await writing).toBe('WRITE_IN_DOUBT');
    expect(opIds()).toHaveLength(2);
  });

  it('of a caller that repeats a write itself hears what is true of both (R20)', async () => {
    await start({ script: () => refuse('MEMORY_EXHAUSTED') });
    const opId = { clientId: Buffer.from('12345678'), counter: 1, repeatAgeMs: 50 };
    const request = SetRequest.create({ key: Buffer.from('a'), value: Buffer.from('1'), opId });
    expect(await outcomeOf(callUnary(world.client, 'set', request, { deadlineMs: 1000, mayWrite: true }))).toBe('WRITE_IN_DOUBT');
    expect(opIds()[0]!.repeatAgeMs).toBeGreaterThanOrEqual(50);
  });

  it('sends what could not be handed over to the next leader', async () => {
    await start();
    await get('a');
    world.node(0).stop();
    const writing = outcomeOf(set('a', '1'));
    const reading = outcomeOf(get('a'));
    await eventually('both are under way', () => world.router.operationCount() === 2);
    await world.lead(world.partitionOf('a'), 1);
    expect([await writing, await reading]).toEqual(['OK', 'OK']);
    expect(await outcomeOf(set('a', '2'))).toBe('OK');
  });

  it('is opened again to a node that comes back at its address', async () => {
    await start();
    await get('a');
    world.node(0).breakStreams();
    await eventually('reads go on', async () => (await outcomeOf(get('a', 500))) === 'OK');
    expect(await outcomeOf(set('a', '1'))).toBe('OK');
  });
});

describe('a node that does not answer', () => {
  it('leaves a write in doubt and fails a read at the deadline, and forgets both', async () => {
    await start({ script: () => undefined });
    const results = await Promise.all([outcomeOf(set('a', '1', 300)), outcomeOf(get('b', 300))]);
    expect(results).toEqual(['WRITE_IN_DOUBT', 'DEADLINE_EXCEEDED']);
    expect(world.router.operationCount()).toBe(0);
    world.node(0).release(); // late answers are ignored
    world.node(0).script = serve;
    expect(await outcomeOf(get('a'))).toBe('OK');
  });

  it('loses what it has to the next leader when the table names one (R21)', async () => {
    await start({ script: () => undefined });
    world.node(1).script = serve;
    const results = [outcomeOf(get('a')), outcomeOf(set('a', '1'))];
    await eventually('the node has both', () => world.node(0).heldCount === 2);
    await world.lead(world.partitionOf('a'), 1);
    expect(await Promise.all(results)).toEqual(['OK', 'OK']);
    expect(opIds(1).map(({ repeatAgeMs }) => repeatAgeMs > 0)).toEqual([true]);
  });

  it('fills its bounds, and then callers hear OVERLOADED (I10)', async () => {
    await start({ script: () => undefined, env: { ROUTER_NODE_IN_FLIGHT_OPERATIONS_MAX: '4', ROUTER_NODE_QUEUED_OPERATIONS_MAX: '8', ROUTER_STREAM_WINDOW_OPERATIONS: '10' } });
    const results = Array.from({ length: 20 }, (_, index) => outcomeOf(get(`k${index}`, 3000)));
    await eventually('the node has what it may', () => world.node(0).heldCount === 4 && world.router.operationCount() === 12);
    world.node(0).script = serve;
    world.node(0).release();
    const outcomes = await Promise.all(results);
    expect(outcomes.filter((outcome) => outcome === 'OK')).toHaveLength(12);
    expect(outcomes.filter((outcome) => outcome === 'OVERLOADED')).toHaveLength(8);
  });
});
