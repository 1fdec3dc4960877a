import { once } from 'node:events';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { CacheClient, ExecuteRequest, ExecuteResponse, GetRequest, Operation, OperationResult, SetRequest } from '@atoll/contracts/atoll/v1/cache';
import { WIRE_PART_BYTES_MAX } from '@atoll/core-runtime';
import { fromServiceError } from '@atoll/platform-grpc';
import type { AtollError } from '@atoll/core-errors';

export type OperationKind = NonNullable<Operation['kind']>;

export interface ExecuteResult {
  readonly kind: NonNullable<OperationResult['kind']>;
  /** Of a get, put together. */
  readonly value: Buffer;
}

/** A client of one Execute stream. */
export class ExecuteCaller {
  readonly stream: ClientDuplexStream<ExecuteRequest, ExecuteResponse>;
  /** The error with which the stream ended; undefined for a good end. */
  readonly ended: Promise<AtollError | undefined>;
  readonly #waiting = new Map<number, (result: ExecuteResult) => void>();
  readonly #arriving = new Map<number, { readonly result: OperationResult; readonly parts: Buffer[]; bytes: number }>();
  #lastId = 0;

  constructor(cache: CacheClient) {
    this.stream = cache.execute();
    this.stream.on('data', (response: ExecuteResponse) => this.#receive(response));
    this.ended = new Promise((resolve) => {
      this.stream.on('error', (error) => resolve(fromServiceError(error)));
      this.stream.on('end', () => resolve(undefined));
    });
  }

  get openCount(): number {
    return this.#waiting.size;
  }

  /** One message with all of them, in order. */
  send(kinds: readonly OperationKind[]): Promise<ExecuteResult[]> {
    const operations = kinds.map((kind): Operation => ({ id: (this.#lastId += 1), deadlineMs: 0, traceparent: '', valueBytes: 0, kind }));
    const results = operations.map(({ id }) => new Promise<ExecuteResult>((resolve) => this.#waiting.set(id, resolve)));
    this.stream.write({ operations, parts: [] });
    return Promise.all(results);
  }

  async get(request: GetRequest): Promise<ExecuteResult> {
    return (await this.send([{ $case: 'get', value: request }]))[0]!;
  }

  /** Announces the value and sends it in parts. */
  async setInParts(request: SetRequest): Promise<ExecuteResult> {
    const { value } = request;
    const id = (this.#lastId += 1);
    const result = new Promise<ExecuteResult>((resolve) => this.#waiting.set(id, resolve));
    const kind: OperationKind = { $case: 'set', value: { ...request, value: Buffer.alloc(0) } };
    this.stream.write({ operations: [{ id, deadlineMs: 0, traceparent: '', valueBytes: value.length, kind }], parts: [] });
    for (let at = 0; at < value.length; at += WIRE_PART_BYTES_MAX) {
      const isTaken = this.stream.write({ operations: [], parts: [{ id, data: value.subarray(at, at + WIRE_PART_BYTES_MAX) }] });
      if (!isTaken) await once(this.stream, 'drain');
    }
    return result;
  }

  #receive({ results, parts }: ExecuteResponse): void {
    for (const result of results) {
      if (result.valueBytes === 0) this.#settle(result, undefined);
      else this.#arriving.set(result.id, { result, parts: [], bytes: 0 });
    }
    for (const { id, data } of parts) {
      const arriving = this.#arriving.get(id)!;
      arriving.parts.push(data);
      arriving.bytes += data.length;
      if (arriving.bytes < arriving.result.valueBytes) continue;
      this.#arriving.delete(id);
      this.#settle(arriving.result, Buffer.concat(arriving.parts));
    }
  }

  #settle({ id, kind }: OperationResult, value: Buffer | undefined): void {
    const resolve = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (kind === undefined) throw new Error('a result without a kind');
    resolve?.({ kind, value: value ?? (kind.$case === 'get' ? kind.value.value : Buffer.alloc(0)) });
  }
}
