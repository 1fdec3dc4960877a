import { NumberMap } from '@atoll/core-runtime';
import type { RoutedOperation } from './routed-operation.ts';

// Operations on one key that come on one stream take effect in the order sent, also when some are refused and
// repeated (R26). They are pipelined as long as all goes well; the trouble is a refusal:
//
//   1. set a=1 and set a=2 are on their way to node A, which is losing its office.
//   2. A refuses the first one: NOT_LEADER. A takes office again and applies the second one.
//   3. Were the first one repeated now, a would end as 1.
//
// So a refused operation waits until every later one on its key is answered. If it is a write, and one of them was a
// write that took effect, the refusal is final: the caller hears that the first one failed, which is true (R20). Else
// the refused ones are repeated one by one, and newer ones stay behind until the last of them is answered. Reads have
// no effect, so they can always be repeated: one that was answered before an earlier write that was refused is asked
// again behind it, and one that was refused itself may see a write that was sent after it.
//
// The same holds for a write that a node may have taken, and that is sent again by its op id (R21). Newer operations
// stay behind a write that is still at a node which leads no more.

/**
 * HELD: behind others, never sent. MOVING: on its way, or free to go. PARKED: was refused and waits for later
 * ones to be answered. In a chain they stand in the order sent, all HELD ones last.
 */
export const ORDER_STATUS = { NONE: 0, HELD: 1, MOVING: 2, PARKED: 3 } as const;

interface Chain {
  first: RoutedOperation | undefined;
  last: RoutedOperation | undefined;
  /** Operations that are MOVING. */
  moving: number;
  /** Operations that were refused at some time and have no answer yet. Above 0 the chain goes one by one. */
  refused: number;
  /** A moving operation that nothing may overtake. */
  barrier: RoutedOperation | undefined;
}

export interface Settled {
  /** Refused writes that a later one has overtaken: their refusal is final. No longer in the order. */
  readonly overtaken: readonly RoutedOperation[];
  /** May go now, in this order. */
  readonly released: readonly RoutedOperation[];
}

const NOTHING: readonly RoutedOperation[] = [];
const UNCHANGED: Settled = { overtaken: NOTHING, released: NOTHING };

/** The order of one stream. Keys are told apart by half of their token: a collision only orders more than needed. */
export class KeyOrder {
  readonly #chains = new NumberMap<Chain>();

  /** Number of keys with operations under way. */
  get keyCount(): number {
    return this.#chains.size;
  }

  /** Takes in a new operation. True: it may go at once; false: it is held, and comes back from `settle`. */
  enter(operation: RoutedOperation): boolean {
    operation.order = this;
    let chain = this.#chains.get(operation.orderKey);
    if (chain === undefined) {
      chain = { first: operation, last: operation, moving: 0, refused: 0, barrier: undefined };
      this.#chains.set(operation.orderKey, chain);
      move(chain, operation);
      return true;
    }
    const isFree = !operation.isBarrier && chain.barrier === undefined && chain.refused === 0 && chain.last?.orderStatus === ORDER_STATUS.MOVING;
    const waitsForAnother = isFree && isAtFormerLeader(chain.last!);
    if (waitsForAnother) chain.barrier = chain.last;
    append(chain, operation);
    if (isFree && !waitsForAnother) move(chain, operation);
    else operation.orderStatus = ORDER_STATUS.HELD;
    return operation.orderStatus === ORDER_STATUS.MOVING;
  }

  /** An operation was refused and is to be repeated. Answers what may be repeated now: it, an earlier one, or nothing yet. */
  refuse(operation: RoutedOperation): RoutedOperation | undefined {
    const chain = this.#chains.get(operation.orderKey)!;
    if (!operation.wasRefused) {
      operation.wasRefused = true;
      chain.refused += 1;
    }
    operation.orderStatus = ORDER_STATUS.PARKED;
    chain.moving -= 1;
    if (chain.moving > 0) return undefined;
    move(chain, chain.first!);
    return chain.first;
  }

