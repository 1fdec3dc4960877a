import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';

export interface RepositoryProbe {
  readonly isWritable: boolean;
  /** For people: what failed; empty when nothing did. */
  readonly problem: string;
  /** 0 when the storage does not tell. */
  readonly bytesFree: number;
  readonly durationMs: number;
}

/** Large enough to reach the disk, small enough to be of no weight. */
const PROBE_BYTES = 4096;

/**
 * Does to the repository what a backup would: makes the directory, writes a file and flushes it, flushes the
 * directory, reads the file back, removes it. Never rejects; storage that hangs is given up after `timeoutMs`.
 */
export async function probeRepository(directory: string, timeoutMs: number): Promise<RepositoryProbe> {
  const probe = await timed(() => writeAndReadBack(directory), timeoutMs);
  return { ...probe, bytesFree: probe.isWritable ? await freeBytes(directory) : 0 };
}

/** Of storage that does not tell how much is free. */
export async function timed(work: () => Promise<void>, timeoutMs: number): Promise<RepositoryProbe> {
  const startMs = performance.now();
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(() => timeout.reject(new Error(`the storage did not answer within ${timeoutMs} ms`)), timeoutMs);
  let problem = '';
  try {
    await Promise.race([work(), timeout.promise]);
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
  } finally {
    clearTimeout(timer);
  }
  return { isWritable: problem === '', problem, bytesFree: 0, durationMs: performance.now() - startMs };
}

async function writeAndReadBack(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const content = randomBytes(PROBE_BYTES);
  const path = join(directory, `.probe-${randomBytes(8).toString('hex')}`);
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await flushDirectory(directory);
    const readBack = await readFile(path);
    if (!readBack.equals(content)) throw new Error('the probe file was read back with other content than was written');
  } finally {
    await rm(path, { force: true });
  }
}

/** Without it a new file may be gone after a power failure although its content was flushed. */
async function flushDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function freeBytes(directory: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  } catch {
    return 0;
  }
}
