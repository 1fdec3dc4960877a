// The format of archives with Node's codec: what was written comes back, and what was not is told for what it is.
import { readFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  CHUNK_HEADER_BYTES,
  CHUNK_PLAIN_BYTES_MAX,
  ContentTally,
  checkChunk,
  checkKey,
  decodeChunk,
  decodeManifest,
  deriveArchiveKey,
  encodeChunk,
  encodeManifest,
  isSameContent,
  totalsOf,
  type ArchiveKey,
  type Manifest,
} from '@atoll/core-archive';
import { isAtollError } from '@atoll/core-errors';
import { SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import { decodeRows, encodeRows } from '@atoll/core-store';
import { Repository } from '../repository.ts';
import { chunkKey, manifestKey } from '../repository-layout.ts';
import { Session } from '../sessions/session.ts';
import { openFileObjectStore } from '../stores/file-object-store.ts';
import { sampleChunkRef, sampleManifest } from '../testing/sample-manifest.ts';
import { loadArchiveKeys } from './load-archive-keys.ts';
import { nodeArchiveCodec as codec } from './node-archive-codec.ts';

const SEED = 20_261_122;
const keyOf = (byte: number): ArchiveKey => deriveArchiveKey(codec, Buffer.alloc(32, byte));
const KEY = keyOf(7);
const OTHER_KEY = keyOf(8);
const damageOf = (damage: string) => ({ reason: 'ARCHIVE_DAMAGED', metadata: { damage } });

/** What it throws, or rejects with. */
async function failureOf(act: () => unknown): Promise<unknown> {
  try {
    await act();
  } catch (error) {
    return error;
  }
  return 'it did not fail';
}

/** `ALTERED`, `ARCHIVE_KEY_WRONG`: short, for loops over every byte. */
async function kindOf(act: () => unknown): Promise<string> {
  const failure = await failureOf(act);
  return isAtollError(failure) ? (failure.metadata['damage'] ?? failure.reason) : String(failure);
}

const rows = encodeRows([
  { key: Buffer.from('user:7'), value: Buffer.from('ada '.repeat(50)), version: { generation: 1, epoch: 2, seq: 3 }, expiresAtMs: 0 },
  { key: Buffer.from('user:8'), value: Buffer.from('grace'), version: { generation: 1, epoch: 2, seq: 4 }, expiresAtMs: 1_900_000_000_000 },
  { key: Buffer.from('user:9'), value: Buffer.alloc(0), version: { generation: 1, epoch: 2, seq: 5 }, expiresAtMs: 0, isDeleted: true },
]);

describe('a chunk', () => {
  it(`gives back what went in, and gets the same name for it again (seed ${SEED})`, async () => {
    const random = new SeededRandom(SEED);
    for (const length of [0, 1, 39, 40, 41, 1000, 70_000, 300_000]) {
      // Half of it is noise, so that it shrinks and is not nothing.
      const plain = Buffer.from(Array.from({ length }, (_, at) => (at % 2 === 0 ? randomBelow(random, 256) : 0)));
      const names = new Set<string>();
      for (const key of [undefined, KEY, OTHER_KEY]) {
        for (const level of [0, 1, 3]) {
          const chunk = await encodeChunk(codec, 'ROWS', plain, { level, key });
          const again = await encodeChunk(codec, 'ROWS', plain, { level, key });
          expect(again.id).toBe(chunk.id);
          names.add(`${key?.id} ${chunk.id}`);
          const keys = key === undefined ? [] : [OTHER_KEY, KEY];
          const decoded = await decodeChunk(codec, chunk.id, chunk.bytes, keys, chunk.bytes.length);
          expect([decoded.kind, decoded.plain.equals(plain)]).toEqual(['ROWS', true]);
        }
      }
      // Nothing of one key is found under another.
      expect(new Set([...names].map((name) => name.split(' ')[1])).size).toBe(names.size);
    }
    await expect(encodeChunk(codec, 'LOG', Buffer.alloc(CHUNK_PLAIN_BYTES_MAX + 1), { level: 0 })).rejects.toThrow(RangeError);
  });

  it.each([undefined, KEY])('tells every flipped bit, every cut and every byte more (key %#)', async (key) => {
    const { id, bytes } = await encodeChunk(codec, 'ROWS', rows, { level: 1, key });
    const keys = key === undefined ? [] : [key];
    const told = new Set<string>();
    for (let at = 0; at < bytes.length; at += 1) {
      const flipped = Buffer.from(bytes);
      flipped[at] = flipped[at]! ^ (1 << at % 8);
      told.add(`flipped: ${await kindOf(() => decodeChunk(codec, id, flipped, keys, bytes.length))}`);
      told.add(`cut: ${await kindOf(() => decodeChunk(codec, id, bytes.subarray(0, at), keys, bytes.length))}`);
    }
    expect([...told].sort()).toEqual(['cut: TRUNCATED', 'flipped: ALTERED']);
    await expect(decodeChunk(codec, id, Buffer.concat([bytes, Buffer.of(0)]), keys, bytes.length)).rejects.toMatchObject(damageOf('ALTERED'));
    // Looked at by itself, as a check of the whole repository does: the header says how long it was.
    expect(() => checkChunk(codec, id, bytes.subarray(0, bytes.length - 1))).toThrow(`chunk ${id}: has ${bytes.length - 1} of ${bytes.length} bytes`);
    expect(() => checkChunk(codec, id, bytes)).not.toThrow();
  });

  it('tells a key that is wrong or missing from damage, and needs none to be checked', async () => {
    const { id, bytes } = await encodeChunk(codec, 'ROWS', rows, { level: 1, key: KEY });
    expect(() => checkChunk(codec, id, bytes, bytes.length)).not.toThrow();
    await expect(decodeChunk(codec, id, bytes, [OTHER_KEY])).rejects.toMatchObject({ reason: 'ARCHIVE_KEY_WRONG', metadata: { object: `chunk ${id}`, wanted: KEY.id, given: OTHER_KEY.id } });
    await expect(decodeChunk(codec, id, bytes, [])).rejects.toMatchObject({ reason: 'ARCHIVE_KEY_WRONG', metadata: { given: '' } });
    // Somebody without the key who also renames it.
    const forged = Buffer.from(bytes);
    forged[CHUNK_HEADER_BYTES + 1]! ^= 1;
    const name = codec.sha256([forged]).toString('hex');
    await expect(decodeChunk(codec, name, forged, [KEY])).rejects.toMatchObject({ ...damageOf('ALTERED'), message: expect.stringContaining('was not sealed with its key') });
  });

  it.each<[string, (bytes: Buffer) => void, object]>([
    ['a later format', (bytes) => (bytes[8] = 2), { reason: 'ARCHIVE_TOO_NEW' }],
    ['a kind that is not known', (bytes) => (bytes[9] = 9), { reason: 'ARCHIVE_TOO_NEW' }],
    ['a compression that is not known', (bytes) => (bytes[10] = 2), { reason: 'ARCHIVE_TOO_NEW' }],
    ['another length of its content', (bytes) => bytes.writeUInt32LE(rows.length - 1, 12), damageOf('MALFORMED')],
    ['more content than any chunk has', (bytes) => bytes.writeUInt32LE(CHUNK_PLAIN_BYTES_MAX + 1, 12), damageOf('MALFORMED')],
    ['another beginning', (bytes) => (bytes[0] = 0), damageOf('MALFORMED')],
  ])('that was written so with %s is refused', async (_, change, expected) => {
    const { bytes } = await encodeChunk(codec, 'ROWS', rows, { level: 1 });
    change(bytes);
    await expect(decodeChunk(codec, codec.sha256([bytes]).toString('hex'), bytes, [])).rejects.toMatchObject(expected);
  });
});

describe('a manifest', () => {
  const manifestOf = async (key?: ArchiveKey): Promise<Manifest> => sampleManifest('full-1', 'c1.1.1', [sampleChunkRef(await encodeChunk(codec, 'ROWS', rows, { level: 1, key }))], { keyId: key?.id });

  it.each([undefined, KEY])('gives back what went in, and tells every flipped bit and every cut (key %#)', async (key) => {
    const manifest = await manifestOf(key);
    const bytes = encodeManifest(codec, manifest, key);
    const keys = key === undefined ? [] : [key];
    expect(decodeManifest(codec, 'full-1', bytes, keys)).toEqual(manifest);
    expect(decodeManifest(codec, 'full-1', bytes, [])).toEqual(manifest);
    const told = new Set<string>();
    for (let at = 0; at < bytes.length; at += 1) {
      const flipped = Buffer.from(bytes);
      flipped[at] = flipped[at]! ^ (1 << at % 8);
      told.add(`flipped: ${await kindOf(() => decodeManifest(codec, 'full-1', flipped, keys))}`);
      told.add(`cut: ${await kindOf(() => decodeManifest(codec, 'full-1', bytes.subarray(0, at), keys))}`);
    }
    expect([...told].sort()).toEqual(['cut: TRUNCATED', 'flipped: ALTERED']);
    expect(totalsOf(manifest)).toMatchObject({ ranges: 1, chunks: 1, entries: 3 });
  });

  it('tells who changed it without the key, and which key it needs', async () => {
    const manifest = await manifestOf(KEY);
    expect(await failureOf(() => checkKey(manifest, [OTHER_KEY]))).toMatchObject({ reason: 'ARCHIVE_KEY_WRONG', metadata: { object: 'manifest full-1', wanted: KEY.id, given: OTHER_KEY.id } });
    expect(() => checkKey(manifest, [OTHER_KEY, KEY])).not.toThrow();
    const forged = encodeManifest(codec, { ...manifest, clusterId: 'theirs' }, { ...OTHER_KEY, id: KEY.id });
    expect(await failureOf(() => decodeManifest(codec, 'full-1', forged, [KEY]))).toMatchObject(damageOf('ALTERED'));
  });

  /** As a later version would write it. */
  const written = (json: string, version = '1.0'): Buffer => {
    const line = `ATOLL-MANIFEST ${version} ${Buffer.byteLength(json)} - `;
    return Buffer.from(`${line}${codec.sha256([Buffer.from(line), Buffer.from(json)]).toString('hex')} -\n${json}`);
  };
  const jsonOf = async (change: (json: Record<string, any>) => void): Promise<string> => {
    const bytes = encodeManifest(codec, await manifestOf(), undefined);
    const json = JSON.parse(bytes.toString('utf8', bytes.indexOf('\n') + 1)) as Record<string, unknown>;
    change(json);
    return JSON.stringify(json);
  };

  it('of a later minor version is read, with what it has more left unread', async () => {
    const json = await jsonOf((one) => {
      one['more'] = { of: 'it' };
      one['keyspaces'][0].ranges[0].chunks[0].more = 1;
    });
    expect(decodeManifest(codec, 'full-1', written(json, '1.7'), [])).toEqual(await manifestOf());
  });

  it.each<[string, (json: Record<string, any>) => void, string, object]>([
    ['of a later major version', () => undefined, '2.0', { reason: 'ARCHIVE_TOO_NEW', message: 'manifest full-1: was written by a later version of Atoll: format 2.0, this one reads up to 1' }],
    ['that needs what is not known', (json) => (json['requires'] = ['deltas']), '1.1', { reason: 'ARCHIVE_TOO_NEW', message: 'manifest full-1: was written by a later version of Atoll: needs deltas' }],
    ['without a field', (json) => delete json['keyspaces'][0].ranges[0].upTo, '1.0', { ...damageOf('MALFORMED'), message: expect.stringContaining('keyspaces.0.ranges.0.upTo') }],
    ['of another archive', (json) => (json['id'] = 'full-2'), '1.0', damageOf('MALFORMED')],
    ['with a partition that there is none of', (json) => (json['keyspaces'][0].ranges[0].partition = 1), '1.0', damageOf('MALFORMED')],
    ['with one partition twice', (json) => json['keyspaces'][0].ranges.push(json['keyspaces'][0].ranges[0]), '1.0', damageOf('MALFORMED')],
    ['that is full and has a parent', (json) => (json['parent'] = 'full-0'), '1.0', damageOf('MALFORMED')],
    ['that is no increment of anything', (json) => (json['kind'] = 'INCREMENTAL'), '1.0', damageOf('MALFORMED')],
    ['that does not say what a chunk covers', (json) => delete json['keyspaces'][0].ranges[0].chunks[0].hashes, '1.0', damageOf('MALFORMED')],
  ])('%s is refused', async (_, change, version, expected) => {
    const bytes = written(await jsonOf(change), version);
    expect(await failureOf(() => decodeManifest(codec, 'full-1', bytes, []))).toMatchObject(expected);
  });
});

it(`digests add up over ranges, in any order, and follow what is replaced (R39, seed ${SEED})`, () => {
  const random = new SeededRandom(SEED);
  const entries = Array.from({ length: 200 }, (_, index) => ({ key: Buffer.from(`k${index}`), value: Buffer.from(`v${randomBelow(random, 1000)}`), expiresAtMs: randomBelow(random, 2) * 1000 }));
  const add = (tally: ContentTally, { key, value, expiresAtMs }: (typeof entries)[number]) => tally.add(keyHash(key), value, expiresAtMs);
  const all = new ContentTally();
  for (const entry of entries) add(all, entry);
  const parts = Array.from({ length: 4 }, () => new ContentTally());
  for (const entry of [...entries].reverse()) add(parts[keyHash(entry.key).high % 4]!, entry);
  const sum = new ContentTally();
  for (const part of parts) sum.addAll(part);
  expect(isSameContent(sum, all)).toBe(true);
  const [first] = entries;
  all.remove(keyHash(first!.key), first!.value, first!.expiresAtMs);
  expect(isSameContent(sum, all)).toBe(false);
  all.add(keyHash(first!.key), first!.value, first!.expiresAtMs + 1);
  expect([all.entries, isSameContent(sum, all)]).toEqual([sum.entries, false]);
  // Pinned: it is part of the format.
  const pinned = new ContentTally();
  pinned.add(keyHash(Buffer.from('user:7')), Buffer.from('ada'), 1000);
  expect(pinned.sum).toEqual({ high: 1698594264, low: 3017941500 });
});

describe('keys', () => {
  const HEX = '07'.repeat(32);
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'atoll-keys-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('come from a text or a file, the one to write with first', async () => {
    expect(await loadArchiveKeys({})).toEqual([]);
    expect((await loadArchiveKeys({ text: HEX })).map(({ id }) => id)).toEqual([KEY.id]);
    const file = join(directory, 'keys');
    await writeFile(file, `# since May\n${Buffer.alloc(32, 8).toString('base64')}\n# before\n${HEX}\n`);
    expect((await loadArchiveKeys({ file })).map(({ id }) => id)).toEqual([OTHER_KEY.id, KEY.id]);
  });

  it.each([
    [{ text: 'secret' }, /^key: secret 1 must be 32 bytes/],
    [{ text: `${'07'.repeat(32)},07` }, /^key: secret 2 must be 32 bytes/],
    [{ text: '07', file: 'keys' }, /comes from a file and from a setting/],
    [{ file: '/no/such/file' }, /^key file: cannot be read: ENOENT/],
  ])('that are none are refused without being told: %#', async (sources, expected) => {
    await expect(loadArchiveKeys(sources)).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', message: expect.stringMatching(expected) });
  });
});

