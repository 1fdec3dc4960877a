// One attempt to fill a replica: what is missing of its install is fetched from its leader in one stream, or, where it is
// to be split, in several side by side, each of a sub-range of its own (R33). Of those the first asks the leader, which
// alone tells of results (R21); the others ask the leader and the replicas in sync in turn. A stream that breaks is opened
// again, at the leader, where its sub-range stands, while the others go on.
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { TransferService, type TransferClient } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import { FenceTable } from '@atoll/core-locks';
import type { MissingRange, SnapshotInstall } from '@atoll/core-replication';
import { compareHash, type Hash64 } from '@atoll/core-runtime';
import { readEncodedStream, type SharedClients } from '@atoll/platform-grpc';
import { decodeFetchSnapshotResponse } from '@atoll/platform-wire';
import type { HostedReplica } from '../hosted-replica.ts';
import { ChunkAssembler, chunkBytes } from './chunk-assembler.ts';
import { ResultsAssembler } from './result-pieces.ts';

/** Times that one of several streams is opened without anything coming by it. */
const ATTEMPTS_MAX = 4;
const ATTEMPT_PAUSE_MS = 100;

export interface SnapshotFetchOptions {
  readonly hosted: HostedReplica;
  /** At a time, 1 or more. */
  readonly streams: number;
  readonly clusterId: string;
  readonly clients: SharedClients<TransferClient>;
  readonly addressOf: (node: string) => string | undefined;
  /** A chunk came, and was not looked at yet. */
  readonly onReceived: (chunk: { readonly bytes: number; readonly entries: number }) => void;
  /** It was taken in. */
  readonly onTaken: () => void;
  readonly signal: AbortSignal;
  readonly traceparent: string | undefined;
}

type Following = Extract<HostedReplica['replica']['role'], { readonly kind: 'follower' }>;

/** Ends when nothing is missing any more, or when the replica follows somebody else or is to be filled anew. Throws what the first stream met that was given up. */
export async function fetchSnapshot(options: SnapshotFetchOptions): Promise<void> {
  const { role, state } = options.hosted.replica;
  const { install } = state;
  if (role.kind !== 'follower' || install?.next === undefined) return;
  if (options.streams > 1) install.split(options.streams);
  const fetch = new SnapshotFetch(options, role, install);
  const ranges = install.missing.entries();
  const work = async (): Promise<void> => {
    for (const [index, range] of ranges) await fetch.fill(range, index);
  };
  const outcomes = await Promise.allSettled(Array.from({ length: options.streams }, work));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

class SnapshotFetch {
  readonly #options: SnapshotFetchOptions;
  readonly #role: Following;
  readonly #install: SnapshotInstall;
  readonly #isSharded: boolean;

  constructor(options: SnapshotFetchOptions, role: Following, install: SnapshotInstall) {
    this.#options = options;
    this.#role = role;
    this.#install = install;
    this.#isSharded = install.missing.length > 1;
  }

  /** Fetches one sub-range to its end, by more than one stream where they break. */
  async fill({ from: start, to }: MissingRange, index: number): Promise<void> {
    let from: Hash64 | undefined = start;
    let source = this.#sourceOf(index);
    for (let attempt = 1; from !== undefined && this.#isCurrent; attempt += 1) {
      const isLast = !this.#isSharded || attempt >= ATTEMPTS_MAX;
      await this.#stream({ from, to }, source, index === 0).catch((error: unknown) => {
        if (isLast || !this.#isCurrent) throw error;
      });
      const stands = this.#install.missing.find((range) => isSameEnd(range.to, to))?.from;
      if (stands === undefined || isLast) return;
      if (compareHash(stands, from) > 0) attempt = 0;
      from = stands;
      source = this.#role.of.node;
      await pause(ATTEMPT_PAUSE_MS, undefined, { signal: this.#options.signal }).catch(() => undefined);
    }
  }

  /** Whether chunks of this install, in this epoch, are still wanted. */
  get #isCurrent(): boolean {
    const { hosted, signal } = this.#options;
    return !signal.aborted && hosted.replica.role === this.#role && hosted.replica.state.install === this.#install;
  }

  #sourceOf(index: number): string {
    const leader = this.#role.of.node;
    const { self } = this.#options.hosted.replica.state.identity;
    const others = (this.#options.hosted.replica.record?.record.inSync ?? []).map(({ node }) => node).filter((node) => node !== leader && node !== self.node);
    const sources = [leader, ...others];
    return sources[index % sources.length]!;
  }

  async #stream({ from, to }: MissingRange, source: string, isFirst: boolean): Promise<void> {
    const { hosted, clients, clusterId, addressOf, signal, traceparent } = this.#options;
    const { state } = hosted.replica;
    const address = addressOf(source);
    if (address === undefined) throw new AtollError('PARTITION_UNAVAILABLE', `${source} is not registered`);
    const client = clients.take(address);
    try {
      const request = {
        clusterId,
        keyspace: hosted.keyspace,
        partition: hosted.partition,
        replicaId: state.identity.self.replica,
        generation: { ...state.generation },
        epoch: this.#role.follower.epoch,
        fromHigh: from.high,
        fromLow: from.low,
        toHigh: to?.high,
        toLow: to?.low,
        wantsResults: isFirst && state.results.isPartial,
        logSeq: this.#install.logSeq,
        sharded: this.#isSharded,
      };
      const assembler = new ChunkAssembler();
      const results = new ResultsAssembler();
      for await (const bytes of readEncodedStream(client, TransferService.fetchSnapshot, request, { signal, traceparent })) {
        if (!this.#isCurrent) return;
        const message = decodeFetchSnapshotResponse(bytes);
        results.add(message, state);
        if (message.fences !== undefined) state.fences.merge(FenceTable.decode(message.fences));
        if (message.copies !== undefined) state.copies.load(message.copies, message.readSeq);
        const chunk = assembler.add(message);
        if (chunk === undefined) continue;
        hosted.replica.hearEpoch(message.epoch);
        this.#options.onReceived({ bytes: chunkBytes(chunk), entries: chunk.entries.length });
        // The last chunk of what was asked for ends where that ends.
        if (!this.#isCurrent || !this.#role.follower.onChunk({ ...chunk, to: chunk.to ?? to }, message.epoch)) return;
        this.#options.onTaken();
        // Several chunks may have come; whoever is served here gets a turn before the next one is taken in.
        await nextTurn();
      }
    } finally {
      clients.release(address);
    }
  }
}

const isSameEnd = (a: Hash64 | undefined, b: Hash64 | undefined): boolean => (a === undefined || b === undefined ? a === b : compareHash(a, b) === 0);
