import { PARTITION_COUNT_MAX } from '@atoll/core-runtime';
import type { Hash64 } from '@atoll/core-runtime';
import { tokenRangeOf } from '@atoll/core-placement';
import { toPartitionId } from '@atoll/core-runtime';
import { z } from 'zod';
import { archiveDamaged, archiveTooNew } from './archive-errors.ts';
import { CHUNK_KINDS, CHUNK_PLAIN_BYTES_MAX, isChunkId, type ChunkKind } from './chunk.ts';
import type { ContentDigest } from './content-digest.ts';
import type { ArchivedRange, ChunkRef, Manifest } from './manifest.ts';

/** Names of what a reader must know to make sense of a manifest, beyond format 1.0. */
/** `slices`: chunks that several ranges share. */
const FEATURES: ReadonlySet<string> = new Set(['slices']);

const ARCHIVE_ID = /^[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?$/;

/** 1 to 128 characters of a-z, 0-9 and -, not first or last. */
export const isArchiveId = (text: string): boolean => ARCHIVE_ID.test(text);

const toHex = ({ high, low }: Hash64): string => high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');

const count = z.number().int().nonnegative().safe();
const time = z.number().nonnegative();
const name = z.string().min(1).max(256);
const archiveId = z.string().regex(ARCHIVE_ID, 'is no id of an archive');
const hash = z
  .string()
  .regex(/^[0-9a-f]{16}$/, 'is no hash of 16 hex digits')
  .transform((text): Hash64 => ({ high: Number.parseInt(text.slice(0, 8), 16), low: Number.parseInt(text.slice(8), 16) }));
const position = z.object({ epoch: count, seq: count });

const chunkSchema = z
  .object({
    id: z.string().refine(isChunkId, 'is no SHA-256'),
    kind: z.enum(Object.keys(CHUNK_KINDS) as [ChunkKind, ...ChunkKind[]]),
    storedBytes: count,
    plainBytes: count.max(CHUNK_PLAIN_BYTES_MAX),
    entries: count,
    deletes: count,
    slice: z.object({ offset: count }).optional(),
    hashes: z.object({ first: hash, last: hash }).optional(),
    log: z.object({ firstSeq: count, lastSeq: count, firstMs: time, lastMs: time }).optional(),
  })
  .refine(({ kind, slice, plainBytes }) => slice === undefined || (kind === 'LOG' && slice.offset + plainBytes <= CHUNK_PLAIN_BYTES_MAX), 'is no slice of a chunk of log')
  .refine(({ kind, hashes, log }) => (kind === 'ROWS' ? hashes !== undefined : log !== undefined), 'does not say what it covers');

const rangeSchema = z.object({
  partition: count,
  generation: z.object({ counter: count, id: name }),
  after: position.optional(),
  upTo: position,
  firstMs: time,
  lastMs: time,
  contentBytes: count,
  digest: z.object({ entries: count, sum: hash }).optional(),
  versions: z.object({ entries: count, sum: hash }).optional(),
  barriers: z.array(z.object({ id: name, seq: count })),
  chunks: z.array(chunkSchema),
});

const keyspaceSchema = z.object({
  name,
  id: name,
  partitionCount: count.max(PARTITION_COUNT_MAX).refine((value) => value > 0 && (value & (value - 1)) === 0, 'is no power of two'),
  settings: z.record(z.string(), z.unknown()),
  ranges: z.array(rangeSchema),
});

const manifestSchema = z.object({
  id: archiveId,
  kind: z.enum(['FULL', 'INCREMENTAL', 'LOG']),
  clusterId: name,
  parent: archiveId.optional(),
  session: name,
  writtenBy: name,
  startedAtMs: time,
  finishedAtMs: time,
  barriers: z.array(z.object({ id: name, atMs: time })),
  keyId: z.string().regex(/^[0-9a-f]{16}$/, 'is no id of a key').optional(),
  keyspaces: z.array(keyspaceSchema),
});

/** What JSON.stringify leaves out is optional; hashes are 16 hex digits. Tokens are told for people: they follow from the partition. */
export function toJson(manifest: Manifest): unknown {
  const ofChunk = ({ hashes, ...chunk }: ChunkRef) => ({ ...chunk, hashes: hashes && { first: toHex(hashes.first), last: toHex(hashes.last) } });
  const ofDigest = (digest: ContentDigest | undefined) => digest && { entries: digest.entries, sum: toHex(digest.sum) };
  const ofRange = ({ tokens, digest, versions, chunks, ...range }: ArchivedRange) => ({
    ...range,
    tokens: { start: toHex(tokens.start), end: tokens.end && toHex(tokens.end) },
    digest: ofDigest(digest),
    versions: ofDigest(versions),
    chunks: chunks.map(ofChunk),
  });
  const isSliced = manifest.keyspaces.some(({ ranges }) => ranges.some(({ chunks }) => chunks.some(({ slice }) => slice !== undefined)));
  return { requires: isSliced ? ['slices'] : [], ...manifest, keyspaces: manifest.keyspaces.map(({ ranges, ...keyspace }) => ({ ...keyspace, ranges: ranges.map(ofRange) })) };
}

/** @throws ARCHIVE_TOO_NEW, ARCHIVE_DAMAGED (MALFORMED) that names the field */
export function fromJson(object: string, text: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw archiveDamaged(object, 'MALFORMED', `is no JSON: ${(cause as Error).message}`);
  }
  const requires: unknown = (json as { requires?: unknown } | null)?.requires;
  const unknown = Array.isArray(requires) ? requires.filter((feature) => !FEATURES.has(String(feature))) : [];
  if (unknown.length > 0) throw archiveTooNew(object, `needs ${unknown.join(', ')}`);
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) {
    const problems = parsed.error.issues.slice(0, 3).map((issue) => `${issue.path.join('.') || 'manifest'}: ${issue.message}`);
    throw archiveDamaged(object, 'MALFORMED', problems.join('; '));
  }
  const { data } = parsed;
  const manifest: Manifest = {
    ...data,
    parent: data.parent,
    keyId: data.keyId,
    keyspaces: data.keyspaces.map((keyspace) => ({
      ...keyspace,
      ranges: keyspace.ranges.map((range): ArchivedRange => {
        if (range.partition >= keyspace.partitionCount) throw archiveDamaged(object, 'MALFORMED', `${keyspace.name} has no partition ${range.partition}`);
        return { ...range, after: range.after, digest: range.digest, tokens: tokenRangeOf(toPartitionId(range.partition), keyspace.partitionCount) };
      }),
    })),
  };
  const problem = problemOf(manifest);
  if (problem !== undefined) throw archiveDamaged(object, 'MALFORMED', problem);
  return manifest;
}

