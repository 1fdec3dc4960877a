import { encodeEntry, encodedBytes, type LogOperation } from '@atoll/core-replication';
import { SeededRandom, compareHash, keyHash, randomBelow, type Hash64 } from '@atoll/core-runtime';
import { encodeRows, type RowSource } from '@atoll/core-store';
import { ContentTally, isSameContent } from '../content-digest.ts';
import type { ChunkRef } from '../manifest.ts';
import type { RestoreSource, RestoreStep } from '../restore-plan.ts';
import { foldPartition, type FoldOptions, type FoldedEntry } from './fold-partition.ts';

const SEED = 20_261_122;
const KEYS = 60;
const GENERATION = 3;
const bytesOf = (text: string): Buffer => Buffer.from(text);

/** A partition that is written to, and what an archive took of it. */
class World {
  readonly random: SeededRandom;
  readonly held = new Map<string, RowSource>();
  readonly steps: RestoreStep[] = [];
  readonly contents = new Map<string, Buffer>();
  seq = 0;
  nowMs = 1000;
  #log: Buffer[] = [];
  #firstSeq = 1;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  write(): void {
    this.nowMs += randomBelow(this.random, 20);
    const key = `key-${randomBelow(this.random, KEYS)}`;
    const dice = randomBelow(this.random, 10);
    if (dice < 6) {
      const expiresAtMs = dice < 3 ? this.nowMs + 1 + randomBelow(this.random, 400) : 0;
      const value = bytesOf(`${key}=${this.seq}`);
      const evicted = dice === 0 ? [...this.held.keys()].filter((other) => other !== key).slice(0, 1) : [];
      this.append({ kind: 'put', key: bytesOf(key), value, expiresAtMs }, evicted);
      for (const gone of evicted) this.held.delete(gone);
      this.held.set(key, { key: bytesOf(key), value, expiresAtMs, version: { generation: GENERATION, epoch: 1, seq: this.seq } });
    } else if (dice < 8) {
      this.append({ kind: 'delete', key: bytesOf(key) });
      this.held.delete(key);
    } else if (dice === 8) {
      this.append({ kind: 'marker' });
    } else this.expire();
  }

  expire(): void {
    const [a, b] = [hashAt(randomBelow(this.random, 2 ** 32)), hashAt(randomBelow(this.random, 2 ** 32))].sort(compareHash);
    const to = randomBelow(this.random, 3) === 0 ? undefined : b;
    this.append({ kind: 'expire', from: a!, to, watermarkMs: this.nowMs });
    for (const [key, { expiresAtMs }] of this.held) {
      const hash = keyHash(bytesOf(key));
      if (expiresAtMs > 0 && expiresAtMs <= this.nowMs && compareHash(hash, a!) >= 0 && (to === undefined || compareHash(hash, to) < 0)) this.held.delete(key);
    }
  }

  append(operation: LogOperation, evicted: readonly string[] = []): void {
    this.seq += 1;
    const entry = { epoch: 1, seq: this.seq, stampMs: this.nowMs, opId: undefined, evicted: evicted.map(bytesOf), operation };
    const bytes = Buffer.alloc(encodedBytes(entry));
    encodeEntry(entry, bytes, 0);
    this.#log.push(bytes);
  }

  /** Rows in the order of their hashes, read slice by slice while it is written to, then the log since the beginning. */
  full(slices: number): void {
    this.#log = [];
    this.#firstSeq = this.seq + 1;
    for (let slice = 0; slice < slices; slice += 1) {
      const from = hashAt((slice * 2 ** 32) / slices);
      const to = slice === slices - 1 ? undefined : hashAt(((slice + 1) * 2 ** 32) / slices);
      this.rows('full', this.sorted().filter((row) => compareHash(keyHash(row.key), from) >= 0 && (to === undefined || compareHash(keyHash(row.key), to) < 0)));
      for (let index = 0; index < 8; index += 1) this.write();
    }
    this.log('full');
  }

  /** The log once more from its beginning, as a writer that went on at another replica leaves it. */
  again(archive: string): void {
    const log = this.steps.find(({ chunk }) => chunk.kind === 'LOG');
    if (log !== undefined) this.#step({ ...log, archive });
  }

  /** The newest version of each key that was touched, deletes included. */
  increment(id: string, before: ReadonlyMap<string, RowSource>): void {
    const changed = this.sorted().filter((row) => before.get(row.key.toString())?.version.seq !== row.version.seq);
    const gone = [...before.values()].filter(({ key }) => !this.held.has(key.toString())).map((row): RowSource => ({ ...row, value: Buffer.alloc(0), expiresAtMs: 0, isDeleted: true }));
    const deletedAt = { generation: GENERATION, epoch: 1, seq: this.seq };
    for (const row of gone) Object.assign(row, { version: deletedAt });
    this.rows(id, [...changed, ...gone].sort((a, b) => compareHash(keyHash(a.key), keyHash(b.key))));
    this.#log = [];
    this.#firstSeq = this.seq + 1;
  }

  rows(archive: string, rows: readonly RowSource[]): void {
    if (rows.length === 0) return;
    const hashes = { first: keyHash(rows[0]!.key), last: keyHash(rows.at(-1)!.key) };
    this.#step({ archive, chunk: this.#chunk(encodeRows(rows), { kind: 'ROWS', hashes }) });
  }

  log(archive: string): void {
    if (this.#log.length === 0) return;
    const content = Buffer.concat(this.#log);
    this.#step({ archive, chunk: this.#chunk(content, { kind: 'LOG', log: { firstSeq: this.#firstSeq, lastSeq: this.seq, firstMs: 0, lastMs: this.nowMs } }) });
    this.#log = [];
    this.#firstSeq = this.seq + 1;
  }

  sorted(): RowSource[] {
    return [...this.held.values()].sort((a, b) => compareHash(keyHash(a.key), keyHash(b.key)));
  }

  #chunk(content: Buffer, fields: Partial<ChunkRef>): ChunkRef {
    const id = `chunk-${this.contents.size}`;
    this.contents.set(id, content);
    return { id, kind: 'ROWS', storedBytes: content.length, plainBytes: content.length, entries: 0, deletes: 0, ...fields };
  }

  #step(step: RestoreStep): void {
    this.steps.push(step);
  }

  source(upTo: RestoreSource['upTo'] = { seq: this.seq }): RestoreSource {
    return { partition: 0, generation: GENERATION, timeMs: this.nowMs, steps: this.steps, upTo };
  }

  async fold(options: Partial<FoldOptions> = {}): Promise<FoldedEntry[]> {
    const entries: FoldedEntry[] = [];
    const read = async ({ chunk }: RestoreStep): Promise<Buffer> => this.contents.get(chunk.id)!;
    for await (const slice of foldPartition({ source: this.source(), read, belongs: () => true, overlayBytesMax: 2 ** 30, slice: { entriesMax: 7, bytesMax: 2 ** 20 }, ...options })) entries.push(...slice.entries);
    return entries;
  }
}

