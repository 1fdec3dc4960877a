import type { Logger } from '@atoll/platform-telemetry';

/** Ends one thing. The signal aborts when time is short: cut off what still runs. */
export type StopHook = (signal: AbortSignal) => Promise<void> | void;

/** Share of the time after which hooks are asked to cut off rather than to finish. */
const GRACEFUL_SHARE = 0.8;

/**
 * What must be ended before the process may. Hooks run one after another, the last registered first, as
 * things depend on what was started before them.
 */
export class StopHooks {
  readonly #hooks: { readonly name: string; readonly hook: StopHook }[] = [];

  add(name: string, hook: StopHook): void {
    this.#hooks.push({ name, hook });
  }

  /**
   * Runs all hooks, also behind one that fails. After 80 % of `boundMs` their signal aborts; at `boundMs`
   * nothing is waited for any more. Answers whether everything ended well and in time.
   */
  async run({ boundMs, logger }: { readonly boundMs: number; readonly logger: Logger | undefined }): Promise<boolean> {
    const cutOff = new AbortController();
    let running = 'nothing';
    let isClean = true;
    const runAll = async (): Promise<'done'> => {
      for (let next = this.#hooks.pop(); next !== undefined; next = this.#hooks.pop()) {
        running = next.name;
        try {
          await next.hook(cutOff.signal);
        } catch (error) {
          isClean = false;
          logger?.error({ err: error, hook: next.name }, 'stopping failed');
        }
      }
      return 'done';
    };
    const timers: NodeJS.Timeout[] = [];
    const after = (ms: number): Promise<'late'> => new Promise((resolve) => timers.push(setTimeout(() => resolve('late'), ms)));
    const done = runAll();
    try {
      if ((await Promise.race([done, after(boundMs * GRACEFUL_SHARE)])) === 'done') return isClean;
      logger?.warn({ hook: running }, 'stopping takes long; cutting off');
      cutOff.abort(new Error(`the time to stop is over: ${running}`));
      if ((await Promise.race([done, after(boundMs * (1 - GRACEFUL_SHARE))])) === 'done') return isClean;
      logger?.error({ hook: running }, 'stopping did not end in time');
      return false;
    } finally {
      for (const timer of timers) clearTimeout(timer);
    }
  }
}
