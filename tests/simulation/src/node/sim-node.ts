import type { HeldReplica, MetadataMark, NodeInventory, NodeRecord, VersionedRecord } from '@atoll/core-membership';
import { partitionName } from '@atoll/core-membership';
import type { Moment } from '@atoll/core-replication';
import type { DiskImage } from '@atoll/core-replication/testing';
import { toNodeId, type NodeId, type ReplicaId } from '@atoll/core-runtime';
import { StoreMemory, type MemoryAccount } from '@atoll/core-store';
import type { SimClock } from '../base/sim-clock.ts';
import { SimProcess } from '../base/sim-process.ts';
import { GuardedEtcd } from '../base/guarded-etcd.ts';
import type { SimLease, Stored, WatchEvent } from '../base/sim-etcd.ts';
import { toVersioned } from '../base/versioned.ts';
import { RecordView } from '../control/record-view.ts';
import { KEYSPACE, PARTITIONS, nodeKey, partitionKey, placeOfSlot, slotOf } from '../names.ts';
import { SETTINGS } from '../plan.ts';
import type { World } from '../world.ts';
import { HostedReplica } from './hosted-replica.ts';
import { LeaseExchange } from './lease-exchange.ts';
import { NodeCopies } from '../copy/node-copies.ts';
import { ReportDesk } from './report-desk.ts';

/** What is left of a process on its machine. */
export interface Remains {
  readonly incarnation: string;
  /** What it had seen of etcd, where the disk kept it (R13). */
  readonly seen: MetadataMark | undefined;
  /** Replicas by slot; an image only where the disk kept it whole. */
  readonly replicas: ReadonlyMap<number, { readonly replica: ReplicaId; readonly image: DiskImage | undefined }>;
}

/** A storage node's process: replicas, and the shell of heartbeats and etcd around them. */
export class SimNode extends SimProcess {
  readonly nodeId: NodeId;
  readonly account: MemoryAccount;
  readonly leases: LeaseExchange;
  readonly reports: ReportDesk;
  /** What it takes of sources, and serves to copies (R37). */
  readonly copies: NodeCopies;
  readonly etcd: GuardedEtcd;
  /** All that it has seen of etcd, for who recovers it (R13). */
  readonly view = new RecordView();
  readonly startedMs: number;
  /** Own time of the last answer of etcd. */
  etcdHeardMs: number;
  readonly #world: World;
  readonly #memory: StoreMemory;
  readonly #replicas = new Map<number, HostedReplica>();
  readonly #known = new Map<string, Stored>();
  #registration: SimLease | undefined;
  #isRegistering = false;
  #recordsReadMs = Number.NEGATIVE_INFINITY;
  #hasRead = false;

