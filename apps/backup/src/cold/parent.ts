// What an increment goes on from.
import type { ArchivePosition, Manifest } from '@atoll/core-archive';
import { AtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import type { Repository } from '@atoll/platform-repository';
import { newestCut, readManifests } from '../repository/manifest-reader.ts';
import { unreadableText, type UnreadableManifests } from '../repository/unreadable-manifests.ts';

export interface ParentAsk {
  /** Empty: the newest archive of this cluster that has all of the keyspaces. */
  readonly parent: string;
  readonly clusterId: string;
  readonly keyspaces: readonly KeyspaceSpec[];
  /** That is being made. */
  readonly archive: string;
  /** Takes note of what cannot be read, which keeps nothing else from being gone on from. */
  readonly unreadable: Pick<UnreadableManifests, 'note'>;
}

/** @throws ARCHIVE_NOT_FOUND, INVALID_ARGUMENT for one that cannot be gone on from, ARCHIVE_*, REPOSITORY_* */
export async function findParent(repository: Repository, { parent, clusterId, keyspaces, archive, unreadable }: ParentAsk): Promise<Manifest> {
  if (parent !== '') {
    const manifest = await repository.readManifest(parent);
    if (manifest.kind === 'LOG') throw unfit(`${parent} is a log, and says nothing by itself`);
    if (manifest.clusterId !== clusterId) throw unfit(`${parent} is of cluster ${manifest.clusterId}`);
    return manifest;
  }
  const { manifests, unreadable: found } = await readManifests(repository);
  unreadable.note(found);
  const newest = newestCut(manifests, (manifest) => manifest.id !== archive && manifest.clusterId === clusterId && keyspaces.every(({ id }) => manifest.keyspaces.some((archived) => archived.id === id)));
  if (newest === undefined) throw new AtollError('ARCHIVE_NOT_FOUND', `parent: no archive has these keyspaces, so there is nothing to go on from: make a FULL one first${unreadableText(found)}`, { metadata: { field: 'parent' } });
  return newest;
}

/** Where the parent ended; undefined: it has nothing of this keyspace. */
export function sinceOf(parent: Manifest, keyspace: KeyspaceSpec, partition: number): { readonly position: ArchivePosition; readonly generation: { readonly counter: number; readonly id: string } } | undefined {
  const range = parent.keyspaces.find(({ id }) => id === keyspace.id)?.ranges.find((one) => one.partition === partition);
  return range && { position: range.upTo, generation: range.generation };
}

const unfit = (why: string): AtollError => new AtollError('INVALID_ARGUMENT', `parent: ${why}`, { metadata: { field: 'parent' } });
