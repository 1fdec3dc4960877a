import { hasReplica, isSameMember, membersOf, type Member, type PartitionRecord, type VersionedRecord } from '@atoll/core-membership';
import type { Random } from '@atoll/core-runtime';
import { Follower } from './follower.ts';
import { Leader } from './leader.ts';
import type { LeaseItem } from './lease/peer-lease.ts';
import type { LeaderHooks, Moment, ReplicaSettings } from './replica-types.ts';
import type { ReplicaState } from './replica-state.ts';

export type ReplicaRole =
  | { readonly kind: 'idle' }
  | { readonly kind: 'leader'; readonly leader: Leader }
  | { readonly kind: 'follower'; readonly follower: Follower; readonly of: Member };

/**
 * What a record, or the time, made of a replica. `unnamed`: the record does not know it, or not what it holds. `office-due`: it is to lead,
 * once its promise to the leader before has run out; `tick` takes the office then.
 */
export type RecordEffect = 'unchanged' | 'role-changed' | 'unnamed' | 'refused-office' | 'office-due';

/**
 * One replica of one partition on this node: its data, and its present role. Roles change by records alone. A replica
 * leads only an epoch that was given to this life of its process (R2), and follows only whom the newest record names.
 *
 * Its promise is one deadline over all epochs (R14): before it, this replica leads no epoch above one that it granted
 * a lease in. It may follow a higher one at once.
 */
export class PartitionReplica {
  readonly state: ReplicaState;
  readonly settings: ReplicaSettings;
  readonly #hooks: LeaderHooks;
  readonly #random: Random;
  readonly #incarnation: string;
  #role: ReplicaRole = { kind: 'idle' };
  /** Epoch of the last office of this process: each taking of office is a new one (R2). */
  #lastOffice = 0;
  #record: VersionedRecord | undefined;
  #promiseUntilMs: number;
  /** The highest epoch heard of, from a record or from any message (R27). */
  #heardEpoch = 0;

  /**
   * `promiseUntilMs`: for data that was there before this process began, the start of the process and a full lease:
   * what it promised in its last life is not known any more (R14). For a replica made empty now: 0.
   */
  constructor(options: {
    state: ReplicaState;
    settings: ReplicaSettings;
    hooks: LeaderHooks;
    random: Random;
    incarnation: string;
    promiseUntilMs: number;
  }) {
    this.#promiseUntilMs = options.promiseUntilMs;
    this.state = options.state;
    this.settings = options.settings;
    this.#hooks = options.hooks;
    this.#random = options.random;
    this.#incarnation = options.incarnation;
  }

  get role(): ReplicaRole {
    return this.#role;
  }

  get leader(): Leader | undefined {
    return this.#role.kind === 'leader' ? this.#role.leader : undefined;
  }

  get follower(): Follower | undefined {
    return this.#role.kind === 'follower' ? this.#role.follower : undefined;
  }

  /** The newest record seen. */
  get record(): VersionedRecord | undefined {
    return this.#record;
  }