  constructor(options: { world: World; id: string; incarnation: string; clock: SimClock; remains: Remains | undefined }) {
    const { world, id } = options;
    super({ ...options, events: world.events });
    this.#world = world;
    this.nodeId = toNodeId(id);
    this.#memory = new StoreMemory({ bytesMax: world.plan.memoryBytes });
    this.account = this.#memory.openAccount(KEYSPACE, 1);
    this.startedMs = this.clock.monotonicMs;
    this.etcdHeardMs = this.startedMs;
    this.leases = new LeaseExchange({ world, node: this });
    this.reports = new ReportDesk(this);
    this.copies = new NodeCopies({ world, node: this });
    for (const [slot, { replica, image }] of options.remains?.replicas ?? []) {
      if (image !== undefined || world.mutant?.keepsReplicaId === true) this.#host(slot, replica, image);
    }
    this.onDeath(() => {
      for (const hosted of this.#replicas.values()) hosted.disk?.crash();
    });
    // It reads its records before it does anything (R12): the watch begins with all of them.
    const onEvents = (events: readonly WatchEvent[]): void => {
      this.etcdHeardMs = this.clock.monotonicMs;
      this.view.onEvents(events);
      for (const { key, stored } of events) {
        if (stored !== undefined && key.startsWith(PARTITIONS)) this.onStored(key, stored);
        else if (stored === undefined && key.startsWith(PARTITIONS)) this.#replicas.get(Number(key.slice(PARTITIONS.length)))?.onGone();
        // An old write that came late may have put it under a lease that was given up since.
        else if (stored === undefined && key === nodeKey(this.id) && this.#hasRead) this.#register();
      }
      if (this.#hasRead) return;
      this.#hasRead = true;
      this.#begin();
    };
    this.etcd = new GuardedEtcd({ etcd: world.etcd, process: this, seen: options.remains?.seen, onEvents });
  }

  #begin(): void {
    const { dice } = this.#world;
    this.#register();
    this.after(dice.below(SETTINGS.registrationTtlMs / 3), () => this.every(SETTINGS.registrationTtlMs / 3, () => this.#keepAlive()));
    this.after(dice.below(SETTINGS.heartbeatMs), () => this.every(SETTINGS.heartbeatMs, () => this.#heartbeat()));
    this.after(dice.below(SETTINGS.replicaTickMs), () =>
      this.every(SETTINGS.replicaTickMs, () => {
        for (const hosted of this.#replicas.values()) hosted.tick();
      }),
    );
    if (this.#world.hasCopies) this.every(SETTINGS.copiesTickMs, () => this.copies.tick());
  }

  /** Whether it has read its records, and begun. */
  get hasRead(): boolean {
    return this.#hasRead;
  }

  /** The newest record of each partition that it was told of, by whomever. */
  knownRecords(): readonly VersionedRecord[] {
    return [...this.#known.values()].map(toVersioned);
  }

  moment(): Moment {
    return this.clock.moment;
  }

  replicas(): Iterable<HostedReplica> {
    return this.#replicas.values();
  }

  hosted(slot: number): HostedReplica | undefined {
    return this.#replicas.get(slot);
  }

  remains(keepsData: boolean): Remains {
    const replicas = [...this.#replicas].map(([slot, { member, disk }]) => {
      const image = keepsData && disk?.image.isWhole === true ? disk.image : undefined;
      return [slot, { replica: member.replica, image }] as const;
    });
    return { incarnation: this.incarnation, replicas: new Map(replicas), seen: keepsData ? this.etcd.ownMark : undefined };
  }

  // --- replicas ---------------------------------------------------------------------------------------------------

  #host(slot: number, replicaId: ReplicaId, image: DiskImage | undefined): HostedReplica {
    const hosted = new HostedReplica({ world: this.#world, node: this, slot, replicaId, image });
    this.#replicas.set(slot, hosted);
    return hosted;
  }

  /** The coordinator asks for replicas that this node does not hold yet; it answers with all that it holds. */
  ensure(slots: readonly number[]): NodeInventory | undefined {
    if (!this.#hasRead) return undefined;
    for (const slot of slots) {
      if (this.#replicas.has(slot)) continue;
      const hosted = this.#host(slot, this.#world.newReplicaId(), undefined);
      const stored = this.#known.get(partitionKey(slot));
      if (stored !== undefined) hosted.onRecord(toVersioned(stored));
    }
    return this.inventory();
  }

  inventory(): NodeInventory {
    const replicas = [...this.#replicas].map(([slot, hosted]): [string, HeldReplica] => {
      const { generation } = hosted.state;
      const { keyspace, partition } = placeOfSlot(slot);
      return [partitionName(keyspace, partition), { replica: hosted.member.replica, generation: generation.counter === 0 ? undefined : generation, empty: hosted.isEmpty }];
    });
    return { incarnation: this.incarnation, replicas: new Map(replicas) };
  }

  /** No record names it any more (R1). */
  drop(hosted: HostedReplica): void {
    if (this.#replicas.get(hosted.slot) !== hosted) return;
    this.#replicas.delete(hosted.slot);
    this.#world.trace(`${this.id} drops its replica of ${hosted.slot}`);
    this.copies.stop(hosted);
    hosted.close();
    this.leases.noteChanged();
  }

  // --- etcd -------------------------------------------------------------------------------------------------------

  /** A record, from wherever it comes; an older one than the newest known changes nothing. `isNewest`: from a read. */
  onStored(key: string, stored: Stored, isNewest = false): void {
    const before = this.#known.get(key);
    if (before !== undefined && (before.modRevision > stored.modRevision || (!isNewest && before.modRevision === stored.modRevision))) return;
    this.#known.set(key, stored);
    const versioned = toVersioned(stored);
    this.reports.onRecord(versioned);
    const told = this.#world.mutant?.ignoresFreeze === true ? { ...versioned, record: { ...versioned.record, frozen: undefined } } : versioned;
    this.#replicas.get(slotOf(versioned.record))?.onRecord(told, isNewest);
  }

  /** Says anew what it is: its weight is another one. */
  registerAgain(): void {
    if (this.#hasRead) this.#register();
  }

  #register(): void {
    if (this.#isRegistering) return;
    this.#isRegistering = true;
    const key = nodeKey(this.id);
    this.#world.etcd.read(
      this,
      () => this.#world.etcd.get(key) ?? 'absent',
      (found) => {
        if (found !== undefined) return this.#writeRegistration(found === 'absent' ? 0 : found.modRevision);
        this.#isRegistering = false;
        this.after(300, () => this.#register());
      },
    );
  }

  /** What it compares settles earlier attempts (R7). */
  #writeRegistration(modRevision: number): void {
    const key = nodeKey(this.id);
    const lease = this.#world.etcd.grantLease(SETTINGS.registrationTtlMs);
    const record: NodeRecord = {
      id: this.nodeId,
      address: `${this.id}:1`,
      httpAddress: '',
      zone: this.id,
      weight: this.#world.weightOf(this.id),
      incarnation: this.incarnation,
      phase: 'SERVING',
    };
    this.#world.etcd.transact(this, [{ key, modRevision }], [{ key, value: record, lease }], (outcome) => {
      this.#isRegistering = false;
      if (outcome.kind === 'succeeded') {
        this.#registration = lease;
        this.etcdHeardMs = this.clock.monotonicMs;
      } else this.after(300, () => this.#register());
    });
  }

  #keepAlive(): void {
    const lease = this.#registration;
    if (lease === undefined) return;
    this.#world.etcd.keepAlive(this, lease, (stands) => {
      this.etcdHeardMs = this.clock.monotonicMs;
      if (stands || this.#registration !== lease) return;
      this.#registration = undefined;
      this.#register();
    });
  }

  #heartbeat(): void {
    this.leases.tick();
    if (this.#world.plan.onDataLoss === 'RESET') this.#readRecords();
  }

  /** Until when an office of a keyspace that is reset without an operator may be held (R15). */
  fenceUntilMs(): number {
    if (this.#world.plan.onDataLoss !== 'RESET') return Number.POSITIVE_INFINITY;
    return this.#recordsReadMs + SETTINGS.fenceAfterMs - SETTINGS.driftMs * (SETTINGS.fenceAfterMs / SETTINGS.leaseMs);
  }

  #readRecords(): void {
    const sentMs = this.clock.monotonicMs;
    if (sentMs - this.#recordsReadMs < SETTINGS.fenceAfterMs / 6) return;
    this.etcd.read(
      () => this.#world.etcd.list(PARTITIONS),
      (found) => {
        if (found === undefined) return;
        for (const [key, stored] of found) this.onStored(key, stored);
        this.#recordsReadMs = Math.max(this.#recordsReadMs, sentMs);
        for (const { replica } of this.#replicas.values()) replica.leader?.onLeaseChanged(this.clock.monotonicMs);
      },
    );
  }
}
