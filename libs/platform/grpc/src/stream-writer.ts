import { AtollError } from '@atoll/core-errors';
import { KIB, MIB } from '@atoll/core-runtime';
import { resetServerStream } from './reset-stream.ts';

/** Any grpc-js call that messages are written to. */
export interface WritableCall<Message> {
  write(message: Message, callback?: (error?: Error | null) => void): boolean;
  readonly destroyed: boolean;
  on(event: 'drain' | 'close' | 'error' | 'cancelled', listener: () => void): unknown;
  removeListener(event: 'drain' | 'close' | 'error' | 'cancelled', listener: () => void): unknown;
}

/**
 * Writes one message and waits until the next may follow: grpc-js buffers without bound when the result of
 * `write()` is ignored (R24). At most 16 messages (Node's high-water mark for objects) and the HTTP/2
 * window are then under way. Throws the signal's reason when it aborts, CANCELLED when the stream is gone.
 */
export async function writeWithBackpressure<Message>(call: WritableCall<Message>, message: Message, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (call.destroyed) throw streamGone();
  if (call.write(message)) return;
  await new Promise<void>((resolve, reject) => {
    const settle = (act: () => void) => () => {
      call.removeListener('drain', onDrain);
      for (const event of ['close', 'error', 'cancelled'] as const) call.removeListener(event, onGone);
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const onDrain = settle(resolve);
    const onGone = settle(() => reject(streamGone()));
    const onAbort = settle(() => reject(signal.reason as Error));
    call.on('drain', onDrain);
    for (const event of ['close', 'error', 'cancelled'] as const) call.on(event, onGone);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Messages from this size on are waited for one by one. */
const LARGE_MESSAGE_BYTES = 256 * KIB;

/**
 * As `writeWithBackpressure`, for encoded messages of very different sizes: a large one is waited for until the
 * connection has taken it, so that about 4 MiB, or one message, lie unsent (I10).
 */
export async function writePaced(call: WritableCall<Buffer>, message: Buffer, signal: AbortSignal): Promise<void> {
  return message.length < LARGE_MESSAGE_BYTES ? writeWithBackpressure(call, message, signal) : writeThrough(call, message, signal);
}

/** As `writeWithBackpressure`, and waits for each message until the connection has taken it: one lies unsent at most. */
export async function writeThrough(call: WritableCall<Buffer>, message: Buffer, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (call.destroyed) throw streamGone();
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    call.write(message, (error) => {
      signal.removeEventListener('abort', onAbort);
      if (error === undefined || error === null) resolve();
      else reject(streamGone());
    });
  });
}

/** Default bound of a BoundedWriter. */
export const BUFFERED_BYTES_MAX = 16 * MIB;

export interface BoundedWriterOptions<Message> {
  /** Bytes that a message takes, about; asked once per message. */
  readonly sizeOf: (message: Message) => number;
  /** Bytes accepted but not yet taken by the connection at which the stream counts as stalled. Default 16 MiB. */
  readonly bufferedBytesMax?: number;
  /** Told once, before the stream is closed: log it, count it. */
  readonly onStalled?: (bufferedBytes: number) => void;
}

/**
 * Writes without waiting, up to a bound. For senders that cannot wait for one slow reader (a leader and its
 * followers): when more than `bufferedBytesMax` lies unsent the stream is closed, and the reader comes
 * back and catches up another way (R24). One message larger than the bound may still be the only one.
 */
export class BoundedWriter<Message> {
  readonly #call: WritableCall<Message>;
  readonly #options: BoundedWriterOptions<Message>;
  readonly #bufferedBytesMax: number;
  #bufferedBytes = 0;
  #isClosed = false;

  constructor(call: WritableCall<Message>, options: BoundedWriterOptions<Message>) {
    this.#call = call;
    this.#options = options;
    this.#bufferedBytesMax = options.bufferedBytesMax ?? BUFFERED_BYTES_MAX;
  }

  /** Bytes accepted and not yet taken by the connection, 0 to bufferedBytesMax (or one larger message). */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** False: the stream is gone, or stalled and closed by this very call; the message was not accepted. */
  write(message: Message): boolean {
    if (this.#isClosed || this.#call.destroyed) return false;
    const bytes = this.#options.sizeOf(message);
    if (this.#bufferedBytes > 0 && this.#bufferedBytes + bytes > this.#bufferedBytesMax) {
      this.#isClosed = true;
      this.#options.onStalled?.(this.#bufferedBytes);
      closeCall(this.#call);
      return false;
    }
    this.#bufferedBytes += bytes;
    this.#call.write(message, () => {
      this.#bufferedBytes -= bytes;
    });
    return true;
  }
}

function closeCall(call: object): void {
  if ('cancel' in call && typeof call.cancel === 'function') call.cancel();
  else resetServerStream(call);
}

const streamGone = (): AtollError => new AtollError('CANCELLED', 'the stream was closed by the other side');
