import { AtollError } from '@atoll/core-errors';
import { OBJECT_BYTES_MAX, checkObjectKey, type ObjectStore, type StoredObject } from '../object-store.ts';

/** Of several clients the objects are the same. */
export class InMemoryObjects {
  readonly objects = new Map<string, { body: Buffer; modifiedMs: number }>();
  /** Of the storage. */
  nowMs = 1_000_000;
}

/**
 * One client of objects in memory, and the steps of its calls one by one: `step` is awaited before each thing that it does to the
 * objects, so that a test decides who goes on when, or never.
 */
export class InMemoryObjectStore implements ObjectStore {
  readonly location = 'memory://';
  readonly #shared: InMemoryObjects;
  readonly #step: (what: string) => Promise<void>;

  constructor(shared = new InMemoryObjects(), step: (what: string) => Promise<void> = async () => undefined) {
    this.#shared = shared;
    this.#step = step;
  }

  async put(key: string, body: Uint8Array): Promise<void> {
    checkObjectKey(key);
    await this.#step(`put ${key}`);
    this.#write(key, body);
  }

  async create(key: string, body: Uint8Array): Promise<boolean> {
    checkObjectKey(key);
    await this.#step(`create ${key}`);
    const present = this.#shared.objects.get(key);
    if (present === undefined) this.#write(key, body);
    return present === undefined || present.body.equals(body);
  }

  async get(key: string, bytesMax = OBJECT_BYTES_MAX): Promise<Buffer | undefined> {
    checkObjectKey(key);
    await this.#step(`get ${key}`);
    const body = this.#shared.objects.get(key)?.body;
    if (body !== undefined && body.length > bytesMax) throw new RangeError(`${key} has ${body.length} bytes, at most ${bytesMax} are read`);
    return body === undefined ? undefined : Buffer.from(body);
  }

  async stat(key: string): Promise<StoredObject | undefined> {
    checkObjectKey(key);
    await this.#step(`stat ${key}`);
    const found = this.#shared.objects.get(key);
    return found && { key, bytes: found.body.length, modifiedMs: found.modifiedMs };
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    await this.#step(`list ${prefix}`);
    const found = [...this.#shared.objects].filter(([key]) => key.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [key, { body, modifiedMs }] of found) yield { key, bytes: body.length, modifiedMs };
  }

  async delete(key: string): Promise<void> {
    checkObjectKey(key);
    await this.#step(`delete ${key}`);
    this.#shared.objects.delete(key);
  }

  async copy(from: string, to: string): Promise<boolean> {
    checkObjectKey(from);
    checkObjectKey(to);
    await this.#step(`copy ${from} ${to}`);
    const found = this.#shared.objects.get(from);
    if (found !== undefined) this.#write(to, found.body);
    return found !== undefined;
  }

  async close(): Promise<void> {
    // Nothing is held.
  }

  #write(key: string, body: Uint8Array): void {
    if (this.#shared.objects.size > 100_000) throw new AtollError('REPOSITORY_FULL', 'too many objects');
    this.#shared.objects.set(key, { body: Buffer.from(body), modifiedMs: this.#shared.nowMs });
  }
}
