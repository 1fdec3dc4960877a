// Group commit: one group is written and synced while the next one gathers, so that a hundred writers share
// one fdatasync (DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984).
import { MIB } from '@atoll/core-runtime';
import type { Owner } from './file-header.ts';
import type { WalFileSystem } from './file-system.ts';
import { FRAME_HEADER_BYTES, checksumOf, encodeFrameHeader } from './frame.ts';
import type { LogBuffer, PendingFrame, PendingSegment, PendingStep } from './log-buffer.ts';
import { FIRST_FRAME_OFFSET, createSegment } from './segment.ts';
import type { SegmentFile } from './segment.ts';
import { toWriteFailure } from './wal-error.ts';

/** Parts are handed to one write until they are this long. */
const WRITE_BYTES = 4 * MIB;

/** What becomes removable once a group is durable, as of the moment the group was taken. */
export interface Garbage {
  /** Segments below this number; at most the one that the group ends in, whose state the later ones build on. */
  readonly oldestNeededSegment: number;
  readonly files: readonly string[];
}

export interface StoredSegment {
  readonly number: number;
  readonly path: string;
  bytes: number;
}

export interface GroupCommitterOptions {
  readonly fileSystem: WalFileSystem;
  /** Of the segments. */
  readonly directory: string;
  readonly owner: Owner;
  readonly buffer: LogBuffer;
  /** Segments that recovery found, oldest first. */
  readonly segments: StoredSegment[];
  /** Number of the first group. */
  readonly group: number;
  readonly durablePosition: number;
  readonly flushIntervalMs: number;
  readonly flushBytes: number;
  /** Called before a timed flush: the moment to add what was coalesced. */
  readonly onTimer: () => void;
  readonly collectGarbage: () => Garbage;
  readonly onFatal: (error: Error) => void;
  /** A group begins to be written, and it is on disk. */
  readonly onFlush: (phase: 'began' | 'ended') => void;
}

interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class GroupCommitter {
  readonly #options: GroupCommitterOptions;
  readonly #segments: StoredSegment[];
  readonly #listeners: ((position: number) => void)[] = [];
  #waiters: Waiter[] = [];
  #active: SegmentFile | undefined;
  #isDirty = false;
  #group: number;
  #durablePosition: number;
  #isRequested = false;
  /** From the moment that a flush is scheduled until the loop ends that it began. */
  #isRunning = false;
  #running: Promise<void> = Promise.resolve();
  /** Removals run beside the next group: unlinking a large file takes a file system its time. */
  #cleaning: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #failure: Error | undefined;

  constructor(options: GroupCommitterOptions) {
    this.#options = options;
    this.#segments = options.segments;
    this.#group = options.group;
    this.#durablePosition = options.durablePosition;
  }

  get durablePosition(): number {
    return this.#durablePosition;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Oldest first; the last one takes the writes. */
  get segments(): readonly StoredSegment[] {
    return this.#segments;
  }

  onDurable(listener: (position: number) => void): void {
    this.#listeners.push(listener);
  }

  /** Something was buffered: it is flushed within flushIntervalMs, sooner if it is much. */
  noteBuffered(): void {
    if (this.#options.buffer.position - this.#durablePosition >= this.#options.flushBytes) this.request();
    this.armTimer();
  }

  armTimer(): void {
    if (this.#timer !== undefined || this.#failure !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#options.onTimer();
      this.request();
    }, this.#options.flushIntervalMs);
    this.#timer.unref();
  }

  /** The flush begins when this turn of the event loop is over, so that its other writers are in the same group. */
  request(): void {
    this.#isRequested = true;
    if (this.#isRunning || this.#failure !== undefined) return;
    this.#isRunning = true;
    setImmediate(() => {
      this.#running = this.#run();
    });
  }

  /** Resolves when everything buffered until now is durable. */
  flushed(): Promise<void> {
    const { position } = this.#options.buffer;
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (position <= this.#durablePosition) return Promise.resolve();
    this.request();
    return new Promise((resolve, reject) => this.#waiters.push({ position, resolve, reject }));
  }

  /** The first failure ends all: nothing more is written, and what waits is refused. */
  fail(error: unknown, file: string): void {
    if (this.#failure !== undefined) return;
    this.#failure = toWriteFailure(error, file);
    clearTimeout(this.#timer);
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#failure);
    this.#options.onFatal(this.#failure);
  }

  /** Waits for the group in flight and closes the file; what is buffered must have been flushed before. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#running;
    await this.#cleaning;
    await this.#active?.file.close();
    this.#active = undefined;
  }

  async #run(): Promise<void> {
    while (this.#isRequested && !this.#options.buffer.isEmpty && this.#failure === undefined) {
      this.#isRequested = false;
      const { steps, position, garbage } = this.#takeGroup();
      try {
        this.#options.onFlush('began');
        await this.#writeGroup(steps);
        this.#options.onFlush('ended');
      } catch (error) {
        this.fail(error, this.#active?.path ?? this.#options.directory);
        break;
      }
      this.#cleaning = this.#cleaning.then(() => this.#removeGarbage(garbage)).catch((error: unknown) => this.fail(error, this.#options.directory));
      this.#settle(position);
    }
    this.#isRunning = false;
  }

  #takeGroup(): { steps: PendingStep[]; position: number; garbage: Garbage } {
    const { buffer, collectGarbage } = this.#options;
    return { steps: buffer.take(), position: buffer.position, garbage: collectGarbage() };
  }

  async #writeGroup(steps: readonly PendingStep[]): Promise<void> {
    let frames: PendingFrame[] = [];
    let bytes = 0;
    for (const step of steps) {
      if (step.kind === 'segment') {
        await this.#writeFrames(frames, false);
        await this.#beginSegment(step);
        frames = [];
        bytes = 0;
        continue;
      }
      if (bytes >= WRITE_BYTES) {
        await this.#writeFrames(frames, false);
        frames = [];
        bytes = 0;
      }
      frames.push(step);
      bytes += step.payloadBytes;
    }
    await this.#writeFrames(frames, true);
    await this.#sync();
    this.#group += 1;
  }

  async #writeFrames(frames: readonly PendingFrame[], isEndOfGroup: boolean): Promise<void> {
    const first = frames[0];
    if (first === undefined) return;
    const segment = this.#requireActive();
    const parts: Uint8Array[] = [];
    for (const frame of frames) {
      const header = {
        payloadBytes: frame.payloadBytes,
        payloadChecksum: checksumOf(frame.parts, segment.salt),
        group: this.#group,
        isLast: isEndOfGroup && frame === frames.at(-1),
        position: frame.position,
      };
      parts.push(encodeFrameHeader(header, segment.salt), ...frame.parts);
    }
    this.#isDirty = true;
    await segment.file.write(parts, first.position - segment.base);
    const stored = this.#segments.at(-1);
    for (const frame of frames) if (stored !== undefined) stored.bytes += FRAME_HEADER_BYTES + frame.payloadBytes;
  }

  /** The segment before is synced first: recovery relies on it that only the last one can end in a torn write. */
  async #beginSegment(step: PendingSegment): Promise<void> {
    const { fileSystem, directory, owner } = this.#options;
    await this.#sync();
    const finished = this.#active;
    this.#active = undefined;
    await finished?.file.close();
    const meta = { clusterId: owner.clusterId, nodeId: owner.nodeId, number: step.number, base: step.base, group: this.#group };
    this.#active = await createSegment(fileSystem, directory, meta);
    this.#segments.push({ number: step.number, path: this.#active.path, bytes: FIRST_FRAME_OFFSET });
  }

  async #sync(): Promise<void> {
    if (!this.#isDirty) return;
    await this.#requireActive().file.datasync();
    this.#isDirty = false;
  }

  #settle(position: number): void {
    this.#durablePosition = position;
    const due = this.#waiters.filter((waiter) => waiter.position <= position);
    this.#waiters = this.#waiters.filter((waiter) => waiter.position > position);
    for (const waiter of due) waiter.resolve();
    for (const listener of this.#listeners) listener(position);
    if (this.#options.buffer.position - position >= this.#options.flushBytes) this.#isRequested = true;
  }

  /** Oldest first and each removal synced, so that a crash in between leaves no gap. */
  async #removeGarbage(garbage: Garbage): Promise<void> {
    const { fileSystem, directory } = this.#options;
    for (const file of garbage.files) await fileSystem.remove(file);
    for (;;) {
      const oldest = this.#segments[0];
      if (oldest === undefined || oldest.number >= garbage.oldestNeededSegment) return;
      await fileSystem.remove(oldest.path);
      await fileSystem.syncDirectory(directory);
      this.#segments.shift();
    }
  }

  #requireActive(): SegmentFile {
    if (this.#active === undefined) throw new Error('no segment is open');
    return this.#active;
  }
}
