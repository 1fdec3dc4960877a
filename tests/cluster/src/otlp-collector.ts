import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

// The fields of OTLP that the specs look at: opentelemetry/proto/trace/v1/trace.proto of opentelemetry-proto 1.x.
const OTLP = `
  syntax = "proto3";
  message Export { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message ScopeSpans { repeated Span spans = 2; }
  message Span {
    bytes trace_id = 1; bytes span_id = 2; bytes parent_span_id = 4; string name = 5; uint32 kind = 6;
    fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9; repeated Link links = 13; Status status = 15;
  }
  message Link { bytes trace_id = 1; bytes span_id = 2; }
  message Status { string message = 2; uint32 code = 3; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; } }
`;
const EXPORT = protobuf.parse(OTLP).root.lookupType('Export');

export type SpanKind = 'INTERNAL' | 'SERVER' | 'CLIENT';
type AttributeValue = string | number | boolean;

export interface CollectedSpan {
  /** 32 and 16 hex digits; the parent is '' where a trace begins. */
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: SpanKind;
  readonly durationMs: number;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly isError: boolean;
  readonly message: string;
  /** service.name and service.instance.id of the process that made it. */
  readonly service: string;
  readonly instance: string;
  /** service.version. */
  readonly version: string;
}

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly boolValue?: boolean; readonly intValue?: string; readonly doubleValue?: number };
}

interface ExportMessage {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly SpanMessage[] }[];
  }[];
}

interface SpanMessage {
  readonly traceId: Buffer;
  readonly spanId: Buffer;
  readonly parentSpanId: Buffer;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly Attribute[];
  readonly links: readonly { readonly traceId: Buffer; readonly spanId: Buffer }[];
  readonly status: { readonly message: string; readonly code: number } | null;
}

const KINDS: Readonly<Record<number, SpanKind>> = { 1: 'INTERNAL', 2: 'SERVER', 3: 'CLIENT' };
const STATUS_ERROR = 2;
const UNTIL_MS = 20_000;

/** An OTLP/gRPC collector of traces that keeps what it gets. */
export class OtlpCollector {
  readonly spans: CollectedSpan[] = [];
  /** Every message as it came. */
  readonly received: Buffer[] = [];
  readonly #server = new Server();
  readonly #waiting = new Set<() => void>();
  #port = 0;

  static async start(): Promise<OtlpCollector> {
    const collector = new OtlpCollector();
    await collector.#listen();
    return collector;
  }

  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  trace(traceId: string): CollectedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId);
  }

  /** Resolves as soon as `find` answers something for the spans that came; rejects with what is missing after `withinMs`, default 20 s. */
  async until<T>(what: string, find: (spans: readonly CollectedSpan[]) => T | undefined | false, withinMs = UNTIL_MS): Promise<T> {
    const deadlineMs = Date.now() + withinMs;
    for (;;) {
      const found = find(this.spans);
      if (found !== undefined && found !== false) return found;
      const remainingMs = deadlineMs - Date.now();
      if (remainingMs <= 0) throw new Error(`${what} did not come; the last spans are ${JSON.stringify(this.spans.slice(-12), undefined, 1)}`);
      await this.#nextExport(remainingMs);
    }
  }

  #nextExport(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, timeoutMs);
      const waiting = this.#waiting;
      function done(): void {
        clearTimeout(timer);
        waiting.delete(done);
        resolve();
      }
      waiting.add(done);
    });
  }

  async #listen(): Promise<void> {
    const raw = (bytes: Buffer): Buffer => bytes;
    const method = {
      path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
      requestStream: false,
      responseStream: false,
      requestSerialize: raw,
      requestDeserialize: raw,
      responseSerialize: raw,
      responseDeserialize: raw,
    } as const;
    this.#server.addService(
      { export: method },
      {
        export: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
          this.#take(call.request);
          callback(null, Buffer.alloc(0));
        },
      },
    );
    this.#port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error === null ? resolve(port) : reject(error)));
    });
  }

  #take(bytes: Buffer): void {
    this.received.push(bytes);
    const { resourceSpans } = EXPORT.toObject(EXPORT.decode(bytes), { longs: String, defaults: true, arrays: true, oneofs: true }) as unknown as ExportMessage;
    for (const { resource, scopeSpans } of resourceSpans) {
      const of = toRecord(resource.attributes);
      for (const { spans } of scopeSpans) for (const span of spans) this.spans.push(toSpan(span, { service: String(of['service.name']), instance: String(of['service.instance.id']), version: String(of['service.version']) }));
    }
    for (const wake of this.#waiting) wake();
  }
}

function toSpan(span: SpanMessage, process: Pick<CollectedSpan, 'service' | 'instance' | 'version'>): CollectedSpan {
  return {
    traceId: span.traceId.toString('hex'),
    spanId: span.spanId.toString('hex'),
    parentSpanId: span.parentSpanId.toString('hex'),
    name: span.name,
    kind: KINDS[span.kind] ?? 'INTERNAL',
    durationMs: Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6,
    attributes: toRecord(span.attributes),
    links: span.links.map(({ traceId, spanId }) => ({ traceId: traceId.toString('hex'), spanId: spanId.toString('hex') })),
    isError: span.status?.code === STATUS_ERROR,
    message: span.status?.message ?? '',
    ...process,
  };
}

function toRecord(attributes: readonly Attribute[]): Record<string, AttributeValue> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? value.boolValue ?? (value.intValue === undefined ? undefined : Number(value.intValue)) ?? value.doubleValue ?? '']),
  );
}