/** What a manifest promises beyond the types of its fields. Undefined when it does. */
export function problemOf({ kind, parent, barriers, keyspaces }: Manifest): string | undefined {
  if ((kind === 'INCREMENTAL') !== (parent !== undefined)) return kind === 'INCREMENTAL' ? 'parent: is missing' : `parent: a ${kind} has none`;
  if (kind !== 'LOG' && barriers.length !== 1) return `barriers: there is one cut, not ${barriers.length}`;
  for (const { name: keyspace, ranges } of keyspaces) {
    let last = -1;
    for (const range of ranges) {
      const at = `${keyspace}, partition ${range.partition}`;
      if (range.partition <= last) return `${at}: comes behind partition ${last}`;
      last = range.partition;
      if (kind === 'FULL' && range.after !== undefined) return `${at}: a full archive begins nowhere`;
      if (kind === 'LOG' && range.after === undefined) return `${at}: after is missing`;
      if (kind === 'LOG' && (range.digest ?? range.versions) !== undefined) return `${at}: a log has no digest`;
      if (range.after !== undefined && range.after.seq > range.upTo.seq) return `${at}: ends before it begins`;
      let chunkKind: ChunkKind = 'ROWS';
      for (const chunk of range.chunks) {
        if (range.after === undefined && chunkKind === 'LOG' && chunk.kind === 'ROWS') return `${at}: has rows behind its log`;
        if (kind === 'LOG' && chunk.kind === 'ROWS') return `${at}: a log has no rows`;
        chunkKind = chunk.kind;
      }
    }
  }
  return undefined;
}
