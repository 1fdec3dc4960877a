// The follower's half: it reads the leader's log in order, appends, acknowledges, and applies what is committed.
// Learners do the same; they differ in what the leader makes of their acknowledgements.
import type { Generation } from '@atoll/core-membership';
import type {
  AckMessage,
  AppendMessage,
  AppendPartMessage,
  DivergenceMessage,
  InstallOrderMessage,
  LogPosition,
  SubscribeMessage,
} from './messages.ts';
import type { ReplicaState } from './replica-state.ts';
import type { ReplicaSettings } from './replica-types.ts';
import type { SnapshotChunk } from './snapshot-install.ts';

/**
 * `ok`: taken in. `resubscribe`: the stream does not fit the log any more, subscribe again on it. `ignored`: from a
 * leader that is none any more.
 */
export type FollowOutcome = 'ok' | 'resubscribe' | 'ignored';

interface PartialEntry {
  readonly prev: LogPosition;
  readonly bytes: Buffer;
  filled: number;
}

export class Follower {
  readonly epoch: number;
  readonly #state: ReplicaState;
  readonly #settings: ReplicaSettings;
  #partial: PartialEntry | undefined;
  /** Where the log of the present install began; 0 without one. */
  #installLogSeq: number;
  /** Whether the leader has answered the present subscription: only from then on the two logs are known to agree. */
  #isAnswered = false;

  constructor(options: { state: ReplicaState; epoch: number; settings: ReplicaSettings }) {
    this.#state = options.state;
    this.#settings = options.settings;
    this.epoch = options.epoch;
    this.#installLogSeq = options.state.install === undefined ? 0 : options.state.log.base.seq;
  }

  subscription(channel: number): SubscribeMessage {
    const { identity, generation, log, appliedSeq, install } = this.#state;
    this.#partial = undefined;
    this.#isAnswered = false;
    return {
      channel,
      keyspace: identity.keyspace,
      partition: identity.partition,
      replicaId: identity.self.replica,
      generation,
      epoch: this.epoch,
      end: log.end,
      appliedSeq,
      installed: this.#state.hasAllData,
      installLogSeq: install === undefined ? 0 : this.#installLogSeq,
    };
  }

  /** Before the leader has answered the subscription nothing counts as appended: the logs may part. */
  ack(channel: number, freeBytes: number): AckMessage {
    return {
      channel,
      epoch: this.epoch,
      appendedSeq: this.#isAnswered ? this.#state.appendedSeq : 0,
      appliedSeq: this.#state.appliedSeq,
      freeBytes: Math.max(0, Math.floor(freeBytes)),
      installing: !this.#state.isInstalled,
    };
  }

  onAppend(message: AppendMessage, nowMs: number): FollowOutcome {
    if (message.epoch !== this.epoch) return 'ignored';
    // Without entries, too: a commit position counts only for a log that agrees with the leader's.
    if (!this.#follows(message.prev)) return 'resubscribe';
    this.#isAnswered = true;
    if (message.count > 0) this.#state.appendEncoded(message.entries);
    this.#commit(message.commitSeq, message.timeMs, nowMs);
    return 'ok';
  }

  onPart(message: AppendPartMessage): FollowOutcome {
    if (message.epoch !== this.epoch) return 'ignored';
    if (message.offset === 0) {
      this.#partial = { prev: message.prev, bytes: Buffer.allocUnsafeSlow(message.entryBytes), filled: 0 };
    }
    const partial = this.#partial;
    if (partial === undefined || partial.filled !== message.offset || !this.#follows(message.prev)) return 'resubscribe';
    this.#isAnswered = true;
    partial.filled += message.data.copy(partial.bytes, partial.filled);
    if (partial.filled === partial.bytes.length) {
      this.#partial = undefined;
      this.#state.appendEncoded(partial.bytes);
    }
    return 'ok';
  }

  /**
   * The logs part (R28, KIP-279): cut back to where they may still agree, then ask again. An epoch that this log
   * does not have sends it to its own largest one below.
   */
  onDivergence(message: DivergenceMessage): FollowOutcome {
    if (message.epoch !== this.epoch) return 'ignored';
    const own = this.#state.log.epochEnd(message.end.epoch);
    // The log begins above all that the leader knows: what is applied here was never its own.
    if (own === undefined) throw new Error(`the leader's log ends in epoch ${message.end.epoch}, before the first one of this replica (R28)`);
    this.#state.truncate(own.epoch === message.end.epoch ? Math.min(own.seq, message.end.seq) : own.seq);
    return 'resubscribe';
  }

  /** The leader's log does not reach back to this one: replace everything by a snapshot (R33). */
  onInstallOrder(message: InstallOrderMessage): FollowOutcome {
    if (message.epoch !== this.epoch) return 'ignored';
    const generation: Generation = { counter: message.generation.counter, id: message.generation.id };
    this.#isAnswered = true;
    this.#state.beginInstall(generation, message.logStart);
    this.#installLogSeq = message.logStart.seq;
    return 'ok';
  }

  /** Returns false for a chunk that is not the next one, or of another leader's epoch. */
  onChunk(chunk: SnapshotChunk, epoch: number): boolean {
    const { install } = this.#state;
    if (install === undefined || epoch !== this.epoch || !install.takeChunk(chunk)) return false;
    this.#state.finishInstallIfComplete();
    return true;
  }

  #follows(prev: LogPosition): boolean {
    const { end } = this.#state.log;
    return prev.seq === end.seq && prev.epoch === end.epoch;
  }

  #commit(commitSeq: number, timeMs: number, nowMs: number): void {
    this.#state.clock.follow(timeMs, nowMs);
    this.#state.commitTo(commitSeq, nowMs);
    this.#state.log.trim(this.#state.appliedSeq, this.#settings.logBytesMax);
  }
}
