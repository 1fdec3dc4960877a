import { isSettled, type NodeRecord, type NodeSpec } from '@atoll/core-membership';

export interface AttendanceOptions {
  readonly settleMs: number;
  readonly settleMsMax: number;
  /** A node that has been away for longer is written off: its replicas are placed elsewhere. */
  readonly reReplicateAfterMs: number;
}

/**
 * Since when each node is here or away, by the monotonic clock of this coordinator and counted from when it was
 * elected: another coordinator's clock would say nothing here.
 */
export class Attendance {
  readonly #options: AttendanceOptions;
  readonly #present = new Set<string>();
  readonly #awaySinceMs = new Map<string, number>();
  #firstJoinMs: number | undefined;
  #lastJoinMs = 0;

  constructor(options: AttendanceOptions) {
    this.#options = options;
  }

  take(nodes: ReadonlyMap<string, NodeRecord>, specs: ReadonlyMap<string, NodeSpec>, nowMs: number): void {
    for (const id of nodes.keys()) {
      this.#awaySinceMs.delete(id);
      if (this.#present.has(id)) continue;
      this.#present.add(id);
      this.#firstJoinMs ??= nowMs;
      this.#lastJoinMs = nowMs;
    }
    for (const id of this.#present) if (!nodes.has(id)) this.#present.delete(id);
    for (const id of specs.keys()) if (!nodes.has(id) && !this.#awaySinceMs.has(id)) this.#awaySinceMs.set(id, nowMs);
  }

  /** Whether the nodes that start together have had the time to do so. False without any node. */
  isSettled(nowMs: number): boolean {
    if (this.#firstJoinMs === undefined || this.#present.size === 0) return false;
    const { settleMs, settleMsMax } = this.#options;
    return isSettled({ nowMs, firstJoinMs: this.#firstJoinMs, lastJoinMs: this.#lastJoinMs, settleMs, settleMsMax });
  }

  writtenOff(nowMs: number): ReadonlySet<string> {
    const isOverdue = ([, sinceMs]: [string, number]): boolean => nowMs - sinceMs > this.#options.reReplicateAfterMs;
    return new Set([...this.#awaySinceMs].filter(isOverdue).map(([id]) => id));
  }
}
