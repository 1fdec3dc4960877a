// A follower played by a spec: a real stream to a leader, on which it says what the spec makes it say.
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { FollowRequest, FollowResponse, Subscription } from '@atoll/contracts/atoll/v1/replication';
import type { AtollError } from '@atoll/core-errors';
import type { Member } from '@atoll/core-membership';
import { fromServiceError } from '@atoll/platform-grpc';
import type { NodeWorld, WorldNode } from './node-world.ts';

const CHANNEL = 1;

export const emptyFollowRequest = (): FollowRequest => ({ hello: undefined, subscriptions: [], acks: [], unsubscribe: [], heartbeat: 0 });

export class RawFollower {
  readonly stream: ClientDuplexStream<FollowRequest, FollowResponse>;
  /** The error with which the stream ended; undefined for a good end. */
  readonly ended: Promise<AtollError | undefined>;
  readonly refusals: string[] = [];
  installCount = 0;
  heartbeatCount = 0;
  /** Last entry received. */
  endSeq = 0;
  #epoch = 0;

  constructor(node: WorldNode) {
    this.stream = node.replication.follow();
    this.stream.on('data', (response: FollowResponse) => this.#receive(response));
    this.ended = new Promise((resolve) => {
      this.stream.on('error', (error) => resolve(fromServiceError(error)));
      this.stream.on('end', () => resolve(undefined));
    });
  }

  /** Follows partition 0 of `default` at the node from the first entry on. */
  static async open(world: NodeWorld, node: WorldNode, member: Member): Promise<RawFollower> {
    const follower = new RawFollower(node);
    const { record } = world.record();
    follower.hello(await world.clusterId(), member.node);
    follower.subscribe({ replicaId: member.replica, generation: { ...record.generation }, epoch: record.epoch });
    return follower;
  }

  hello(clusterId: string, nodeId: string): void {
    this.stream.write({ ...emptyFollowRequest(), hello: { clusterId, nodeId, incarnation: `${nodeId}-1` } });
  }

  subscribe(changes: Partial<Subscription>): void {
    const end = { epoch: 0, seq: 0 };
    const subscription = { channel: CHANNEL, keyspace: 'default', partition: 0, replicaId: '', generation: undefined, epoch: 1, end, appliedSeq: 0, installed: true, installLogSeq: 0, ...changes };
    this.stream.write({ ...emptyFollowRequest(), subscriptions: [subscription] });
  }

  ack(appendedSeq: number): void {
    const ack = { channel: CHANNEL, epoch: this.#epoch, appendedSeq, appliedSeq: appendedSeq, freeBytes: 2 ** 30, installing: false };
    this.stream.write({ ...emptyFollowRequest(), acks: [ack] });
  }

  close(): void {
    this.stream.cancel();
  }

  #receive(response: FollowResponse): void {
    for (const { epoch, prev, count } of response.appends) {
      this.#epoch = epoch;
      if (count > 0) this.endSeq = (prev?.seq ?? 0) + count;
    }
    this.refusals.push(...response.refusals.map(({ reason }) => reason));
    this.installCount += response.installs.length;
    if (response.heartbeat === 0) return;
    this.heartbeatCount += 1;
    if (!this.stream.writableEnded) this.stream.write({ ...emptyFollowRequest(), heartbeat: response.heartbeat });
  }
}