  /** Whether a read was answered before an earlier write that was refused and is to be repeated: it has not seen it. */
  isTooEarly(operation: RoutedOperation): boolean {
    if (operation.isWrite || this.#chains.get(operation.orderKey)!.refused === 0) return false;
    for (let earlier = operation.orderPrevious; earlier !== undefined; earlier = earlier.orderPrevious) {
      if (earlier.isWrite && earlier.orderStatus === ORDER_STATUS.PARKED) return true;
    }
    return false;
  }

  /** An operation is over, for whatever reason. `tookEffect`: it was applied, or may yet be. */
  settle(operation: RoutedOperation, tookEffect: boolean): Settled {
    const chain = this.#chains.get(operation.orderKey)!;
    const overtaken = tookEffect && operation.isWrite && chain.refused > 0 ? overtakenBy(chain, operation) : NOTHING;
    if (tookEffect) markOvertaken(operation);
    for (const earlier of overtaken) leave(chain, earlier);
    leave(chain, operation);
    if (chain.first === undefined) {
      this.#chains.delete(operation.orderKey);
      return overtaken.length === 0 ? UNCHANGED : { overtaken, released: NOTHING };
    }
    const released = release(chain);
    return overtaken.length === 0 && released.length === 0 ? UNCHANGED : { overtaken, released };
  }
}

/** A write at a node that is not the one to which the next operation on its key would go. */
function isAtFormerLeader({ isWrite, target, keyspace, partition }: RoutedOperation): boolean {
  return isWrite && target !== '' && target !== keyspace.partitions[partition]?.leader;
}

/** Earlier writes without an answer must not be repeated behind this operation. Answers mostly come in order: there are none. */
function markOvertaken(operation: RoutedOperation): void {
  for (let earlier = operation.orderPrevious; earlier !== undefined; earlier = earlier.orderPrevious) earlier.wasOvertaken ||= earlier.isWrite;
}

/** Earlier writes that are parked. */
function overtakenBy(chain: Chain, operation: RoutedOperation): readonly RoutedOperation[] {
  const overtaken: RoutedOperation[] = [];
  for (let earlier = chain.first; earlier !== undefined && earlier !== operation; earlier = earlier.orderNext) {
    if (earlier.orderStatus === ORDER_STATUS.PARKED && earlier.isWrite) overtaken.push(earlier);
  }
  return overtaken;
}

function release(chain: Chain): readonly RoutedOperation[] {
  if (chain.refused > 0) {
    if (chain.moving > 0) return NOTHING;
    move(chain, chain.first!);
    return [chain.first!];
  }
  if (chain.barrier !== undefined || chain.last?.orderStatus === ORDER_STATUS.MOVING) return NOTHING;
  const released: RoutedOperation[] = [];
  for (let next = chain.first; next !== undefined; next = next.orderNext) {
    if (next.orderStatus !== ORDER_STATUS.HELD) continue;
    if (chain.barrier !== undefined || (next.isBarrier && chain.moving > 0)) break;
    move(chain, next);
    released.push(next);
  }
  return released;
}

function move(chain: Chain, operation: RoutedOperation): void {
  operation.orderStatus = ORDER_STATUS.MOVING;
  chain.moving += 1;
  if (operation.isBarrier) chain.barrier = operation;
}

function append(chain: Chain, operation: RoutedOperation): void {
  operation.orderPrevious = chain.last;
  chain.last!.orderNext = operation;
  chain.last = operation;
}

function leave(chain: Chain, operation: RoutedOperation): void {
  const { orderPrevious, orderNext } = operation;
  if (orderPrevious === undefined) chain.first = orderNext;
  else orderPrevious.orderNext = orderNext;
  if (orderNext === undefined) chain.last = orderPrevious;
  else orderNext.orderPrevious = orderPrevious;
  if (operation.orderStatus === ORDER_STATUS.MOVING) chain.moving -= 1;
  if (operation.wasRefused) chain.refused -= 1;
  if (chain.barrier === operation) chain.barrier = undefined;
  operation.order = undefined;
  operation.orderPrevious = undefined;
  operation.orderNext = undefined;
  operation.orderStatus = ORDER_STATUS.NONE;
}
