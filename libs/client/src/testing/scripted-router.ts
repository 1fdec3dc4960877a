import { Server, ServerCredentials, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import {
  CacheService,
  type ExecuteRequest,
  type ExecuteResponse,
  type Operation,
  type OperationResult,
  type ScanRequest,
  type ScanResponse,
  type WatchRequest,
  type WatchResponse,
} from '@atoll/contracts/atoll/v1/cache';
import { AtollError, type ErrorReason } from '@atoll/core-errors';
import { toServiceError } from '@atoll/platform-grpc';

type Kind = NonNullable<OperationResult['kind']>;
type ExecuteCall = ServerDuplexStream<ExecuteRequest, ExecuteResponse>;

/** Answer to one operation; undefined: it stays unanswered. */
export type Script = (operation: Operation, router: ScriptedRouter) => Kind | undefined;

export const refuse = (reason: string, metadata: Record<string, string> = { field: 'x' }): Kind => ({ $case: 'error', value: { reason, message: `scripted ${reason}`, metadata } });

const EMPTY = Buffer.alloc(0);

/** A real gRPC server that plays a router: entries in a map, and a script that decides what it answers. */
export class ScriptedRouter {
  readonly address: string;
  readonly entries = new Map<string, Buffer>();
  readonly batches: Operation[][] = [];
  readonly scans: ScanRequest[] = [];
  /** All that ever came; the spec answers them. */
  readonly watches: ServerWritableStream<WatchRequest, WatchResponse>[] = [];
  script: Script = serve;
  scanScript: (request: ScanRequest) => readonly (ScanResponse | Error)[] = () => [{ entries: [], cursor: EMPTY }];
  readonly #server: Server;
  readonly #streams = new Set<ExecuteCall>();

  constructor(server: Server, address: string) {
    this.#server = server;
    this.address = address;
  }

  static async start(port = 0): Promise<ScriptedRouter> {
    const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
    const bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, actual) => (error === null ? resolve(actual) : reject(error)));
    });
    const router = new ScriptedRouter(server, `127.0.0.1:${bound}`);
    server.addService(CacheService, {
      execute: (call: ExecuteCall) => router.#execute(call),
      scan: (call: ServerWritableStream<ScanRequest, ScanResponse>) => router.#scan(call),
      watch: (call: ServerWritableStream<WatchRequest, WatchResponse>) => {
        router.watches.push(call);
        call.on('error', () => undefined);
      },
    });
    return router;
  }

  get operations(): readonly Operation[] {
    return this.batches.flat();
  }

  /** Ends all streams with a failure, as a router that stops (SHUTTING_DOWN) or breaks. */
  endStreams(reason: ErrorReason): void {
    for (const stream of this.#streams) stream.emit('error', toServiceError(new AtollError(reason, 'scripted end')));
    this.#streams.clear();
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #execute(stream: ExecuteCall): void {
    this.#streams.add(stream);
    const arriving = new Map<number, { readonly operation: Operation; readonly parts: Buffer[]; missing: number }>();
    const take = (operation: Operation): void => {
      const kind = this.script(operation, this);
      if (kind === undefined) return;
      if (kind.$case !== 'get' || kind.value.value.length <= 1024 * 1024) return void stream.write({ results: [{ id: operation.id, valueBytes: 0, kind }], parts: [] });
      const { value } = kind.value;
      stream.write({ results: [{ id: operation.id, valueBytes: value.length, kind: { $case: 'get', value: { ...kind.value, value: EMPTY } } }], parts: [] });
      for (let start = 0; start < value.length; start += 1024 * 1024) stream.write({ results: [], parts: [{ id: operation.id, data: value.subarray(start, start + 1024 * 1024) }] });
    };
    stream.on('data', ({ operations, parts }: ExecuteRequest) => {
      if (operations.length > 0) this.batches.push(operations);
      for (const operation of operations) {
        if (operation.valueBytes === 0) take(operation);
        else arriving.set(operation.id, { operation, parts: [], missing: operation.valueBytes });
      }
      for (const { id, data } of parts) {
        const entry = arriving.get(id)!;
        entry.parts.push(data);
        entry.missing -= data.length;
        if (entry.missing > 0 || entry.operation.kind?.$case !== 'set') continue;
        entry.operation.kind.value.value = Buffer.concat(entry.parts);
        take(entry.operation);
      }
    });
    stream.on('end', () => stream.end());
    stream.on('cancelled', () => this.#streams.delete(stream));
  }

  #scan(call: ServerWritableStream<ScanRequest, ScanResponse>): void {
    this.scans.push(call.request);
    for (const message of this.scanScript(call.request)) {
      if (message instanceof Error) {
        call.emit('error', message);
        return;
      }
      call.write(message);
    }
    call.end();
  }
}

/** Serves an operation from the entries. */
export function serve(operation: Operation, router: ScriptedRouter): Kind {
  const { kind } = operation;
  if (kind === undefined) throw new Error('an operation without a kind');
  const key = kind.value.key.toString();
  const value = router.entries.get(key);
  const version = Buffer.alloc(16, 1);
  switch (kind.$case) {
    case 'get':
      return { $case: 'get', value: { found: value !== undefined, value: value ?? EMPTY, version: value === undefined ? EMPTY : version, expiresAtMs: 0, session: EMPTY } };
    case 'set':
      router.entries.set(key, kind.value.value);
      return { $case: 'set', value: { applied: true, version, session: EMPTY } };
    case 'delete':
      return { $case: 'delete', value: { applied: router.entries.delete(key), version, session: EMPTY } };
    case 'increment': {
      const next = BigInt(value?.toString() ?? kind.value.initial) + kind.value.delta;
      router.entries.set(key, Buffer.from(String(next)));
      return { $case: 'increment', value: { value: next, version, session: EMPTY } };
    }
    case 'touch':
      return { $case: 'touch', value: { found: value !== undefined, version, expiresAtMs: 77, session: EMPTY } };
    default:
      return kind satisfies never;
  }
}
