import type { Migration, PartitionMigration, WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { hasEnded, isOver, isUnderWay, partitionName } from './migration-states.ts';
import { RateMeter } from './rate-meter.ts';

/** Until a job has ended, however far its copies are, it is not all done. */
const SHARE_BEFORE_END = 0.99;

/** What a watched migration looks like now: its messages, added up. */
export class MigrationProgress {
  readonly #partitions = new Map<string, PartitionMigration>();
  /** Of the partitions under way alone. */
  readonly #meters = new Map<string, RateMeter>();
  #migration: Migration | undefined;
  #bytesPerSecond = 0;
  #endsAtMs: number | undefined;

  /** Takes a message in; `nowMs` by a clock that does not go back. */
  add({ migration, partitions, bytesPerSecond, remainingMs }: WatchMigrationResponse, nowMs: number): void {
    this.#migration = migration ?? this.#migration;
    this.#bytesPerSecond = bytesPerSecond;
    this.#endsAtMs = remainingMs === undefined ? undefined : nowMs + remainingMs;
    for (const partition of partitions) this.#partitions.set(partitionName(partition), partition);
    for (const [name, partition] of this.#partitions) {
      if (!isUnderWay(partition)) this.#meters.delete(name);
      else this.#meter(name).add(partition.bytes, nowMs);
    }
  }

  get migration(): Migration | undefined {
    return this.#migration;
  }

  get partitions(): readonly PartitionMigration[] {
    return [...this.#partitions.values()];
  }

  /** As the coordinator last said. */
  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  /** Of the whole, 0 to 1, by bytes as far as they are known. */
  get share(): number {
    if (this.#migration === undefined) return 0;
    if (hasEnded(this.#migration)) return 1;
    let [done, total] = [0, 0];
    for (const { bytesTotal, progress, step } of this.#partitions.values()) {
      // An empty partition has its steps to take too.
      const weight = bytesTotal + 1;
      total += weight;
      done += weight * (isOver(step) ? 1 : Math.min(Math.max(progress, 0), 1));
    }
    return total === 0 ? 0 : Math.min(done / total, SHARE_BEFORE_END);
  }

  /** Until the end of the whole, in ms; undefined while nobody knows. */
  remainingMs(nowMs: number): number | undefined {
    return this.#endsAtMs === undefined ? undefined : Math.max(this.#endsAtMs - nowMs, 0);
  }

  /** How fast the copy of one partition is, in bytes per second, and how long it still takes at this rate, in ms. */
  paceOf(partition: PartitionMigration, nowMs: number): { bytesPerSecond: number; remainingMs: number | undefined } {
    const bytesPerSecond = this.#meters.get(partitionName(partition))?.perSecond(nowMs) ?? 0;
    const { bytes, bytesTotal, progress } = partition;
    const left = bytesTotal > 0 ? Math.max(bytesTotal - bytes, 0) : progress > 0 && progress <= 1 ? (bytes * (1 - progress)) / progress : undefined;
    return { bytesPerSecond, remainingMs: left === undefined || bytesPerSecond <= 0 ? undefined : (left / bytesPerSecond) * 1000 };
  }

  #meter(name: string): RateMeter {
    const known = this.#meters.get(name) ?? new RateMeter();
    this.#meters.set(name, known);
    return known;
  }
}
