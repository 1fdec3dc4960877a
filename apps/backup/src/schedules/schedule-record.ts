import { encodeJson, parseJson, type Parsed } from '@atoll/platform-etcd';
import type { RetentionPolicy } from '@atoll/core-archive';
import { z } from 'zod';

export const SCHEDULE_ACTIONS = ['BACKUP', 'VERIFY', 'DRILL'] as const;
export type ScheduleAction = (typeof SCHEDULE_ACTIONS)[number];

/** A schedule as it stands in etcd (`jobs/backup-schedules/<name>`). */
export interface ScheduleRecord {
  readonly name: string;
  /** A check or a drill is of the newest archive. */
  readonly action: ScheduleAction;
  /** Five fields, in UTC. */
  readonly cron: string;
  /** INCREMENTALs between two FULLs. */
  readonly incrementals: number;
  /** Empty: all. */
  readonly keyspaces: readonly string[];
  /** 0: as the service is set. */
  readonly bytesPerSecond: number;
  readonly retention: RetentionPolicy;
  readonly isPaused: boolean;
  /** Its newest archive, or its last success, should not be older, in ms; 0: by the cron expression. */
  readonly ageMsMax: number;
  /** Wall clock of its making: what was due before is none of its business. */
  readonly createdMs: number;
  /** The moment that it has last begun a backup for; 0: none. */
  readonly firedMs: number;
  /** Empty before the first. */
  readonly lastJob: string;
  /** End of the last of its checks or drills that succeeded; 0: none. */
  readonly succeededMs: number;
  /** Why it did not begin when it was due. */
  readonly problem: string;
}

const count = z.number().nonnegative();
const generations = z.object({ days: count.optional(), weeks: count.optional(), months: count.optional() });

const schema: z.ZodType<ScheduleRecord> = z.object({
  name: z.string().min(1).max(48),
  action: z.enum(SCHEDULE_ACTIONS),
  cron: z.string(),
  incrementals: count,
  keyspaces: z.array(z.string()),
  bytesPerSecond: count,
  retention: z.object({ count: count.optional(), ageMsMax: count.optional(), generations: generations.optional() }),
  isPaused: z.boolean(),
  ageMsMax: count,
  createdMs: count,
  firedMs: count,
  lastJob: z.string(),
  succeededMs: count,
  problem: z.string(),
});

export const encodeSchedule = (schedule: ScheduleRecord): string => encodeJson(`schedule ${schedule.name}`, schedule);
export const parseSchedule = (text: string): Parsed<ScheduleRecord> => parseJson(schema, text);
