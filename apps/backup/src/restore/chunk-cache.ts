import { sliceOf, type ChunkRef } from '@atoll/core-archive';

/** Chunks that are fetched and unpacked at a time. */
const READS_MAX = 8;

export interface ChunkCacheOptions {
  /** All of the content of a chunk. */
  readonly read: (chunk: ChunkRef) => Promise<Buffer>;
  /** Of content that is kept for who asks next; what is being read counts as much as it will take. */
  readonly bytesMax: number;
}

interface Cached {
  readonly content: Promise<Buffer>;
  readonly bytes: number;
  isRead: boolean;
}

/**
 * Chunks of archives as they are read: several readers of one partition come by the same chunks, at about the same time. What was
 * asked for longest ago goes first; a chunk that is larger than the bound is read and not kept.
 */
export class ChunkCache {
  readonly #options: ChunkCacheOptions;
  readonly #cached = new Map<string, Cached>();
  #bytes = 0;
  #reading = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(options: ChunkCacheOptions) {
    this.#options = options;
  }

  /** `next` is begun to be read where there is room for it. Throws as `read`. */
  async take(chunk: ChunkRef, next?: ChunkRef): Promise<Buffer> {
    const content = this.#get(chunk);
    if (next !== undefined && this.#bytes + next.plainBytes <= this.#options.bytesMax) this.#get(next).catch(() => undefined);
    return sliceOf(await content, chunk);
  }

  /** Bytes that it holds. */
  get bytes(): number {
    return this.#bytes;
  }

  #get(chunk: ChunkRef): Promise<Buffer> {
    const present = this.#cached.get(chunk.id);
    this.#cached.delete(chunk.id);
    if (present !== undefined) {
      this.#cached.set(chunk.id, present);
      return present.content;
    }
    const cached: Cached = { content: this.#read(chunk), bytes: chunk.plainBytes, isRead: false };
    this.#cached.set(chunk.id, cached);
    this.#bytes += cached.bytes;
    void this.#settle(chunk.id, cached);
    this.#shrink();
    return cached.content;
  }

  /** One that failed is read anew by who asks next. */
  async #settle(id: string, cached: Cached): Promise<void> {
    try {
      await cached.content;
      cached.isRead = true;
      this.#shrink();
    } catch {
      this.#drop(id, cached);
    }
  }

  async #read(chunk: ChunkRef): Promise<Buffer> {
    if (this.#reading >= READS_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#reading += 1;
    try {
      return await this.#options.read(chunk);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#reading -= 1;
      else next();
    }
  }

  #shrink(): void {
    for (const [id, cached] of this.#cached) {
      if (this.#bytes <= this.#options.bytesMax) return;
      if (cached.isRead) this.#drop(id, cached);
    }
  }

  #drop(id: string, cached: Cached): void {
    if (this.#cached.get(id) !== cached) return;
    this.#cached.delete(id);
    this.#bytes -= cached.bytes;
  }
}
