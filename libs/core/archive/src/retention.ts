// Which archives stay. A chain stays or goes as one as far as it is needed: what an archive that stays goes on from stays with it,
// and logs stay while they lead on from a cut that stays.
import type { Manifest } from './manifest.ts';

export interface RetentionPolicy {
  /** The newest so many cuts stay. At least 1 stays whatever the policy says. */
  readonly count?: number | undefined;
  /** Cuts of up to so long ago stay, in milliseconds. */
  readonly ageMsMax?: number | undefined;
  /** The newest cut of each of the last so many days, weeks (from Monday) and months stays, in UTC. */
  readonly generations?: { readonly days?: number; readonly weeks?: number; readonly months?: number } | undefined;
}

/** What is to be known of an archive: its manifest has more. */
export type RetainedArchive = Pick<Manifest, 'id' | 'kind' | 'parent' | 'barriers' | 'finishedAtMs'>;

export interface RetentionPlan {
  readonly keep: readonly string[];
  /** Children before what they go on from. */
  readonly remove: readonly string[];
}

const DAY_MS = 24 * 3600 * 1000;

/** `nowMs` is the wall clock. An empty policy keeps everything. */
export function planRetention(manifests: readonly RetainedArchive[], policy: RetentionPolicy, nowMs: number): RetentionPlan {
  const byId = new Map(manifests.map((manifest) => [manifest.id, manifest]));
  const cuts = manifests.filter(({ kind }) => kind !== 'LOG').sort((a, b) => cutOf(b) - cutOf(a));
  const keep = new Set<string>();
  const stay = (manifest: RetainedArchive): void => {
    for (let at: RetainedArchive | undefined = manifest; at !== undefined && !keep.has(at.id); at = byId.get(at.parent ?? '')) keep.add(at.id);
  };
  if (Object.values(policy).every((rule) => rule === undefined)) cuts.forEach(stay);
  cuts.slice(0, Math.max(1, policy.count ?? 0)).forEach(stay);
  for (const cut of cuts) if (policy.ageMsMax !== undefined && nowMs - cutOf(cut) <= policy.ageMsMax) stay(cut);
  const { days = 0, weeks = 0, months = 0 } = policy.generations ?? {};
  for (const [periods, periodOf] of [[days, dayOf], [weeks, weekOf], [months, monthOf]] as const) {
    const seen = new Set<number>();
    for (const cut of cuts) {
      const period = periodOf(cutOf(cut));
      if (seen.has(period) || periodOf(nowMs) - period >= periods) continue;
      seen.add(period);
      stay(cut);
    }
  }
  const oldestMs = Math.min(...cuts.filter(({ id }) => keep.has(id)).map(cutOf));
  const chains = manifests.filter(({ kind }) => kind === 'LOG').sort((a, b) => b.finishedAtMs - a.finishedAtMs);
  for (const log of chains) if (cuts.length === 0 || log.finishedAtMs >= oldestMs) stay(log);
  const depthOf = (manifest: RetainedArchive): number => {
    let depth = 0;
    for (let at = byId.get(manifest.parent ?? ''); at !== undefined && depth <= byId.size; at = byId.get(at.parent ?? '')) depth += 1;
    return depth;
  };
  const remove = manifests.filter(({ id }) => !keep.has(id)).sort((a, b) => depthOf(b) - depthOf(a));
  return { keep: manifests.flatMap(({ id }) => (keep.has(id) ? [id] : [])), remove: remove.map(({ id }) => id) };
}

/** When it was held; of a LOG when it ended. */
const cutOf = ({ barriers, finishedAtMs }: RetainedArchive): number => barriers[0]?.atMs ?? finishedAtMs;

const dayOf = (ms: number): number => Math.floor(ms / DAY_MS);
/** 1 January 1970 was a Thursday. */
const weekOf = (ms: number): number => Math.floor((dayOf(ms) + 3) / 7);
const monthOf = (ms: number): number => new Date(ms).getUTCFullYear() * 12 + new Date(ms).getUTCMonth();
