import type { Operation } from './operation.ts';

/** First in, first out, with removal from the middle in constant time: the links lie in the operations. An operation stands in one queue at most. */
export class OperationQueue {
  #first: Operation | undefined;
  #last: Operation | undefined;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get first(): Operation | undefined {
    return this.#first;
  }

  push(operation: Operation): void {
    operation.isQueued = true;
    operation.queuePrevious = this.#last;
    if (this.#last === undefined) this.#first = operation;
    else this.#last.queueNext = operation;
    this.#last = operation;
    this.#count += 1;
  }

  /** Returns whether it was queued; then here. */
  remove(operation: Operation): boolean {
    if (!operation.isQueued) return false;
    const { queuePrevious, queueNext } = operation;
    if (queuePrevious === undefined) this.#first = queueNext;
    else queuePrevious.queueNext = queueNext;
    if (queueNext === undefined) this.#last = queuePrevious;
    else queueNext.queuePrevious = queuePrevious;
    operation.isQueued = false;
    operation.queuePrevious = undefined;
    operation.queueNext = undefined;
    this.#count -= 1;
    return true;
  }

  /** Takes everything out, in order. */
  drain(): Operation[] {
    const operations: Operation[] = [];
    for (let next = this.#first; next !== undefined; next = this.#first) {
      this.remove(next);
      operations.push(next);
    }
    return operations;
  }
}
