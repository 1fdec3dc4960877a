import type { EntryVersion, WriteAnswer } from '@atoll/core-store';
import { isExpired, compareVersion } from '@atoll/core-store';
import { checksum32, compareHash, keyHash } from '@atoll/core-runtime';
import { encodeEntry, encodedBytes, type LogEntry } from '../log-entry.ts';
import type { WriteRequest } from '../replica-types.ts';
import { toKeyText } from '../uncommitted.ts';

export interface ModelEntry {
  readonly value: Uint8Array;
  readonly version: EntryVersion;
  readonly expiresAtMs: number;
}

interface Committed {
  readonly epoch: number;
  readonly checksum: number;
  readonly writeId: number | undefined;
  /** What a write of this entry must have been told. */
  readonly before: ModelEntry | undefined;
  readonly stampMs: number;
  /** Taken from a source: what a write was told rests on what was there (R37). */
  readonly isCopied: boolean;
}

/**
 * The one committed log, as the first replica that applied each entry saw it, and what a sequential reader makes of
 * it: a plain map. Replicas are compared with it, and so is what callers were told.
 */
export class CommittedModel {
  readonly entries = new Map<string, ModelEntry>();
  readonly #log: Committed[] = [];
  readonly #seqOfWrite = new Map<number, number>();
  readonly generation: number;
  #isCopy = false;

  constructor(generation: number) {
    this.generation = generation;
  }

  /** What is committed now comes from a source, some of it perhaps again (R37). */
  get isCopy(): boolean {
    return this.#isCopy;
  }

  get endSeq(): number {
    return this.#log.length;
  }

  epochAt(seq: number): number | undefined {
    return this.#log[seq - 1]?.epoch;
  }

  seqOf(writeId: number): number | undefined {
    return this.#seqOfWrite.get(writeId);
  }

  /** An entry that some replica applied; throws when another was applied at its place (I2, I4). */
  take(entry: LogEntry): void {
    const checksum = checksumOf(entry);
    const known = this.#log[entry.seq - 1];
    if (known !== undefined) {
      if (known.checksum !== checksum) throw new Error(`two different entries were committed as seq ${entry.seq} (I2): epochs ${known.epoch} and ${entry.epoch}`);
      return;
    }
    if (entry.seq !== this.endSeq + 1) throw new Error(`entry ${entry.seq} was committed before ${this.endSeq + 1} (I4)`);
    const last = this.#log.at(-1);
    if (last !== undefined && (entry.epoch < last.epoch || entry.stampMs < last.stampMs)) {
      throw new Error(`entry ${entry.seq} is older than the one before it: epoch ${entry.epoch} after ${last.epoch}, time ${entry.stampMs} after ${last.stampMs} (R23)`);
    }
    const writeId = entry.opId?.counter;
    if (writeId !== undefined) {
      if (this.#seqOfWrite.has(writeId) && !this.#isCopy) throw new Error(`write ${writeId} was committed twice (R21)`);
      this.#seqOfWrite.set(writeId, entry.seq);
    }
    const { operation } = entry;
    const keyText = 'key' in operation ? toKeyText(operation.key) : undefined;
    const before = keyText === undefined ? undefined : this.entries.get(keyText);
    this.#log.push({ epoch: entry.epoch, checksum, writeId, before, stampMs: entry.stampMs, isCopied: this.#isCopy });
    if (operation.kind === 'copied') this.#isCopy = operation.position.phase !== 'ENDED';
    for (const key of entry.evicted) this.entries.delete(toKeyText(key));
    if (operation.kind === 'put') {
      const version = { generation: this.generation, epoch: entry.epoch, seq: entry.seq };
      this.entries.set(keyText!, { value: Buffer.from(operation.value), version, expiresAtMs: operation.expiresAtMs });
    } else if (operation.kind === 'delete') {
      this.entries.delete(keyText!);
    } else if (operation.kind === 'expire') {
      for (const [text, held] of this.entries) {
        const hash = keyHash(Buffer.from(text, 'latin1'));
        const isWithin = compareHash(hash, operation.from) >= 0 && (operation.to === undefined || compareHash(hash, operation.to) < 0);
        if (isWithin && isExpired(held.expiresAtMs, operation.watermarkMs)) this.entries.delete(text);
      }
    }
  }

  /** Throws unless a write that was told `answer` with `version` says what the log says at that place. */
  checkAnswer(writeId: number, request: WriteRequest, answer: WriteAnswer, version: EntryVersion): void {
    const committed = this.#log[version.seq - 1];
    const say = (what: string): never => {
      throw new Error(`write ${writeId} (${request.command.kind}) at seq ${version.seq}: ${what}`);
    };
    if (committed === undefined) return;
    if (committed.writeId !== writeId || committed.epoch !== version.epoch) say(`was told success, but the committed entry is write ${committed.writeId} of epoch ${committed.epoch} (I2)`);
    if (committed.isCopied) return;
    const { command } = request;
    const live = committed.before !== undefined && isExpired(committed.before.expiresAtMs, committed.stampMs) ? undefined : committed.before;
    if (command.kind === 'increment' && answer.kind === 'increment') {
      const expected = (live === undefined ? command.initial : BigInt(Buffer.from(live.value).toString('latin1'))) + command.delta;
      if (answer.value !== expected) say(`was told ${answer.value}, the log makes it ${expected}`);
    }
    if (command.kind === 'set') {
      if (command.condition === 'IF_ABSENT' && live !== undefined) say('applied although the key was there');
      if (command.condition === 'IF_PRESENT' && live === undefined) say('applied although the key was absent');
      if (command.condition === 'IF_VERSION' && (live === undefined || compareVersion(live.version, command.expectedVersion!) !== 0)) say('applied over another version');
    }
    if ((command.kind === 'touch' || command.kind === 'delete') && live === undefined) say('applied although the key was absent');
  }
}

function checksumOf(entry: LogEntry): number {
  const bytes = Buffer.allocUnsafe(encodedBytes(entry));
  encodeEntry(entry, bytes, 0);
  return checksum32(bytes);
}