describe('the golden repository, format 1.0', () => {
  const GOLDEN = fileURLToPath(new URL('../../testdata/golden-1.0', import.meta.url));
  let directory: string;
  let repository: Repository;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'atoll-golden-'));
    if (process.env['ATOLL_REWRITE_GOLDEN'] !== undefined) await rewrite();
    await cp(GOLDEN, directory, { recursive: true });
    repository = await Repository.open({ store: await openFileObjectStore(directory), codec, keys: [KEY] }, { newId: 'none', nowMs: 0 });
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** Only where the format changes on purpose: archives that are out there have to stay readable. */
  async function rewrite(): Promise<void> {
    await rm(GOLDEN, { recursive: true, force: true });
    const store = await openFileObjectStore(GOLDEN);
    const writer = await Repository.open({ store, codec, keys: [KEY] }, { newId: 'golden', nowMs: 1_790_000_000_000 });
    for (const [number, archive, key, parent] of [[1, 'golden-full', undefined, undefined], [2, 'golden-increment', KEY, 'golden-full']] as const) {
      const id = { clusterId: 'golden', fencingToken: 7, number };
      const session = await Session.begin({ repository: writer, id, purpose: 'WRITE', archive, uses: parent === undefined ? [] : [parent], owner: 'golden', startedAtMs: 0, isHeld: () => true });
      const chunk = await encodeChunk(codec, 'ROWS', rows, { level: 3, key });
      await session.putChunk(chunk);
      await session.publish(sampleManifest(archive, session.id, [sampleChunkRef(chunk, { plainBytes: rows.length, entries: 2, deletes: 1 })], { keyId: key?.id, parent }), key);
      await session.end();
    }
    for (const left of ['.writing', 'sessions']) await rm(join(GOLDEN, left), { recursive: true, force: true });
  }

  it.each(['golden-full', 'golden-increment'])('%s is read', async (archive) => {
    const manifest = await repository.readManifest(archive);
    expect(manifest).toMatchObject({ id: archive, keyId: archive === 'golden-full' ? undefined : KEY.id, keyspaces: [{ name: 'default', ranges: [{ upTo: { epoch: 1, seq: 20 } }] }] });
    const [ref] = manifest.keyspaces[0]!.ranges[0]!.chunks;
    const { kind, plain } = await repository.readChunk(ref!);
    expect([kind, plain.equals(rows)]).toEqual(['ROWS', true]);
    expect(decodeRows(plain, { mayDelete: true }).map(({ key, isDeleted }) => [Buffer.from(key).toString(), isDeleted])).toEqual([['user:7', false], ['user:8', false], ['user:9', true]]);
    // The name of a chunk is what `sha256sum` says of its file.
    expect(codec.sha256([readFileSync(join(GOLDEN, chunkKey(ref!.id)))]).toString('hex')).toBe(ref!.id);
  });

  it('what is missing in it is told by name', async () => {
    const manifest = await repository.readManifest('golden-full');
    const [ref] = manifest.keyspaces[0]!.ranges[0]!.chunks;
    const path = join(directory, chunkKey(ref!.id));
    const bytes = await readFile(path);
    await writeFile(path, bytes.subarray(0, -5));
    await expect(repository.checkChunk(ref!)).rejects.toMatchObject({ ...damageOf('TRUNCATED'), message: `chunk ${ref!.id}: has ${bytes.length - 5} of ${bytes.length} bytes` });
    await rm(path);
    await expect(repository.readChunk(ref!)).rejects.toMatchObject({ ...damageOf('MISSING'), message: expect.stringContaining(ref!.id) });
    await expect(repository.readManifest('no-such')).rejects.toMatchObject({ reason: 'ARCHIVE_NOT_FOUND', metadata: { archive: 'no-such' } });
    await rm(join(directory, manifestKey('golden-full', manifest.session)));
    await expect(repository.readManifest('golden-full')).rejects.toMatchObject({ reason: 'ARCHIVE_NOT_FOUND' });
  });

  it('a chunk that was found damaged is written again by the next session that has it', async () => {
    const archive = 'again';
    const chunk = await encodeChunk(codec, 'ROWS', Buffer.from('content'), { level: 0 });
    const begin = (number: number) => Session.begin({ repository, id: { clusterId: 'c1', fencingToken: 9, number }, purpose: 'WRITE', archive, uses: [], owner: 'o', startedAtMs: 0, isHeld: () => true });
    const first = await begin(1);
    expect([await first.putChunk(chunk), await first.putChunk(chunk)]).toEqual([true, false]);
    await writeFile(join(directory, chunkKey(chunk.id)), Buffer.alloc(chunk.bytes.length));
    await expect(repository.checkChunk({ id: chunk.id, storedBytes: chunk.bytes.length })).rejects.toMatchObject(damageOf('ALTERED'));
    await repository.markSuspect(chunk.id);
    const second = await begin(2);
    expect([await second.putChunk(chunk), await second.putChunk(chunk)]).toEqual([true, false]);
    await repository.checkChunk({ id: chunk.id, storedBytes: chunk.bytes.length });
    expect(await (await begin(3)).putChunk(chunk)).toBe(false);
  });
});
