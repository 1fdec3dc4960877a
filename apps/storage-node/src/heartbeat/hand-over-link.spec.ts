import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { GetRequest, SetRequest } from '@atoll/contracts/atoll/v1/cache';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_123;
const HAND_OVER = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const LINK = { context: { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }, attributes: { 'atoll.link': 'hand_over' } };
const REQUEST = '00-11111111111111111111111111111111-2222222222222222-01';

describe(`requests that meet a planned transfer (R29, seed ${SEED})`, () => {
  let exporter: InMemorySpanExporter;
  let world: NodeWorld;
  let a: WorldNode;
  let b: WorldNode;

  beforeEach(async () => {
    exporter = new InMemorySpanExporter();
    world = new NodeWorld(SEED);
    [a, b] = [await world.start('a', { spanProcessor: new SimpleSpanProcessor(exporter) }), await world.start('b')];
    await world.createKeyspace({}, [a, b]);
    await a.set('k', 'v');
  });
  afterEach(() => world.stop());

  const handOver = (holdMs = 1000) => {
    const targetReplicaId = world.record().record.inSync[1]!.replica;
    const { epoch } = world.record().record;
    return callUnary(a.heartbeat, 'handOver', { coordinatorRevision: 20, items: [{ keyspace: 'default', partition: 0, epoch, targetReplicaId, traceparent: HAND_OVER }], holdMs }, DEADLINE);
  };
  const set = () => callUnary(a.cache, 'set', SetRequest.fromPartial({ key: Buffer.from('k'), value: Buffer.from('w') }), { ...DEADLINE, traceparent: REQUEST });
  const get = () => callUnary(a.cache, 'get', GetRequest.fromPartial({ key: Buffer.from('k') }), { ...DEADLINE, traceparent: REQUEST });
  /** Links of the next span of such a request that has ended. */
  const linksOf = async (name: 'Set' | 'Get') => (await eventually(`a span of ${name}`, () => exporter.getFinishedSpans().find((span) => span.name.endsWith(`Cache/${name}`)))).links;

  it('link to it when they wait for the office, and when they are refused since it is given up', async () => {
    expect((await handOver()).results[0]).toMatchObject({ givenUp: true });
    expect((await failureOf(get())).reason).toBe('PARTITION_UNAVAILABLE');
    expect(await linksOf('Get')).toMatchObject([LINK]);
    const waiting = failureOf(set());
    await world.promote(b, { relinquished: true });
    expect((await waiting).reason).toBe('NOT_LEADER');
    expect(await linksOf('Set')).toMatchObject([LINK]);
  });

  it('link to it when they come too late, by an older table', async () => {
    await handOver();
    await world.promote(b, { relinquished: true });
    await world.serving(b);
    expect((await failureOf(set())).reason).toBe('NOT_LEADER');
    expect(await linksOf('Set')).toMatchObject([LINK]);
    expect((await failureOf(get())).reason).toBe('NOT_LEADER');
    expect(await linksOf('Get')).toMatchObject([LINK]);
  });

  it('link to it when the office is taken back and they are carried out', async () => {
    await handOver(100);
    expect((await set()).applied).toBe(true);
    expect(await linksOf('Set')).toMatchObject([LINK]);
    exporter.reset();
    expect((await set()).applied).toBe(true);
    expect(await linksOf('Set')).toEqual([]);
  });

  it('do not link where there was none', async () => {
    await set();
    await get();
    expect([await linksOf('Set'), await linksOf('Get')]).toEqual([[], []]);
  });

  it('link to the cut-over that they are refused for, and to no other (R37)', async () => {
    world.change(() => ({ frozen: 'x' }));
    const freeze = (cutOver: string) => a.node.parts()!.copySource.confirmFreeze({ keyspace: 'default', keyspaceId: world.record().record.keyspaceId, cutOver, partitions: [0], seal: cutOver === 'x', traceparent: HAND_OVER });
    freeze('y');
    expect((await eventually('it is frozen', () => failureOf(set()).catch(() => undefined))).reason).toBe('PARTITION_UNAVAILABLE');
    expect(await linksOf('Set')).toEqual([]);
    await eventually('it is sealed', () => freeze('x').partitions.length === 1);
    exporter.reset();
    expect((await failureOf(set())).reason).toBe('PARTITION_UNAVAILABLE');
    expect((await failureOf(get())).reason).toBe('PARTITION_UNAVAILABLE');
    const link = { ...LINK, attributes: { 'atoll.link': 'cut_over' } };
    expect([await linksOf('Set'), await linksOf('Get')]).toMatchObject([[link], [link]]);
  });
});
