// A small world of production replicas: real stores, logs, leaders and followers, with a simulated network, disk,
// etcd and coordinator around them. One seed decides everything, so a run can be repeated exactly. There are no
// leases here: the coordinator promotes only when the old leader's process is really gone.
import { hasReplica, isSameMember, membersOf, type Generation, type Member, type VersionedRecord } from '@atoll/core-membership';
import { keyHash, randomHex, toEpoch, toNodeId, toPartitionId, toReplicaId, type Hash64, type ReplicaId } from '@atoll/core-runtime';
import type { WriteCommand } from '@atoll/core-store';
import type { WriteRequest } from '../replica-types.ts';
import { planRecord } from './coordinator.ts';
import { Dice } from './dice.ts';
import { EventQueue } from './event-queue.ts';
import type { Mutant } from './mutant.ts';
import { SimulatedEtcd } from './simulated-etcd.ts';
import type { DiskImage } from './simulated-disk.ts';
import type { Stream } from './stream.ts';
import { WorldChecker, type ReplicaWhereabouts } from './world-checker.ts';
import { drawPlan, type WorldPlan } from './world-plan.ts';
import { WorldProcess } from './world-process.ts';

const GENERATION: Generation = { counter: 1, id: 'g1' };
const COORDINATOR_MS = 25;
const SETTLE_MS_MAX = 6000;

export interface WorldFigures {
  readonly writes: number;
  readonly done: number;
  readonly committed: number;
  readonly epochs: number;
  readonly installs: number;
}

export class ReplicaWorld {
  readonly dice: Dice;
  readonly plan: WorldPlan;
  readonly events = new EventQueue();
  readonly etcd: SimulatedEtcd;
  readonly checker: WorldChecker;
  readonly mutant: Mutant | undefined;
  readonly streams = new Set<Stream>();
  /** Faults happen now. */
  isFaulty = true;
  readonly #processes: WorldProcess[] = [];
  /** Nodes whose process is down, with what their disk keeps. */
  readonly #down = new Map<string, { readonly image: DiskImage | undefined; readonly incarnation: string; readonly replica: ReplicaId }>();
  readonly #keys: { readonly key: Buffer; readonly hash: Hash64 }[] = [];
  #channels = 0;
  #asked: Member | undefined;
  #isCoordinatorBusy = false;
  #isWriting = true;

  constructor(seed: number, options: { mutant?: Mutant; plan?: Partial<WorldPlan> } = {}) {
    this.dice = new Dice(seed);
    this.plan = { ...drawPlan(this.dice), ...options.plan };
    this.mutant = options.mutant;
    this.checker = new WorldChecker((replica) => this.#whereabouts(replica));
    for (let index = 0; index < this.plan.keyCount; index += 1) {
      const key = Buffer.from(`key-${index}`);
      this.#keys.push({ key, hash: keyHash(key) });
    }
    for (let index = 0; index < this.plan.nodeCount; index += 1) {
      this.#processes.push(
        new WorldProcess({ world: this, node: toNodeId(`n${index}`), incarnation: this.#hex(), image: undefined, replicaId: this.newReplicaId() }),
      );
    }
    const members = this.#processes.map(({ member }) => member);
    const inSync = members.slice(0, Math.max(this.plan.minInSync, members.length - this.dice.below(2)));
    this.etcd = new SimulatedEtcd({
      events: this.events,
      dice: this.dice,
      first: {
        keyspace: 'default',
        keyspaceId: 'k',
        partition: toPartitionId(0),
        state: 'ACTIVE',
        generation: GENERATION,
        epoch: toEpoch(1),
        leader: members[0]!,
        leaderIncarnation: this.#processes[0]!.incarnation,
        relinquished: false,
        inSync,
        eligible: [],
        learners: members.slice(inSync.length),
        leaving: [],
        changeId: this.#hex(),
      },
      onWrite: (current) => this.#onWrite(current),
    });
    for (const process of this.#processes) this.#readRecord(process);
    this.#coordinate();
    this.#write();
    this.#disturb();
  }

  // --- for processes and streams ----------------------------------------------------------------------------------

  delayMs(): number {
    const { dice, plan } = this;
    return this.isFaulty && dice.chance(0.02) ? dice.below(plan.delayMsMax * 6) : dice.between(1, plan.delayMsMax);
  }

  newChannel(): number {
    this.#channels += 1;
    return this.#channels;
  }

  newReplicaId(): ReplicaId {
    return toReplicaId(this.#hex());
  }

  hashOf(key: Uint8Array): Hash64 {
    return keyHash(key);
  }

  processOf(replica: ReplicaId): WorldProcess | undefined {
    return this.#processes.find((process) => process.member.replica === replica);
  }

  // --- a run ------------------------------------------------------------------------------------------------------

  /** Faults for a while, then peace until everything agrees. Throws when an invariant breaks or nothing settles. */
  run(): WorldFigures {
    this.events.runUntil(this.plan.faultsMs);
    this.#makePeace();
    // Replicas come in sync while writes go on.
    this.#settle('every replica is in sync', () => this.#isInSync());
    this.#isWriting = false;
    this.#settle('every replica has applied everything', () => this.#isInSync() && this.#isQuiet());
    for (const process of this.#processes) this.checker.checkContent(process.state);
    this.checker.checkInSync(this.etcd.current);
    this.checker.checkEnd();
    return {
      writes: this.checker.writeCount,
      done: this.checker.doneCount,
      committed: this.checker.model.endSeq,
      epochs: this.etcd.current.record.epoch,
      installs: this.checker.installCount,
    };
  }

  #settle(what: string, isSettled: () => boolean): void {
    const deadlineMs = this.events.nowMs + SETTLE_MS_MAX;
    while (!isSettled()) {
      if (this.events.nowMs > deadlineMs) throw new Error(`not so ${SETTLE_MS_MAX} ms after the last fault: ${what}; ${this.#describe()}`);
      this.events.runUntil(this.events.nowMs + 20);
    }
  }

  #isInSync(): boolean {
    const { record } = this.etcd.current;
    const members = this.#processes.map(({ member }) => member);
    return this.#down.size === 0 && members.every((member) => hasReplica(record.inSync, member.replica)) && membersOf(record).length === members.length;
  }

  #isQuiet(): boolean {
    const end = this.checker.model.endSeq;
    return this.#processes.every(({ state }) => state.isInstalled && state.appliedSeq === end && state.log.end.seq === end);
  }

  #describe(): string {
    const { record } = this.etcd.current;
    const replicas = this.#processes.map(
      ({ state, replica }) => `${state.identity.self.node} ${replica.role.kind} ${state.appliedSeq}/${state.appendedSeq}/${state.log.end.seq}${state.isInstalled ? '' : ' not installed'}`,
    );
    const names = (members: readonly Member[]) => members.map(({ node }) => node).join(' ');
    return `epoch ${record.epoch}, in sync ${names(record.inSync)}, learners ${names(record.learners)}, leaving ${names(record.leaving)}; ${replicas.join(', ')}`;
  }

