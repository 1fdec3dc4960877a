import { FenceTable } from '@atoll/core-locks';
import { chunkEntries, type FollowOutcome, type MissingRange, type ResultTable, type SnapshotChunk, type SnapshotInstall } from '@atoll/core-replication';
import type { SimStream } from '../base/network.ts';
import type { World } from '../world.ts';
import type { HostedReplica } from './hosted-replica.ts';
import type { LeaderMessage } from './messages.ts';

interface Remembered {
  readonly results: Parameters<ResultTable['absorb']>[0];
  readonly fences: Buffer;
  /** How far it had its source, of a copy (R37). */
  readonly copies: Buffer;
}

interface Fetch {
  readonly stream: string;
  readonly atMs: number;
}

const RETRY_MS = 50;
const FETCH_TIMEOUT_MS = 300;
/** A leader that says nothing for so long is asked anew: the stream may be dead without a word. */
const SILENT_MS_MAX = 2000;

/** The follower's end: its stream to the leader, acknowledgements, the chunks of an install. */
export class FollowerLink {
  readonly #world: World;
  readonly #hosted: HostedReplica;
  #stream: SimStream | undefined;
  #channel = 0;
  /** Chunks that were asked for, by the sub-range that they are of. */
  readonly #fetches = new Map<string, Fetch>();
  #heardMs = 0;
  #isAckDue = false;
  #isRetrying = false;
  #isClosed = false;

  constructor(options: { world: World; hosted: HostedReplica }) {
    this.#world = options.world;
    this.#hosted = options.hosted;
  }

  close(): void {
    this.#isClosed = true;
    this.#leave();
  }

  /** The role is another one. */
  restart(): void {
    this.#leave();
    this.#connect();
  }

