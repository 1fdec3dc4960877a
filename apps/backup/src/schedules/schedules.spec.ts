import { ArchiveKind, ScheduleAction, type ArchiveInfo } from '@atoll/contracts/atoll/v1/backup';
import { AtollError } from '@atoll/core-errors';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { InMemoryMetadataStore } from '@atoll/platform-etcd/testing';
import { createLogger, startTelemetry, type Reading, type Telemetry } from '@atoll/platform-telemetry';
import { deleteBackupSchedule, listBackupSchedules, putBackupSchedule } from '../handlers/schedules.ts';
import { JobDesk } from '../jobs/job-desk.ts';
import { toUnreadableArchive } from '../jobs/job-messages.ts';
import { CronTimes } from './cron-times.ts';
import { addScheduleMetrics } from './schedule-metrics.ts';
import { ScheduleStore } from './schedule-store.ts';
import { archivesOf, kindOfNext, outdated, scheduledArchive } from './scheduled-archives.ts';
import { Scheduler } from './scheduler.ts';

const SEED = 20_261_122;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** A Sunday. */
const MIDNIGHT = Date.parse('2026-11-22T00:00:00Z');
const { ARCHIVE_KIND_FULL: FULL, ARCHIVE_KIND_INCREMENTAL: INCREMENTAL } = ArchiveKind;

const archive = (id: string, cutAtMs: number, kind: ArchiveKind = FULL, parent = ''): ArchiveInfo => ({ ...toUnreadableArchive(id, ''), kind, parent, cutAtMs, finishedAtMs: cutAtMs });
const nightly = (dueMs: number, kind?: ArchiveKind, parent?: string): ArchiveInfo => archive(scheduledArchive('nightly', dueMs), dueMs, kind, parent);

describe('moments of a cron expression', () => {
  it(`the latest one that is due is the one that going through all of them finds (seed ${SEED})`, () => {
    const random = new SeededRandom(SEED);
    for (const expression of ['*/7 * * * *', '0 3 * * *', '30 2 1,15 * *', '0 */6 * * 1-5', '5 4 29 2 *']) {
      const times = new CronTimes(expression);
      for (let round = 0; round < 6; round += 1) {
        const afterMs = MIDNIGHT + randomBelow(random, 40 * DAY);
        const nowMs = afterMs + randomBelow(random, round % 2 === 0 ? 3 * HOUR : DAY);
        let latest: number | undefined;
        for (let at = times.next(afterMs); at !== undefined && at <= nowMs; at = times.next(at)) latest = at;
        expect({ expression, afterMs, nowMs, due: times.due(afterMs, nowMs) }).toEqual({ expression, afterMs, nowMs, due: latest });
      }
    }
  });

  it('knows the longest time between two', () => {
    expect([new CronTimes('0 3 * * *').longestMs(MIDNIGHT), new CronTimes('0 3 * * 1-5').longestMs(MIDNIGHT)]).toEqual([DAY, 3 * DAY]);
  });
});

describe('archives of a schedule', () => {
  it('are those that bear its name and a moment, and can be read', () => {
    const own = [nightly(MIDNIGHT + DAY), nightly(MIDNIGHT)];
    const others = [archive('nightly-by-hand', 1), archive(scheduledArchive('nightly-eu', MIDNIGHT), 2), toUnreadableArchive(scheduledArchive('nightly', MIDNIGHT + HOUR), 'damaged')];
    expect(archivesOf('nightly', [own[1]!, ...others, own[0]!])).toEqual(own);
  });

  it.each([
    [[], 2, 'FULL'],
    [[nightly(1)], 2, 'INCREMENTAL'],
    [[nightly(2, INCREMENTAL), nightly(1)], 2, 'INCREMENTAL'],
    [[nightly(3, INCREMENTAL), nightly(2, INCREMENTAL), nightly(1)], 2, 'FULL'],
    [[nightly(1)], 0, 'FULL'],
    [[nightly(2, INCREMENTAL)], 5, 'FULL'],
  ] as const)('a FULL comes first, and behind so many INCREMENTALs (%#)', (own, incrementals, kind) => {
    expect(kindOfNext(own, incrementals)).toBe(kind);
  });

  it('that go are outdated, and nothing else goes on from them', () => {
    const [first, second, third, fourth] = [0, 1, 2, 3].map((day) => nightly(MIDNIGHT + day * DAY)) as [ArchiveInfo, ArchiveInfo, ArchiveInfo, ArchiveInfo];
    const own = [fourth, third, second, first];
    const nowMs = MIDNIGHT + 3 * DAY + HOUR;
    expect(outdated(own, own, { count: 2 }, nowMs)).toEqual([second.id, first.id].toSorted((a, b) => own.findIndex(({ id }) => id === a) - own.findIndex(({ id }) => id === b)));
    expect(outdated(own, own, {}, nowMs)).toEqual([]);
    expect(outdated(own, [...own, archive('by-hand', nowMs, INCREMENTAL, second.id)], { count: 1 }, nowMs)).toEqual([third.id, first.id]);
    expect(outdated(own, [...own, toUnreadableArchive('who-knows', 'cannot be read')], { count: 1 }, nowMs)).toEqual([]);
  });

  it.each<[string, Parameters<typeof outdated>[2]]>([
    ['age', { ageMsMax: 30 * DAY }],
    ['generations', { generations: { days: 30, weeks: 8, months: 3 } }],
  ])('by %s stay whatever the wall clock says: one that is set a year forward, or back, makes none of them old', (_, policy) => {
    const own = [3, 2, 1, 0].map((day) => nightly(MIDNIGHT + day * DAY));
    expect(outdated(own, own, policy, MIDNIGHT + 365 * DAY)).toEqual([]);
    expect(outdated(own, own, policy, MIDNIGHT - 365 * DAY)).toEqual([]);
    // By the right clock they go when newer ones are there.
    const newer = [nightly(MIDNIGHT + 120 * DAY), ...own];
    expect(outdated(newer, newer, policy, MIDNIGHT + 120 * DAY + HOUR)).toHaveLength(own.length);
  });
});

