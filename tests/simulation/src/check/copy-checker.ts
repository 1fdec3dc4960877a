import type { KeyspaceSpec } from '@atoll/core-membership';
import { partitionOfToken, sourcePartitionsOf, tokenOfKey } from '@atoll/core-placement';
import type { CopyPosition, LogEntry } from '@atoll/core-replication';
import { CommittedModel } from '@atoll/core-replication/testing';
import { compareHash, keyHash } from '@atoll/core-runtime';
import { placeOfSlot, slotOf } from '../names.ts';

interface CopyShape {
  readonly source: string;
  readonly sourceCount: number;
  readonly targetCount: number;
}

/** A partition of the source, and what a partition of the copy is compared with: its log again, up to the place that the copy says. */
interface Pair {
  replay: CommittedModel;
  generation: number;
  /** Up to there in the source's log the copy may be ahead of the place that it says: a batch was taken in half (ADR 10). */
  aheadSeq: number;
}

/** Holds what copies must keep while a world runs (R37): every method throws when something is broken. */
export class CopyChecker {
  readonly #model: (slot: number, generation: number) => CommittedModel;
  /** By the name of the copy. */
  readonly #copies = new Map<string, CopyShape>();
  /** By slot, and generation: all that was committed there. */
  readonly #logs = new Map<number, Map<number, LogEntry[]>>();
  readonly #newest = new Map<number, number>();
  readonly #pairs = new Map<string, Pair>();
  /** Keyspaces whose place was taken, and where their logs ended then. */
  readonly #retired = new Set<string>();
  /** Copies that took the place of their source; cut-overs that were given up; places that were compared. */
  cutOvers = 0;
  givenUp = 0;
  compared = 0;

  constructor(options: { model: (slot: number, generation: number) => CommittedModel }) {
    this.#model = options.model;
  }

  begins(name: string, shape: CopyShape): void {
    this.#copies.set(name, shape);
  }

