import { resolveKeyspace, type VersionedRecord } from '@atoll/core-membership';
import type { Fence } from '@atoll/core-locks';
import type { WriteOutcome, WriteRequest } from '@atoll/core-replication';
import type { EntryVersion, WriteAnswer, WriteCommand } from '@atoll/core-store';
import type { BegunOperation, KeyAction, KeyAnswer } from '@atoll/tests-history';
import type { SimClock } from '../base/sim-clock.ts';
import { GuardedEtcd } from '../base/guarded-etcd.ts';
import { SimProcess } from '../base/sim-process.ts';
import { RecordView } from '../control/record-view.ts';
import { KEYSPACE, partitionKey, slotOf } from '../names.ts';
import type { World } from '../world.ts';
import { partitionOfKey, type SimKey } from './sim-key.ts';
import { serveRead, serveWrite } from './serve.ts';

const ATTEMPT_MS = 700;
const BACKOFF_MS = 60;
/** A client that has lost the leader asks anybody now and then: its view may be old. */
const GUESS = 0.2;
const CLIENT_ID = Buffer.from('world-01');

interface Operation {
  readonly begun: BegunOperation;
  readonly key: SimKey;
  readonly atMs: number;
  isOver: boolean;
  /** Sendings of which nothing was heard, or not that they came to nothing. */
  open: number;
  /** Some attempt may have got a seq: from then on it is success, or in doubt (R20). */
  isInDoubt: boolean;
  /** Id of the keyspace that it was sent to last; of worlds with copies. */
  keyspaceId: string | undefined;
  /** A cut-over for whose time it is certain that it did not happen before (R37). */
  notAppliedFor: string | undefined;
}

/** Where a key is at this moment, as far as a client knows. */
interface Route {
  readonly slot: number;
  readonly keyspaceId: string | undefined;
  /** Of a keyspace that has taken the place of another one. */
  readonly cutOver: string | undefined;
}

/** A client with its router in one: one operation after the other, each sent again until it is answered or too late. */
export class SimClient extends SimProcess {
  readonly etcd: GuardedEtcd;
  readonly #world: World;
  readonly #view = new RecordView();
  /** Versions that it was told, by key. */
  readonly #versions = new Map<string, EntryVersion>();
  /** Fencing tokens of the locks that it holds, or thinks that it holds, by partition. */
  readonly #tokens = new Map<number, number>();