describe('schedules of backups', () => {
  let telemetry: Telemetry;
  let store: InMemoryMetadataStore;
  let desk: JobDesk;
  let schedules: ScheduleStore;
  let present: ArchiveInfo[];
  let isAway: boolean;
  let nowMs: number;
  let scheduler: Scheduler;
  const archives = {
    list: async () => {
      if (isAway) throw new AtollError('REPOSITORY_UNAVAILABLE', 'it is away');
      return present;
    },
  };
  const duty = { lock: { comparison: { kind: 'modRevisionAtLeast', key: 'none', revision: 0 } } } as unknown as Parameters<Scheduler['look']>[0];
  const logger = createLogger({ service: 'backup', instanceId: 'b', level: 'silent', format: 'json' });
  const newScheduler = (): Scheduler => new Scheduler({ schedules, desk, archives, logger, nowMs: () => nowMs });

  beforeEach(async () => {
    telemetry = await startTelemetry({ service: 'backup', instanceId: 'b', version: '0', traceRatio: 0 });
    store = new InMemoryMetadataStore();
    desk = new JobDesk({ store, tracing: telemetry.tracing });
    schedules = new ScheduleStore(store);
    present = [];
    isAway = false;
    nowMs = MIDNIGHT;
    scheduler = newScheduler();
    await schedules.change('nightly', () => ({ name: 'nightly', action: 'BACKUP', cron: '0 3 * * *', incrementals: 1, keyspaces: ['orders'], bytesPerSecond: 0, retention: { count: 2 }, isPaused: false, ageMsMax: 0, createdMs: MIDNIGHT, firedMs: 0, lastJob: '', succeededMs: 0, problem: '' }));
  });
  afterEach(() => telemetry.shutdown());

  const jobs = async (): Promise<string[]> => (await desk.list()).map(({ kind, archive: of, ask }) => `${kind} ${of} ${kind === 'BACKUP' ? `${String(ask['kind'])} ${String(ask['parent'])}` : ''}`.trim());
  const endAll = async (): Promise<void> => {
    for (const { id } of await desk.list()) await desk.update(id, (job) => ({ ...job, state: 'SUCCEEDED' }));
  };
  const at = async (ms: number, by = scheduler): Promise<void> => {
    nowMs = ms;
    await by.look(duty);
  };

  it('begin when they are due, once, whoever looks', async () => {
    await at(MIDNIGHT + 3 * HOUR - 1);
    expect(await jobs()).toEqual([]);
    await at(MIDNIGHT + 3 * HOUR);
    await at(MIDNIGHT + 3 * HOUR + 1000, newScheduler());
    expect(await jobs()).toEqual(['BACKUP nightly-20261122-030000 FULL']);
    const [job] = await desk.list();
    expect([job!.keyspaces, (await schedules.list())[0]!.lastJob]).toEqual([['orders'], job!.id]);
  });

  it('begin once, by the latest moment, for what was due while nobody was on duty', async () => {
    await at(MIDNIGHT + 5 * DAY + 4 * HOUR);
    expect(await jobs()).toEqual(['BACKUP nightly-20261127-030000 FULL']);
  });

  it('go on from the newest archive, and are left out while the one before has not ended', async () => {
    await at(MIDNIGHT + 3 * HOUR);
    await at(MIDNIGHT + DAY + 3 * HOUR);
    expect(await jobs()).toHaveLength(1);
    expect((await schedules.list())[0]).toMatchObject({ firedMs: MIDNIGHT + DAY + 3 * HOUR, problem: expect.stringMatching(/^left out at 2026-11-23T03:00:00/) });
    await endAll();
    present = [nightly(MIDNIGHT + 3 * HOUR)];
    await at(MIDNIGHT + 2 * DAY + 3 * HOUR);
    expect((await jobs()).filter((job) => job.includes('1124'))).toEqual(['BACKUP nightly-20261124-030000 INCREMENTAL nightly-20261122-030000']);
    expect((await schedules.list())[0]!.problem).toBe('');
  });

  it('survive a clock that was a year ahead: what is due by the right one begins', async () => {
    await at(MIDNIGHT + 365 * DAY + 3 * HOUR);
    await endAll();
    await at(MIDNIGHT + 3 * HOUR + 1000);
    await at(MIDNIGHT + 3 * HOUR + 2000);
    expect(await jobs()).toHaveLength(2);
    await endAll();
    await at(MIDNIGHT + DAY + 3 * HOUR);
    expect(await jobs()).toHaveLength(3);
  });

  it('wait for a repository that is away, and begin nothing while they are paused', async () => {
    isAway = true;
    await at(MIDNIGHT + 3 * HOUR);
    expect([await jobs(), scheduler.views.map(({ isListed, isOverdue }) => ({ isListed, isOverdue }))]).toEqual([[], [{ isListed: false, isOverdue: false }]]);
    isAway = false;
    await schedules.change('nightly', (schedule) => ({ ...schedule!, isPaused: true }));
    await at(MIDNIGHT + 3 * HOUR + MINUTE);
    expect(await jobs()).toEqual([]);
    await schedules.change('nightly', (schedule) => ({ ...schedule!, isPaused: false }));
    await at(MIDNIGHT + 3 * HOUR + 2 * MINUTE);
    expect(await jobs()).toHaveLength(1);
  });

  it('have archives removed that need not stay, and then what nobody needs any more', async () => {
    present = [0, 1, 2].map((day) => nightly(MIDNIGHT + day * DAY));
    await at(MIDNIGHT + 2 * DAY + HOUR);
    expect((await jobs()).toSorted()).toEqual(['BACKUP nightly-20261123-030000 INCREMENTAL nightly-20261124-000000', 'COLLECT', 'DELETE nightly-20261122-000000'].toSorted());
  });

  it('have the newest archive restored for practice, and are overdue when none of that succeeded for long', async () => {
    await schedules.change('nightly', (schedule) => ({ ...schedule!, action: 'DRILL', incrementals: 0, retention: {} }));
    await at(MIDNIGHT + 3 * HOUR);
    expect([await jobs(), (await schedules.list())[0]!.problem]).toEqual([[], 'left out at 2026-11-22T03:00:00.000Z: there is no archive yet']);
    present = [nightly(MIDNIGHT), archive('by-hand', MIDNIGHT + HOUR), archive('log', MIDNIGHT + 2 * HOUR, ArchiveKind.ARCHIVE_KIND_LOG)];
    scheduler.forgetArchives();
    await at(MIDNIGHT + DAY + 3 * HOUR);
    expect(await jobs()).toEqual(['DRILL by-hand']);
    const [job] = await desk.list();
    await desk.update(job!.id, (stored) => ({ ...stored, state: 'SUCCEEDED', endedMs: nowMs + MINUTE }));
    await at(MIDNIGHT + DAY + 4 * HOUR);
    expect((await schedules.list())[0]).toMatchObject({ succeededMs: MIDNIGHT + DAY + 3 * HOUR + MINUTE, problem: '' });
    await at(MIDNIGHT + 2 * DAY + 4 * HOUR);
    expect(scheduler.views.map(({ isOverdue }) => isOverdue)).toEqual([false]);
    await at(MIDNIGHT + 4 * DAY);
    expect(scheduler.views.map(({ isOverdue }) => isOverdue)).toEqual([true]);
  });

  it('are overdue where the newest archive, or the last success, lies ahead of the clock: nobody knows how old it is; the next success counts again', async () => {
    present = [nightly(MIDNIGHT + 365 * DAY)];
    await at(MIDNIGHT + HOUR);
    expect(scheduler.views.map(({ isOverdue }) => isOverdue)).toEqual([true]);
    await schedules.change('nightly', (schedule) => ({ ...schedule!, action: 'VERIFY', incrementals: 0, retention: {}, succeededMs: MIDNIGHT + 365 * DAY }));
    await at(MIDNIGHT + 3 * HOUR);
    expect(scheduler.views.map(({ isOverdue }) => isOverdue)).toEqual([true]);
    const [job] = await desk.list();
    await desk.update(job!.id, (stored) => ({ ...stored, state: 'SUCCEEDED', endedMs: nowMs + MINUTE }));
    await at(MIDNIGHT + 4 * HOUR);
    expect((await schedules.list())[0]).toMatchObject({ succeededMs: MIDNIGHT + 3 * HOUR + MINUTE });
    await at(MIDNIGHT + 4 * HOUR + MINUTE);
    expect(scheduler.views.map(({ isOverdue }) => isOverdue)).toEqual([false]);
  });

  it('are overdue when the newest archive is too old', async () => {
    present = [nightly(MIDNIGHT - 3 * HOUR)];
    await at(MIDNIGHT + DAY);
    expect(scheduler.views.map(({ isOverdue }) => isOverdue)).toEqual([false]);
    await at(MIDNIGHT + 2 * DAY);
    expect(scheduler.views.map(({ isOverdue }) => isOverdue)).toEqual([true]);
  });

  it('are overdue when the repository cannot be listed since the service began: nobody knows of an archive', async () => {
    isAway = true;
    await at(MIDNIGHT + 3 * DAY);
    const metrics = new Map<string, () => Iterable<Reading>>();
    addScheduleMetrics({ gaugeFamily: (name, _, read) => void metrics.set(name, read) }, scheduler);
    const told = (): Record<string, number[]> => Object.fromEntries(Array.from(metrics, ([name, read]) => [name.replace('atoll_backup_schedule_', ''), Array.from(read(), ({ value }) => value)]));
    expect(told()).toEqual({ newest_cut_timestamp_seconds: [], overdue: [1], archives: [] });
    present = [nightly(MIDNIGHT + 2 * DAY + 3 * HOUR)];
    isAway = false;
    await at(MIDNIGHT + 3 * DAY + MINUTE);
    expect(told()).toEqual({ newest_cut_timestamp_seconds: [(MIDNIGHT + 2 * DAY + 3 * HOUR) / 1000], overdue: [0], archives: [1] });
  });

  describe('as requests ask for them', () => {
    const retention = { count: 7, ageMs: 0, days: 0, weeks: 4, months: 0 };
    const hourly = { name: 'hourly', cron: '0 * * * *', incrementals: 23, keyspaces: [], bytesPerSecond: 0, retention, paused: false, ageMsMax: 0, action: ScheduleAction.SCHEDULE_ACTION_BACKUP };

    it('are put, changed without losing what they did, listed and deleted', async () => {
      await putBackupSchedule({ schedules, archives }, { schedule: hourly });
      await schedules.change('hourly', (schedule) => ({ ...schedule!, lastJob: 'hourly-1', firedMs: 5 }));
      const { state } = await putBackupSchedule({ schedules, archives }, { schedule: { ...hourly, cron: '30 * * * *' } });
      expect(state).toMatchObject({ schedule: { ...hourly, cron: '30 * * * *' }, lastJob: 'hourly-1', lastAtMs: 5, archives: 0 });
      expect((await listBackupSchedules({ schedules, archives })).schedules.map(({ schedule }) => schedule!.name)).toEqual(['hourly', 'nightly']);
      isAway = true;
      expect((await listBackupSchedules({ schedules, archives })).schedules[0]).toMatchObject({ problem: 'it is away', overdue: false });
      await deleteBackupSchedule({ schedules, archives }, { name: 'hourly' });
      await expect(deleteBackupSchedule({ schedules, archives }, { name: 'hourly' })).rejects.toMatchObject({ reason: 'BACKUP_SCHEDULE_NOT_FOUND' });
    });

    it.each([
      ['schedule.name', { name: 'No Name' }],
      ['schedule.cron', { cron: '61 * * * *' }],
      ['schedule.cron', { cron: '0 0 30 2 *' }],
      ['schedule.cron', { cron: '0 0 0 * * *' }],
      ['schedule.incrementals', { incrementals: 1001 }],
      ['schedule.keyspaces', { keyspaces: ['a', 'a'] }],
      ['schedule.retention.weeks', { retention: { ...retention, weeks: 20_000 } }],
      ['schedule.age_ms_max', { ageMsMax: 59_999 }],
      ['schedule.action', { action: ScheduleAction.SCHEDULE_ACTION_DRILL }],
      ['schedule.action', { action: ScheduleAction.SCHEDULE_ACTION_VERIFY, incrementals: 0, retention: undefined, keyspaces: ['a'] }],
    ])('are refused for %s (%#)', async (field, fields) => {
      await expect(putBackupSchedule({ schedules, archives }, { schedule: { ...hourly, ...fields } })).rejects.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field } });
    });
  });
});
