// Schedules in etcd. As with jobs, every write compares what stood there (R7).
import { AtollError } from '@atoll/core-errors';
import { BACKUP_SCHEDULES_PREFIX, backupScheduleKey, type Comparison, type MetadataStore } from '@atoll/platform-etcd';
import { encodeSchedule, parseSchedule, type ScheduleRecord } from './schedule-record.ts';

const ATTEMPTS_MAX = 8;
/** One more is refused as OVERLOADED (I10). */
export const SCHEDULES_MAX = 64;

export class ScheduleStore {
  readonly #store: Pick<MetadataStore, 'get' | 'list' | 'transact'>;

  constructor(store: Pick<MetadataStore, 'get' | 'list' | 'transact'>) {
    this.#store = store;
  }

  /** By name. Throws METADATA_UNAVAILABLE. */
  async list(): Promise<readonly ScheduleRecord[]> {
    const { values } = await this.#store.list(BACKUP_SCHEDULES_PREFIX);
    return values.flatMap(({ value }) => {
      const parsed = parseSchedule(value);
      return parsed.kind === 'parsed' ? [parsed.value] : [];
    });
  }

  /**
   * `change` gets what stands there, and answers what is to stand there: undefined is nothing, the same object no change. It may be
   * called again. `guard`: of the lock under which it is written.
   * @throws METADATA_CONFLICT, OVERLOADED
   */
  async change(name: string, change: (schedule: ScheduleRecord | undefined) => ScheduleRecord | undefined, guard: readonly Comparison[] = []): Promise<ScheduleRecord | undefined> {
    const key = backupScheduleKey(name);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const stored = await this.#store.get(key);
      const parsed = stored === undefined ? undefined : parseSchedule(stored.value);
      const before = parsed?.kind === 'parsed' ? parsed.value : undefined;
      const after = change(before);
      if (after === before) return after;
      if (before === undefined && (await this.list()).length >= SCHEDULES_MAX) throw new AtollError('OVERLOADED', `there are ${SCHEDULES_MAX} schedules already`);
      const changes = after === undefined ? ({ kind: 'delete', key } as const) : ({ kind: 'put', key, value: encodeSchedule(after) } as const);
      const outcome = await this.#store.transact([{ kind: 'modRevision', key, equals: stored?.modRevision ?? 0 }, ...guard], [changes]);
      if (outcome.kind === 'succeeded') return after;
    }
    throw new AtollError('METADATA_CONFLICT', `schedule ${name}: refused ${ATTEMPTS_MAX} times, or it is not known whether it was written; another backup service may hold the lock`);
  }
}

export const scheduleNotFound = (name: string): AtollError =>
  new AtollError('BACKUP_SCHEDULE_NOT_FOUND', `name: there is no schedule ${JSON.stringify(name.slice(0, 80))}`, { metadata: { field: 'name' } });
