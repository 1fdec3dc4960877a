import type { JobFigures } from './job-record.ts';

/** Time over which the rate is told, in ms. */
const WINDOW_MS = 10_000;

/** Counts what a job does, and tells how fast and for how long yet. */
export class JobMeter {
  bytesDone = 0;
  bytesTotal = 0;
  entries = 0;
  partitionsDone = 0;
  partitionsTotal = 0;
  readonly #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  /** `nowMs` is monotonic. To be asked about once per second. */
  figures(nowMs: number): JobFigures {
    const { bytesDone, bytesTotal, entries, partitionsDone, partitionsTotal } = this;
    this.#samples.push({ atMs: nowMs, bytes: bytesDone });
    while (this.#samples.length > 2 && nowMs - this.#samples[1]!.atMs >= WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0]!;
    const elapsedMs = nowMs - first.atMs;
    const bytesPerSecond = elapsedMs > 0 ? Math.max(0, Math.round(((bytesDone - first.bytes) / elapsedMs) * 1000)) : 0;
    const left = bytesTotal - bytesDone;
    const remainingMs = bytesPerSecond > 0 && bytesTotal > 0 ? Math.max(0, Math.round((left / bytesPerSecond) * 1000)) : undefined;
    return { bytesDone, bytesTotal: Math.max(bytesTotal, bytesTotal === 0 ? 0 : bytesDone), entries, partitionsDone, partitionsTotal, bytesPerSecond, remainingMs };
  }
}