  constructor(options: { world: World; id: string; incarnation: string; clock: SimClock }) {
    super({ ...options, events: options.world.events });
    this.#world = options.world;
    this.etcd = new GuardedEtcd({ etcd: this.#world.etcd, process: this, onEvents: (events) => this.#view.onEvents(events) });
    this.after(1500, () => this.#next());
  }

  #next(): void {
    const { dice, plan } = this.#world;
    if (!this.#world.isWriting) return;
    this.after(dice.between(1, plan.thinkMsMax), () => {
      if (!this.#world.isWriting) return;
      const key = dice.pick(this.#world.keys);
      if (dice.chance(0.4)) this.#read(key);
      else this.#write(key);
    });
  }

  #begin(key: SimKey, action: KeyAction, writeId?: number): Operation {
    this.#world.operations += 1;
    if (writeId !== undefined) this.#world.writeIds.set(this.#world.history.length, writeId);
    return { begun: this.#world.history.begin(this.id, key.name, action), key, atMs: this.clock.monotonicMs, isOver: false, open: 0, isInDoubt: false, keyspaceId: undefined, notAppliedFor: undefined };
  }

  #end(operation: Operation, answer: KeyAnswer | undefined): void {
    if (operation.isOver) return;
    operation.isOver = true;
    if (answer !== undefined) this.#world.answered += 1;
    operation.begun.end(answer !== undefined ? { kind: 'ok', answer } : { kind: operation.isInDoubt || operation.open > 0 ? 'unknown' : 'failed' });
    this.#next();
  }

  #record(slot: number): VersionedRecord | undefined {
    return this.#view.partitions.get(partitionKey(slot));
  }

  /** Undefined where it knows of no keyspace of that name. */
  #route({ key, partition }: SimKey): Route | undefined {
    if (!this.#world.hasCopies) return { slot: partition, keyspaceId: undefined, cutOver: undefined };
    const spec = resolveKeyspace(this.#view.keyspaces, KEYSPACE);
    return spec && { slot: slotOf({ keyspace: spec.name, partition: partitionOfKey(key, spec.partitionCount) }), keyspaceId: spec.id, cutOver: spec.cutOver?.id };
  }

  #target(slot: number): string | undefined {
    const { dice } = this.#world;
    if (dice.chance(GUESS)) return dice.pick([...this.#view.nodes.keys(), 'n1']);
    return this.#record(slot)?.record.leader?.node;
  }

  /** Sends once; `retry` runs when there is no answer in time. */
  #attempt<T>(operation: Operation, serve: (nodeId: string, route: Route, answer: (outcome: T) => void) => boolean, on: { answer: (outcome: T) => void; lost: () => void }): void {
    const { dice } = this.#world;
    const route = this.#route(operation.key);
    const target = route && this.#target(route.slot);
    let isSettled = false;
    const settle = (then: () => void): void => {
      if (isSettled || operation.isOver) return;
      isSettled = true;
      then();
    };
    const isSent = target !== undefined && serve(target, route!, (outcome) => settle(() => on.answer(outcome)));
    if (!isSent) return this.after(dice.between(10, BACKOFF_MS), () => settle(on.lost));
    this.after(ATTEMPT_MS, () => settle(on.lost));
  }

  // --- reads ------------------------------------------------------------------------------------------------------

  #read(key: SimKey): void {
    const { network } = this.#world;
    const operation = this.#begin(key, { kind: 'read' });
    const again = (): void => {
      if (this.clock.monotonicMs - operation.atMs > this.#world.plan.deadlineMs) return this.#end(operation, undefined);
      this.after(this.#world.dice.between(5, BACKOFF_MS), attempt);
    };
    const attempt = (): void =>
      this.#attempt<Parameters<Parameters<typeof serveRead>[3]>[0]>(
        operation,
        (nodeId, { slot }, answer) => {
          const node = this.#world.nodeOf(nodeId);
          if (node === undefined) return false;
          network.send(this, node, () => serveRead(this.#world, node, { ...key, slot }, (outcome) => network.send(node, this, () => answer(outcome))));
          return true;
        },
        {
          lost: again,
          answer: (outcome) => {
            if (outcome.kind === 'failed') return again();
            const { value, version } = outcome;
            if (version !== undefined) this.#versions.set(key.name, version);
            this.#end(operation, { value: value === undefined ? undefined : Buffer.from(value).toString('latin1'), version: this.#toText(version) });
          },
        },
      );
    attempt();
  }

  // --- writes -----------------------------------------------------------------------------------------------------

  #write(key: SimKey): void {
    const { dice, network } = this.#world;
    const writeId = this.#world.newNumber();
    const { command, action } = this.#command(key, writeId);
    const ack = dice.chance(0.85) ? 'IN_SYNC' : 'LEADER';
    const fence = this.#fence(key, writeId);
    const operation = this.#begin(key, action, writeId);
    const expire = (): void => {
      if (!operation.isInDoubt && operation.open === 0) this.#world.checker.failed(writeId);
      this.#end(operation, undefined);
    };
    const again = (): void => {
      if (this.clock.monotonicMs - operation.atMs > this.#world.plan.deadlineMs) return expire();
      this.after(dice.between(5, BACKOFF_MS), attempt);
    };
    let sentCount = 0;
    let firstMs = operation.atMs;
    const attempt = (): void => {
      this.#attempt<WriteOutcome>(
        operation,
        (nodeId, { slot, keyspaceId, cutOver }, answer) => {
          const node = this.#world.nodeOf(nodeId);
          if (node === undefined) return false;
          // The source's frozen leader did not have it, and took nothing since: to the copy it comes for the first time.
          if (keyspaceId !== operation.keyspaceId && operation.notAppliedFor !== undefined && operation.notAppliedFor === cutOver) {
            sentCount = 0;
            firstMs = this.clock.monotonicMs;
          }
          operation.keyspaceId = keyspaceId;
          const send = (): void => {
            const repeatAgeMs = sentCount === 0 ? 0 : Math.max(1, this.clock.monotonicMs - firstMs);
            sentCount += 1;
            operation.open += 1;
            const request: WriteRequest = { key: key.key, hash: key.hash, command, opId: { clientId: CLIENT_ID, counter: writeId }, ack, repeatAgeMs, fence };
            const sending = sentCount;
            const told = (outcome: WriteOutcome): void => {
              if (outcome.kind === 'failed' && outcome.reason !== 'WRITE_IN_DOUBT') operation.open -= 1;
              if (outcome.kind === 'failed') operation.notAppliedFor = outcome.metadata?.['not_applied_for'] ?? operation.notAppliedFor;
              // The answer to an earlier one counts no more: it may be that of a write that changed nothing, of which
              // no trace is kept, and the repeat may yet find its condition met (R21).
              if (sending === sentCount) answer(outcome);
            };
            network.send(this, node, () =>
              serveWrite(this.#world, node, { slot, writeId, request }, (outcome) => network.send(node, this, () => told(outcome))),
            );
          };
          send();
          // A client, or a router, that does not wait long.
          if (this.#world.isFaulty && dice.chance(0.03)) send();
          return true;
        },
        {
          lost: again,
          answer: (outcome) => {
            if (outcome.kind === 'done') return this.#told(operation, key, ack, outcome);
            if (outcome.reason === 'WRITE_IN_DOUBT') operation.isInDoubt = true;
            if (FINAL.has(outcome.reason)) return expire();
            again();
          },
        },
      );
    };
    attempt();
  }

  /** Under the lock of the key's partition, which it takes again now and then: whoever held it before is outdated (R38). */
  #fence({ partition }: SimKey, writeId: number): Fence | undefined {
    const { dice, plan, checker } = this.#world;
    if (!plan.isFenced || !dice.chance(0.5)) return undefined;
    let token = this.#tokens.get(partition);
    if (token === undefined || dice.chance(0.05)) this.#tokens.set(partition, (token = this.#world.newNumber()));
    checker.fenced(writeId, token);
    return { lock: { kind: 'name', name: `lock-${partition}` }, token, isShared: false };
  }

  #told(operation: Operation, key: SimKey, ack: 'IN_SYNC' | 'LEADER', { answer, version }: Extract<WriteOutcome, { kind: 'done' }>): void {
    // At ack LEADER the write may be lost yet: nothing is known of it for certain.
    if (ack === 'LEADER') {
      operation.isInDoubt = true;
      return this.#end(operation, undefined);
    }
    if (version !== undefined) this.#versions.set(key.name, version);
    this.#end(operation, toKeyAnswer(answer, this.#toText(version)));
  }

  /** Versions are a copy's own (R3): no history is checked by them where there are copies. */
  #toText(version: EntryVersion | undefined): string | undefined {
    return version === undefined || this.#world.hasCopies ? undefined : `${version.generation}.${version.epoch}.${version.seq}`;
  }

  #command(key: SimKey, writeId: number): { readonly command: WriteCommand; readonly action: KeyAction } {
    const { dice, plan } = this.#world;
    const expiresAtMs = key.hasTtl && dice.chance(0.5) ? Math.floor(this.clock.moment.wallMs) + dice.between(50, 3000) : 0;
    const roll = dice.below(100);
    if (key.isCounter) {
      if (roll < 6) return { command: { kind: 'delete' }, action: { kind: 'delete' } };
      const delta = BigInt(dice.between(1, 9));
      return { command: { kind: 'increment', delta, initial: 100n, expiresAtMs }, action: { kind: 'increment', delta, initial: 100n } };
    }
    if (roll < 10) return { command: { kind: 'delete' }, action: { kind: 'delete' } };
    if (roll < 14) return { command: { kind: 'touch', expiresAtMs }, action: { kind: 'touch' } };
    const text = `${writeId}`.padEnd(dice.below(plan.valueBytesMax + 1), '.');
    const value = Buffer.from(text);
    const expectedVersion = this.#versions.get(key.name);
    const hasVersion = expectedVersion !== undefined && !this.#world.hasCopies;
    const condition = roll < 60 ? 'NONE' : roll < 72 ? 'IF_ABSENT' : roll < 82 || !hasVersion ? 'IF_PRESENT' : 'IF_VERSION';
    return {
      command: { kind: 'set', value, expiresAtMs, condition, expectedVersion },
      action: { kind: 'set', value: text, condition, expectedVersion: condition === 'IF_VERSION' ? this.#toText(expectedVersion) : undefined },
    };
  }
}

/** To be asked again is no use. */
const FINAL: ReadonlySet<string> = new Set(['MEMORY_EXHAUSTED', 'VALUE_NOT_INTEGER', 'INTEGER_OVERFLOW', 'INVALID_ARGUMENT', 'STALE_FENCING_TOKEN']);

function toKeyAnswer(answer: WriteAnswer, version: string | undefined): KeyAnswer {
  switch (answer.kind) {
    case 'increment':
      return { value: String(answer.value), version };
    case 'delete':
      return { applied: answer.applied };
    default:
      return { applied: answer.applied, version: answer.applied ? version : undefined };
  }
}
