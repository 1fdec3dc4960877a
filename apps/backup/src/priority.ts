import { readdirSync } from 'node:fs';
import { setPriority } from 'node:os';

/**
 * Lets everything else on the machine go first: archives are packed and hashed on all cores, and clients would wait for them.
 * Linux has a priority for each thread and knows threads by number as it does processes, so that those that run already get it as
 * well; elsewhere it is one of the process. A higher one than the present is refused to who is not root, and left as it is.
 */
export function stepBack(nice: number): void {
  const threads = process.platform === 'linux' ? readdirSync('/proc/self/task').map(Number) : [process.pid];
  for (const thread of threads) {
    try {
      setPriority(thread, nice);
    } catch {
      // It ended meanwhile, or the whole process was started at a lower priority than this.
    }
  }
}
