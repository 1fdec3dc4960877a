// A storage node as the coordinator sees one: a real gRPC server for Replication and Heartbeat, a registration in
// etcd, and a leader's part of the partition records. It holds no data: `writes` stands for it.
import { Server, ServerCredentials, credentials, status, type handleBidiStreamingCall, type handleServerStreamingCall, type handleUnaryCall } from '@grpc/grpc-js';
import { HeartbeatClient, HeartbeatService, type HandOverItem, type HandOverRequest, type HandOverResponse, type HandOverResult, type ProbeRequest, type ProbeResponse, type RecordNews, type RemovalAnswer, type ReportRequest, type ReportResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import {
  ReplicationService,
  type EnsureReplicasRequest,
  type EnsureReplicasResponse,
  type HeldReplica,
  type ListRecordsRequest,
  type ListRecordsResponse,
  type ListReplicasRequest,
  type ListReplicasResponse,
} from '@atoll/contracts/atoll/v1/replication';
import type { GetTransfersResponse } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import { hasReplica, partitionName, type Member, type NodeRecord, type PartitionRecord } from '@atoll/core-membership';
import { SeededRandom, randomHex, toNodeId } from '@atoll/core-runtime';
import { GuardedMetadataStore, encodeKeyspaceSpec, encodeNodeRecord, encodeNodeSpec, encodePartitionRecord, nodeKey, openClusterView, partitionKey, type ClusterView, type Lease, type MetadataStore } from '@atoll/platform-etcd';
import { callUnary, probeTcp, toServiceError } from '@atoll/platform-grpc';
import { addBulkServices } from './bulk-services.ts';

interface Replica {
  readonly id: string;
  writes: number;
  readonly survivesRestart: boolean;
}

const HEALTHY: Omit<ReportResponse, 'beat' | 'incarnation'> = {
  loopLagMs: 0,
  memoryUsed: 0.1,
  diskError: '',
  diskFlushMs: 0,
  etcdSilentMs: 0,
  peers: [],
  stuckOffices: [],
  questions: [],
  stopped: [],
  metadata: undefined,
  discards: [],
};

export class ReplicationNode {
  readonly id: string;
  /** Tokens of EnsureReplicas that came, in order. */
  readonly revisions: number[] = [];
  isAnswering = true;
  /** Names of keyspaces that it cannot hold. */
  readonly refused = new Set<string>();
  /** Fields of its reports that are not those of a healthy node. */
  report: Partial<ReportResponse> = {};
  /** False: beats and probes go unanswered, as in a process that is stopped. */
  isReporting = true;
  /** Of each stream of reports, in order. */
  readonly reportRevisions: number[] = [];
  /** How many beats each of them brought. */
  readonly beatsPerStream: number[] = [];
  newsPerBeatMax = 0;
  /** Of the newest beat. */
  discardsTaken = 0;
  /** What its streams of reports brought, newest last. */
  readonly news: RecordNews[] = [];
  readonly answers: RemovalAnswer[] = [];
  /** Planned transfers that it was asked for, in order. */
  readonly handOvers: HandOverRequest[] = [];
  /** Why it gives no office up; empty: it does. */
  handOverProblem = '';
  /** What it says of its memory and partitions when asked. */
  transfers: Partial<GetTransfersResponse> = {};
  /** Why it compares nothing; empty: it finds everything equal. */
  verifyProblem = '';
  /** False: its leaders never say that they stand still. */
  confirmsFreezes = true;
  /** Leaves whose entries are not those of others here; a repair makes them equal, unless `repairsLast` is false. */
  readonly corrupted = new Set<number>();
  repairsLast = true;
  /** Leaves that are written to all the time, here. */
  readonly unsettled = new Set<number>();
  /** Sub-ranges whose entries it was asked for. */
  contentReadings = 0;
  /** Leaves that it was asked to install again, in order. */
  readonly repaired: number[] = [];
  /** False: it is asked for replicas and makes none. */
  makesReplicas = true;
  /** Bounds on what it sends that it was told, in order. */
  readonly limits: number[] = [];
  /** What it was told to split, in order. */
  readonly sharded: string[] = [];
  readonly #store: GuardedMetadataStore;
  readonly #random: SeededRandom;
  readonly #replicas = new Map<string, Replica>();
  readonly #isDurable: boolean;
  /** Revision of each record that was last written on, so that one state is answered once. */
  readonly #writtenAt = new Map<string, number>();
  #isLeaderAtWork = true;
  readonly #streams = new Set<{ end(): unknown }>();
  #server: Server | undefined;
  #lease: Lease | undefined;
  #view: ClusterView | undefined;
  #record: NodeRecord | undefined;

  constructor(id: string, options: { readonly store: MetadataStore; readonly seed: number; readonly isDurable?: boolean }) {
    this.id = id;
    this.#store = new GuardedMetadataStore(options.store);
    this.#random = new SeededRandom(options.seed);
    this.#isDurable = options.isDurable ?? false;
  }

  get incarnation(): string {
    return this.#record?.incarnation ?? '';
  }

  /** A new process: its replicas are those that survived. */
  async start(settings: { readonly weight?: number; readonly zone?: string; readonly pool?: string } = {}): Promise<void> {
    for (const [name, replica] of this.#replicas) if (!replica.survivesRestart) this.#replicas.delete(name);
    const server = new Server();
    const listReplicas: handleUnaryCall<ListReplicasRequest, ListReplicasResponse> = (_call, callback) => {
      if (!this.isAnswering) callback({ code: status.UNAVAILABLE, details: 'told not to answer' });
      else callback(null, { incarnation: this.incarnation, replicas: [...this.#replicas.keys()].map((name) => this.#held(name)) });
    };
    const ensureReplicas: handleUnaryCall<EnsureReplicasRequest, EnsureReplicasResponse> = (call, callback) => {
      const { keyspace, partitions, coordinatorRevision } = call.request;
      this.revisions.push(coordinatorRevision);
      if (!this.isAnswering) return callback({ code: status.UNAVAILABLE, details: 'told not to answer' });
      if (!this.makesReplicas) return callback({ code: status.UNAVAILABLE, details: 'told to make no replicas' });
      if (this.refused.has(keyspace)) return callback(toServiceError(new AtollError('INVALID_ARGUMENT', `no disk for ${keyspace}`)));
      for (const partition of partitions) {
        const name = partitionName(keyspace, partition);
        if (!this.#replicas.has(name)) this.#replicas.set(name, { id: randomHex(this.#random, 8), writes: 0, survivesRestart: this.#isDurable });
      }
      return callback(null, { incarnation: this.incarnation, replicas: partitions.map((partition) => this.#held(partitionName(keyspace, partition))) });
    };
    const listRecords: handleServerStreamingCall<ListRecordsRequest, ListRecordsResponse> = (call) => {
      if (!this.isAnswering) return void call.emit('error', { code: status.UNAVAILABLE, details: 'told not to answer' });
      call.write(this.#remembered());
      return call.end();
    };
    server.addService(ReplicationService, { listReplicas, ensureReplicas, listRecords });
    server.addService(HeartbeatService, this.#heartbeat());
    addBulkServices(server, {
      incarnation: () => this.incarnation,
      recordOf: (keyspace, partition) => this.#view?.partition(keyspace, partition)?.record,
      transfers: () => this.transfers,
      verifyProblem: () => this.verifyProblem,
      confirmsFreezes: () => this.confirmsFreezes,
      contentOf: (range, rangeCount) => {
        this.contentReadings += 1;
        const leaf = Math.floor((range * 64) / rangeCount);
        if (this.unsettled.has(leaf)) return undefined;
        return this.corrupted.has(leaf) ? 1 : 0;
      },
      onRepair: (leaves) => {
        this.repaired.push(...leaves);
        if (this.repairsLast) for (const leaf of leaves) this.corrupted.delete(leaf);
      },
      onLimit: ({ bytesPerSecond }) => this.limits.push(bytesPerSecond),
      onShard: ({ transfers }) => this.sharded.push(transfers.map(({ partition, shards }) => `${partition} in ${shards}`).join()),
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    this.#server = server;
    this.#view = await openClusterView(this.#store, {
      onProblem: (problem) => {
        throw new Error(problem);
      },
    });
    this.#view.subscribe(() => this.#followRecords());
    await this.#register({
      id: toNodeId(this.id),
      address: `127.0.0.1:${port}`,
      httpAddress: '',
      zone: settings.zone ?? 'z1',
      ...(settings.pool !== undefined && { pool: settings.pool }),
      weight: settings.weight ?? 1,
      incarnation: randomHex(this.#random, 8),
      phase: 'SERVING',
    });
  }

  /** Gives up every office, then says so. */
  async announceStop(): Promise<void> {
    await this.#register({ ...this.#record!, phase: 'STOPPING' });
  }

  /** Ends the process; its registration goes with it. */
  async kill(): Promise<void> {
    await this.#view?.close();
    this.#server?.forceShutdown();
    await this.#lease?.revoke();
    this.#lease = undefined;
  }

  /** As if clients had written to every replica here. */
  write(): void {
    for (const replica of this.#replicas.values()) replica.writes += 1;
  }

  /** False: as a leader it takes nobody into the in-sync set and lets nobody go. */
  set isLeaderAtWork(is: boolean) {
    this.#isLeaderAtWork = is;
    if (is) this.#followRecords();
  }

  /** Ends every stream of reports from this side. */
  breakStreams(): void {
    for (const call of this.#streams) call.end();
  }

  /** The process is gone, its registration is not yet. */
  crash(): void {
    this.#server?.forceShutdown();
  }

  /** The registration lapses; the process goes on. */
  async vanish(): Promise<void> {
    await this.#lease?.revoke();
    this.#lease = undefined;
  }

  /** Registers again, under a new lease, after its registration was lost (R11). */
  async registerAgain(): Promise<void> {
    this.#lease = undefined;
    await this.#register(this.#record!);
  }

  #heartbeat() {
    const unused = (): never => {
      throw new Error('no coordinator calls this');
    };
    const report: handleBidiStreamingCall<ReportRequest, ReportResponse> = (call) => {
      let stream = 0;
      call.on('data', ({ hello, beat, records, answers, discardsTaken }: ReportRequest) => {
        if (hello !== undefined) {
          stream = this.reportRevisions.push(hello.coordinatorRevision) - 1;
          this.#streams.add(call);
        }
        this.beatsPerStream[stream] = (this.beatsPerStream[stream] ?? 0) + 1;
        this.newsPerBeatMax = Math.max(this.newsPerBeatMax, records.length);
        this.news.push(...records);
        this.answers.push(...answers);
        this.discardsTaken = discardsTaken;
        if (this.isReporting) call.write({ ...HEALTHY, metadata: this.#mark(), ...this.report, beat, incarnation: this.incarnation });
      });
      call.on('end', () => call.end());
      call.on('close', () => this.#streams.delete(call));
      call.on('error', () => undefined);
    };
    const probe: handleUnaryCall<ProbeRequest, ProbeResponse> = (call, callback) => {
      if (!this.isReporting) return;
      const { address, timeoutMs } = call.request;
      if (address === '') callback(null, { reached: true, refused: false, incarnation: this.incarnation });
      else void probeNode(address, timeoutMs).then((answer) => callback(null, answer));
    };
    const handOver: handleUnaryCall<HandOverRequest, HandOverResponse> = (call, callback) => {
      this.handOvers.push(call.request);
      callback(null, { results: call.request.items.map((item) => this.#giveUp(item)) });
    };
    return { report, probe, lease: unused, handOver };
  }

  /** Gives the office up by what it knows of the record. */
  #giveUp({ keyspace, partition, epoch }: HandOverItem): HandOverResult {
    const kept = (problem: string): HandOverResult => ({ givenUp: false, modRevision: 0, end: undefined, problem });
    if (this.handOverProblem !== '') return kept(this.handOverProblem);
    const shown = this.#view?.partition(keyspace, partition);
    if (shown === undefined || shown.record.epoch !== epoch || shown.record.leaderIncarnation !== this.incarnation) return kept('it does not lead');
    return { givenUp: true, modRevision: shown.modRevision, end: { epoch, seq: 0 }, problem: '' };
  }

  async #register(record: NodeRecord): Promise<void> {
    this.#record = record;
    this.#lease ??= await this.#store.grantLease(10_000);
    const outcome = await this.#store.transact([], [{ kind: 'put', key: nodeKey(this.id), value: encodeNodeRecord(record), lease: this.#lease }]);
    if (outcome.kind !== 'succeeded') throw new Error(`node ${this.id} was not registered: ${outcome.kind}`);
  }

  /** What a leader writes: learners that it brought in sync, leaving and lost members that it let go (R6). */
  #followRecords(): void {
    const view = this.#view!;
    if (!this.#isLeaderAtWork) return;
    for (const name of view.keyspaces().keys()) {
      for (const { record, modRevision } of view.partitions(name)) {
        const key = partitionKey(record.keyspace, record.partition);
        if ((this.#writtenAt.get(key) ?? 0) >= modRevision) continue;
        const next = this.#isLeading(record) ? this.#lead(record) : record;
        if (next === record) continue;
        this.#writtenAt.set(key, modRevision);
        void this.#store.transact([{ kind: 'modRevision', key, equals: modRevision }], [{ kind: 'put', key, value: encodePartitionRecord(next) }]);
      }
    }
  }

  #isLeading(record: PartitionRecord): boolean {
    const replica = this.#replicas.get(partitionName(record.keyspace, record.partition));
    return this.#record?.phase === 'SERVING' && record.leaderIncarnation === this.incarnation && record.leader?.replica === replica?.id;
  }

  #lead(record: PartitionRecord): PartitionRecord {
    const isHere = (member: Member): boolean => this.#view!.nodes().get(member.node)?.phase === 'SERVING';
    const renamed = (member: Member): boolean => record.learners.some((learner) => learner.node === member.node && learner.replica !== member.replica);
    const staying = record.inSync.filter(
      (member) => member.replica === record.leader!.replica || (isHere(member) && !renamed(member) && !hasReplica(record.leaving, member.replica)),
    );
    const caughtUp = record.learners.filter((member) => isHere(member) && !staying.some((other) => other.node === member.node));
    if (caughtUp.length === 0 && staying.length === record.inSync.length) return record;
    // A replica that another one of its node has replaced is gone: as a learner it would stand in that one's way.
    const demoted = record.inSync.filter((member) => !hasReplica(staying, member.replica) && !hasReplica(record.leaving, member.replica) && !renamed(member));
    return {
      ...record,
      inSync: [...staying, ...caughtUp],
      learners: [...record.learners.filter((member) => !hasReplica(caughtUp, member.replica)), ...demoted],
      changeId: randomHex(this.#random, 8),
    };
  }

  #mark() {
    return { ...this.#store.mark, regressed: [...this.#store.reasons] };
  }

  /** What its watches showed last. */
  #remembered(): ListRecordsResponse {
    const view = this.#view!;
    const records = [...view.keyspaces().keys()].flatMap((name) =>
      view.partitions(name).map(({ record, modRevision }) => ({ record: encodePartitionRecord(record), modRevision, leads: this.#isLeading(record), epoch: record.epoch, replica: undefined })),
    );
    return {
      mark: this.#mark(),
      incarnation: this.incarnation,
      keyspaces: [...view.keyspaces().values()].map(encodeKeyspaceSpec),
      nodeSpecs: [...view.nodeSpecs().values()].map(encodeNodeSpec),
      records,
    };
  }

  #held(name: string): HeldReplica {
    const [keyspace = '', partition = ''] = name.split('/');
    const replica = this.#replicas.get(name)!;
    return {
      keyspace,
      partition: Number(partition),
      replicaId: replica.id,
      generation: undefined,
      end: { epoch: 1, seq: replica.writes },
      appliedSeq: replica.writes,
      role: 'IDLE',
      entries: replica.writes,
      bytes: 0,
      installed: true,
    };
  }
}

async function probeNode(address: string, timeoutMs: number): Promise<ProbeResponse> {
  const result = await probeTcp(address, timeoutMs);
  if (result !== 'reached') return { reached: false, refused: result === 'refused', incarnation: '' };
  const client = new HeartbeatClient(address, credentials.createInsecure());
  try {
    return await callUnary(client, 'probe', { address: '', timeoutMs: 0 }, { deadlineMs: timeoutMs });
  } catch {
    return { reached: false, refused: false, incarnation: '' };
  } finally {
    client.close();
  }
}
