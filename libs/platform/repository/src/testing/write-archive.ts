import { ContentTally, encodeChunk, type ArchiveKey, type ArchivedRange, type ChunkRef, type Manifest } from '@atoll/core-archive';
import { partitionOfToken, tokenOfKey, tokenRangeOf } from '@atoll/core-placement';
import { compareHash, keyHash, toPartitionId } from '@atoll/core-runtime';
import { encodeRows, type RowSource } from '@atoll/core-store';
import type { Repository } from '../repository.ts';
import { Session } from '../sessions/session.ts';

export interface WrittenEntry {
  readonly key: string;
  readonly value: Buffer;
  /** 0: never. */
  readonly expiresAtMs?: number;
}

export interface WrittenKeyspace {
  readonly name: string;
  readonly partitionCount: number;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly entries: readonly WrittenEntry[];
}

export interface WriteArchiveOptions {
  readonly id: string;
  readonly clusterId?: string;
  readonly keyspaces: readonly WrittenKeyspace[];
  /** Of the cut, and the time that the partitions had then. */
  readonly atMs: number;
  readonly entriesPerChunk?: number;
  readonly key?: ArchiveKey | undefined;
  /** Another one for each archive of a spec. */
  readonly session?: number;
}

/** A FULL archive, as a backup leaves it behind where nobody writes meanwhile. */
export async function writeArchive(repository: Repository, options: WriteArchiveOptions): Promise<Manifest> {
  const { id, clusterId = 'c1', keyspaces, atMs, entriesPerChunk = 100, key, session: number = 1 } = options;
  const session = await Session.begin({ repository, id: { clusterId, fencingToken: 1, number }, isHeld: () => true, purpose: 'WRITE', archive: id, uses: [], owner: 'a spec', startedAtMs: atMs });
  const put = async (rows: readonly RowSource[]): Promise<ChunkRef> => {
    const plain = encodeRows(rows);
    const chunk = await encodeChunk(repository.codec, 'ROWS', plain, { level: 1, key });
    await session.putChunk(chunk);
    const hashes = { first: keyHash(rows[0]!.key), last: keyHash(rows.at(-1)!.key) };
    return { id: chunk.id, kind: 'ROWS', storedBytes: chunk.bytes.length, plainBytes: plain.length, entries: rows.length, deletes: 0, hashes };
  };
  const rangeOf = async (keyspace: WrittenKeyspace, partition: number): Promise<ArchivedRange> => {
    const tally = new ContentTally();
    const rows = keyspace.entries
      .map(({ key: text, value, expiresAtMs = 0 }, index): RowSource => ({ key: Buffer.from(text), value, expiresAtMs, version: { generation: 1, epoch: 1, seq: index + 1 } }))
      .filter((row) => partitionOfToken(tokenOfKey(row.key), keyspace.partitionCount) === partition)
      .sort((a, b) => compareHash(keyHash(a.key), keyHash(b.key)));
    for (const row of rows) tally.add(keyHash(row.key), row.value, row.expiresAtMs);
    const chunks: ChunkRef[] = [];
    for (let at = 0; at < rows.length; at += entriesPerChunk) chunks.push(await put(rows.slice(at, at + entriesPerChunk)));
    return {
      partition,
      tokens: tokenRangeOf(toPartitionId(partition), keyspace.partitionCount),
      generation: { counter: 1, id: `g${partition}` },
      after: undefined,
      upTo: { epoch: 1, seq: keyspace.entries.length + 1 },
      firstMs: atMs,
      lastMs: atMs,
      contentBytes: rows.reduce((sum, row) => sum + row.key.length + row.value.length, 0),
      digest: { entries: tally.entries, sum: { ...tally.sum } },
      barriers: [],
      chunks,
    };
  };
  const archived = [];
  for (const keyspace of keyspaces) {
    const ranges: ArchivedRange[] = [];
    for (let partition = 0; partition < keyspace.partitionCount; partition += 1) ranges.push(await rangeOf(keyspace, partition));
    archived.push({ name: keyspace.name, id: `id-of-${keyspace.name}`, partitionCount: keyspace.partitionCount, settings: keyspace.settings ?? {}, ranges });
  }
  const times = { startedAtMs: atMs, finishedAtMs: atMs };
  const manifest: Manifest = { id, kind: 'FULL', clusterId, parent: undefined, session: session.id, writtenBy: '0.1.0', ...times, barriers: [{ id: `${id}-cut`, atMs }], keyId: key?.id, keyspaces: archived };
  await session.publish(manifest, key);
  await session.end();
  return manifest;
}
