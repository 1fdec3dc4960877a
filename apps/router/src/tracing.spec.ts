import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { GetRequest } from '@atoll/contracts/atoll/v1/cache';
import { callUnary } from '@atoll/platform-grpc';
import { RouterWorld } from './testing/router-world.ts';
import { refuse, serve } from './testing/scripted-node.ts';
import { eventually } from '@atoll/platform-etcd/testing';

describe('a sampled call', () => {
  it('is a server span with a client span per try, and the node gets the last one as parent', async () => {
    const exporter = new InMemorySpanExporter();
    let tries = 0;
    const world = await RouterWorld.start({
      telemetry: { spanProcessors: [new SimpleSpanProcessor(exporter)] },
      script: (operation, node) => {
        tries += 1;
        return tries === 1 ? refuse('NOT_LEADER') : serve(operation, node);
      },
    });
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from('secret-key') }), { deadlineMs: 5000, traceparent });
    await callUnary(world.client, 'get', GetRequest.create({ key: Buffer.from('secret-key') }), { deadlineMs: 5000 });
    await eventually('three spans', () => exporter.getFinishedSpans().length === 3);
    const spans = exporter.getFinishedSpans();
    const server = spans.find(({ name }) => name === 'atoll.v1.Cache/Get')!;
    const clients = spans.filter(({ name }) => name === 'atoll.v1.Cache/Execute get');
    expect(server.parentSpanContext?.spanId).toBe('b7ad6b7169203331');
    expect(clients.map(({ parentSpanContext, attributes }) => [parentSpanContext?.spanId, attributes['atoll.attempt'], attributes['server.address']])).toEqual([
      [server.spanContext().spanId, 1, world.node(0).address],
      [server.spanContext().spanId, 2, world.node(0).address],
    ]);
    expect(clients[0]!.attributes['error.type']).toBe('NOT_LEADER');
    expect(world.node(0).operations[1]!.traceparent).toContain(clients[1]!.spanContext().spanId);
    expect(JSON.stringify(spans.map(({ attributes, name }) => [name, attributes]))).not.toContain('secret-key');
    await world.stop();
  });
});
