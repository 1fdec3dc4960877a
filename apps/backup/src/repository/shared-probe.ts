import { probeRepository, type RepositoryProbe } from './probe-repository.ts';

/** One probe at a time, shared by all that ask meanwhile: many callers cannot wear the storage (I10). */
export class SharedProbe {
  readonly #directory: string;
  readonly #timeoutMs: number;
  #running: Promise<RepositoryProbe> | undefined;

  constructor(directory: string, timeoutMs: number) {
    this.#directory = directory;
    this.#timeoutMs = timeoutMs;
  }

  run(): Promise<RepositoryProbe> {
    this.#running ??= probeRepository(this.#directory, this.#timeoutMs).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }
}
