import { ErrorDetail } from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { NumberMap } from '@atoll/core-runtime';
import { RESULT } from '@atoll/platform-wire';
import { inDoubt, toError } from './errors.ts';
import { STATE, type Operation } from './operation.ts';
import { OperationQueue } from './operation-queue.ts';
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
  /** By `Operation.number`. */
  readonly #underWay = new NumberMap<Operation>();
  readonly #queue = new OperationQueue();
  #lastNumber = 0;
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
    return this.#underWay.size + this.#queue.count;
  }

  submit(operation: Operation): void {
    const { maxInFlight, maxQueued } = this.#options;
    if (this.#isClosed) return this.#finish(operation, new AtollError('CANCELLED', 'the client is closed'));
    if (this.#underWay.size >= maxInFlight && this.#queue.count >= maxQueued) {
      return this.#finish(operation, new AtollError('OVERLOADED', `more than ${maxQueued} operations wait in this client`));
    }
    this.#earliestDeadlineMs = Math.min(this.#earliestDeadlineMs, operation.deadlineAtMs);
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
    if (this.#underWay.size >= maxInFlight) this.#queue.push(operation);
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
    for (const operation of this.#all()) this.#end(operation, closed);
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
    this.#lastNumber += 1;
    operation.number = this.#lastNumber;
    this.#underWay.set(operation.number, operation);
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
    for (const operation of this.#all()) {
      if (operation.deadlineAtMs <= nowMs) this.#end(operation, deadlineError(operation));
      else earliestMs = Math.min(earliestMs, operation.deadlineAtMs);
    }
    this.#earliestDeadlineMs = earliestMs;
  }

  #all(): Operation[] {
    const all = [...this.#underWay.values()];
    for (let next = this.#queue.first; next !== undefined; next = next.queueNext) all.push(next);
    return all;
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
    if (this.#underWay.delete(operation.number)) this.#startNext();
    else this.#queue.remove(operation);
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
    const next = this.#queue.first;
    if (next === undefined) return;
    this.#queue.remove(next);
    this.#start(next);
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

function deadlineError(operation: Operation): AtollError {
  if (operation.state !== STATE.SENT && operation.lastFailure !== undefined) return operation.lastFailure;
  return new AtollError('DEADLINE_EXCEEDED', operation.state === STATE.SENT ? 'no answer came before the deadline' : 'the deadline passed before the operation was sent');
}
