import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { startTelemetry, type Span, type Telemetry } from '@atoll/platform-telemetry';
import { TracedWrite, TracedWrites } from './traced-writes.ts';

const exporter = new InMemorySpanExporter();
let telemetry: Telemetry;
beforeAll(async () => {
  telemetry = await startTelemetry({ service: 'spec', instanceId: 'spec-1', version: '0', traceRatio: 1, spanProcessors: [new SimpleSpanProcessor(exporter)] });
});
beforeEach(() => exporter.reset());
afterAll(() => telemetry.shutdown());

const newSpan = (): Span => telemetry.tracing.startServerSpan('write') as Span;
const newWrite = (): TracedWrite => new TracedWrite(newSpan(), performance.now());
const newReplica = (appliedSeq = 0) => ({ replica: { leader: {} as object | undefined, state: { appliedSeq } } });

describe('a traced write', () => {
  it('that waits for nobody was all local work', () => {
    const span = newSpan();
    new TracedWrite(span, performance.now() - 5).answered();
    span.end();
    const { attributes } = exporter.getFinishedSpans()[0]!;
    expect(attributes['atoll.write.local_ms']).toBeGreaterThanOrEqual(5);
    expect(attributes).toMatchObject({ 'atoll.write.transfer_ms': 0, 'atoll.write.sync_wait_ms': 0 });
  });

  it('goes with its entry to each follower, until it is committed and answered', () => {
    const traces = new TracedWrites();
    const hosted = newReplica();
    const write = newWrite();
    traces.add(hosted, write, 7);
    expect(traces.sent(hosted, 1, 1, 6)).toEqual([]);
    for (const channel of [1, 2]) expect(traces.sent(hosted, channel, 7, 9)).toEqual([{ channel, seq: 7, traceparent: write.traceparent }]);
    hosted.replica.state.appliedSeq = 7;
    traces.answered(hosted, write);
    expect(traces.size).toBe(0);
  });

  it('that was answered ahead of its commit goes on to its followers until then', () => {
    const traces = new TracedWrites();
    const hosted = newReplica();
    const write = newWrite();
    traces.answered(hosted, write);
    traces.add(hosted, write, 7);
    expect(traces.sent(hosted, 1, 7, 7)).toHaveLength(1);
    hosted.replica.state.appliedSeq = 7;
    traces.sent(hosted, 1, 8, 8);
    expect(traces.size).toBe(0);
  });

  it('of an office that ended is forgotten', () => {
    const traces = new TracedWrites();
    const hosted = newReplica();
    const [early, late] = [newWrite(), newWrite()];
    traces.answered(hosted, early);
    traces.add(hosted, early, 7);
    traces.add(hosted, late, 8);
    hosted.replica.leader = undefined;
    traces.answered(hosted, late);
    expect(traces.size).toBe(0);
  });

  it('is not kept where it was committed in the call', () => {
    const traces = new TracedWrites();
    const hosted = newReplica(7);
    const write = newWrite();
    traces.answered(hosted, write);
    traces.add(hosted, write, 7);
    expect(traces.size).toBe(0);
  });
});

it('writes of a partition that stands still are bounded; the newest are traced on (I10)', () => {
  const traces = new TracedWrites();
  const stuck = newReplica();
  for (let seq = 1; seq <= 2500; seq += 1) traces.add(stuck, newWrite(), seq);
  expect(traces.size).toBe(1000);
  const other = newReplica();
  traces.add(other, newWrite(), 1);
  expect(traces.sent(other, 1, 1, 1)).toHaveLength(1);
  expect(traces.sent(stuck, 1, 1, 2500).at(-1)?.seq).toBe(2500);
});
