// Which archives are a schedule's, and which of them stay. What others go on from stays too, whoever made them.
import { planRetention, type RetainedArchive, type RetentionPolicy } from '@atoll/core-archive';
import { ArchiveKind, type ArchiveInfo } from '@atoll/contracts/atoll/v1/backup';

const STAMP = /^\d{8}-\d{6}$/;

/** `nightly-20261122-030000`: by the moment at which it was due. */
export function scheduledArchive(schedule: string, dueMs: number): string {
  return `${schedule}-${new Date(dueMs).toISOString().replaceAll(/[-:]/g, '').replace('T', '-').slice(0, 15)}`;
}

/** Those that can be read, newest cut first. */
export function archivesOf(schedule: string, archives: readonly ArchiveInfo[]): readonly ArchiveInfo[] {
  return archives.filter(({ id, problem }) => problem === '' && id.startsWith(`${schedule}-`) && STAMP.test(id.slice(schedule.length + 1))).sort((a, b) => b.cutAtMs - a.cutAtMs);
}

/** FULL where there is none yet, or as many INCREMENTALs behind the last one as there may be. */
export function kindOfNext(own: readonly ArchiveInfo[], incrementals: number): 'FULL' | 'INCREMENTAL' {
  const since = own.findIndex(({ kind }) => kind === ArchiveKind.ARCHIVE_KIND_FULL);
  return since === -1 || since >= incrementals ? 'FULL' : 'INCREMENTAL';
}

/**
 * Archives of the schedule that need not stay, children before what they go on from. `all`: of the whole repository; `own`: newest cut
 * first. Ages are counted from the newest cut where the wall clock is ahead of it: a clock that was set forward makes nothing old, and
 * of a schedule that makes no more archives none is removed.
 */
export function outdated(own: readonly ArchiveInfo[], all: readonly ArchiveInfo[], policy: RetentionPolicy, nowMs: number): readonly string[] {
  if (Object.values(policy).every((rule) => rule === undefined)) return [];
  // One whose manifest cannot be read at this moment may go on from any of them.
  if (all.some(({ problem }) => problem !== '')) return [];
  const ids = new Set(own.map(({ id }) => id));
  const { remove } = planRetention(own.map(toRetained), policy, Math.min(nowMs, own[0]?.cutAtMs ?? nowMs));
  const byId = new Map(all.map((archive) => [archive.id, archive]));
  const needed = new Set<string>();
  for (const other of all) if (!ids.has(other.id)) for (let at = byId.get(other.parent); at !== undefined && !needed.has(at.id); at = byId.get(at.parent)) needed.add(at.id);
  return remove.filter((id) => !needed.has(id));
}

function toRetained({ id, kind, parent, cutAtMs, finishedAtMs }: ArchiveInfo): RetainedArchive {
  const name = kind === ArchiveKind.ARCHIVE_KIND_FULL ? 'FULL' : kind === ArchiveKind.ARCHIVE_KIND_LOG ? 'LOG' : 'INCREMENTAL';
  return { id, kind: name, parent: parent === '' ? undefined : parent, barriers: [{ id: '', atMs: cutAtMs }], finishedAtMs };
}
