import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { usageError } from '../cli-error.ts';
import { identityOf, isRunning, type ProcessIdentity } from './process-identity.ts';

/**
 * One supervisor per data directory. The lock is a file with the holder's identity, made exclusively; that
 * of a process that runs no more is taken over. Throws CliError (usage) when another supervisor holds it.
 */
export function lockDataDir(dataDir: string): { release(): void } {
  mkdirSync(dataDir, { recursive: true });
  const file = join(dataDir, 'supervisor.lock');
  const own = identityOf(process.pid);
  for (let attempt = 0; ; attempt += 1) {
    try {
      writeFileSync(file, JSON.stringify(own), { flag: 'wx', mode: 0o600 });
      return { release: () => rmSync(file, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = readHolder(file);
    if (attempt > 0 || (holder !== undefined && isRunning(holder))) {
      throw usageError(
        `a cluster is running in ${dataDir} already (supervisor pid ${holder?.pid ?? 'unknown'}); end it with: atoll dev down --data-dir ${dataDir}`,
      );
    }
    rmSync(file, { force: true });
  }
}

function readHolder(file: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
}
