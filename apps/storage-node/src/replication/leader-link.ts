import { Client, Metadata, credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { ReplicationService, type Append, type FollowRequest, type FollowResponse } from '@atoll/contracts/atoll/v1/replication';
import type { FollowOutcome, Follower, LogPosition } from '@atoll/core-replication';
import { createChannelOptions } from '@atoll/platform-grpc';
import type { Logger, Tracing } from '@atoll/platform-telemetry';
import { decodeFollowResponse, encodeFollowRequest } from '@atoll/platform-wire';
import type { StorageNodeEvents } from '../events.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import type { TurnEnd } from '../turn.ts';

const RECONNECT_MS_MIN = 50;
const RECONNECT_MS_MAX = 1000;
const RESUBSCRIBE_MS_MIN = 50;
/** Below the time after which a leader drops a silent member (R24): it may only be behind with its record. */
const RESUBSCRIBE_MS_MAX = 400;
/** After a replica could not follow at all; what is wrong then does not pass by itself (R28). */
const BROKEN_RETRY_MS = 10_000;
/** Free memory is told again when it moved by so much without an acknowledgement. */
const FREE_BYTES_STEP = 1024 * 1024;

export interface LeaderLinkOptions {
  /** Node that leads. */
  readonly leader: string;
  readonly clusterId: string;
  readonly node: string;
  readonly incarnation: string;
  readonly turn: TurnEnd;
  readonly events: StorageNodeEvents;
  readonly logger: Logger;
  readonly tracing: Tracing;
  readonly random: () => number;
  /** Address of the leader's node now; undefined while it is not registered. */
  readonly addressOf: (node: string) => string | undefined;
  readonly freeBytes: (hosted: HostedReplica) => number;
  /** The leader ordered a full sync: the replica waits for chunks. */
  readonly onInstall: (hosted: HostedReplica) => void;
  /** Whether the disk is so far behind that nothing more is to be read (I10). */
  readonly isJournalFull: () => boolean;
}

interface Subscribed {
  readonly hosted: HostedReplica;
  readonly channel: number;
  /** The leader has begun to send its log, and it is taken in. */
  accepted: boolean;
  /** When the subscription was sent; only heartbeats answered later tell how fresh this replica is (R35). */
  sentAtMs: number;
  /** Every commit up to this moment is known here; negative infinity while that is not known of any (R35). */
  freshAtMs: number;
  freeBytesTold: number;
}

/** The follower's end of one replication stream: every partition that this node follows at one other node. */
export class LeaderLink {
  readonly #options: LeaderLinkOptions;
  readonly #wanted = new Set<HostedReplica>();
  readonly #channels = new Map<number, Subscribed>();
  readonly #byReplica = new Map<HostedReplica, Subscribed>();
  readonly #dirty = new Set<Subscribed>();
  readonly #retryMs = new Map<HostedReplica, number>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #sentEchoes: { heartbeat: number; atMs: number }[] = [];
  #client: Client | undefined;
  #call: ClientDuplexStream<FollowRequest, FollowResponse> | undefined;
  #lastChannel = 0;
  #heartbeat = 0;
  #unsubscribe: number[] = [];
  #isScheduled = false;
  #isBlocked = false;
  #isClosed = false;
  #address = '';
  #connectTimer: NodeJS.Timeout | undefined;
  #reconnectMs = RECONNECT_MS_MIN;

  constructor(options: LeaderLinkOptions) {
    this.#options = options;
  }

  get isUnused(): boolean {
    return this.#wanted.size === 0;
  }

  /** How far behind the leader's commits this replica may be, in ms; Infinity when that is not known (R35). */
  stalenessMs(hosted: HostedReplica, nowMs: number): number {
    const subscribed = this.#byReplica.get(hosted);
    return subscribed?.accepted === true ? nowMs - subscribed.freshAtMs : Number.POSITIVE_INFINITY;
  }

  /** Follows, or follows anew in another epoch. */
  follow(hosted: HostedReplica): void {
    this.#wanted.add(hosted);
    this.#retryMs.delete(hosted);
    if (this.#call === undefined) this.#connect();
    else this.#subscribe(hosted);
  }

  unfollow(hosted: HostedReplica): void {
    this.#wanted.delete(hosted);
    this.#forget(hosted);
    this.#retryMs.delete(hosted);
  }

  /** The replica's log or install moved: acknowledge at the end of the turn. */
  acknowledge(hosted: HostedReplica): void {
    const subscribed = this.#byReplica.get(hosted);
    if (subscribed === undefined) return;
    this.#dirty.add(subscribed);
    this.#schedule();
  }

  /** The disk has caught up: what the leader sends is read again. */
  onFlushed(): void {
    if (this.#call?.isPaused() === true && !this.#options.isJournalFull()) this.#call.resume();
  }

  /** To be called about once a second: tells the leader when memory came free or went (R22), and goes where its node is now. */
  tick(): void {
    const address = this.#options.addressOf(this.#options.leader);
    if (this.#call !== undefined && address !== undefined && address !== this.#address) {
      this.#disconnect();
      this.#connect();
    }
    this.onFlushed();
    for (const subscribed of this.#channels.values()) {
      if (Math.abs(this.#options.freeBytes(subscribed.hosted) - subscribed.freeBytesTold) > FREE_BYTES_STEP) this.acknowledge(subscribed.hosted);
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#connectTimer);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#disconnect();
    this.#client?.close();
  }

  // --- the stream -------------------------------------------------------------------------------------------------

  #connect(): void {
    if (this.#isClosed || this.#call !== undefined || this.#wanted.size === 0) return;
    const address = this.#options.addressOf(this.#options.leader);
    if (address === undefined) return this.#connectLater(RECONNECT_MS_MAX);
    clearTimeout(this.#connectTimer);
    this.#address = address;
    this.#client?.close();
    this.#client = new Client(address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk' }));
    const call = this.#client.makeBidiStreamRequest(ReplicationService.follow.path, encodeFollowRequest, decodeFollowResponse, new Metadata(), {});
    this.#call = call;
    this.#isBlocked = false;
    call.on('data', (response: FollowResponse) => {
      if (this.#call !== call) return;
      this.#receive(response);
      if (this.#options.isJournalFull()) call.pause();
    });
    call.on('drain', () => {
      if (this.#call !== call) return;
      this.#isBlocked = false;
      this.#schedule();
    });
    const onGone = (reason: string): void => {
      if (this.#call !== call) return;
      this.#options.events.streamLost(this.#options.leader, reason);
      this.#disconnect();
      this.#connectLater(this.#reconnectMs);
      this.#reconnectMs = Math.min(this.#reconnectMs * 2, RECONNECT_MS_MAX);
    };
    call.on('error', (error) => onGone(error.message));
    call.on('end', () => onGone('ended by the leader'));
    const { clusterId, node, incarnation } = this.#options;
    call.write({ ...emptyRequest(), hello: { clusterId, nodeId: node, incarnation } });
    for (const hosted of this.#wanted) this.#subscribe(hosted);
  }

  #disconnect(): void {
    const call = this.#call;
    this.#call = undefined;
    this.#channels.clear();
    this.#byReplica.clear();
    this.#dirty.clear();
    this.#unsubscribe = [];
    this.#sentEchoes.length = 0;
    this.#heartbeat = 0;
    call?.cancel();
  }

  #subscribe(hosted: HostedReplica): void {
    const { follower } = hosted.replica;
    this.#forget(hosted);
    if (this.#call === undefined || follower === undefined) return;
    this.#lastChannel += 1;
    const subscribed: Subscribed = { hosted, channel: this.#lastChannel, accepted: false, sentAtMs: Number.POSITIVE_INFINITY, freshAtMs: Number.NEGATIVE_INFINITY, freeBytesTold: 0 };
    this.#channels.set(subscribed.channel, subscribed);
    this.#byReplica.set(hosted, subscribed);
    this.#subscriptions.push(subscribed);
    this.#schedule();
  }

  #subscriptions: Subscribed[] = [];

  #forget(hosted: HostedReplica): void {
    const subscribed = this.#byReplica.get(hosted);
    if (subscribed === undefined) return;
    this.#byReplica.delete(hosted);
    this.#channels.delete(subscribed.channel);
    this.#dirty.delete(subscribed);
    this.#unsubscribe.push(subscribed.channel);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isBlocked || this.#call === undefined) return;
    this.#isScheduled = true;
    this.#options.turn.schedule(() => this.#flush());
  }

  #flush(): void {
    this.#isScheduled = false;
    const call = this.#call;
    if (call === undefined || this.#isBlocked) return;
    const acks: FollowRequest['acks'] = [];
    for (const subscribed of this.#dirty) {
      const { follower } = subscribed.hosted.replica;
      if (follower === undefined) continue;
      subscribed.freeBytesTold = this.#options.freeBytes(subscribed.hosted);
      acks.push(follower.ack(subscribed.channel, subscribed.freeBytesTold));
    }
    this.#dirty.clear();
    const subscriptions: FollowRequest['subscriptions'] = [];
    for (const subscribed of this.#subscriptions) {
      const { follower } = subscribed.hosted.replica;
      if (follower === undefined || this.#channels.get(subscribed.channel) !== subscribed) continue;
      const message = follower.subscription(subscribed.channel);
      subscribed.sentAtMs = performance.now();
      subscriptions.push({ ...message, generation: { ...message.generation }, end: { ...message.end } });
    }
    this.#subscriptions = [];
    const heartbeat = this.#heartbeat;
    this.#heartbeat = 0;
    const unsubscribe = this.#unsubscribe;
    this.#unsubscribe = [];
    if (acks.length + subscriptions.length + unsubscribe.length === 0 && heartbeat === 0) return;
    if (heartbeat !== 0) {
      this.#sentEchoes.push({ heartbeat, atMs: performance.now() });
      if (this.#sentEchoes.length > 64) this.#sentEchoes.shift();
    }
    this.#isBlocked = !call.write({ ...emptyRequest(), acks, subscriptions, unsubscribe, heartbeat });
  }

  // --- what the leader says ---------------------------------------------------------------------------------------

  #receive(response: FollowResponse): void {
    this.#reconnectMs = RECONNECT_MS_MIN;
    const nowMs = performance.now();
    this.#traceEntries(response);
    // Before the entries: those of one message may follow the very order that it holds.
    for (const { end, ...divergence } of response.divergences) {
      this.#take(divergence, (follower) => follower.onDivergence({ ...divergence, end: end ?? NOWHERE }));
    }
    for (const { generation, logStart, ...order } of response.installs) {
      this.#take(order, (follower, { hosted }) => {
        this.#options.events.installBegan(hosted.replica.state.identity, this.#options.leader);
        const outcome = follower.onInstallOrder({ ...order, generation: generation ?? { counter: 0, id: '' }, logStart: logStart ?? NOWHERE });
        if (outcome === 'ok') this.#options.onInstall(hosted);
        return outcome;
      });
    }
    for (const append of response.appends) {
      this.#take(append, (follower, subscribed) => takeAppend(append, follower, subscribed, nowMs));
    }
    for (const { prev, ...part } of response.parts) {
      this.#take(part, (follower) => follower.onPart({ ...part, prev: prev ?? NOWHERE }));
    }
    for (const refusal of response.refusals) {
      const subscribed = this.#channels.get(refusal.channel);
      if (subscribed === undefined) continue;
      subscribed.hosted.replica.hearEpoch(refusal.epoch);
      this.#retryLater(subscribed.hosted);
    }
    if (response.heartbeat !== 0) this.#onHeartbeat(response);
  }

  #onHeartbeat({ heartbeat, answered, withoutLease }: FollowResponse): void {
    let freshAtMs = Number.NEGATIVE_INFINITY;
    while (this.#sentEchoes[0] !== undefined && this.#sentEchoes[0].heartbeat <= answered) freshAtMs = this.#sentEchoes.shift()!.atMs;
    if (freshAtMs > Number.NEGATIVE_INFINITY) this.#refresh(freshAtMs, new Set(withoutLease));
    this.#heartbeat = heartbeat;
    this.#schedule();
  }

  /** What the leader says under no lease does not count: a successor may have committed more by then (R35). */
  #refresh(freshAtMs: number, withoutLease: ReadonlySet<number>): void {
    for (const subscribed of this.#channels.values()) {
      if (freshAtMs >= subscribed.sentAtMs && !withoutLease.has(subscribed.channel)) subscribed.freshAtMs = freshAtMs;
    }
  }

  #take({ channel, epoch }: { readonly channel: number; readonly epoch: number }, action: (follower: Follower, subscribed: Subscribed) => FollowOutcome | 'noted'): void {
    const subscribed = this.#channels.get(channel);
    const follower = subscribed?.hosted.replica.follower;
    if (subscribed === undefined || follower === undefined) return;
    const { hosted } = subscribed;
    // Of a later epoch: nothing in the present one counts any more (R27).
    if (epoch > follower.epoch) return hosted.replica.hearEpoch(epoch);
    let outcome: FollowOutcome | 'noted';
    try {
      outcome = action(follower, subscribed);
    } catch (error) {
      this.#options.logger.error({ err: error, keyspace: hosted.keyspace, partition: hosted.partition }, 'a replica cannot follow its leader');
      this.#retryMs.set(hosted, BROKEN_RETRY_MS);
      return this.#retryLater(hosted);
    }
    if (outcome === 'resubscribe') {
      this.#subscribe(hosted);
    } else if (outcome === 'ok') {
      this.#retryMs.delete(hosted);
      this.#dirty.add(subscribed);
      this.#schedule();
    }
  }

  #retryLater(hosted: HostedReplica): void {
    this.#forget(hosted);
    const delayMs = this.#retryMs.get(hosted) ?? RESUBSCRIBE_MS_MIN;
    this.#retryMs.set(hosted, Math.min(delayMs * 2, RESUBSCRIBE_MS_MAX));
    this.#later(delayMs, () => {
      if (this.#wanted.has(hosted) && !this.#byReplica.has(hosted)) this.#subscribe(hosted);
    });
  }

  /** Spans of the entries that sampled callers wrote: from arrival here to the acknowledgement's turn. */
  #traceEntries(response: FollowResponse): void {
    for (const { channel, seq, traceparent } of response.traces) {
      const hosted = this.#channels.get(channel)?.hosted;
      if (hosted === undefined) continue;
      const span = this.#options.tracing.startServerSpan('atoll.replica.append', traceparent);
      if (span === undefined) continue;
      span.setAttributes({ 'atoll.keyspace': hosted.keyspace, 'atoll.partition': hosted.partition, 'atoll.seq': seq });
      this.#options.turn.schedule(() => span.end());
    }
  }

  #connectLater(delayMs: number): void {
    clearTimeout(this.#connectTimer);
    if (this.#isClosed) return;
    this.#connectTimer = setTimeout(() => this.#connect(), delayMs * (0.5 + this.#options.random() / 2));
  }

  #later(delayMs: number, action: () => void): void {
    if (this.#isClosed) return;
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        action();
      },
      delayMs * (0.5 + this.#options.random() / 2),
    );
    this.#timers.add(timer);
  }
}

const NOWHERE = { epoch: 0, seq: 0 };

function takeAppend(append: Append, follower: Follower, subscribed: Subscribed, nowMs: number): FollowOutcome | 'noted' {
  // News of a commit needs no answer: what was appended is acknowledged already.
  const isCommitNews = append.count === 0 && subscribed.accepted && subscribed.hosted.replica.state.isInstalled;
  append.prev ??= NOWHERE;
  const outcome = follower.onAppend(append as Append & { prev: LogPosition }, nowMs);
  subscribed.accepted = outcome === 'ok';
  return outcome === 'ok' && isCommitNews ? 'noted' : outcome;
}

const emptyRequest = (): FollowRequest => ({ hello: undefined, subscriptions: [], acks: [], unsubscribe: [], heartbeat: 0 });
