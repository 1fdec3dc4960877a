import { encodeJson, parseJson, type Parsed } from '@atoll/platform-etcd';
import { z } from 'zod';

export const JOB_KINDS = ['BACKUP', 'RESTORE', 'VERIFY', 'DRILL', 'DELETE', 'COLLECT'] as const;
export type JobKindName = (typeof JOB_KINDS)[number];

/**
 *   PENDING -> RUNNING -> SUCCEEDED | FAILED
 *      |          |
 *      |          v
 *      +---> CANCELLING -> CANCELLED      (or SUCCEEDED, where the end was nearer)
 */
export const JOB_STATES = ['PENDING', 'RUNNING', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED'] as const;
export type JobState = (typeof JOB_STATES)[number];

export interface JobFigures {
  /** Keys and values. */
  readonly bytesDone: number;
  /** 0 while it is not known. */
  readonly bytesTotal: number;
  readonly entries: number;
  readonly partitionsDone: number;
  readonly partitionsTotal: number;
  /** Over the last seconds. */
  readonly bytesPerSecond: number;
  /** Undefined while it cannot be told. */
  readonly remainingMs?: number | undefined;
}

/** What a kind of job keeps in its record: JSON, about 3 KiB at most. */
export type JobNotes = Readonly<Record<string, unknown>>;

/** A job as it stands in etcd (`jobs/backups/<id>`), under 8 KiB. */
export interface JobRecord {
  readonly id: string;
  readonly kind: JobKindName;
  readonly state: JobState;
  /** In a word of its kind; empty before it runs. */
  readonly phase: string;
  /** That it makes or reads; empty for none. */
  readonly archive: string;
  /** Empty: all. */
  readonly keyspaces: readonly string[];
  /** Wall clock in ms since the epoch; 0: not yet. */
  readonly createdMs: number;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly figures: JobFigures;
  /** Why it failed or what it waits for. */
  readonly problem: string;
  /** What its spans hang under; empty when it is not sampled. */
  readonly traceparent: string;
  readonly summary: string;
  /** How often it was found running by a process that did not run it. */
  readonly takeUps: number;
  /** What was asked for, as its kind understands it. */
  readonly ask: JobNotes;
  /** What its kind needs to go on after a crash. */
  readonly checkpoint: JobNotes;
  /** What it came to, once it has succeeded. */
  readonly result?: JobNotes | undefined;
}

export const NO_FIGURES: JobFigures = { bytesDone: 0, bytesTotal: 0, entries: 0, partitionsDone: 0, partitionsTotal: 0, bytesPerSecond: 0 };

const count = z.number().nonnegative();
const notes = z.record(z.string(), z.unknown());

const schema: z.ZodType<JobRecord> = z.object({
  id: z.string().min(1).max(64),
  kind: z.enum(JOB_KINDS),
  state: z.enum(JOB_STATES),
  phase: z.string(),
  archive: z.string(),
  keyspaces: z.array(z.string()),
  createdMs: count,
  startedMs: count,
  endedMs: count,
  figures: z.object({
    bytesDone: count,
    bytesTotal: count,
    entries: count,
    partitionsDone: count,
    partitionsTotal: count,
    bytesPerSecond: count,
    remainingMs: count.optional(),
  }),
  problem: z.string(),
  traceparent: z.string(),
  summary: z.string(),
  takeUps: count,
  ask: notes,
  checkpoint: notes,
  result: notes.optional(),
});

export const hasEnded = ({ state }: Pick<JobRecord, 'state'>): boolean => state === 'SUCCEEDED' || state === 'FAILED' || state === 'CANCELLED';

/** Throws when it is larger than 8 KiB: a bug of its writer. */
export const encodeJob = (job: JobRecord): string => encodeJson(`backup job ${job.id}`, job);
export const parseJob = (text: string): Parsed<JobRecord> => parseJson(schema, text);

/** A job as it is asked for. */
export function newJob(job: Pick<JobRecord, 'id' | 'kind' | 'archive' | 'keyspaces' | 'createdMs' | 'traceparent' | 'ask'>): JobRecord {
  return { ...job, state: 'PENDING', phase: '', startedMs: 0, endedMs: 0, figures: NO_FIGURES, problem: '', summary: '', takeUps: 0, checkpoint: {} };
}
