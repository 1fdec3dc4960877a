import { invalidArgument } from '@atoll/core-errors';
import { GIB } from '@atoll/core-runtime';
import { EntryHeap } from './entry-heap.ts';
import { MemoryAccount } from './memory-account.ts';

/** References reach 32 GiB; the rest is for holes and for soft overshoot. Larger machines run several nodes. */
export const MEMORY_BYTES_MAX = 24 * GIB;

/**
 * The entry memory of one node, shared by all its partitions; keyspaces have accounts in it. Nothing here fails for
 * want of memory: a replica must apply what the leader has logged, so the bound is kept by the leader, who asks
 * `MemoryAccount.freeBytes` before it gives a write a seq (R22).
 */
export class StoreMemory {
  /** Bound of the live bytes of all keyspaces together, in bytes. The process needs about a fifth more. */
  readonly bytesMax: number;
  /** For the stores of this memory only. */
  readonly heap = new EntryHeap();
  readonly #accounts = new Map<string, MemoryAccount>();
  #usedBytes = 0;

  /** Throws INVALID_ARGUMENT unless `bytesMax` is an integer from 1 to 24 GiB. */
  constructor(options: { bytesMax: number }) {
    const { bytesMax } = options;
    if (!Number.isSafeInteger(bytesMax) || bytesMax < 1 || bytesMax > MEMORY_BYTES_MAX) {
      throw invalidArgument('bytesMax', `must be an integer from 1 to ${MEMORY_BYTES_MAX}, is ${bytesMax}`);
    }
    this.bytesMax = bytesMax;
  }

  /**
   * The account of keyspace `name`, which may use `share` (above 0, at most 1) of `bytesMax`. The account that is
   * already open under that name is returned with the new share. Shares may add up to more than 1; then the node's own
   * bound decides.
   */
  openAccount(name: string, share: number): MemoryAccount {
    const open = this.#accounts.get(name);
    if (open !== undefined) {
      open.setShare(share);
      return open;
    }
    const account = new MemoryAccount({ memory: this, name, share });
    this.#accounts.set(name, account);
    return account;
  }

  /** Forgets the account; its stores must be closed before. */
  closeAccount(name: string): void {
    if ((this.#accounts.get(name)?.usedBytes ?? 0) > 0) throw new Error(`account ${name} still holds entries`);
    this.#accounts.delete(name);
  }

  /** Live bytes of all accounts. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** For accounts only. */
  charge(bytes: number): void {
    this.#usedBytes += bytes;
  }

  /** Bytes of segments and outside values that the process holds outside the JavaScript heap, holes included; without the index. */
  get allocatedBytes(): number {
    return this.heap.log.allocatedBytes + this.heap.outside.bytes;
  }

  /** Live part of what is allocated, 0 to 1. */
  get utilisation(): number {
    const allocated = this.allocatedBytes;
    return allocated === 0 ? 1 : (this.heap.log.liveBytes + this.heap.outside.bytes) / allocated;
  }

  /** Closes holes, copying about `bytesMax` at most: for idle moments. Returns whether there is more to do. */
  clean(bytesMax: number): boolean {
    return this.heap.log.clean(bytesMax);
  }
}
