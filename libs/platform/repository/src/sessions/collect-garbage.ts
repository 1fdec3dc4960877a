// Removes chunks that no archive needs, beside whoever writes, and without a lock that its safety would rest on. In two steps, as
// Duplicacy's fossils (Chen, "Lock-free deduplication", 2018):
//
//   condemn   chunks that no manifest names are set aside: they are where readers still look and writers do not
//   bury      once every session that stood when all were set aside has ended, those that no manifest names are removed and
//             the others put back
//
// docs/design/archive-format.md has the argument that no chunk in use is removed.
import { chunksOf } from '@atoll/core-archive';
import { z } from 'zod';
import type { Repository } from '../repository.ts';
import { CHUNKS_PREFIX, COLLECTIONS_PREFIX, chunkKey, collectionKey, collectionOfKey, fossilKey, fossilsPrefix, lastPart, sessionKey } from '../repository-layout.ts';
import { encodeJson, parseRecord } from '../repository-json.ts';
import { formatSession, type SessionId } from './session-id.ts';
import { listSessions } from './session.ts';

/** `sessions`: that stood when the last chunk had been set aside; undefined until then. */
interface CollectionRecord {
  readonly startedAtMs: number;
  readonly sessions?: readonly string[] | undefined;
}

const recordSchema: z.ZodType<CollectionRecord> = z.object({ startedAtMs: z.number(), sessions: z.array(z.string()).optional() });

export interface CollectOptions {
  readonly repository: Repository;
  /** Names the collection. */
  readonly id: SessionId;
  /** Wall clock. */
  readonly nowMs: number;
  /** Younger chunks stay, so that a job that goes on after a crash finds what it had put. Safety does not need it. */
  readonly chunkAgeMsMin: number;
  /**
   * A collection whose process died is finished by another one after so long. A process that stood still between two requests must
   * not go on later than that: suggested are 24 hours.
   */
  readonly abandonedAfterMs: number;
  /**
   * Whether chunks are set aside while somebody writes. What they have put and not published is then moved away and back again,
   * unless it is young; without, a repository to which somebody always writes is never cleaned.
   */
  readonly besideWriters: boolean;
  /** Asked before every change: false ends the collection where it is. */
  readonly mayGoOn: () => boolean;
}

export interface CollectReport {
  readonly removed: number;
  readonly removedBytes: number;
  readonly setAside: number;
  /** Set aside before, and needed after all. */
  readonly putBack: number;
  /** Sessions that end before it can go on. */
  readonly waitsFor: readonly string[];
  readonly isWhole: boolean;
}

/** @throws ARCHIVE_DAMAGED, ARCHIVE_TOO_NEW: a manifest that cannot be read may need any chunk; REPOSITORY_* */
export async function collectGarbage(options: CollectOptions): Promise<CollectReport> {
  return new Collection(options).run();
}

class Collection {
  readonly #repository: Repository;
  readonly #options: CollectOptions;
  readonly #report = { removed: 0, removedBytes: 0, setAside: 0, putBack: 0, waitsFor: new Set<string>(), isWhole: true };

  constructor(options: CollectOptions) {
    this.#repository = options.repository;
    this.#options = options;
  }

  async run(): Promise<CollectReport> {
    await this.#adopt();
    await this.#condemn();
    await this.#bury();
    return { ...this.#report, waitsFor: [...this.#report.waitsFor] };
  }

  /** What a collection that died had set aside is buried as its own would be. */
  async #adopt(): Promise<void> {
    const { nowMs, abandonedAfterMs } = this.#options;
    for (const [collection, record] of await this.#collections()) {
      if (record.sessions === undefined && nowMs - record.startedAtMs >= abandonedAfterMs) await this.#close(collection, record.startedAtMs);
    }
  }

  async #condemn(): Promise<void> {
    const { store } = this.#repository;
    const { nowMs, chunkAgeMsMin, besideWriters } = this.#options;
    const collection = formatSession(this.#options.id);
    const writers = besideWriters ? [] : (await listSessions(this.#repository)).filter(({ purpose }) => purpose === 'WRITE');
    for (const { session } of writers) this.#report.waitsFor.add(session);
    if (writers.length > 0) return;
    const inUse = await this.#chunksInUse();
    let isBegun = false;
    for await (const { key, modifiedMs } of store.list(CHUNKS_PREFIX)) {
      const id = lastPart(key);
      if (inUse.has(id) || nowMs - modifiedMs < chunkAgeMsMin) continue;
      if (!this.#options.mayGoOn()) {
        this.#report.isWhole = false;
        return;
      }
      if (!isBegun) await store.put(collectionKey(collection), encodeJson({ startedAtMs: nowMs } satisfies CollectionRecord));
      isBegun = true;
      if (!(await store.copy(key, fossilKey(collection, id)))) continue;
      if (!this.#options.mayGoOn()) {
        this.#report.isWhole = false;
        return;
      }
      await store.delete(key);
      this.#report.setAside += 1;
    }
    if (isBegun) await this.#close(collection, nowMs);
  }

  /** The sessions are listed when everything has been set aside: one that begins later finds none of it. */
  async #close(collection: string, startedAtMs: number): Promise<void> {
    const sessions = (await listSessions(this.#repository)).map(({ session }) => session);
    await this.#repository.store.put(collectionKey(collection), encodeJson({ startedAtMs, sessions } satisfies CollectionRecord));
  }

  async #bury(): Promise<void> {
    const { store } = this.#repository;
    for (const [collection, { sessions }] of await this.#collections()) {
      if (sessions === undefined) continue;
      const open: string[] = [];
      for (const session of sessions) if ((await store.stat(sessionKey(session))) !== undefined) open.push(session);
      for (const session of open) this.#report.waitsFor.add(session);
      if (open.length > 0) continue;
      // After the sessions: each has published what it will, or was revoked and cannot.
      const inUse = await this.#chunksInUse();
      let isWhole = true;
      for await (const { key, bytes } of store.list(fossilsPrefix(collection))) {
        isWhole &&= this.#options.mayGoOn();
        if (!isWhole) break;
        await this.#buryOne(key, bytes, inUse);
      }
      if (isWhole) await store.delete(collectionKey(collection));
      else this.#report.isWhole = false;
    }
  }

  async #buryOne(fossil: string, bytes: number, inUse: ReadonlySet<string>): Promise<void> {
    const { store } = this.#repository;
    const id = lastPart(fossil);
    if (inUse.has(id)) {
      await store.copy(fossil, chunkKey(id));
      this.#report.putBack += 1;
    } else {
      this.#report.removed += 1;
      this.#report.removedBytes += bytes;
    }
    await store.delete(fossil);
  }

  async #chunksInUse(): Promise<ReadonlySet<string>> {
    const inUse = new Set<string>();
    for await (const manifest of this.#repository.manifests()) for (const id of chunksOf(manifest).keys()) inUse.add(id);
    return inUse;
  }

  async #collections(): Promise<readonly (readonly [string, CollectionRecord])[]> {
    const { store } = this.#repository;
    const found: [string, CollectionRecord][] = [];
    for await (const { key } of store.list(COLLECTIONS_PREFIX)) {
      const collection = collectionOfKey(key);
      const bytes = collection === undefined ? undefined : await store.get(key);
      if (collection !== undefined && bytes !== undefined) found.push([collection, parseRecord(key, bytes, recordSchema)]);
    }
    return found;
  }
}
