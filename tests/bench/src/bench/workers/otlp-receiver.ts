// A collector of traces for `telemetry`: takes what services export over OTLP/gRPC, decodes it, and counts the spans of
// client requests. A process of its own, so that its CPU time is nobody's who is measured.
import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

// Of opentelemetry/proto/trace/v1/trace.proto what is looked at.
const EXPORT = protobuf
  .parse(
    `syntax = "proto3";
    message Export { repeated ResourceSpans resource_spans = 1; }
    message ResourceSpans { repeated ScopeSpans scope_spans = 2; }
    message ScopeSpans { repeated Span spans = 2; }
    message Span { string name = 5; }`,
  )
  .root.lookupType('Export');
const REQUEST_SPAN = 'atoll.v1.Cache/';

interface ExportMessage {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly { readonly name: string }[] }[] }[];
}

let requestSpans = 0;

function take(bytes: Buffer): void {
  const { resourceSpans } = EXPORT.toObject(EXPORT.decode(bytes), { defaults: true, arrays: true }) as unknown as ExportMessage;
  for (const { scopeSpans } of resourceSpans) {
    for (const { spans } of scopeSpans) requestSpans += spans.filter(({ name }) => name.startsWith(REQUEST_SPAN)).length;
  }
}

const raw = (bytes: Buffer): Buffer => bytes;
const path = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
const server = new Server();
server.addService(
  { export: { path, requestStream: false, responseStream: false, requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw } },
  {
    export: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
      take(call.request);
      callback(null, Buffer.alloc(0));
    },
  },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.send?.({ port });
});
process.on('message', () => process.send?.({ requestSpans }));
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit());
