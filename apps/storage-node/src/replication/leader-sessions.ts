import type { FollowRequest } from '@atoll/contracts/atoll/v1/replication';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import type { FollowerProgress } from '@atoll/core-replication';
import { resetServerStream, type BidiStreamHandler } from '@atoll/platform-grpc';
import type { StorageNodeEvents } from '../events.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import type { LogSender, ReplicaHost } from '../replica-host.ts';
import type { TurnEnd } from '../turn.ts';
import { FollowerSession, type RawFollowStream } from './follower-session.ts';
import type { TracedWrites } from './traced-writes.ts';

/** A follower that has not answered a heartbeat for this long is gone; its stream is closed. */
const SILENT_MS_MAX = 30_000;

/** The streams of all nodes that follow leaders of this node (R26). */
export class LeaderSessions implements LogSender {
  readonly #host: ReplicaHost;
  readonly #clusterId: string;
  readonly #turn: TurnEnd;
  readonly #events: StorageNodeEvents;
  readonly #traces: TracedWrites;
  readonly #hasStopped: (node: string) => boolean;
  readonly #sessions = new Map<FollowerSession, AbortController>();

  constructor(options: { host: ReplicaHost; clusterId: string; turn: TurnEnd; events: StorageNodeEvents; traces: TracedWrites; hasStopped: (node: string) => boolean }) {
    this.#host = options.host;
    this.#clusterId = options.clusterId;
    this.#turn = options.turn;
    this.#events = options.events;
    this.#traces = options.traces;
    this.#hasStopped = options.hasStopped;
  }

  /** Handler of `Replication.Follow`. */
  readonly follow: BidiStreamHandler<FollowRequest, Buffer> = (call, context) =>
    new Promise((resolve, reject) => {
      const gone = new AbortController();
      let session: FollowerSession | undefined;
      let isEnded = false;
      const end = (error?: Error): void => {
        if (session !== undefined) {
          this.#sessions.delete(session);
          this.#events.streamLost(session.node, error?.message ?? 'ended by the follower');
          // Who said that it stops comes back as another process: waiting for it would only hold writes up.
          session.close(this.#hasStopped(session.node) ? Number.NEGATIVE_INFINITY : performance.now());
          session = undefined;
        }
        isEnded = true;
        if (error === undefined) resolve();
        else reject(error);
      };
      call.on('data', (request: FollowRequest) => {
        if (isEnded) return;
        try {
          if (session === undefined) session = this.#open(request, call, gone);
          else if (request.hello !== undefined) throw invalidArgument('hello', 'comes once, first');
          this.#receive(session, request);
        } catch (error) {
          end(error as Error);
        }
      });
      call.on('end', () => end());
      call.on('error', (error) => end(error));
      const onAbort = (signal: AbortSignal): void => end(signal.reason as Error);
      context.signal.addEventListener('abort', () => onAbort(context.signal), { once: true });
      gone.signal.addEventListener(
        'abort',
        () => {
          onAbort(gone.signal);
          // An error would wait behind what the silent side does not read.
          resetServerStream(call);
        },
        { once: true },
      );
    });

  wake(hosted: HostedReplica, follower: FollowerProgress): void {
    const link = hosted.followers.get(follower.member.replica);
    link?.session.wake(link);
  }

  commitMoved(hosted: HostedReplica, follower: FollowerProgress): void {
    const link = hosted.followers.get(follower.member.replica);
    link?.session.commitMoved(link);
  }

  cutOff(hosted: HostedReplica, follower: FollowerProgress): void {
    const link = hosted.followers.get(follower.member.replica);
    link?.session.cutOff(link, 'FELL_BEHIND');
  }

  cutStrangers({ replica, followers }: HostedReplica): void {
    const { leader } = replica;
    for (const link of followers.values()) {
      if (leader === undefined) link.session.cutOff(link, 'NOT_LEADER');
      else if (leader.follower(link.replicaId)?.channel !== link.channel) link.session.cutOff(link, 'REPLICA_UNKNOWN');
    }
  }

  /** To be called every heartbeat interval. */
  tick(nowMs: number): void {
    for (const [session, gone] of this.#sessions) {
      if (nowMs - session.answeredAtMs > SILENT_MS_MAX) gone.abort(new AtollError('CANCELLED', 'the follower does not answer heartbeats'));
      else session.sendHeartbeat();
    }
  }

  #open(request: FollowRequest, call: RawFollowStream, gone: AbortController): FollowerSession {
    const { hello } = request;
    if (hello === undefined) throw invalidArgument('hello', 'the first message must have it');
    if (hello.clusterId !== this.#clusterId) {
      throw new AtollError('WRONG_CLUSTER', `node ${hello.nodeId} belongs to cluster ${hello.clusterId}, this one to ${this.#clusterId}`);
    }
    // A node follows here by one stream: an older one is of a process, or a connection, that is gone.
    for (const [other, otherGone] of this.#sessions) {
      if (other.node === hello.nodeId) otherGone.abort(new AtollError('CANCELLED', 'the node has opened another stream'));
    }
    const session = new FollowerSession({ node: hello.nodeId, call, turn: this.#turn, traces: this.#traces });
    this.#sessions.set(session, gone);
    return session;
  }

  #receive(session: FollowerSession, request: FollowRequest): void {
    for (const channel of request.unsubscribe) session.unsubscribe(channel);
    for (const { generation, end, ...subscription } of request.subscriptions) {
      const message = { ...subscription, generation: generation ?? { counter: 0, id: '' }, end: end ?? { epoch: 0, seq: 0 } };
      session.subscribe(message, this.#host.replica(message.keyspace, message.partition));
    }
    if (request.heartbeat !== 0) session.onHeartbeatAnswer(request.heartbeat);
    if (request.acks.length === 0) return;
    const nowMs = performance.now();
    for (const ack of request.acks) {
      const link = session.link(ack.channel);
      if (link === undefined || link.hosted.followers.get(link.replicaId) !== link) continue;
      link.hosted.replica.leader?.onAck(ack, link.replicaId, nowMs);
      this.#host.noteServing(link.hosted, nowMs);
    }
  }
}
