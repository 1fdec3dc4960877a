// Keeps two processes out of one directory. A lock file names its holder by process id and start time, so that
// a lock left by a crash is told from a live one even after the id was given to another process.
// Processes that do not see each other's ids (containers that share a volume) are told apart by the node's
// registration (R5), not here.
import { randomBytes } from 'node:crypto';
import { link, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WalError } from './wal-error.ts';

interface Holder {
  /** 0 when the lock was released. */
  readonly pid: number;
  /** Start of the process as the kernel counts it; empty where the platform does not tell. */
  readonly startedAt: string;
}

const LOCK_NAME = /^LOCK\.(\d+)$/;
const ATTEMPTS_MAX = 10;

export interface DirectoryLock {
  release(): Promise<void>;
}

/**
 * Locks are numbered and the highest one counts. A stale one is never removed to make room, but overtaken by
 * the next number, which link(2) gives to one process only:
 * 1. A and B find that LOCK.4 is stale; 2. A links LOCK.5, then removes LOCK.4; 3. B cannot link LOCK.5.
 * A released lock stays as a file, so that numbers are not used twice. Who was so slow that its number is below
 * the highest one sees that after linking: a number is removed only once a higher one is there.
 * @throws WalError LOCKED if another live process, or this one, holds the lock.
 */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const own = join(directory, `LOCK.${process.pid}-${randomBytes(4).toString('hex')}`);
  await writeHolder(own, { pid: process.pid, startedAt: (await processStart(process.pid)) ?? '' });
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const highest = (await lockNumbers(directory)).at(-1) ?? 0;
      await assertStale(pathOf(directory, highest));
      const number = highest + 1;
      if (!(await links(own, pathOf(directory, number)))) continue;
      const numbers = await lockNumbers(directory);
      if (numbers.at(-1) !== number) {
        await rm(pathOf(directory, number), { force: true });
        continue;
      }
      for (const lower of numbers.slice(0, -1)) await rm(pathOf(directory, lower), { force: true });
      return { release: () => release(directory, number) };
    }
    throw new WalError('LOCKED', 'other processes keep taking the lock', { file: directory });
  } finally {
    await rm(own, { force: true });
  }
}

const pathOf = (directory: string, number: number): string => join(directory, `LOCK.${number}`);

async function lockNumbers(directory: string): Promise<number[]> {
  const numbers = (await readdir(directory)).map((name) => Number(LOCK_NAME.exec(name)?.[1] ?? 0));
  return numbers.filter((number) => number > 0).sort((a, b) => a - b);
}

async function release(directory: string, number: number): Promise<void> {
  const released = `${pathOf(directory, number)}-released`;
  await writeHolder(released, { pid: 0, startedAt: '' });
  await rename(released, pathOf(directory, number));
}

async function writeHolder(path: string, holder: Holder): Promise<void> {
  await writeFile(path, JSON.stringify(holder));
}

async function assertStale(path: string): Promise<void> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const holder = parseHolder(text);
  if (holder === undefined || holder.pid === 0 || (await processStart(holder.pid)) !== holder.startedAt) return;
  throw new WalError('LOCKED', `process ${holder.pid} uses the directory; stop it or choose another directory`, { file: path });
}

/** Undefined for text that no live process can have left: locks appear under their name only when whole. */
function parseHolder(text: string): Holder | undefined {
  try {
    const holder = JSON.parse(text) as Partial<Holder>;
    return typeof holder.pid === 'number' && typeof holder.startedAt === 'string' ? { pid: holder.pid, startedAt: holder.startedAt } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * When a process started: boot id and start time in clock ticks (proc_pid_stat(5), field 22) on Linux, empty on
 * other platforms. Undefined if no such process is alive; one that only waits to be reaped is not.
 */
export async function processStart(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') return isAlive(pid) ? '' : undefined;
  try {
    const [stat, bootId] = await Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile('/proc/sys/kernel/random/boot_id', 'utf8')]);
    // The process name, field 2, stands in parentheses and may hold spaces: fields are counted from behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const state = fields[0] ?? '';
    return 'ZX'.includes(state) ? undefined : `${bootId.trim()} ${fields[19] ?? ''}`;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** False if `to` exists. */
async function links(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
