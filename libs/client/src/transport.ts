import type { AtollError } from '@atoll/core-errors';
import type { Client } from '@grpc/grpc-js';
import type { Operation } from './operation.ts';

/** A way to a process that serves `Cache`: a router, or one day a leader. */
export interface Transport {
  /** host:port. */
  readonly address: string;
  /** For calls beside the Execute stream. */
  readonly client: Client;
  readonly isConnected: boolean;
  /** Takes an operation; what is taken in one turn of the event loop leaves in one message. */
  submit(operation: Operation): void;
  /** Forgets an operation; a late answer to it is ignored. */
  drop(operation: Operation): void;
  close(): void;
}

/** What a transport tells. Each operation that was submitted comes back once, unless it was dropped. */
export interface TransportListener {
  onResult(operation: Operation, kind: number, body: Buffer, parts: readonly Buffer[] | undefined): void;
  /** `wasTaken`: the other side may have acted on it. */
  onLost(operation: Operation, wasTaken: boolean, cause: AtollError): void;
}

/** Chooses the transport of an operation. The seam for routing straight to leaders. */
export interface Picker {
  /** `avoid`: the address that failed last; another one is better, if there is one. */
  pick(operation: Operation, avoid: string): Transport;
  transports(): readonly Transport[];
}

/**
 * Stays with one router while it is well, so that operations of one key keep their order, and moves on to the
 * next when it fails.
 */
export class RouterPicker implements Picker {
  readonly #transports: readonly Transport[];
  #index: number;

  /** `start` spreads clients over routers: any whole number. */
  constructor(transports: readonly Transport[], start: number) {
    this.#transports = transports;
    this.#index = start % transports.length;
  }

  pick(_operation: Operation, avoid: string): Transport {
    const present = this.#transports[this.#index]!;
    if (avoid === '' || present.address !== avoid) return present;
    this.#index = (this.#index + 1) % this.#transports.length;
    return this.#transports[this.#index]!;
  }

  transports(): readonly Transport[] {
    return this.#transports;
  }
}
