import { MigrationState, MigrationStep } from '@atoll/contracts/atoll/v1/migration';
import { copying, done, jobOf, messageOf, partitionIn } from '../testing/migrations.ts';
import { MigrationProgress } from './migration-progress.ts';
import { progressLines, progressText } from './progress-view.ts';

const waiting = (partition: number) => partitionIn(MigrationStep.MIGRATION_STEP_WAITING, partition);

describe('a migration on a terminal', () => {
  it('has a bar for the whole and one for each partition under way, with rate and time left', () => {
    const progress = new MigrationProgress();
    progress.add(messageOf(jobOf(4), [done(0), copying(1, 0), copying(12, 1024), waiting(13)]), 0);
    progress.add(messageOf(jobOf(4, { partitionsDone: 1, bytes: 8192 }), [copying(1, 2048), { ...copying(12, 4096), step: MigrationStep.MIGRATION_STEP_VERIFY }], { bytesPerSecond: 5120, remainingMs: 63_000 }), 2000);
    expect(progressLines(progress, 2000, 24)).toEqual([
      'm-1 RUNNING: node-1 to node-4',
      '[#############.......]  62%  1 of 4 partitions done  8.0 KiB  5.0 KiB/s  1m03s left',
      '[##########..........]  50%  default/1   CATCH_UP   2.0 KiB of 4.0 KiB  1.0 KiB/s  2s left',
      '[####################] 100%  default/12  VERIFY     4.0 KiB of 4.0 KiB',
      '1 waiting, 1 done',
    ]);
    expect(progressText(progress, 2000)).toBe('m-1 RUNNING, 1 of 4 partitions done, 8.0 KiB, 5.0 KiB/s, 1m03s left');
  });

  it.each([
    [1, /^m-1 RUNNING/],
    [2, /^\[/],
    [3, /^30 more under way, 1 waiting, 1 done$/],
    [4, /^29 more under way, 1 waiting, 1 done$/],
    [10, /^23 more under way, 1 waiting, 1 done$/],
    [24, /^9 more under way, 1 waiting, 1 done$/],
  ])('is at most %d lines high, and the last one sums up what is left out', (rows, last) => {
    const progress = new MigrationProgress();
    progress.add(messageOf(jobOf(40), [...Array.from({ length: 30 }, (_, partition) => copying(partition, 100)), waiting(30), done(31)]), 0);
    const lines = progressLines(progress, 0, rows);
    expect(lines).toHaveLength(rows);
    expect(lines.at(-1)).toMatch(last);
  });

  it('tells by how many streams each partition comes where there are several', () => {
    const progress = new MigrationProgress();
    progress.add(messageOf(jobOf(1, { shards: 4 }), [copying(0, 10)]), 0);
    expect(progressLines(progress, 0, 24)[0]).toBe('m-1 RUNNING: node-1 to node-4, by 4 streams a partition');
  });

  it('shows what the job, a partition and the watch have to say', () => {
    const progress = new MigrationProgress();
    progress.add(messageOf(jobOf(1, { state: MigrationState.MIGRATION_STATE_PAUSED, partitionsRolledBack: 1, problem: 'etcd is away' }), [{ ...copying(0, 10), problem: 'node-4 is SUSPECT' }]), 0);
    const lines = progressLines(progress, 0, 24, 'lost the coordinator');
    expect(lines[0]).toBe('m-1 PAUSED: node-1 to node-4');
    expect(lines[1]).toContain('1 rolled back');
    expect(lines.slice(2, 4)).toEqual(['etcd is away', 'lost the coordinator']);
    expect(lines[4]).toContain('node-4 is SUSPECT');
    expect(progressLines(new MigrationProgress(), 0, 24, 'lost')).toEqual(['lost']);
  });

  it('is not all done before the job has ended, and counts partitions by their bytes', () => {
    const progress = new MigrationProgress();
    progress.add(messageOf(jobOf(2), [{ ...done(0), bytesTotal: 0 }, { ...copying(1, 0), bytesTotal: 1000 }]), 0);
    expect(progress.share).toBeLessThan(0.01);
    progress.add(messageOf(jobOf(2), [done(1)]), 1);
    expect(progress.share).toBe(0.99);
    progress.add(messageOf(jobOf(2, { state: MigrationState.MIGRATION_STATE_SUCCEEDED })), 2);
    expect(progress.share).toBe(1);
  });

  it('reckons with the progress where nobody knows how much is to be copied, and tells no time while nothing moves', () => {
    const progress = new MigrationProgress();
    const unknown = { ...copying(0, 1000), bytesTotal: 0, progress: 0.25 };
    progress.add(messageOf(jobOf(1), [{ ...unknown, bytes: 0 }]), 0);
    expect(progress.paceOf(unknown, 0).remainingMs).toBeUndefined();
    progress.add(messageOf(jobOf(1), [unknown], { remainingMs: 5000 }), 1000);
    expect(progress.paceOf(unknown, 1000)).toEqual({ bytesPerSecond: 1000, remainingMs: 3000 });
    expect([progress.remainingMs(3000), progress.remainingMs(9000)]).toEqual([3000, 0]);
  });
});
