import { Server, ServerCredentials, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import {
  CacheService,
  type ErrorDetail,
  type ExecuteRequest,
  type ExecuteResponse,
  type GetResponse,
  type Operation,
  type OperationResult,
  type ScanRequest,
  type ScanResponse,
  type WatchRequest,
  type WatchResponse,
} from '@atoll/contracts/atoll/v1/cache';
import { CopyService, type DescribeSourceRequest, type DescribeSourceResponse, type FollowSourceRequest, type FollowSourceResponse, type SourcePartition } from '@atoll/contracts/atoll/v1/copy';
import { WIRE_PART_BYTES_MAX } from '@atoll/core-runtime';
import { encodePosition, encodeVersion, keyspaceTag } from '@atoll/platform-wire';

/** A watch that the router opened here; the spec plays the node. */
export interface ScriptedWatch {
  readonly request: WatchRequest;
  readonly call: ServerWritableStream<WatchRequest, WatchResponse>;
}

/** A stream by which a partition is copied to another cluster; the spec plays the node. */
export interface ScriptedFollow {
  readonly request: FollowSourceRequest;
  readonly call: ServerWritableStream<FollowSourceRequest, FollowSourceResponse>;
}

type Kind = NonNullable<OperationResult['kind']>;

/** Answer to one operation; undefined leaves it unanswered until `release`. */
export type Script = (operation: Operation, node: ScriptedNode) => Kind | undefined;

/** What a script may answer instead of serving: a failure as a storage node reports it. */
export const refuse = (reason: string, metadata: ErrorDetail['metadata'] = {}): Kind => ({ $case: 'error', value: { reason, message: `scripted ${reason}`, metadata } });

const EMPTY = Buffer.alloc(0);

/**
 * A real gRPC server that plays a storage node: it keeps entries in a map, shared among nodes if asked, and a
 * script decides what it answers. Counts what arrives.
 */
export class ScriptedNode {
  readonly address: string;
  readonly entries: Map<string, Buffer>;
  /** Operations of each message that arrived. */
  readonly batches: Operation[][] = [];
  readonly scans: ScanRequest[] = [];
  /** All that ever came; `openWatches` are those that the router has not cancelled. */
  readonly watches: ScriptedWatch[] = [];
  /** All that ever came; `openFollows` are those that the router has not cancelled. */
  readonly follows: ScriptedFollow[] = [];
  script: Script;
  scanScript: (request: ScanRequest) => readonly (ScanResponse | Error)[] = () => [{ entries: [], cursor: EMPTY }];
  /** Announces large values and never sends them. */
  withholdsParts = false;
  /** What it says of partitions that it leads to who wants to copy them. */
  sourcePartitions: readonly SourcePartition[] = [];
  epoch = 1;
  generation = 1;
  #seq = 0;
  readonly #server: Server;
  readonly #streams = new Set<ServerDuplexStream<ExecuteRequest, ExecuteResponse>>();
  readonly #held: { readonly operation: Operation; readonly answer: (kind: Kind) => void }[] = [];

  constructor(server: Server, address: string, entries: Map<string, Buffer>, script: Script) {
    this.#server = server;
    this.address = address;
    this.entries = entries;
    this.script = script;
  }

  static async start(options: { readonly entries?: Map<string, Buffer>; readonly script?: Script; readonly port?: number } = {}): Promise<ScriptedNode> {
    const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${options.port ?? 0}`, ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    const node = new ScriptedNode(server, `127.0.0.1:${port}`, options.entries ?? new Map<string, Buffer>(), options.script ?? serve);
    server.addService(CacheService, {
      execute: (call: ServerDuplexStream<ExecuteRequest, ExecuteResponse>) => node.#execute(call),
      scan: (call: ServerWritableStream<ScanRequest, ScanResponse>) => {
        node.scans.push(call.request);
        for (const message of node.scanScript(call.request)) {
          if (message instanceof Error) {
            call.emit('error', message);
            return;
          }
          call.write(message);
        }
        call.end();
      },
      watch: (call: ServerWritableStream<WatchRequest, WatchResponse>) => {
        node.watches.push({ request: call.request, call });
        call.on('error', () => undefined);
      },
    });
    server.addService(
      { followSource: CopyService.followSource, describeSource: CopyService.describeSource },
      {
        describeSource: ({ request }: { readonly request: DescribeSourceRequest }, reply: (error: null, response: DescribeSourceResponse) => void) =>
          reply(null, { clusterId: 'test-cluster', keyspaceId: request.keyspace === 'default' ? 'ks1' : '', keyspace: undefined, archive: '', partitions: [...node.sourcePartitions] }),
        followSource: (call: ServerWritableStream<FollowSourceRequest, FollowSourceResponse>) => {
          node.follows.push({ request: call.request, call });
          call.on('error', () => undefined);
        },
      },
    );
    return node;
  }

  get operations(): readonly Operation[] {
    return this.batches.flat();
  }

  get openWatches(): readonly ScriptedWatch[] {
    return this.watches.filter(({ call }) => !call.cancelled && !call.writableEnded);
  }

  get openFollows(): readonly ScriptedFollow[] {
    return this.follows.filter(({ call }) => !call.cancelled && !call.writableEnded);
  }

  get heldCount(): number {
    return this.#held.length;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** Answers what a script left unanswered, in the order that it came, or only `count` of it. */
  release(answer: Script = serve, count = Infinity): void {
    for (const { operation, answer: send } of this.#held.splice(0, count)) {
      const kind = answer(operation, this);
      if (kind !== undefined) send(kind);
    }
  }

  /** Breaks all streams as a dying process would. */
  breakStreams(): void {
    for (const stream of this.#streams) stream.emit('error', { code: 14, details: 'scripted break' });
    this.#streams.clear();
    this.#held.length = 0;
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  nextSeq(): number {
    this.#seq += 1;
    return this.#seq;
  }

  /** Session token as a storage node answers it. */
  session(keyspaceId: string, partition: number, seq = this.#seq): Buffer {
    return encodePosition(keyspaceTag(keyspaceId), { partition, generation: this.generation, epoch: this.epoch, seq });
  }

  version(seq = this.#seq): Buffer {
    return encodeVersion({ generation: this.generation, epoch: this.epoch, seq });
  }

  #execute(stream: ServerDuplexStream<ExecuteRequest, ExecuteResponse>): void {
    this.#streams.add(stream);
    const arriving = new Map<number, { readonly operation: Operation; readonly parts: Buffer[]; missing: number }>();
    stream.on('data', ({ operations, parts }: ExecuteRequest) => {
      if (operations.length > 0) this.batches.push(operations);
      for (const operation of operations) {
        if (operation.valueBytes > 0) arriving.set(operation.id, { operation, parts: [], missing: operation.valueBytes });
        else this.#take(stream, operation);
      }
      for (const { id, data } of parts) {
        const entry = arriving.get(id);
        if (entry === undefined) throw new Error(`a part for an unknown operation ${id}`);
        entry.parts.push(data);
        entry.missing -= data.length;
        if (entry.missing > 0 || entry.operation.kind?.$case !== 'set') continue;
        entry.operation.kind.value.value = Buffer.concat(entry.parts);
        this.#take(stream, entry.operation);
      }
    });
    stream.on('end', () => stream.end());
    const forget = (): void => void this.#streams.delete(stream);
    stream.on('error', forget);
    stream.on('cancelled', forget);
  }

  #take(stream: ServerDuplexStream<ExecuteRequest, ExecuteResponse>, operation: Operation): void {
    const answer = (kind: Kind): void => {
      if (kind.$case === 'get' && kind.value.value.length > WIRE_PART_BYTES_MAX) return this.#answerInParts(stream, operation.id, kind.value);
      stream.write({ results: [{ id: operation.id, valueBytes: 0, kind }], parts: [] });
    };
    const kind = this.script(operation, this);
    if (kind === undefined) this.#held.push({ operation, answer });
    else answer(kind);
  }

  #answerInParts(stream: ServerDuplexStream<ExecuteRequest, ExecuteResponse>, id: number, response: GetResponse): void {
    const { value } = response;
    stream.write({ results: [{ id, valueBytes: value.length, kind: { $case: 'get', value: { ...response, value: EMPTY } } }], parts: [] });
    for (let start = 0; start < value.length && !this.withholdsParts; start += WIRE_PART_BYTES_MAX) {
      stream.write({ results: [], parts: [{ id, data: value.subarray(start, start + WIRE_PART_BYTES_MAX) }] });
    }
  }
}

/** Serves an operation from the entries, as a storage node that leads everything. */
export function serve(operation: Operation, node: ScriptedNode): Kind {
  const { kind } = operation;
  if (kind === undefined) throw new Error('an operation without a kind');
  const key = kind.value.key.toString();
  const value = node.entries.get(key);
  const session = EMPTY;
  switch (kind.$case) {
    case 'get':
      return { $case: 'get', value: { found: value !== undefined, value: value ?? EMPTY, version: value === undefined ? EMPTY : node.version(), expiresAtMs: 0, session } };
    case 'set':
      node.nextSeq();
      node.entries.set(key, kind.value.value);
      return { $case: 'set', value: { applied: true, version: node.version(), session } };
    case 'delete':
      node.nextSeq();
      return { $case: 'delete', value: { applied: node.entries.delete(key), version: node.version(), session } };
    case 'increment': {
      node.nextSeq();
      const next = BigInt(value?.toString() ?? kind.value.initial) + kind.value.delta;
      node.entries.set(key, Buffer.from(String(next)));
      return { $case: 'increment', value: { value: next, version: node.version(), session } };
    }
    case 'touch':
      node.nextSeq();
      return { $case: 'touch', value: { found: value !== undefined, version: node.version(), expiresAtMs: 0, session } };
    default:
      return kind satisfies never;
  }
}
