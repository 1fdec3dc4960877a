import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  CopyService,
  FollowSourceResponse,
  type DescribeSourceRequest,
  type DescribeSourceResponse,
  type FollowSourceRequest,
  type HoldSourceRequest,
  type HoldSourceResponse,
  type SettleHoldRequest,
  type SettleHoldResponse,
} from '@atoll/contracts/atoll/v1/copy';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { writePaced, type CallContext, type GrpcServer } from '@atoll/platform-grpc';
import { toKeyspaceMessage } from '@atoll/platform-wire';
import type { ArchiveSource } from './archive-source.ts';
import { rest } from '../jobs/rest.ts';

/** A reader that has everything hears so often, in ms, that this is so: else it counts as behind. */
const TELL_MS = 500;
/** Streams that read archives at a time; others wait. Each may hold some 40 MiB where there are increments or logs. */
const READING_MAX = 16;

/** The archives that are being restored, served to the nodes and coordinators that fill keyspaces from them. */
export class ArchiveSources {
  readonly #sources = new Map<string, ArchiveSource>();
  #reading = 0;
  readonly #waiting = new Set<() => void>();

  /** Served from now on, until `withdraw`. */
  offer(source: ArchiveSource): void {
    this.#sources.set(source.id, source);
  }

  /** Streams that are open end with KEYSPACE_NOT_FOUND. */
  withdraw(source: ArchiveSource): void {
    if (this.#sources.get(source.id) === source) this.#sources.delete(source.id);
  }

  describe({ keyspace }: DescribeSourceRequest): DescribeSourceResponse {
    const source = [...this.#sources.values()].find(({ name }) => name === keyspace);
    if (source === undefined) throw notRestored(keyspace);
    return { clusterId: source.clusterId, keyspaceId: source.id, keyspace: toKeyspaceMessage(source.spec), partitions: [...source.sizes()], archive: source.title };
  }

  async follow(call: ServerWritableStream<FollowSourceRequest, Buffer>, { signal }: Pick<CallContext, 'signal'>): Promise<void> {
    const { request } = call;
    const source = this.#find(request);
    const write = (message: FollowSourceResponse): Promise<void> => writePaced(call, encode(message), signal);
    const release = await this.#turn(signal);
    try {
      // From here on by the monotonic clock: the other one may be set while a large archive is read.
      const originMs = Date.now() - performance.now();
      for await (const message of source.follow(request, () => originMs + performance.now())) {
        this.#find(request);
        await write(message);
        if (message.restart !== '') return;
      }
    } catch (error) {
      if (isAtollError(error) && error.reason.startsWith('ARCHIVE_')) source.failure ??= error;
      throw error;
    } finally {
      release();
    }
    for (;;) {
      await rest(TELL_MS, signal);
      await write(this.#find(request).still(request));
    }
  }

  /** It stands still anyway. */
  hold(request: HoldSourceRequest): HoldSourceResponse {
    const source = this.#find(request);
    return { hold: source.id, partitions: source.frozen() };
  }

  /**
   * Whatever is asked for is so: an archive takes no writes that could go another way, and of two coordinators that ask, the job in
   * etcd lets one go on.
   */
  settle(request: SettleHoldRequest): SettleHoldResponse {
    return { moved: request.move, timeMs: this.#find(request).timeMs };
  }

  #find({ clusterId, keyspace, keyspaceId }: Pick<FollowSourceRequest, 'clusterId' | 'keyspace' | 'keyspaceId'>): ArchiveSource {
    const source = this.#sources.get(keyspaceId);
    if (source === undefined) throw notRestored(keyspace);
    if (clusterId !== source.clusterId) throw new AtollError('WRONG_CLUSTER', `this is ${source.clusterId}, not ${clusterId}`);
    return source;
  }

  async #turn(signal: AbortSignal): Promise<() => void> {
    while (this.#reading >= READING_MAX) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const settle = (): void => {
          this.#waiting.delete(settle);
          signal.removeEventListener('abort', settle);
          resolve();
        };
        this.#waiting.add(settle);
        signal.addEventListener('abort', settle, { once: true });
      });
    }
    signal.throwIfAborted();
    this.#reading += 1;
    return () => {
      this.#reading -= 1;
      const [next] = this.#waiting;
      next?.();
    };
  }
}

/** The part of `Copy` that an archive can serve; answers of streams are encoded already. */
export const copyDefinition = {
  describeSource: CopyService.describeSource,
  followSource: { ...CopyService.followSource, responseSerialize: (message: Buffer): Buffer => message },
  holdSource: CopyService.holdSource,
  settleHold: CopyService.settleHold,
};

export function copyHandlers(sources: ArchiveSources, { handlers }: Pick<GrpcServer, 'handlers'>) {
  return {
    describeSource: handlers.unary(CopyService.describeSource, (request) => Promise.resolve(sources.describe(request))),
    followSource: handlers.serverStream(copyDefinition.followSource, (call: ServerWritableStream<FollowSourceRequest, Buffer>, context) => sources.follow(call, context)),
    holdSource: handlers.unary(CopyService.holdSource, (request) => Promise.resolve(sources.hold(request))),
    settleHold: handlers.unary(CopyService.settleHold, (request) => Promise.resolve(sources.settle(request))),
  };
}

function encode(message: FollowSourceResponse): Buffer {
  const bytes = FollowSourceResponse.encode(message).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const notRestored = (keyspace: string): AtollError => new AtollError('KEYSPACE_NOT_FOUND', `keyspace: this backup service restores no ${keyspace} at the moment`, { metadata: { field: 'keyspace', keyspace } });