  // --- records ----------------------------------------------------------------------------------------------------

  #onWrite(current: VersionedRecord): void {
    this.checker.checkInSync(current);
    for (const process of this.#processes) process.after(this.delayMs(), () => process.onRecord(current));
  }

  /** A process that starts reads its record before it does anything (R12). */
  #readRecord(process: WorldProcess): void {
    process.after(this.delayMs(), () => process.onRecord(this.etcd.current));
  }

  #coordinate(): void {
    this.events.after(COORDINATOR_MS, () => this.#coordinate());
    if (this.#isCoordinatorBusy) return;
    const { current } = this.etcd;
    const next = planRecord(current, {
      dice: this.dice,
      running: this.#processes,
      isLost: (replica) => this.#whereabouts(replica) === undefined,
      asked: this.#asked,
    });
    this.#asked = undefined;
    if (next === undefined) return;
    this.#isCoordinatorBusy = true;
    this.etcd.swap(current.modRevision, next, () => {
      this.#isCoordinatorBusy = false;
    });
  }

  #whereabouts(replica: ReplicaId): ReplicaWhereabouts {
    const process = this.processOf(replica);
    if (process !== undefined) return { state: process.state };
    for (const { image } of this.#down.values()) if (image?.replica === replica) return { image };
    return undefined;
  }

  // --- faults -----------------------------------------------------------------------------------------------------

  #disturb(): void {
    this.events.after(this.dice.between(1, this.plan.faultGapMs * 2), () => {
      if (!this.isFaulty) return;
      this.#disturb();
      const process = this.#processes.length === 0 ? undefined : this.dice.pick(this.#processes);
      if (process === undefined) return;
      switch (this.dice.pick(['crash', 'crash leader', 'pause', 'pause', 'break', 'break', 'etcd', 'wall', 'leave'] as const)) {
        case 'crash':
          return this.#crash(process);
        case 'crash leader': {
          const leader = this.#processes.find(({ replica }) => replica.leader !== undefined);
          if (leader !== undefined) this.#crash(leader);
          return;
        }
        case 'pause':
          process.isPaused = true;
          return this.events.after(this.dice.between(20, 500), () => process.resume());
        case 'break':
          if (this.streams.size > 0) this.dice.pick([...this.streams]).break();
          return;
        case 'etcd':
          this.etcd.isLossy = true;
          return this.events.after(this.dice.between(50, 300), () => {
            this.etcd.isLossy = false;
          });
        case 'wall':
          process.wallOffsetMs += this.dice.between(-this.plan.wallSkewMs, this.plan.wallSkewMs);
          return;
        case 'leave':
          this.#asked = process.member;
      }
    });
  }

  #crash(process: WorldProcess): void {
    const keepsDisk = process.disk !== undefined && this.dice.chance(0.8);
    const { replica } = process.member;
    if (this.etcd.isBusy) return;
    const image = keepsDisk && process.disk!.image.isWhole ? process.disk!.image : undefined;
    const { record } = this.etcd.current;
    // Data may be lost only where another member of the in-sync set has it.
    const survivors = record.inSync.filter((member) => member.replica !== replica && this.#isSafe(member));
    if (survivors.length === 0 && hasReplica(record.inSync, replica) && image === undefined) return;
    process.crash();
    this.#processes.splice(this.#processes.indexOf(process), 1);
    this.#down.set(process.node, { image, incarnation: process.incarnation, replica });
    this.events.after(this.dice.between(10, 300), () => this.#restart(process.node));
  }

  #isSafe(member: Member): boolean {
    const found = this.#whereabouts(member.replica);
    return found !== undefined && ('image' in found ? found.image.isWhole : found.state.isInstalled || found.state.generation.counter === 0);
  }

  #restart(node: string): void {
    const down = this.#down.get(node);
    if (down === undefined) return;
    this.#down.delete(node);
    const { mutant } = this;
    const isKept = down.image !== undefined || mutant?.keepsReplicaId === true;
    const process = new WorldProcess({
      world: this,
      node: toNodeId(node),
      incarnation: mutant?.keepsIncarnation === true ? down.incarnation : this.#hex(),
      image: down.image,
      replicaId: isKept ? down.replica : this.newReplicaId(),
    });
    this.#processes.push(process);
    this.#readRecord(process);
  }

  #makePeace(): void {
    this.isFaulty = false;
    this.etcd.isLossy = false;
    for (const process of this.#processes) if (process.isPaused) process.resume();
    for (const node of this.#down.keys()) this.#restart(node);
  }

  // --- writes -----------------------------------------------------------------------------------------------------

  #write(): void {
    this.events.after(this.dice.between(1, this.plan.writeGapMsMax), () => {
      if (!this.#isWriting) return;
      this.#write();
      const process = this.#processes.find(({ replica }) => replica.leader !== undefined);
      if (process === undefined || process.isPaused) return;
      for (let count = this.dice.between(1, 3); count > 0; count -= 1) this.#writeOne(process);
      this.#readOne(process);
    });
  }

  #writeOne(process: WorldProcess): void {
    const { leader } = process.replica;
    if (leader === undefined) return;
    const { key, hash } = this.dice.pick(this.#keys);
    const now = process.moment;
    const { writeId, request } = this.checker.issued((id): WriteRequest => {
      const opId = { clientId: Buffer.from('world-01'), counter: id };
      return { key, hash, command: this.#command(process, key), opId, ack: this.dice.chance(0.8) ? 'IN_SYNC' : 'LEADER' };
    });
    leader.write(request, now, (outcome) => this.checker.answered(writeId, outcome, this.etcd.current));
  }

  #command(process: WorldProcess, key: Buffer): WriteCommand {
    const { dice, plan } = this;
    const timeMs = Math.floor(process.state.clock.read(process.moment.monotonicMs));
    const expiresAtMs = dice.chance(0.4) ? timeMs + dice.between(1, plan.ttlMsMax) : 0;
    // Some keys are counters, so that increments find integers.
    if (key.at(-1)! % 3 === 0) {
      if (dice.chance(0.1)) return { kind: 'delete' };
      return { kind: 'increment', delta: BigInt(dice.between(-5, 9)), initial: 100n, expiresAtMs };
    }
    const roll = dice.below(100);
    if (roll < 15) return { kind: 'delete' };
    if (roll < 22) return { kind: 'touch', expiresAtMs };
    const value = Buffer.alloc(this.#valueBytes(), dice.below(256));
    if (roll < 70) return { kind: 'set', value, expiresAtMs, condition: 'NONE' };
    if (roll < 80) return { kind: 'set', value, expiresAtMs, condition: 'IF_ABSENT' };
    if (roll < 90) return { kind: 'set', value, expiresAtMs, condition: 'IF_PRESENT' };
    const expectedVersion = process.state.store.peekState(key, keyHash(key))?.version;
    return { kind: 'set', value, expiresAtMs, condition: 'IF_VERSION', expectedVersion };
  }

  #valueBytes(): number {
    const { dice, plan } = this;
    if (plan.oneLargeIn > 0 && dice.below(plan.oneLargeIn) === 0) return dice.between(1024 * 1024, 2.5 * 1024 * 1024);
    return dice.below(plan.valueBytesMax + 1);
  }

  #readOne(process: WorldProcess): void {
    const { leader } = process.replica;
    const { record } = this.etcd.current;
    if (leader?.isServing !== true || record.epoch !== leader.epoch || !isSameMember(record.leader, process.member)) return;
    const { key, hash } = this.dice.pick(this.#keys);
    const found = leader.read(key, hash);
    if (found === undefined || !('kind' in found)) this.checker.checkRead(key, found);
  }

  #hex(): string {
    return randomHex(this.dice.random, 8);
  }
}
