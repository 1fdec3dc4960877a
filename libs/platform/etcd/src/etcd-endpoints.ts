import { NoopPolicy, noop } from 'cockatiel';
import { Etcd3, RecoverableError } from 'etcd3';

import { metadataUnavailable } from './metadata-errors.ts';

/** What a call to etcd is given: the library's clients of one endpoint, and the call's deadline. */
export interface EndpointCall {
  readonly endpoint: EtcdEndpoint;
  readonly options: { readonly deadline: number };
}

/** Told of every call to a server, each try apart; must not throw. `operation` is get, list, transact, grant, keep, renew or revoke. */
export type EtcdObserver = (operation: string, tookMs: number, isAnswered: boolean) => void;

const PROBE_MAX_AGE_MS = 2000;

/** gRPC counts a message up to 4 MiB by default; a page of records or a burst of events may be larger. */
const GRPC_OPTIONS = {
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.initial_reconnect_backoff_ms': 200,
  'grpc.max_reconnect_backoff_ms': 1000,
  // etcd closes connections that ping more often than every 5 s (--grpc-keepalive-min-time).
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5000,
};

/**
 * Hides from the library that a failed call might be "recoverable": it would close the channels of this server after it
 * and open others, while the watches stayed behind on a connection that nobody keeps alive, and broke off with it within
 * 10 s. A gRPC channel connects anew by itself where it has to.
 */
class ChannelsStay extends NoopPolicy {
  override async execute<T>(...args: Parameters<typeof NoopPolicy.prototype.execute<T>>): Promise<T> {
    try {
      return await super.execute(...args);
    } catch (error) {
      if (error instanceof Error) Reflect.deleteProperty(error, RecoverableError);
      throw error;
    }
  }
}

const channelsStay = new ChannelsStay();

/** One etcd server. The library neither repeats calls nor holds them back (R7). */
export class EtcdEndpoint {
  readonly client: Etcd3;
  readonly #requestTimeoutMs: number;
  #probe: { readonly atMs: number; readonly answer: Promise<boolean> } | undefined;

  constructor(address: string, requestTimeoutMs: number) {
    this.#requestTimeoutMs = requestTimeoutMs;
    this.client = new Etcd3({
      hosts: address,
      grpcOptions: GRPC_OPTIONS,
      faultHandling: { host: () => channelsStay, global: noop },
    });
  }

  /**
   * Whether this server answers a linearizable read, that is, belongs to the majority. Callers that ask within
   * 2 s share one read. Never rejects.
   */
  answers(): Promise<boolean> {
    const nowMs = performance.now();
    if (this.#probe === undefined || nowMs - this.#probe.atMs > PROBE_MAX_AGE_MS) {
      const read = this.client.kv.range(
        { key: Buffer.from('/atoll/v1/cluster'), keys_only: true },
        { deadline: Date.now() + this.#requestTimeoutMs },
      );
      this.#probe = {
        atMs: nowMs,
        answer: read.then(
          () => true,
          () => {
            this.#probe = undefined; // The next caller asks anew.
            return false;
          },
        ),
      };
    }
    return this.#probe.answer;
  }

  close(): void {
    this.client.close();
  }
}

/**
 * The servers of one etcd cluster. All calls go to the one that answered last; a call that may be repeated goes
 * on to the next one when it fails, and every failure makes the next server the first choice.
 */
export class EtcdEndpoints {
  readonly requestTimeoutMs: number;
  readonly #endpoints: readonly EtcdEndpoint[];
  readonly #observer: EtcdObserver | undefined;
  #preferred = 0;
  #closed = false;

  constructor(addresses: readonly string[], requestTimeoutMs: number, observer?: EtcdObserver) {
    this.#observer = observer;
    if (addresses.length === 0) throw new Error('etcd: at least one endpoint is needed');
    this.requestTimeoutMs = requestTimeoutMs;
    this.#endpoints = addresses.map((address) => new EtcdEndpoint(address, requestTimeoutMs));
  }

  current(): EtcdEndpoint {
    return this.#endpoints[this.#preferred]!;
  }

  /** Makes the next server the first choice, unless somebody else has moved on from `failed` already. */
  moveOnFrom(failed: EtcdEndpoint): void {
    if (this.current() === failed) this.#preferred = (this.#preferred + 1) % this.#endpoints.length;
  }

  /**
   * For calls that do no harm when they happen twice. The time is shared out so that each server that is left
   * gets its part of it. Throws METADATA_UNAVAILABLE when none answered.
   */
  async repeatable<T>(what: string, call: (to: EndpointCall) => Promise<T>, timeoutMs = this.requestTimeoutMs): Promise<T> {
    const endsAtMs = performance.now() + timeoutMs;
    let failure: unknown;
    for (let left = this.#endpoints.length; left > 0 && !this.#closed; left -= 1) {
      const endpoint = this.current();
      const remainingMs = endsAtMs - performance.now();
      if (remainingMs <= 0) break;
      try {
        return await this.#observed(what.split(' ', 1)[0]!, call({ endpoint, options: { deadline: Date.now() + Math.ceil(remainingMs / left) } }));
      } catch (error) {
        failure = error;
        this.moveOnFrom(endpoint);
      }
    }
    throw metadataUnavailable(what, this.#closed ? new Error('the client is closed') : failure);
  }

  /** For calls that must not happen twice: sent to one server, once (R7). Rejects with what the library says. */
  async once<T>(call: (to: EndpointCall) => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error('the client is closed');
    const endpoint = this.current();
    try {
      return await this.#observed('transact', call({ endpoint, options: { deadline: Date.now() + this.requestTimeoutMs } }));
    } catch (error) {
      this.moveOnFrom(endpoint);
      throw error;
    }
  }

  async #observed<T>(operation: string, answer: Promise<T>): Promise<T> {
    if (this.#observer === undefined) return answer;
    const sentMs = performance.now();
    let isAnswered = false;
    try {
      const value = await answer;
      isAnswered = true;
      return value;
    } finally {
      this.#observer(operation, performance.now() - sentMs, isAnswered);
    }
  }

  close(): void {
    this.#closed = true;
    for (const endpoint of this.#endpoints) endpoint.close();
  }
}
