import type { Client, ClientReadableStream } from '@grpc/grpc-js';
import { CacheService, WatchResponse, type WatchRequest } from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { fromServiceError, metadataOf } from '@atoll/platform-grpc';
import { WireReader } from '@atoll/platform-wire';

const POSITION_TAG = 18;
const ENDED_TAG = 34;

export interface NodeWatchOptions {
  readonly address: string;
  readonly client: Client;
  readonly request: WatchRequest;
  readonly traceparent: string | undefined;
  readonly nowMs: () => number;
  /** A message for the client; the next one is read when it resolves. Positions are views of it. */
  readonly onMessage: (watch: NodeWatch, message: Buffer, positions: readonly Buffer[], ended: WatchResponse['ended']) => Promise<void>;
  /** The node sends no more. Not called after `close`. */
  readonly onEnd: (watch: NodeWatch, error: AtollError) => void;
}

/** One stream of changes from one storage node: all partitions of a watch that it leads. */
export class NodeWatch {
  readonly address: string;
  readonly partitions: readonly number[];
  readonly #options: NodeWatchOptions;
  readonly #call: ClientReadableStream<Buffer>;
  #heardMs: number;
  #isClosed = false;

  constructor(options: NodeWatchOptions) {
    const { address, client, request, traceparent } = options;
    this.address = address;
    this.partitions = request.partitions;
    this.#options = options;
    this.#heardMs = options.nowMs();
    this.#call = client.makeServerStreamRequest(CacheService.watch.path, CacheService.watch.requestSerialize, (bytes: Buffer) => bytes, request, metadataOf(traceparent), {});
    void this.#read();
  }

  /** When the node last said something, or was last waited for. */
  get heardMs(): number {
    return this.#heardMs;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Nothing of it is taken any more. */
  close(): void {
    this.#isClosed = true;
    this.#call.on('error', () => undefined);
    this.#call.cancel();
  }

  async #read(): Promise<void> {
    const { onMessage, onEnd, nowMs } = this.#options;
    let failure: AtollError;
    try {
      for await (const message of this.#call as AsyncIterable<Buffer>) {
        if (this.#isClosed) return;
        this.#heardMs = Infinity; // while the client takes it, the node is not waited for
        const { positions, isEnding } = look(message);
        if (isEnding) {
          const { ended, ...rest } = WatchResponse.decode(message);
          await onMessage(this, Buffer.from(WatchResponse.encode({ ...rest, ended: [] }).finish()), positions, ended);
        } else {
          await onMessage(this, message, positions, []);
        }
        if (this.#isClosed) return;
        this.#heardMs = nowMs();
      }
      failure = new AtollError('PEER_UNAVAILABLE', 'the storage node ended the watch');
    } catch (error) {
      failure = fromServiceError(error);
    }
    if (!this.#isClosed) onEnd(this, failure);
  }
}

/** The positions of a WatchResponse, and whether it ends partitions, without decoding the events. */
function look(message: Buffer): { readonly positions: Buffer[]; readonly isEnding: boolean } {
  const reader = new WireReader(message);
  const positions: Buffer[] = [];
  let isEnding = false;
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === POSITION_TAG) positions.push(reader.bytes());
    else {
      if (tag === ENDED_TAG) isEnding = true;
      reader.skip(tag);
    }
  }
  return { positions, isEnding };
}
