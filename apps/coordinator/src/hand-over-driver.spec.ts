import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { HandOverItem, HandOverResult } from '@atoll/contracts/atoll/v1/heartbeat';
import { CALM, createKeyspaceSpec, nameOf, partitionName, type ClusterState, type HandOver, type Member, type NodeRecord, type PartitionRecord, type VersionedRecord } from '@atoll/core-membership';
import { SeededRandom, toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { parseTraceparent, startTelemetry, type Telemetry } from '@atoll/platform-telemetry';
import type { RecordAction } from './adapters/record-writer.ts';
import { HandOverDriver } from './hand-over-driver.ts';
import { HandOverSpans } from './hand-over-spans.ts';

const exporter = new InMemorySpanExporter();
let telemetry: Telemetry;
beforeAll(async () => {
  telemetry = await startTelemetry({ service: 'spec', instanceId: 'spec-1', version: '0', traceRatio: 0, spanProcessors: [new SimpleSpanProcessor(exporter)] });
});
beforeEach(() => exporter.reset());
afterAll(() => telemetry.shutdown());

const member = (node: string): Member => ({ node: toNodeId(node), replica: toReplicaId(node.padEnd(16, '0')) });
const node = (id: string): NodeRecord => ({ id: toNodeId(id), address: `${id}:1`, httpAddress: '', zone: 'z', weight: 1, incarnation: `${id}-1`, phase: 'SERVING' });
const recordOf = (partition: number): PartitionRecord => ({
  keyspace: 'k',
  keyspaceId: 'id',
  partition: toPartitionId(partition),
  state: 'ACTIVE',
  generation: { counter: 1, id: 'g' },
  epoch: toEpoch(3),
  leader: member('a'),
  leaderIncarnation: 'a-1',
  relinquished: false,
  inSync: [member('a'), member('b')],
  eligible: [],
  learners: [],
  leaving: [],
  changeId: 'c',
});
const handOver = (partition: number, reason: HandOver['reason'] = 'DRAINING'): HandOver => ({ record: recordOf(partition), modRevision: 10, target: member('b'), reason });
const given = (modRevision: number): HandOverResult => ({ givenUp: true, modRevision, end: { epoch: 3, seq: 9 }, problem: '' });
const PARTITIONS = [0, 1, 2, 3, 4, 5, 6, 7];

/** Eight partitions led by a, with b in sync; etcd has each record at revision 10 unless `stored` says otherwise. */
class Desk {
  nowMs = 0;
  answer: (items: readonly HandOverItem[]) => Promise<readonly HandOverResult[]> = async (items) => items.map(() => given(10));
  readonly asked: (readonly HandOverItem[])[] = [];
  readonly written: RecordAction[] = [];
  readonly problems: string[] = [];
  stored: VersionedRecord | undefined;
  /** Trace context of what migrates the partitions. */
  parent: string | undefined;
  ends = 0;
  readonly driver: HandOverDriver;

  constructor(handOversMax = 4) {
    this.driver = new HandOverDriver({
      random: new SeededRandom(1),
      config: { handOversMax, handOverHoldMs: 500 },
      nowMs: () => this.nowMs,
      state: () => this.#state(),
      ask: (_address, items) => {
        this.asked.push(items);
        return this.answer(items);
      },
      spans: new HandOverSpans(telemetry.tracing, () => this.parent),
      read: async () => this.stored,
      write: async (actions) => {
        this.written.push(...actions);
        return actions.map((action) => ({ action, revision: 11 }));
      },
      onWritten: async () => undefined,
      onEnd: () => (this.ends += 1),
      onProblem: (_handOver, problem) => this.problems.push(problem),
    });
  }

  async run(planned: readonly HandOver[]): Promise<void> {
    const ends = this.ends;
    this.driver.begin(planned);
    await eventually('the transfers ended', () => this.ends > ends && this.driver.handingOver.size === 0);
  }

  #state(): ClusterState {
    const nodes = new Map(['a', 'b'].map((id) => [id, node(id)]));
    const held = (id: string) => new Map(PARTITIONS.map((partition) => [partitionName('k', partition), { replica: member(id).replica, generation: { counter: 1, id: 'g' }, empty: false }]));
    return {
      nodes,
      specs: new Map([...nodes.values()].map(({ id, address, incarnation }) => [id, { id, address, incarnation, state: 'UP', zone: 'z', weight: 1, stopped: false }])),
      keyspaces: new Map([['k', createKeyspaceSpec({ name: 'k', id: 'id', partitionCount: 8 })]]),
      partitions: new Map([['k', PARTITIONS.map((partition) => ({ record: recordOf(partition), modRevision: 10 }))]]),
      inventories: new Map(['a', 'b'].map((id) => [id, { incarnation: `${id}-1`, replicas: held(id) }])),
      writtenOff: new Set(),
      verdicts: new Map(),
      failover: CALM,
    };
  }
}

