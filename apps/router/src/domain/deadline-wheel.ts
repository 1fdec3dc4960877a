import type { RoutedOperation } from './routed-operation.ts';

/** Granularity of deadlines: an operation ends at most so much after its deadline. */
export const TICK_MS = 10;
const SLOTS = 1024;

/**
 * Deadlines of all operations with one timer for all of them: a hashed timing wheel (Varghese and Lauck, SOSP
 * 1987, scheme 6). Adding and removing are constant; an operation whose deadline lies more than one turn
 * ahead (10 s) is looked at once per turn.
 */
export class DeadlineWheel {
  readonly #slots: (RoutedOperation | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
  #tick: number;
  #count = 0;

  constructor(nowMs: number) {
    this.#tick = Math.floor(nowMs / TICK_MS);
  }

  get count(): number {
    return this.#count;
  }

  add(operation: RoutedOperation): void {
    // A deadline that passed already is found at the next tick.
    const slot = Math.max(Math.ceil(operation.deadlineAtMs / TICK_MS), this.#tick + 1) % SLOTS;
    const head = this.#slots[slot];
    operation.wheelSlot = slot;
    operation.wheelPrevious = undefined;
    operation.wheelNext = head;
    if (head !== undefined) head.wheelPrevious = operation;
    this.#slots[slot] = operation;
    this.#count += 1;
  }

  /** Nothing happens when it is not in the wheel. */
  remove(operation: RoutedOperation): void {
    if (operation.wheelSlot < 0) return;
    const { wheelPrevious, wheelNext } = operation;
    if (wheelPrevious === undefined) this.#slots[operation.wheelSlot] = wheelNext;
    else wheelPrevious.wheelNext = wheelNext;
    if (wheelNext !== undefined) wheelNext.wheelPrevious = wheelPrevious;
    operation.wheelSlot = -1;
    operation.wheelPrevious = undefined;
    operation.wheelNext = undefined;
    this.#count -= 1;
  }

  /** Calls `onExpired` for each operation whose deadline has come; it is out of the wheel by then. */
  advance(nowMs: number, onExpired: (operation: RoutedOperation) => void): void {
    const target = Math.floor(nowMs / TICK_MS);
    // After a long pause one turn visits every slot.
    if (target - this.#tick > SLOTS) this.#tick = target - SLOTS;
    while (this.#tick < target) {
      this.#tick += 1;
      let next = this.#slots[this.#tick % SLOTS];
      const expired: RoutedOperation[] = [];
      for (; next !== undefined; next = next.wheelNext) if (next.deadlineAtMs <= nowMs) expired.push(next);
      for (const operation of expired) {
        if (operation.wheelSlot < 0) continue;
        this.remove(operation);
        onExpired(operation);
      }
    }
  }
}
