import { hasReplica, isSameMember, membersOf, type Member, type VersionedRecord } from '@atoll/core-membership';
import type { Random } from '@atoll/core-runtime';
import { Follower } from './follower.ts';
import { Leader } from './leader.ts';
import type { LeaderHooks, Moment, ReplicaSettings } from './replica-types.ts';
import type { ReplicaState } from './replica-state.ts';

export type ReplicaRole =
  | { readonly kind: 'idle' }
  | { readonly kind: 'leader'; readonly leader: Leader }
  | { readonly kind: 'follower'; readonly follower: Follower; readonly of: Member };

/** What a record made of a replica. `unnamed`: the record does not know it. */
export type RecordEffect = 'unchanged' | 'role-changed' | 'unnamed' | 'refused-office';

/**
 * One replica of one partition on this node: its data, and its present role. Roles change by records alone. A replica
 * leads only an epoch that was given to this life of its process (R2), and follows only whom the newest record names.
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

  constructor(options: { state: ReplicaState; settings: ReplicaSettings; hooks: LeaderHooks; random: Random; incarnation: string }) {
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
    if (!hasReplica(membersOf(record), self.replica)) {
      this.#become({ kind: 'idle' });
      return 'unnamed';
    }
    this.#adoptFirstGeneration(versioned);
    if (record.leader === undefined) return this.#become({ kind: 'idle' });
    if (isSameMember(record.leader, self)) return this.#lead(versioned, now);
    return this.#follow(versioned, record.leader);
  }

  tick(now: Moment): void {
    this.leader?.tick(now);
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

  #lead(versioned: VersionedRecord, now: Moment): RecordEffect {
    const { record } = versioned;
    if (this.#role.kind === 'leader' && this.#role.leader.epoch === record.epoch) {
      this.#role.leader.onRecord(versioned, now.monotonicMs);
      return 'unchanged';
    }
    const isOwnOffice = record.leaderIncarnation === this.#incarnation;
    const isOwnLineage = record.generation.counter === this.state.generation.counter && record.generation.id === this.state.generation.id;
    if (!isOwnOffice || !isOwnLineage || !this.state.isInstalled || record.epoch < this.state.log.end.epoch || record.epoch <= this.#lastOffice) {
      this.#become({ kind: 'idle' });
      return 'refused-office';
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
