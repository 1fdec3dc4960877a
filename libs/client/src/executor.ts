import { ErrorDetail } from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { RESULT } from '@atoll/platform-wire';
import { inDoubt, toError } from './errors.ts';
import { STATE, type Operation } from './operation.ts';
import type { Picker, TransportListener } from './transport.ts';

export interface ExecutorOptions {
  readonly createPicker: (listener: TransportListener) => Picker;
  /** Operations under way; further ones wait. */
  readonly maxInFlight: number;
  /** Operations that wait; further ones fail with OVERLOADED. */
  readonly maxQueued: number;
  readonly nowMs: () => number;
}

const TICK_MS = 10;
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 500;

/**
 * Time from the first sending of a write in which it is repeated, in ms. With a tenth for the partition's time, which may
 * run faster, and 5 s on the way it lies within the time for which leaders remember results (R21): 30 s.
 */
const REPEAT_WINDOW_MS = 20_000;

/** Refusals of a router that another router, or the same one later, may not repeat. All promise that nothing was written. */
const ELSEWHERE: ReadonlySet<string> = new Set(['SHUTTING_DOWN', 'METADATA_UNAVAILABLE']);

/**
 * Runs operations: bounds them, ends them at their deadline, and repeats what was lost or refused for the moment at
 * another router; a write that may have happened goes under the same op id and is done once (R21). One interval serves all deadlines and pauses, and runs only while something is
 * under way.
 */
export class Executor implements TransportListener {
  readonly #options: ExecutorOptions;
  readonly #picker: Picker;
  readonly #underWay = new Set<Operation>();
  readonly #queue = new Set<Operation>();
  /** In the pause before their next try, with the time when it ends. */
  readonly #paused = new Map<Operation, number>();
  #earliestDeadlineMs = Infinity;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#picker = options.createPicker(this);
  }

  get picker(): Picker {
    return this.#picker;
  }

  /** Operations without an answer yet. */
  get count(): number {
    return this.#underWay.size + this.#queue.size;
  }

  submit(operation: Operation): void {
    const { maxInFlight, maxQueued } = this.#options;
    if (this.#isClosed) return this.#finish(operation, new AtollError('CANCELLED', 'the client is closed'));
    if (this.#underWay.size >= maxInFlight && this.#queue.size >= maxQueued) {
      return this.#finish(operation, new AtollError('OVERLOADED', `more than ${maxQueued} operations wait in this client`));
    }
    this.#earliestDeadlineMs = Math.min(this.#earliestDeadlineMs, operation.deadlineAtMs);
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
    if (this.#underWay.size >= maxInFlight) this.#queue.add(operation);
    else this.#start(operation);
  }

  /** The caller does not wait any more. */
  cancel(operation: Operation, cause: unknown): void {
    const cancelled = new AtollError('CANCELLED', 'the caller cancelled the operation', { cause });
    this.#end(operation, cancelled);
  }

  /** Everything under way ends: writes that a router may have are in doubt. */
  close(): void {
    this.#isClosed = true;
    const closed = new AtollError('CANCELLED', 'the client was closed');
    for (const operation of [...this.#queue, ...this.#underWay]) this.#end(operation, closed);
    for (const transport of this.#picker.transports()) transport.close();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  onResult(operation: Operation, kind: number, body: Buffer, parts: readonly Buffer[] | undefined): void {
    if (kind === operation.kind - 1) return this.#finish(operation, undefined, body, parts);
    if (kind !== RESULT.ERROR) return this.#end(operation, new AtollError('INTERNAL', 'the router gave an answer of another kind'));
    const { reason, message, metadata } = ErrorDetail.decode(body);
    const error = toError(reason, message, metadata);
    const isLeftBehind = error.reason === 'WRITE_IN_DOUBT' && error.metadata['cause'] === 'SHUTTING_DOWN';
    if (isLeftBehind) operation.noteDoubt();
    if (isLeftBehind || ELSEWHERE.has(error.reason)) this.#repeat(operation, error);
    else this.#finish(operation, error);
  }

  onLost(operation: Operation, wasTaken: boolean, cause: AtollError): void {
    if (wasTaken && operation.isWrite) operation.noteDoubt();
    this.#repeat(operation, cause);
  }

  #start(operation: Operation): void {
    this.#underWay.add(operation);
    this.#send(operation);
  }

  #send(operation: Operation): void {
    operation.attempts += 1;
    const transport = this.#picker.pick(operation, operation.transport?.address ?? '');
    operation.transport = transport;
    transport.submit(operation);
  }

  /** The first repeats go at once, one to each other router; then pauses grow. */
  #repeat(operation: Operation, cause: AtollError): void {
    operation.state = STATE.NEW;
    operation.lastFailure = cause;
    if (this.#isClosed) return this.#finish(operation, cause);
    if (operation.mayHaveHappened && this.#options.nowMs() - operation.firstSentAtMs > REPEAT_WINDOW_MS) return this.#finish(operation, cause);
    const round = Math.floor(operation.attempts / this.#picker.transports().length);
    if (round === 0) return this.#send(operation);
    const pauseMs = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(round - 1, 10)) * (0.5 + Math.random() / 2);
    this.#paused.set(operation, this.#options.nowMs() + pauseMs);
  }

  #tick(): void {
    const nowMs = this.#options.nowMs();
    for (const [operation, untilMs] of this.#paused) {
      if (untilMs > nowMs) continue;
      this.#paused.delete(operation);
      this.#send(operation);
    }
    if (nowMs < this.#earliestDeadlineMs) return;
    let earliestMs = Infinity;
    for (const operations of [this.#underWay, this.#queue]) {
      for (const operation of operations) {
        if (operation.deadlineAtMs <= nowMs) this.#end(operation, deadlineError(operation));
        else earliestMs = Math.min(earliestMs, operation.deadlineAtMs);
      }
    }
    this.#earliestDeadlineMs = earliestMs;
  }

  /** Ends an operation from this side. */
  #end(operation: Operation, error: AtollError): void {
    const isUncertain = operation.isWrite && operation.state === STATE.SENT;
    operation.transport?.drop(operation);
    this.#finish(operation, isUncertain ? inDoubt(error) : error);
  }

  #finish(operation: Operation, error: AtollError | undefined, body: Buffer = EMPTY, parts?: readonly Buffer[]): void {
    if (operation.state === STATE.DONE) return;
    operation.state = STATE.DONE;
    this.#paused.delete(operation);
    if (!this.#queue.delete(operation) && this.#underWay.delete(operation)) this.#startNext();
    if (this.count === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#earliestDeadlineMs = Infinity;
    }
    // That a repeat failed says nothing about its first sending (R20).
    const isDoubt = error !== undefined && operation.mayHaveHappened && error.reason !== 'WRITE_IN_DOUBT';
    operation.onDone(isDoubt ? inDoubt(error) : error, body, parts);
  }

  #startNext(): void {
    if (this.#isClosed) return;
    for (const next of this.#queue) {
      this.#queue.delete(next);
      this.#start(next);
      return;
    }
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

function deadlineError(operation: Operation): AtollError {
  if (operation.state !== STATE.SENT && operation.lastFailure !== undefined) return operation.lastFailure;
  return new AtollError('DEADLINE_EXCEEDED', operation.state === STATE.SENT ? 'no answer came before the deadline' : 'the deadline passed before the operation was sent');
}
