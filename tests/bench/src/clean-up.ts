/** What has to be undone at the end, in reverse order, whatever happened. */
export class CleanUp {
  readonly #steps: (() => Promise<void> | void)[] = [];

  add(step: () => Promise<void> | void): void {
    this.#steps.push(step);
  }

  /** Every step is tried; a step that fails is reported and does not keep the others from running. */
  async run(report: (line: string) => void): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (error) {
        report(`cleaning up: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
}

/** Thrown where work is broken off by Ctrl-C or SIGTERM. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

export interface MainTask {
  readonly signal: AbortSignal;
  readonly cleanUp: CleanUp;
}

const EXIT_CODE_INTERRUPTED = 130;

/**
 * Runs a program to its exit code. SIGINT and SIGTERM abort `signal`; what was put into `cleanUp` is done in any case.
 * A failure is one line and exit code 1.
 */
export async function runMain(task: (context: MainTask) => Promise<number>): Promise<void> {
  const report = (line: string): void => void process.stderr.write(`${line}\n`);
  const abort = new AbortController();
  const cleanUp = new CleanUp();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (!abort.signal.aborted) report(`\n${signal}: cleaning up`);
    abort.abort(new Interrupted(signal));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    process.exitCode = await task({ signal: abort.signal, cleanUp });
  } catch (error) {
    process.exitCode = abort.signal.aborted ? EXIT_CODE_INTERRUPTED : 1;
    if (!abort.signal.aborted) report(error instanceof Error ? error.message : String(error));
  } finally {
    await cleanUp.run(report);
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
