import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { FollowRequest, FollowResponse } from '@atoll/contracts/atoll/v1/replication';
import { KIB, type ReplicaId } from '@atoll/core-runtime';
import type { RefusalMessage, SubscribeMessage } from '@atoll/core-replication';
import { encodeFollowResponse } from '@atoll/platform-wire';
import type { HostedReplica } from '../hosted-replica.ts';
import type { TurnEnd } from '../turn.ts';
import type { TracedWrites } from './traced-writes.ts';

/** One partition on one follower's stream. */
export interface FollowerLink {
  readonly session: FollowerSession;
  readonly channel: number;
  readonly hosted: HostedReplica;
  readonly replicaId: ReplicaId;
}

/** A stream whose messages are encoded when they are written: entries are views of a log that may be cut back later. */
export type RawFollowStream = ServerDuplexStream<FollowRequest, Buffer>;

/** Bytes of log entries in one message; with some 16 messages in grpc-js's buffer it bounds what lies unsent (R24). */
const MESSAGE_BYTES = 512 * KIB;
/** News of a commit travels alone only when no entry came along for so long. */
const COMMIT_NEWS_DELAY_MS = 3;

/**
 * The leader's end of one replication stream: all partitions that one node follows here. What is to be sent lies in
 * the logs until the stream takes it, so a slow follower costs no memory.
 */
export class FollowerSession {
  readonly node: string;
  readonly #call: RawFollowStream;
  readonly #turn: TurnEnd;
  readonly #traces: TracedWrites;
  readonly #links = new Map<number, FollowerLink>();
  /** Links with entries to send. */
  readonly #dirty = new Set<FollowerLink>();
  /** Links whose follower does not know of the latest commit, and has nothing else to be told. */
  readonly #uninformed = new Set<FollowerLink>();
  #refusals: RefusalMessage[] = [];
  #pending: Pick<FollowResponse, 'divergences' | 'installs'> = { divergences: [], installs: [] };
  #isScheduled = false;
  #isBlocked = false;
  #isClosed = false;
  #commitTimer: NodeJS.Timeout | undefined;
  #heartbeat = 0;
  #answered = 0;
  #answeredAtMs = performance.now();