  #leave(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#fetches.clear();
    stream?.break();
  }

  #retry(): void {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    this.#hosted.node.after(RETRY_MS, () => {
      this.#isRetrying = false;
      this.#connect();
    });
  }

  #connect(): void {
    const { role } = this.#hosted.replica;
    const { node } = this.#hosted;
    if (this.#isClosed || role.kind !== 'follower' || this.#stream !== undefined) return;
    const target = this.#world.nodeOf(role.of.node);
    if (target === undefined || this.#world.network.isCut(node.id, target.id)) return this.#retry();
    const stream = this.#world.network.open(node, target);
    stream.onBreak('opener', () => {
      if (this.#stream !== stream) return;
      this.#stream = undefined;
      this.#retry();
    });
    this.#stream = stream;
    this.#subscribe(stream);
  }

  #subscribe(stream: SimStream): void {
    const { follower } = this.#hosted.replica;
    if (follower === undefined || this.#stream !== stream || this.#isClosed) return;
    this.#channel = this.#world.newNumber();
    this.#heardMs = this.#world.events.nowMs;
    const subscription = follower.subscription(this.#channel);
    const { slot } = this.#hosted;
    const target = this.#world.nodeOf(stream.acceptor.id)!;
    stream.toAcceptor(() => {
      const leading = target.hosted(slot)?.leading;
      if (leading === undefined) stream.break();
      else leading.onSubscribe(stream, subscription, this.#hosted, (message) => this.#onMessage(stream, message));
    });
  }

  #onMessage(stream: SimStream, honest: LeaderMessage): void {
    if (this.#stream !== stream || this.#isClosed || honest.message.channel !== this.#channel) return;
    const { follower } = this.#hosted.replica;
    if (follower === undefined) return;
    this.#heardMs = this.#world.events.nowMs;
    const mutated = this.#world.mutant?.toFollower?.(this.#hosted, honest) ?? honest;
    const nowMs = this.#hosted.node.moment().monotonicMs;
    let outcome: FollowOutcome;
    switch (mutated.kind) {
      case 'append':
        outcome = follower.onAppend(mutated.message, nowMs);
        break;
      case 'part':
        outcome = follower.onPart(mutated.message);
        break;
      case 'divergence':
        outcome = follower.onDivergence(mutated.message);
        break;
      case 'install':
        outcome = follower.onInstallOrder(mutated.message);
        this.#fetches.clear();
        break;
      default: {
        const { epoch, channel } = mutated.message;
        if (epoch > follower.epoch) this.#hosted.hearEpoch(epoch);
        this.#hosted.node.after(RETRY_MS, () => {
          if (this.#stream === stream && this.#channel === channel) this.#subscribe(stream);
        });
        return;
      }
    }
    if (outcome === 'resubscribe') this.#subscribe(stream);
    else if (outcome === 'ok') this.ackSoon();
  }

  ackSoon(): void {
    if (this.#isAckDue || this.#stream === undefined) return;
    this.#isAckDue = true;
    this.#hosted.node.after(this.#world.dice.below(3), () => {
      this.#isAckDue = false;
      const stream = this.#stream;
      const { follower } = this.#hosted.replica;
      if (stream === undefined || follower === undefined || this.#isClosed) return;
      if (this.#world.events.nowMs - this.#heardMs > SILENT_MS_MAX) return stream.break();
      const honest = follower.ack(this.#channel, this.#hosted.node.account.freeBytes);
      const ack = this.#world.mutant?.toLeader?.(this.#hosted, honest) ?? honest;
      const { member, slot } = this.#hosted;
      const target = this.#world.nodeOf(stream.acceptor.id);
      stream.toAcceptor(() => target?.hosted(slot)?.replica.leader?.onAck(ack, member.replica, target.moment().monotonicMs));
    });
  }

  /** Asks for the next chunks, if an install waits for some: one of each sub-range. Chunks may be late, lost or come twice. */
  fetchSoon(): void {
    const { install } = this.#hosted.state;
    if (install === undefined || this.#hosted.replica.role.kind !== 'follower' || this.#isClosed) return;
    if (this.#world.plan.installStreams > install.missing.length && install.progress === 0) install.split(this.#world.plan.installStreams);
    for (const range of install.missing) this.#fetchOf(install, range);
  }

  #fetchOf(install: SnapshotInstall, { from, to }: MissingRange): void {
    const { events, dice, network, plan } = this.#world;
    const { node, slot, state, replica } = this.#hosted;
    const { role } = replica;
    // The end of a sub-range stays what it is while its chunks come.
    const stream = to === undefined ? 'end' : `${to.high}/${to.low}`;
    const under = this.#fetches.get(stream);
    if (role.kind !== 'follower' || (under !== undefined && events.nowMs - under.atMs < FETCH_TIMEOUT_MS)) return;
    const sources = plan.installStreams > 1 ? [role.of, ...(replica.record?.record.inSync ?? [])] : [role.of];
    const source = this.#world.nodeOf((sources.length > 1 ? dice.pick(sources) : sources[0]!).node);
    if (source === undefined) return;
    const fetch = { stream, atMs: events.nowMs };
    this.#fetches.set(stream, fetch);
    const wantsResults = state.results.isPartial;
    const generation = state.generation.id;
    network.send(node, source, () => {
      const hosted = source.hosted(slot);
      if (hosted === undefined) return;
      const { leader, follower } = hosted.replica;
      // Whoever follows sends what it has applied, once it is whole itself (R33).
      const isWhole = hosted.state.isInstalled || this.#world.mutant?.sendsHalfFilled === true;
      const mayFollow = follower !== undefined && isWhole && hosted.state.generation.id === generation;
      if (leader === undefined && !mayFollow) return;
      const epoch = leader?.epoch ?? follower!.epoch;
      const { entries, next } = hosted.state.store.readRange(from, to, { entriesMax: 4, bytesMax: 64 * 1024 });
      const chunk: SnapshotChunk = {
        from,
        to: next ?? to,
        readSeq: hosted.state.appliedSeq,
        entries: chunkEntries(entries, install.logSeq).map((entry) => ({ ...entry, value: Buffer.from(entry.value) })),
      };
      // What is remembered of writes and of fencing tokens travels with the first chunk of the leader that asks for it (R21, R38).
      const { results, fences, copies } = hosted.state;
      const isAsked = wantsResults && leader !== undefined;
      const remembered = isAsked ? { results: { rows: results.encode(chunk.readSeq), appliedSeq: chunk.readSeq, floorMs: results.floorMs }, fences: fences.encode(), copies: copies.encode() } : undefined;
      const times = dice.chance(0.1) ? 2 : 1;
      const send = (): void => network.send(source, node, () => this.#onChunk({ chunk, remembered }, epoch, fetch));
      for (let time = 0; time < times; time += 1) source.after(dice.chance(0.2) ? dice.below(FETCH_TIMEOUT_MS) : 0, send);
    });
  }

  #onChunk({ chunk, remembered }: { chunk: SnapshotChunk; remembered: Remembered | undefined }, epoch: number, fetch: Fetch): void {
    if (this.#isClosed) return;
    const { results, fences } = this.#hosted.state;
    if (remembered !== undefined && this.#hosted.replica.follower?.epoch === epoch && results.isPartial) {
      results.absorb(remembered.results);
      fences.merge(FenceTable.decode(remembered.fences));
    }
    const isTaken = this.#hosted.replica.follower?.onChunk(chunk, epoch) === true;
    if (isTaken && remembered !== undefined && remembered.copies.length > 0) this.#hosted.state.copies.load(remembered.copies, chunk.readSeq);
    if (isTaken) this.#world.mutant?.afterChunk?.(this.#hosted, chunk);
    if (this.#fetches.get(fetch.stream) === fetch) this.#fetches.delete(fetch.stream);
    if (isTaken) this.fetchSoon();
    this.ackSoon();
  }
}
