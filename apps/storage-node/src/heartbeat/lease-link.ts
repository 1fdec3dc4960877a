import { credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { HeartbeatClient, type LeaseRequest, type LeaseResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import { PeerLease, type LeaseItem } from '@atoll/core-replication';
import type { ReplicaId } from '@atoll/core-runtime';
import { createChannelOptions, probeTcp } from '@atoll/platform-grpc';
import { Reconnect } from './reconnect.ts';

/** A stream on which nothing was heard for so many leases is opened anew: its connection may be dead. */
const SILENT_LEASES_MAX = 3;
const TCP_PROBE_MS = 500;

export interface LeaseLinkOptions {
  /** Node that grants. */
  readonly peer: string;
  readonly clusterId: string;
  readonly node: string;
  readonly incarnation: string;
  readonly leaseMs: number;
  readonly driftMs: number;
  readonly random: () => number;
  /** Address of the peer now; undefined while it is not registered. */
  readonly addressOf: (node: string) => string | undefined;
  /** The peer answered: leases may have been granted. */
  readonly onAnswer: (link: LeaseLink) => void;
}

/**
 * The leading end of one lease stream: beats go to one other node and come back as promises (R14). A connection of
 * its own, so that no bulk data stands before a beat.
 */
export class LeaseLink {
  readonly peer: string;
  readonly #options: LeaseLinkOptions;
  readonly #lease: PeerLease;
  readonly #reconnect: Reconnect;
  #client: HeartbeatClient | undefined;
  #call: ClientDuplexStream<LeaseRequest, LeaseResponse> | undefined;
  #address = '';
  #openedMs = 0;
  #isBlocked = false;
  #isRefused = false;
  #isClosed = false;

  constructor(options: LeaseLinkOptions) {
    this.peer = options.peer;
    this.#options = options;
    this.#lease = new PeerLease({ leaseMs: options.leaseMs, driftMs: options.driftMs });
    this.#reconnect = new Reconnect({ random: options.random, connect: () => this.#connect() });
  }

  get heardMs(): number {
    return this.#lease.heardMs;
  }

  /** Whether the peer's address refused the last connection: evidence of a dead process (R30). */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  get isUnused(): boolean {
    return this.#lease.itemCount === 0;
  }

  /** What is asked for; a beat follows at once when it changed. */
  setItems(items: readonly LeaseItem[]): void {
    if (!this.#lease.setItems(items)) return;
    if (this.#call === undefined) this.#connect();
    else this.beat();
  }

  leaseUntilMs(keyspace: string, partition: number, epoch: number, replica: ReplicaId): number {
    return this.#lease.leaseUntilMs(keyspace, partition, epoch, replica);
  }

  /** The clock stood still: nothing that is held or on its way counts (R17). */
  dropAll(): void {
    this.#lease.dropAll();
  }

  /** To be called every heartbeat interval. */
  tick(nowMs: number): void {
    if (this.#call !== undefined) {
      const address = this.#options.addressOf(this.peer);
      const hasMoved = address !== undefined && address !== this.#address;
      const isSilent = nowMs - Math.max(this.#openedMs, this.#lease.heardMs) > SILENT_LEASES_MAX * this.#options.leaseMs;
      if (hasMoved || isSilent) this.#onGone(this.#call);
    }
    this.beat();
  }

  beat(): void {
    const call = this.#call;
    if (call === undefined || this.#isBlocked) return;
    this.#write(call, undefined);
  }

  close(): void {
    this.#isClosed = true;
    this.#reconnect.cancel();
    this.#disconnect();
  }

  #write(call: ClientDuplexStream<LeaseRequest, LeaseResponse>, hello: LeaseRequest['hello']): void {
    const { beat, listVersion, items } = this.#lease.nextBeat(performance.now());
    const sent = items.map(({ keyspace, partition, epoch, replica }) => ({ keyspace, partition, epoch, replicaId: replica }));
    this.#isBlocked = !call.write({ hello, beat, listVersion, items: sent, leaseMs: this.#options.leaseMs });
  }

  #connect(): void {
    if (this.#isClosed || this.#call !== undefined) return;
    const { addressOf, clusterId, node, incarnation, onAnswer } = this.#options;
    const address = addressOf(this.peer);
    if (address === undefined) return this.#reconnect.later();
    this.#reconnect.cancel();
    this.#address = address;
    this.#openedMs = performance.now();
    this.#isBlocked = false;
    this.#client = new HeartbeatClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'heartbeat' }));
    const call = this.#client.lease();
    this.#call = call;
    call.on('data', ({ beat, listVersion, exceptions }: LeaseResponse) => {
      if (this.#call !== call) return;
      this.#reconnect.reset();
      this.#isRefused = false;
      this.#lease.onAnswer({ beat, listVersion, exceptions }, performance.now());
      onAnswer(this);
    });
    call.on('drain', () => {
      if (this.#call === call) this.#isBlocked = false;
    });
    call.on('error', () => this.#onGone(call));
    call.on('end', () => this.#onGone(call));
    this.#lease.onStreamOpened();
    this.#write(call, { clusterId, nodeId: node, incarnation });
  }

  #onGone(call: ClientDuplexStream<LeaseRequest, LeaseResponse>): void {
    if (this.#call !== call) return;
    this.#disconnect();
    this.#reconnect.later();
    void this.#lookAtAddress(this.#address);
  }

  async #lookAtAddress(address: string): Promise<void> {
    const result = await probeTcp(address, TCP_PROBE_MS);
    if (this.#address === address && this.#call === undefined) this.#isRefused = result === 'refused';
  }

  #disconnect(): void {
    const call = this.#call;
    this.#call = undefined;
    call?.cancel();
    this.#client?.close();
    this.#client = undefined;
  }
}
