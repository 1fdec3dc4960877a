import type { IWatchResponse } from 'etcd3';

import type { EtcdEndpoint, EtcdEndpoints } from './etcd-endpoints.ts';
import { fromEvent, toEtcdKey, toRangeEnd } from './etcd-wire.ts';
import type { StoredValue, Watch, WatchListener } from './metadata-store.ts';
import { pause } from './pause.ts';

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 1000;
const PROBE_INTERVAL_MS = 3000;
const PROBE_AGAIN_MS = 500;

export interface EtcdWatchOptions {
  readonly endpoints: EtcdEndpoints;
  readonly prefix: string;
  readonly listener: WatchListener;
  readonly list: () => Promise<Snapshot>;
}

interface Snapshot {
  readonly values: readonly StoredValue[];
  readonly revision: number;
}

/**
 * Keeps a listener up to date with a prefix, for as long as it is open:
 *
 *     list (linearizable) -> onSnapshot -> stream from revision + 1 -> onChanges ...
 *       ^                                     |
 *       +---- pause 100 ms to 1 s <-----------+  whatever ends the stream: error, cancel, compaction, silence
 *
 * After any gap everything is read again, so a missed event cannot stay missed (R36), and neither does it matter
 * whether etcd came back with another history. While the stream stands, its server must answer a linearizable
 * read every 3 s; after two misses in a row the next server is tried. So a stopped or cut-off server is noticed too.
 */
export class EtcdWatch implements Watch {
  readonly #options: EtcdWatchOptions;
  readonly #closing = new AbortController();
  #connected = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: EtcdWatchOptions) {
    this.#options = options;
  }

  /** Resolves after the first snapshot was delivered; throws METADATA_UNAVAILABLE when it cannot be read. */
  async open(): Promise<void> {
    const snapshot = await this.#options.list();
    this.#deliver(snapshot);
    this.#running = this.#run(snapshot.revision);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #run(firstRevision: number): Promise<void> {
    let revision: number | undefined = firstRevision;
    let retryMs = RETRY_MS_MIN;
    while (!this.#closing.signal.aborted) {
      if (revision !== undefined) {
        retryMs = RETRY_MS_MIN;
        await this.#follow(this.#options.endpoints.current(), revision + 1);
      }
      this.#setConnected(false);
      await pause(retryMs, this.#closing.signal);
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
      const snapshot = await this.#tryList();
      if (snapshot !== undefined) this.#deliver(snapshot);
      revision = snapshot?.revision;
    }
  }

  /** Undefined while etcd is away; the values keep standing. */
  async #tryList(): Promise<Snapshot | undefined> {
    try {
      return await this.#options.list();
    } catch {
      return undefined;
    }
  }

  #deliver({ values, revision }: Snapshot): void {
    if (this.#closing.signal.aborted) return;
    this.#options.listener.onSnapshot(values, revision);
    this.#setConnected(true);
  }

  #setConnected(connected: boolean): void {
    if (this.#connected === connected || this.#closing.signal.aborted) return;
    this.#connected = connected;
    this.#options.listener.onConnection?.(connected);
  }

  /** Resolves when the stream has ended, in whatever way. */
  async #follow(endpoint: EtcdEndpoint, startRevision: number): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const stream = await endpoint.client.watchClient.watch().catch(() => undefined); // A closed client has none.
    if (stream === undefined) return;
    const ended = new AbortController();
    const end = (): void => ended.abort();
    if (this.#closing.signal.aborted) end();
    stream.on('data', (response) => this.#take(response, ended));
    stream.on('end', end);
    stream.on('error', end);
    this.#closing.signal.addEventListener('abort', end);
    stream.write({
      create_request: { key: toEtcdKey(this.#options.prefix), range_end: toRangeEnd(this.#options.prefix), start_revision: startRevision },
    });

    let misses = 0;
    while (!ended.signal.aborted && misses < 2) {
      await pause(misses === 0 ? PROBE_INTERVAL_MS : PROBE_AGAIN_MS, ended.signal);
      if (ended.signal.aborted) break;
      misses = (await endpoint.answers()) ? 0 : misses + 1;
    }
    this.#closing.signal.removeEventListener('abort', end);
    end();
    stream.end(); // Else the library parts with the connection, and so do the other watches.
    stream.cancel();
    if (!this.#closing.signal.aborted) this.#options.endpoints.moveOnFrom(endpoint);
  }

  #take(response: IWatchResponse, ended: AbortController): void {
    if (ended.signal.aborted) return;
    if (response.canceled) {
      ended.abort();
      return;
    }
    if (response.events.length === 0) return;
    const revision = Math.max(...response.events.map((event) => Number(event.kv.mod_revision)));
    this.#options.listener.onChanges(response.events.map(fromEvent), revision);
  }
}