  /** An entry was committed. */
  onCommitted(slot: number, model: CommittedModel, entry: LogEntry): void {
    const { generation } = model;
    const { keyspace } = placeOfSlot(slot);
    this.#newest.set(slot, generation);
    const logs = this.#logs.get(slot) ?? new Map<number, LogEntry[]>();
    this.#logs.set(slot, logs);
    const log = logs.get(generation) ?? [];
    logs.set(generation, log);
    const { operation } = entry;
    log.push(copyOf(entry));
    if (this.#retired.has(keyspace) && (entry.opId !== undefined || operation.kind === 'put' || operation.kind === 'delete')) throw new Error(`partition ${slot} took write ${entry.opId?.counter} behind the cut-over of its copy (I8, R37)`);
    if (!this.#copies.has(keyspace)) return;
    if (operation.kind === 'office') this.#noteOffice(slot);
    if (operation.kind === 'copied') this.#onPlace(slot, model, operation.position);
  }

  /** Half a batch may be there of whoever led before. */
  #noteOffice(slot: number): void {
    for (const source of this.#sourcesOf(slot)) this.#pairOf(slot, source).aheadSeq = this.#endOf(slot, source);
  }

  #onPlace(slot: number, model: CommittedModel, position: CopyPosition): void {
    if (position.phase !== 'FOLLOWING' && position.phase !== 'COPYING') return;
    const { generation, seq } = position.origin;
    const pair = this.#pairOf(slot, position.source);
    if (pair.generation !== generation || pair.replay.endSeq > seq) Object.assign(pair, { replay: new CommittedModel(generation), generation });
    const log = this.#logs.get(this.#sourceSlot(slot, position.source))?.get(generation) ?? [];
    if (seq > log.length) throw new Error(`partition ${slot} says that it has its source up to ${seq}, where ${log.length} is committed (R37)`);
    while (pair.replay.endSeq < seq) pair.replay.take(log[pair.replay.endSeq]!);
    if (seq < pair.aheadSeq) return;
    this.compared += 1;
    this.#compare(slot, { held: model, source: pair.replay, partition: position.source, position });
  }

  /** The copy takes the place of its source: all that was ever committed there is here (I8). */
  onKeyspace(before: KeyspaceSpec | undefined, after: KeyspaceSpec): void {
    const shape = this.#copies.get(after.name);
    if (before?.copyOf === undefined || after.copyOf !== undefined || shape === undefined) return;
    this.cutOvers += 1;
    this.#retired.add(shape.source);
    for (let partition = 0; partition < shape.targetCount; partition += 1) {
      const slot = slotOf({ keyspace: after.name, partition });
      for (const source of this.#sourcesOf(slot)) {
        const from = this.#sourceSlot(slot, source);
        this.#compare(slot, { held: this.#model(slot, this.#newest.get(slot)!), source: this.#model(from, this.#newest.get(from)!), partition: source, position: undefined });
      }
    }
  }

  /** Both were compared at one place of the source's log. Of one that takes writes that says nothing. */
  differs(slot: number, source: number, origin: CopyPosition['origin'] | undefined): void {
    if (this.#retired.has(this.#copies.get(placeOfSlot(slot).keyspace)!.source)) return;
    throw new Error(`partition ${slot} differs from partition ${source} of its source at ${origin?.epoch},${origin?.seq} (R37)`);
  }

  #compare(slot: number, { held, source, partition, position }: { held: CommittedModel; source: CommittedModel; partition: number; position: CopyPosition | undefined }): void {
    const { sourceCount, targetCount } = this.#copies.get(placeOfSlot(slot).keyspace)!;
    const where = position === undefined ? 'when it takes the place of its source' : `at ${position.origin.seq} (${position.phase})`;
    const say = (what: string): never => {
      throw new Error(`partition ${slot} ${where}: ${what} of partition ${partition} (I8, R37)`);
    };
    for (const text of new Set([...held.entries.keys(), ...source.entries.keys()])) {
      const key = Buffer.from(text, 'latin1');
      const token = tokenOfKey(key);
      if (partitionOfToken(token, sourceCount) !== partition || partitionOfToken(token, targetCount) !== placeOfSlot(slot).partition) continue;
      const copied = held.entries.get(text);
      const original = source.entries.get(text);
      if (original === undefined) {
        // Each side removes what has expired by its own time.
        if (copied!.expiresAtMs === 0) say(`holds ${text}, which is gone there,`);
        continue;
      }
      if (copied === undefined) {
        const isDue = position?.phase === 'COPYING' && compareHash(keyHash(key), position.next!) >= 0;
        if (!isDue && original.expiresAtMs === 0) say(`lacks ${text}`);
        continue;
      }
      if (copied.expiresAtMs !== original.expiresAtMs || Buffer.compare(copied.value, original.value) !== 0) say(`has another value of ${text} than is there,`);
    }
  }

  #sourcesOf(slot: number): readonly number[] {
    const { keyspace, partition } = placeOfSlot(slot);
    return sourcePartitionsOf(partition, { ...this.#copies.get(keyspace)!, tokens: undefined });
  }

  #sourceSlot(slot: number, partition: number): number {
    return slotOf({ keyspace: this.#copies.get(placeOfSlot(slot).keyspace)!.source, partition });
  }

  #endOf(slot: number, source: number): number {
    const from = this.#sourceSlot(slot, source);
    return this.#logs.get(from)?.get(this.#newest.get(from) ?? 0)?.length ?? 0;
  }

  #pairOf(slot: number, source: number): Pair {
    const name = `${slot}<${source}`;
    let pair = this.#pairs.get(name);
    if (pair === undefined) this.#pairs.set(name, (pair = { replay: new CommittedModel(0), generation: 0, aheadSeq: 0 }));
    return pair;
  }
}

/** Views of the log's memory, which goes on to be used, are copied. */
function copyOf(entry: LogEntry): LogEntry {
  const evicted = entry.evicted.map((key) => Buffer.from(key));
  const { operation } = entry;
  switch (operation.kind) {
    case 'put':
      return { ...entry, evicted, operation: { ...operation, key: Buffer.from(operation.key), value: Buffer.from(operation.value) } };
    case 'delete':
    case 'unchanged':
      return { ...entry, evicted, operation: { ...operation, key: Buffer.from(operation.key) } };
    default:
      return { ...entry, evicted };
  }
}