  /** A record from the watch or from a read. An older one than the newest changes nothing. */
  onRecord(versioned: VersionedRecord, now: Moment): RecordEffect {
    if (this.#record !== undefined && versioned.modRevision < this.#record.modRevision) return 'unchanged';
    this.#record = versioned;
    const { record } = versioned;
    const { self } = this.state.identity;
    if (!hasReplica(membersOf(record), self.replica) || this.#isSuperseded(record)) {
      this.#become({ kind: 'idle' });
      return 'unnamed';
    }
    this.#adoptFirstGeneration(versioned);
    this.#continueLineage(versioned, now);
    // There is a newer record, with the epoch that was heard of: until it is read, this replica acts in none (R27).
    if (record.leader === undefined || record.epoch < this.#heardEpoch) return this.#become({ kind: 'idle' });
    this.#heardEpoch = record.epoch;
    if (isSameMember(record.leader, self)) return this.#lead(versioned, now);
    return this.#follow(versioned, record.leader);
  }

  /** Takes an office that has become due; else lets the leader's time pass. */
  tick(now: Moment): RecordEffect {
    this.leader?.tick(now);
    const { officeDueMs } = this;
    return officeDueMs === undefined || now.monotonicMs < officeDueMs ? 'unchanged' : this.#lead(this.#record!, now);
  }

  /** Monotonic time at which `tick` will take an office that is waited for (R27); undefined when there is none. */
  get officeDueMs(): number | undefined {
    const record = this.#record?.record;
    if (record?.leader === undefined || this.#role.kind !== 'idle' || record.epoch < this.#heardEpoch) return undefined;
    return isSameMember(record.leader, this.state.identity.self) && this.#mayLead(record) ? this.#promiseUntilMs : undefined;
  }

  /** The highest epoch that a record, a message or the log has told of. */
  get highestEpoch(): number {
    return Math.max(this.#heardEpoch, this.state.log.end.epoch);
  }

  get promiseUntilMs(): number {
    return this.#promiseUntilMs;
  }

  /**
   * Promises the leader of `item.epoch`, for `leaseMs` from now on, not to lead a higher epoch (R14). Returns false,
   * with nothing promised, unless this replica follows in that very epoch: it then may be promised elsewhere, or must
   * read its record first.
   */
  grantLease(item: Pick<LeaseItem, 'epoch' | 'replica'>, leaseMs: number, nowMs: number): boolean {
    // Whoever means another replica may mean another keyspace of this name: its epochs say nothing here.
    if (item.replica !== this.state.identity.self.replica) return false;
    this.hearEpoch(item.epoch);
    if (leaseMs > this.settings.leaseMs) return false;
    if (this.#role.kind !== 'follower' || this.#role.follower.epoch !== item.epoch) return false;
    this.#promiseUntilMs = Math.max(this.#promiseUntilMs, nowMs + leaseMs);
    return true;
  }

  /** Some message named `epoch`. In a lower one this replica neither leads, grants nor acknowledges any more (R27). */
  hearEpoch(epoch: number): void {
    if (epoch <= this.#heardEpoch) return;
    this.#heardEpoch = epoch;
    this.#become({ kind: 'idle' });
    this.#hooks.readRecord();
  }

  /** Leaves whatever role it has; the data stays. */
  retire(): void {
    this.#become({ kind: 'idle' });
  }

  /** A replica that was made empty for a partition that begins now is complete as it is. */
  #adoptFirstGeneration({ record }: VersionedRecord): void {
    const isFresh = this.state.generation.counter === 0;
    if (isFresh && hasReplica(record.inSync, this.state.identity.self.replica)) this.state.adoptEmpty(record.generation);
  }

  /**
   * The record takes this replica for an empty one, in a generation that begins with nothing (R31), but it holds
   * something of the one before: it was asked when it was empty, and was filled as a learner since. It can never lead nor
   * count there; as good as unnamed, it makes room for one that is empty.
   */
  #isSuperseded({ generation, inSync, continues }: PartitionRecord): boolean {
    const { counter } = this.state.generation;
    return continues === undefined && counter > 0 && counter < generation.counter && hasReplica(inSync, this.state.identity.self.replica);
  }

  /** An unclean recovery names this replica: its data is the beginning of the new lineage (R3, R15). */
  #continueLineage({ record }: VersionedRecord, now: Moment): void {
    const { generation, identity, isInstalled } = this.state;
    const { continues, leader } = record;
    if (continues === undefined || continues.id !== generation.id || continues.counter !== generation.counter) return;
    if (!isSameMember(leader, identity.self) || record.leaderIncarnation !== this.#incarnation || !isInstalled) return;
    this.#become({ kind: 'idle' });
    this.state.continueAs(record.generation, now.monotonicMs);
  }

  #lead(versioned: VersionedRecord, now: Moment): RecordEffect {
    const { record } = versioned;
    if (this.#role.kind === 'leader' && this.#role.leader.epoch === record.epoch) {
      this.#role.leader.onRecord(versioned, now.monotonicMs);
      return 'unchanged';
    }
    if (!this.#mayLead(record)) {
      this.#become({ kind: 'idle' });
      return 'refused-office';
    }
    // The leader before needs this replica's lease: while that may stand, it may be serving (R27). One that gave its
    // office up does not (R29).
    if (now.monotonicMs < this.#promiseUntilMs && !record.relinquished) {
      this.#become({ kind: 'idle' });
      return 'office-due';
    }
    if (this.#role.kind === 'leader') this.#role.leader.leaveOffice();
    const leader = new Leader({
      state: this.state,
      record: versioned,
      settings: this.settings,
      hooks: this.#hooks,
      random: this.#random,
      now,
    });
    this.#role = { kind: 'leader', leader };
    this.#lastOffice = record.epoch;
    return 'role-changed';
  }

  #mayLead(record: PartitionRecord): boolean {
    const { generation, isInstalled, log } = this.state;
    const isOwnOffice = record.leaderIncarnation === this.#incarnation;
    const isOwnLineage = record.generation.counter === generation.counter && record.generation.id === generation.id;
    return isOwnOffice && isOwnLineage && isInstalled && record.epoch >= log.end.epoch && record.epoch > this.#lastOffice;
  }

  #follow({ record }: VersionedRecord, of: Member): RecordEffect {
    if (this.#role.kind === 'follower' && this.#role.follower.epoch === record.epoch && isSameMember(this.#role.of, of)) return 'unchanged';
    const follower = new Follower({ state: this.state, epoch: record.epoch, settings: this.settings });
    return this.#become({ kind: 'follower', follower, of });
  }

  #become(role: ReplicaRole): RecordEffect {
    if (role.kind === 'idle' && this.#role.kind === 'idle') return 'unchanged';
    if (this.#role.kind === 'leader') this.#role.leader.leaveOffice();
    this.#role = role;
    return 'role-changed';
  }
}
