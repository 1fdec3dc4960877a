// What replicas of this node found to be gone, until the coordinator has it. A node that returns fills many replicas at
// once: what is found within a second is told together, by keyspace.
import type { DiscardedWrites } from '@atoll/contracts/atoll/v1/heartbeat';
import type { DiscardReport } from '@atoll/core-replication';
import type { Logger } from '@atoll/platform-telemetry';
import type { DiscardFile } from './discard-file.ts';
import { keyText } from './key-text.ts';

const GATHER_MS = 1000;
/** Keys of one message. */
const FIRST_KEYS_MAX = 32;
/** Lines of the file that one keyspace may have gathered (I10). */
const LINES_MAX = 20_000;
/** Messages that wait for a coordinator; the oldest go first (I10). The file has them all the same. */
const WAITING_MAX = 64;
/** Messages in one report. */
const LISTED_MAX = 8;

interface Gathering {
  readonly sinceMs: number;
  readonly partitions: Set<number>;
  readonly counts: Record<'discarded' | 'superseded' | 'kept' | 'unknown', number>;
  readonly firstKeys: string[];
  readonly lines: string[];
}

export interface DiscardLedgerOptions {
  /** Undefined for a node without a data directory: the first keys are all that is told. */
  readonly file: DiscardFile | undefined;
  readonly wallMs: () => number;
  readonly logger: Pick<Logger, 'warn'>;
}

export class DiscardLedger {
  readonly #options: DiscardLedgerOptions;
  readonly #gathering = new Map<string, Gathering>();
  readonly #waiting: DiscardedWrites[] = [];
  #number = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: DiscardLedgerOptions) {
    this.#options = options;
  }

  add({ keyspace, partition }: { readonly keyspace: string; readonly partition: number }, report: DiscardReport, nowMs: number): void {
    const gathered = this.#gathering.get(keyspace) ?? {
      sinceMs: nowMs,
      partitions: new Set<number>(),
      counts: { discarded: 0, superseded: 0, kept: 0, unknown: 0 },
      firstKeys: [],
      lines: [],
    };
    this.#gathering.set(keyspace, gathered);
    gathered.partitions.add(partition);
    for (const field of ['discarded', 'superseded', 'kept', 'unknown'] as const) gathered.counts[field] += report[field];
    const at = new Date(this.#options.wallMs()).toISOString();
    for (const { key, version, bytes, isCompared } of report.listed) {
      if (gathered.firstKeys.length < FIRST_KEYS_MAX) gathered.firstKeys.push(keyText(key));
      if (this.#options.file === undefined || gathered.lines.length >= LINES_MAX) continue;
      gathered.lines.push(JSON.stringify({ at, keyspace, partition, key: key.toString('utf8'), keyHex: key.toString('hex'), ...version, bytes, isCompared }));
    }
  }

  /** To be called now and then: what was gathered is written down, and told from then on. */
  tick(nowMs: number): void {
    for (const [keyspace, gathered] of this.#gathering) {
      if (nowMs - gathered.sinceMs < GATHER_MS) continue;
      this.#gathering.delete(keyspace);
      this.#writing = this.#writing.then(() => this.#close(keyspace, gathered));
    }
  }

  /** For the next report: what no coordinator has taken in yet. */
  list(): DiscardedWrites[] {
    return this.#waiting.slice(0, LISTED_MAX);
  }

  /** The coordinator has everything up to this number. */
  taken(number: number): void {
    while (this.#waiting[0] !== undefined && this.#waiting[0].number <= number) this.#waiting.shift();
  }

  /** Writes down what is gathered. Resolves when it is on disk. */
  close(): Promise<void> {
    this.tick(Number.POSITIVE_INFINITY);
    return this.#writing;
  }

  async #close(keyspace: string, { partitions, counts, firstKeys, lines }: Gathering): Promise<void> {
    const { file, logger } = this.#options;
    let listFile = '';
    if (file !== undefined && lines.length > 0) {
      await file.append(lines).then(
        () => (listFile = file.path),
        (err: unknown) => logger.warn({ err, file: file.path }, 'the list of discarded writes could not be written'),
      );
    }
    this.#number += 1;
    this.#waiting.push({ number: this.#number, keyspace, partitions: [...partitions].sort((a, b) => a - b), ...counts, firstKeys, listFile });
    if (this.#waiting.length > WAITING_MAX) this.#waiting.shift();
  }
}