  constructor(options: { node: string; call: RawFollowStream; turn: TurnEnd; traces: TracedWrites }) {
    this.node = options.node;
    this.#call = options.call;
    this.#turn = options.turn;
    this.#traces = options.traces;
    this.#call.on('drain', () => {
      this.#isBlocked = false;
      this.#schedule();
    });
  }

  /** Monotonic time of the last sign of life. */
  get answeredAtMs(): number {
    return this.#answeredAtMs;
  }

  subscribe(message: SubscribeMessage, hosted: HostedReplica | undefined): void {
    const refuse = (reason: string, epoch = 0): void => this.#refuse({ channel: message.channel, reason, epoch });
    if (hosted === undefined) return refuse('NOT_LEADER');
    const replicaId = message.replicaId as ReplicaId;
    hosted.hearEpochOf(replicaId, message.epoch);
    const { leader } = hosted.replica;
    if (leader === undefined) return refuse('NOT_LEADER', hosted.replica.record?.record.epoch ?? 0);
    const record = leader.record.record;
    const named = [...leader.record.required(), ...record.learners, ...record.leaving];
    const member = named.find(({ replica }) => replica === replicaId);
    if (member === undefined) return refuse('REPLICA_UNKNOWN', leader.epoch);
    this.unsubscribe(message.channel);
    const link: FollowerLink = { session: this, channel: message.channel, hosted, replicaId };
    this.#links.set(message.channel, link);
    hosted.followers.set(replicaId, link);
    const answer = leader.subscribe(message, member, performance.now());
    switch (answer.kind) {
      case 'accepted':
        break;
      case 'divergence':
        this.#pending.divergences.push(answer.message);
        break;
      case 'install':
        this.#pending.installs.push({ ...answer.message, generation: { ...answer.message.generation } });
        break;
      case 'refusal':
        this.#unlink(link);
        this.#refusals.push(answer.message);
    }
    this.#schedule();
  }

  unsubscribe(channel: number): void {
    const link = this.#links.get(channel);
    if (link !== undefined) this.#unlink(link);
  }

  link(channel: number): FollowerLink | undefined {
    return this.#links.get(channel);
  }

  onHeartbeatAnswer(heartbeat: number): void {
    if (heartbeat <= this.#heartbeat) this.#answered = Math.max(this.#answered, heartbeat);
    this.#answeredAtMs = performance.now();
  }

  /** Entries wait for this link. */
  wake(link: FollowerLink): void {
    this.#dirty.add(link);
    this.#schedule();
  }

  /**
   * The commit position moved: told with the next entries of this partition, or soon without any. Not along with those
   * of others: under load that would make two messages of nearly every write.
   */
  commitMoved(link: FollowerLink): void {
    if (this.#dirty.has(link)) return;
    this.#uninformed.add(link);
    this.#commitTimer ??= setTimeout(() => {
      this.#commitTimer = undefined;
      this.#tellCommits();
      this.#schedule();
    }, COMMIT_NEWS_DELAY_MS);
  }

  #tellCommits(): void {
    for (const link of this.#uninformed) this.#dirty.add(link);
    this.#uninformed.clear();
  }

  /** This follower reads nothing here any more, and is told why: it must not take itself for up to date (R35). */
  cutOff(link: FollowerLink, reason: string): void {
    this.#unlink(link);
    this.#refuse({ channel: link.channel, reason, epoch: 0 });
  }

  /** Everything that is known goes out before it, so that its answer tells how stale the follower is at most (R35). */
  sendHeartbeat(): void {
    this.#tellCommits();
    this.#flush();
    if (this.#isBlocked || this.#isClosed || this.#call.destroyed) return;
    this.#heartbeat += 1;
    const isDrained = this.#dirty.size === 0;
    this.#write({ ...emptyResponse(), heartbeat: this.#heartbeat, answered: isDrained ? this.#answered : 0, withoutLease: this.#withoutLease() });
  }

  /** Channels of leaders that could be behind a successor (R35). */
  #withoutLease(): number[] {
    const nowMs = performance.now();
    const channels: number[] = [];
    for (const { channel, hosted } of this.#links.values()) if (hosted.replica.leader?.refusalOfReads(nowMs) !== undefined) channels.push(channel);
    return channels;
  }

  /** The stream is gone. Its replicas count as last heard of at `heardMs`. */
  close(heardMs: number): void {
    this.#isClosed = true;
    clearTimeout(this.#commitTimer);
    for (const link of this.#links.values()) this.#unlink(link, heardMs);
  }

  #refuse(refusal: RefusalMessage): void {
    this.#refusals.push(refusal);
    this.#schedule();
  }

  #unlink(link: FollowerLink, heardMs = performance.now()): void {
    this.#links.delete(link.channel);
    this.#dirty.delete(link);
    this.#uninformed.delete(link);
    if (link.hosted.followers.get(link.replicaId) !== link) return;
    link.hosted.followers.delete(link.replicaId);
    link.hosted.replica.leader?.unlink(link.replicaId, heardMs);
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isBlocked || this.#isClosed) return;
    this.#isScheduled = true;
    this.#turn.schedule(() => this.#flush());
  }

  #flush(): void {
    this.#isScheduled = false;
    while (!this.#isBlocked && !this.#isClosed && !this.#call.destroyed) {
      const message = this.#collect();
      if (message === undefined) return;
      this.#write(message);
    }
  }

  #collect(): FollowResponse | undefined {
    const message: FollowResponse = { ...emptyResponse(), ...this.#pending, refusals: this.#refusals };
    let isEmpty = this.#refusals.length === 0 && message.divergences.length === 0 && message.installs.length === 0;
    this.#refusals = [];
    this.#pending = { divergences: [], installs: [] };
    const nowMs = performance.now();
    let bytes = 0;
    for (const link of this.#dirty) {
      if (bytes >= MESSAGE_BYTES) break;
      const added = this.#collectLink(link, message, MESSAGE_BYTES - bytes, nowMs);
      if (added === 0) this.#dirty.delete(link);
      else isEmpty = false;
      bytes += added;
    }
    return isEmpty ? undefined : message;
  }

  /** Adds one piece of the link's log; returns its size, 0 when there is nothing to send. */
  #collectLink(link: FollowerLink, message: FollowResponse, bytesMax: number, nowMs: number): number {
    const { leader } = link.hosted.replica;
    const progress = leader?.follower(link.replicaId);
    // Channel numbers begin anew with each process of a follower, so that the number alone does not tell.
    const isCurrent = link.hosted.followers.get(link.replicaId) === link;
    if (leader === undefined || !isCurrent || progress?.channel !== link.channel) return 0;
    const next = leader.nextMessage(progress, bytesMax, nowMs);
    if (next === undefined) return 0;
    if ('part' in next) {
      const { part } = next;
      message.parts.push(part);
      if (part.offset + part.data.length === part.entryBytes) this.#addTraces(link, message, part.prev.seq + 1, part.prev.seq + 1);
      return part.data.length;
    }
    const { append } = next;
    message.appends.push(append);
    this.#uninformed.delete(link);
    if (append.count > 0) this.#addTraces(link, message, append.prev.seq + 1, append.prev.seq + append.count);
    return Math.max(1, append.entries.length);
  }

  #addTraces(link: FollowerLink, message: FollowResponse, firstSeq: number, lastSeq: number): void {
    if (this.#traces.size > 0) message.traces.push(...this.#traces.sent(link.hosted, link.channel, firstSeq, lastSeq));
  }

  #write(message: FollowResponse): void {
    this.#isBlocked = !this.#call.write(encodeFollowResponse(message));
  }
}

const emptyResponse = (): FollowResponse => ({
  appends: [],
  parts: [],
  divergences: [],
  installs: [],
  refusals: [],
  traces: [],
  heartbeat: 0,
  answered: 0,
  withoutLease: [],
});