describe('planned transfers (R29)', () => {
  it('compare the revision that the leader named, and say that the office was given up', async () => {
    const desk = new Desk();
    await desk.run([handOver(0)]);
    expect(desk.asked).toEqual([[{ keyspace: 'k', partition: 0, epoch: 3, targetReplicaId: member('b').replica, traceparent: expect.any(String) as string }]]);
    expect(desk.written).toMatchObject([{ decision: 'TRANSFER', modRevision: 10, record: { epoch: 4, leader: member('b'), leaderIncarnation: 'b-1', relinquished: true, inSync: [member('a'), member('b')] } }]);
  });

  it('are done a few at a time', async () => {
    const desk = new Desk(3);
    await desk.run(PARTITIONS.map((partition) => handOver(partition, 'DEGRADED')));
    expect(desk.asked.map((items) => items.length)).toEqual([3]);
  });

  it('have a rest behind them, of which the end is told; what is urgent does not wait for it', async () => {
    const desk = new Desk(2);
    const planned = PARTITIONS.map((partition) => handOver(partition));
    await desk.run(planned);
    expect(desk.driver.isSpreading).toBe(true);
    // The timer of the rest has run, the clock of the transfers has not.
    desk.driver.begin(planned.slice(2));
    expect(desk.asked).toHaveLength(1);
    desk.driver.begin([handOver(7, 'DEGRADED')]);
    expect(desk.asked).toHaveLength(2);
    await eventually('the transfer ended', () => desk.driver.handingOver.size === 0);
    desk.nowMs = 150;
    await desk.run(planned.slice(2));
    expect(desk.asked.map((items) => items.map(({ partition }) => partition))).toEqual([[0], [7], [2]]);
    desk.driver.begin([]);
    expect(desk.driver.isSpreading).toBe(false);
  });

  it('take the record from etcd where the leader has named a later revision than the view has', async () => {
    const desk = new Desk();
    desk.answer = async () => [given(12)];
    desk.stored = { record: { ...recordOf(0), inSync: [member('b'), member('a')] }, modRevision: 12 };
    await desk.run([handOver(0)]);
    expect(desk.written).toMatchObject([{ modRevision: 12, record: { inSync: [member('b'), member('a')] } }]);
  });

  it.each<{ title: string; prepare: (desk: Desk) => void; problem: RegExp }>([
    { title: 'the leader keeps its office', prepare: (desk) => (desk.answer = async () => [{ givenUp: false, modRevision: 0, end: undefined, problem: 'the target is behind' }]), problem: /behind/ },
    { title: 'the leader cannot be asked', prepare: (desk) => (desk.answer = () => Promise.reject(new Error('no connection'))), problem: /no connection/ },
    { title: 'the record has moved on', prepare: (desk) => Object.assign(desk, { answer: async () => [given(12)], stored: { record: recordOf(0), modRevision: 13 } }), problem: /another revision than 12/ },
    {
      title: 'the target has left the in-sync set',
      prepare: (desk) => Object.assign(desk, { answer: async () => [given(12)], stored: { record: { ...recordOf(0), inSync: [member('a')], learners: [member('b')] }, modRevision: 12 } }),
      problem: /cannot lead any more/,
    },
  ])('write nothing when $title, say so once, and are tried again later and later', async ({ prepare, problem }) => {
    const desk = new Desk();
    prepare(desk);
    for (const [atMs, asked] of [[0, 1], [499, 1], [500, 2], [1499, 2], [1500, 3]] as const) {
      desk.nowMs = atMs;
      if (desk.asked.length < asked) await desk.run([handOver(0)]);
      else desk.driver.begin([handOver(0)]);
      expect(desk.asked).toHaveLength(asked);
    }
    expect(desk.written).toEqual([]);
    expect(desk.problems).toEqual([expect.stringMatching(problem)]);
    expect(desk.driver.problemOf(nameOf(recordOf(0)), 3)).toMatch(problem);
    expect(desk.driver.problemOf(nameOf(recordOf(0)), 4)).toBeUndefined();
  });
});

describe('the trace of a planned transfer', () => {
  const MIGRATION = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

  it('reaches the leader, hangs under the migration that wants it, and says how long writes waited', async () => {
    const desk = new Desk();
    desk.parent = MIGRATION;
    await desk.run([handOver(0)]);
    const [span] = exporter.getFinishedSpans();
    expect(span).toMatchObject({ name: 'atoll.hand_over', attributes: { 'atoll.keyspace': 'k', 'atoll.partition': 0, 'atoll.epoch': 3, 'atoll.from': 'a', 'atoll.to': 'b', 'atoll.reason': 'DRAINING', 'atoll.pause_ms': 0 } });
    expect(span!.spanContext().traceId).toBe(parseTraceparent(MIGRATION)!.traceId);
    expect(parseTraceparent(desk.asked[0]![0]!.traceparent)).toMatchObject({ traceId: span!.spanContext().traceId, spanId: span!.spanContext().spanId });
  });

  it('is one of its own where nothing migrates the partition, and tells what went wrong', async () => {
    const desk = new Desk();
    desk.answer = () => Promise.reject(new Error('no connection'));
    await desk.run([handOver(0)]);
    const [span] = exporter.getFinishedSpans();
    expect({ parent: span!.parentSpanContext, message: span!.status.message }).toEqual({ parent: undefined, message: 'no connection' });
  });

  it('is not there under a migration that is not sampled', async () => {
    const desk = new Desk();
    desk.parent = '';
    await desk.run([handOver(0)]);
    expect(exporter.getFinishedSpans()).toEqual([]);
    expect(desk.asked[0]![0]!.traceparent).toBe('');
  });
});