const hashAt = (high: number): Hash64 => ({ high: Math.floor(high), low: 0 });
const shown = (rows: readonly { readonly key: Uint8Array; readonly value: Uint8Array; readonly expiresAtMs: number }[]): string[] => rows.map(({ key, value, expiresAtMs }) => `${Buffer.from(key).toString()} ${Buffer.from(value).toString()} ${expiresAtMs}`);

describe(`a partition as an archive has it (seed ${SEED})`, () => {
  it.each(Array.from({ length: 30 }, (_, index) => index))('is what it held at the cut, whatever was written meanwhile and however little memory there is (world %i)', async (index) => {
    const world = new World(SEED + index);
    for (let write = 0; write < 80; write += 1) world.write();
    world.full(1 + (index % 4));
    for (let round = 0; round < index % 3; round += 1) {
      const before = new Map(world.held);
      for (let write = 0; write < 40; write += 1) world.write();
      world.increment(`increment-${round}`, before);
    }
    if (index % 2 === 1) {
      for (let write = 0; write < 40; write += 1) world.write();
      world.log('log');
    }
    // What is there already changes nothing: nothing takes the place of a newer version.
    world.again('full');
    const expected = shown(world.sorted());
    expect(shown(await world.fold())).toEqual(expected);
    expect(shown(await world.fold({ overlayBytesMax: 2000 }))).toEqual(expected);
    const tally = new ContentTally();
    const held = new ContentTally();
    for (const { hash, value, expiresAtMs } of await world.fold({ overlayBytesMax: 900 })) tally.add(hash, value, expiresAtMs);
    for (const { key, value, expiresAtMs } of world.held.values()) held.add(keyHash(key), value, expiresAtMs);
    expect(isSameContent(tally, held)).toBe(true);
    // From any hash on it is the rest of the same, and of some keys it is these.
    const from = hashAt(randomBelow(world.random, 2 ** 32));
    expect(shown(await world.fold({ from, overlayBytesMax: 3000 }))).toEqual(shown(world.sorted().filter(({ key }) => compareHash(keyHash(key), from) >= 0)));
    const isEven = (key: Uint8Array): boolean => key.at(-1)! % 2 === 0;
    expect(shown(await world.fold({ belongs: isEven }))).toEqual(shown(world.sorted().filter(({ key }) => isEven(key))));
  });

  it('reads each chunk once where nothing was written while it was read, and says which one is next', async () => {
    const world = new World(SEED);
    for (let write = 0; write < 200; write += 1) world.write();
    const rows = world.sorted();
    for (let at = 0; at < rows.length; at += 10) world.rows('full', rows.slice(at, at + 10));
    const asked: string[] = [];
    const read = async ({ chunk }: RestoreStep, next: RestoreStep | undefined): Promise<Buffer> => {
      asked.push(`${chunk.id} then ${next?.chunk.id ?? 'none'}`);
      return world.contents.get(chunk.id)!;
    };
    expect(await world.fold({ read, overlayBytesMax: 1 })).toHaveLength(rows.length);
    expect(asked).toEqual(world.steps.map(({ chunk }, index) => `${chunk.id} then ${world.steps[index + 1]?.chunk.id ?? 'none'}`));
  });

  it('of a log takes what lies between its bounds, by seq or by time (R40)', async () => {
    const world = new World(SEED);
    for (let index = 1; index <= 6; index += 1) {
      world.nowMs = 1000 + index;
      world.append({ kind: 'put', key: bytesOf(`k${index}`), value: bytesOf(''), expiresAtMs: 0 });
    }
    world.log('log');
    const [step] = world.steps;
    const keysOf = async (source: Partial<RestoreSource>): Promise<string[]> => (await world.fold({ source: { ...world.source(), ...source } })).map(({ key }) => key.toString()).sort();
    expect(await keysOf({ steps: [{ ...step!, afterSeq: 2, upToSeq: 4 }] })).toEqual(['k3', 'k4']);
    expect(await keysOf({ upTo: { atMs: 1003 } })).toEqual(['k1', 'k2', 'k3']);
  });

  it.each([
    ['rows', 'ROWS'],
    ['log', 'LOG'],
  ] as const)('names the chunk whose %s nobody can read', async (_, kind) => {
    const world = new World(SEED);
    world.rows('full', [{ key: bytesOf('a'), value: bytesOf('b'), expiresAtMs: 0, version: { generation: 1, epoch: 1, seq: 1 } }]);
    const step: RestoreStep = { archive: 'full', chunk: { ...world.steps[0]!.chunk, kind } };
    await expect(world.fold({ source: { ...world.source(), steps: [step] }, read: async () => Buffer.from('no such thing') })).rejects.toMatchObject({ reason: 'ARCHIVE_DAMAGED', metadata: { object: 'chunk chunk-0', damage: 'MALFORMED' } });
  });
});
