import { Server, ServerCredentials, type ServerWritableStream, type handleUnaryCall } from '@grpc/grpc-js';
import { RangeState, type PartitionComparison } from '@atoll/contracts/atoll/v1/admin';
import {
  VerificationService,
  type DigestAtMarkerRequest,
  type DigestAtMarkerResponse,
  type PutMarkerRequest,
  type PutMarkerResponse,
  type RepairReplicaRequest,
  type RepairReplicaResponse,
} from '@atoll/contracts/atoll/v1/verify';
import { AtollError } from '@atoll/core-errors';
import type { Member, PartitionRecord } from '@atoll/core-membership';
import { toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { toServiceError } from '@atoll/platform-grpc';
import { PartitionVerifier, VERIFY, type VerifyOptions } from './partition-verifier.ts';

const GENERATION = { counter: 1, id: 'g1' };
const REVISION = 7;

const memberOf = (node: string): Member => ({ node: toNodeId(node), replica: toReplicaId(node.padEnd(16, '0')) });

const recordOf = (nodes: readonly string[]): PartitionRecord => ({
  keyspace: 'default',
  keyspaceId: 'k',
  partition: toPartitionId(3),
  state: 'ACTIVE',
  generation: GENERATION,
  epoch: toEpoch(5),
  leader: nodes[0] === undefined ? undefined : memberOf(nodes[0]),
  leaderIncarnation: 'life',
  relinquished: false,
  inSync: nodes.map(memberOf),
  eligible: [],
  learners: [],
  leaving: [],
  changeId: 'c',
});

/** A storage node's service Verification over leaves that the spec sets; a repair copies those of the leader. */
class VerifiedNode {
  readonly id: string;
  readonly leaves: number[];
  readonly repairs: RepairReplicaRequest[] = [];
  readonly revisions: number[] = [];
  lineage = GENERATION;
  refusal: AtollError | undefined;
  /** False: what a repair installs is wrong again at once. */
  repairsLast = true;
  address = '';
  leader: VerifiedNode | undefined;
  #server: Server | undefined;

  constructor(id: string, letters: Record<number, number> = {}) {
    this.id = id;
    this.leaves = Array.from({ length: 128 }, (_, index) => letters[Math.floor(index / 2)] ?? 1);
  }

  async start(): Promise<this> {
    const server = new Server();
    const digest = (marker: { epoch: number; seq: number }) => ({ replicaId: memberOf(this.id).replica, generation: this.lineage, marker, entries: 10, leaves: this.leaves });
    const putMarker: handleUnaryCall<PutMarkerRequest, PutMarkerResponse> = ({ request }, callback) => {
      this.revisions.push(request.coordinatorRevision);
      if (this.refusal !== undefined) callback(toServiceError(this.refusal));
      else callback(null, { digest: digest({ epoch: request.epoch, seq: 100 }) });
    };
    const digestAtMarker: handleUnaryCall<DigestAtMarkerRequest, DigestAtMarkerResponse> = ({ request }, callback) => {
      if (this.refusal !== undefined) callback(toServiceError(this.refusal));
      else callback(null, { digest: digest(request.marker!) });
    };
    const repairReplica = (call: ServerWritableStream<RepairReplicaRequest, RepairReplicaResponse>): void => {
      this.repairs.push(call.request);
      for (const leaf of call.request.leaves) {
        if (this.repairsLast) for (const word of [2 * leaf, 2 * leaf + 1]) this.leaves[word] = this.leader!.leaves[word]!;
        call.write({ leaf, entries: 2, bytes: 20 });
      }
      call.end();
    };
    server.addService(VerificationService, { putMarker, digestAtMarker, repairReplica });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    this.address = `127.0.0.1:${port}`;
    this.#server = server;
    return this;
  }

  stop(): void {
    this.#server?.forceShutdown();
  }
}

describe('the verification of a partition (R34)', () => {
  let nodes: VerifiedNode[] = [];

  afterEach(() => {
    for (const node of nodes) node.stop();
  });

  async function verify(given: VerifiedNode[], how: Partial<VerifyOptions> = {}): Promise<PartitionComparison> {
    nodes = given;
    for (const node of nodes) {
      await node.start();
      node.leader = nodes[0];
    }
    const verifier = new PartitionVerifier({
      revision: REVISION,
      addressOf: (id) => nodes.find((node) => node.id === id)?.address,
      deadlineMs: 5000,
      repairBytesPerSecond: 1000,
    });
    try {
      return await verifier.verify(recordOf(nodes.map(({ id }) => id)), { ...VERIFY, ...how }, new AbortController().signal);
    } finally {
      verifier.close();
    }
  }

  const statesOf = (report: PartitionComparison, node: string) => report.replicas.find((replica) => replica.node === node)!.ranges.map(({ leaf, state }) => [leaf, state]);

  it('equal replicas: nothing is repaired, every command carries the term of the coordinator (R11)', async () => {
    const [a, b, c] = [new VerifiedNode('a'), new VerifiedNode('b'), new VerifiedNode('c')];
    const report = await verify([a, b, c]);
    expect(report).toMatchObject({ keyspace: 'default', partition: 3, leader: 'a', problem: '', entries: 10 });
    expect(report.replicas).toEqual([
      { node: 'b', equal: 64, ranges: [], problem: '' },
      { node: 'c', equal: 64, ranges: [], problem: '' },
    ]);
    expect(a.revisions).toEqual([REVISION]);
    expect([...b.repairs, ...c.repairs]).toEqual([]);
  });

  it('a follower that differs is repaired leaf by leaf, and compared again', async () => {
    const [a, b, c] = [new VerifiedNode('a'), new VerifiedNode('b', { 0: 9, 63: 9 }), new VerifiedNode('c')];
    const report = await verify([a, b, c]);
    expect(b.repairs).toHaveLength(1);
    expect(b.repairs[0]).toMatchObject({ coordinatorRevision: REVISION, leaves: [0, 63], epoch: 5, generation: GENERATION, bytesPerSecond: 1000, replicaId: memberOf('b').replica });
    expect(report.replicas[0]).toMatchObject({ node: 'b', equal: 62 });
    expect(report.replicas[0]!.ranges).toEqual([
      { leaf: 0, hashStart: 0n, hashEnd: 2n ** 58n - 1n, state: RangeState.RANGE_STATE_REPAIRED, entries: 2, bytes: 20 },
      { leaf: 63, hashStart: 63n * 2n ** 58n, hashEnd: 2n ** 64n - 1n, state: RangeState.RANGE_STATE_REPAIRED, entries: 2, bytes: 20 },
    ]);
    expect(a.revisions).toHaveLength(2);
  });

  it('a repair that does not last is told as different, not as repaired', async () => {
    const [a, b] = [new VerifiedNode('a'), new VerifiedNode('b', { 5: 9 })];
    b.repairsLast = false;
    expect(statesOf(await verify([a, b]), 'b')).toEqual([[5, RangeState.RANGE_STATE_DIFFERENT]]);
  });

  it('a leader alone against two equal followers: nothing is repaired, the operator is asked', async () => {
    const [a, b, c] = [new VerifiedNode('a', { 8: 9 }), new VerifiedNode('b'), new VerifiedNode('c')];
    const report = await verify([a, b, c]);
    expect(statesOf(report, 'b')).toEqual([[8, RangeState.RANGE_STATE_CONTESTED]]);
    expect(statesOf(report, 'c')).toEqual([[8, RangeState.RANGE_STATE_CONTESTED]]);
    expect([...b.repairs, ...c.repairs]).toEqual([]);
  });

  it('an operator who trusts the leader has both repaired', async () => {
    const [a, b, c] = [new VerifiedNode('a', { 8: 9 }), new VerifiedNode('b'), new VerifiedNode('c')];
    const report = await verify([a, b, c], { trustLeader: true });
    expect(statesOf(report, 'b')).toEqual([[8, RangeState.RANGE_STATE_REPAIRED]]);
    expect(statesOf(report, 'c')).toEqual([[8, RangeState.RANGE_STATE_REPAIRED]]);
  });

  it('report only: what differs is told and stays', async () => {
    const [a, b] = [new VerifiedNode('a'), new VerifiedNode('b', { 5: 9 })];
    expect(statesOf(await verify([a, b], { reportOnly: true }), 'b')).toEqual([[5, RangeState.RANGE_STATE_DIFFERENT]]);
    expect(b.repairs).toEqual([]);
  });

  it('everything, of one node: all leaves but contested ones, and no other node', async () => {
    const [a, b, c] = [new VerifiedNode('a', { 8: 9 }), new VerifiedNode('b'), new VerifiedNode('c')];
    const report = await verify([a, b, c], { everything: true, node: 'c' });
    expect(report.replicas.map(({ node }) => node)).toEqual(['c']);
    expect(c.repairs[0]!.leaves).toHaveLength(63);
    expect(c.repairs[0]!.leaves).not.toContain(8);
    expect(b.repairs).toEqual([]);
  });

  it('a follower that does not answer, or has another lineage, is told and has no vote', async () => {
    const [a, b, c, d] = [new VerifiedNode('a', { 8: 9 }), new VerifiedNode('b'), new VerifiedNode('c'), new VerifiedNode('d')];
    b.refusal = new AtollError('REPLICA_NOT_READY', 'it is being filled');
    d.lineage = { counter: 2, id: 'other' };
    const report = await verify([a, b, c, d]);
    expect(report.replicas.find(({ node }) => node === 'b')).toMatchObject({ equal: 0, ranges: [], problem: 'REPLICA_NOT_READY: it is being filled' });
    expect(report.replicas.find(({ node }) => node === 'd')!.problem).toContain('lineage');
    // Only one follower is against the leader now: the leader is right.
    expect(statesOf(report, 'c')).toEqual([[8, RangeState.RANGE_STATE_REPAIRED]]);
  });

  it('a leader that does not lead any more makes a problem of the partition', async () => {
    const a = new VerifiedNode('a');
    a.refusal = new AtollError('NOT_LEADER', 'this node does not lead');
    expect(await verify([a, new VerifiedNode('b')])).toMatchObject({ problem: 'NOT_LEADER: this node does not lead', replicas: [] });
  });
});
