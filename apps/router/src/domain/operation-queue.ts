import type { RoutedOperation } from './routed-operation.ts';

/** First in, first out, with removal from the middle in constant time: the links lie in the operations. */
export class OperationQueue {
  #first: RoutedOperation | undefined;
  #last: RoutedOperation | undefined;
  #count = 0;
  #bytes = 0;

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get first(): RoutedOperation | undefined {
    return this.#first;
  }

  push(operation: RoutedOperation): void {
    operation.queuePrevious = this.#last;
    operation.queueNext = undefined;
    if (this.#last === undefined) this.#first = operation;
    else this.#last.queueNext = operation;
    this.#last = operation;
    this.#count += 1;
    this.#bytes += operation.bytes;
  }

  /** `operation` is in this queue. */
  remove(operation: RoutedOperation): void {
    const { queuePrevious, queueNext } = operation;
    if (queuePrevious === undefined) this.#first = queueNext;
    else queuePrevious.queueNext = queueNext;
    if (queueNext === undefined) this.#last = queuePrevious;
    else queueNext.queuePrevious = queuePrevious;
    operation.queuePrevious = undefined;
    operation.queueNext = undefined;
    this.#count -= 1;
    this.#bytes -= operation.bytes;
  }
}
