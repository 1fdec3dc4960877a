import { openObjectStore, type RepositoryLocation, type S3Options } from '@atoll/platform-repository';
import { probeBucket } from './probe-bucket.ts';
import { probeRepository, timed, type RepositoryProbe } from './probe-repository.ts';

export interface SharedProbeOptions {
  readonly location: RepositoryLocation;
  readonly s3?: Omit<S3Options, 'bucket' | 'prefix'>;
  readonly timeoutMs: number;
}

/** One probe at a time, shared by all that ask meanwhile: many callers cannot wear the storage (I10). */
export class SharedProbe {
  readonly #options: SharedProbeOptions;
  #running: Promise<RepositoryProbe> | undefined;

  constructor(options: SharedProbeOptions) {
    this.#options = options;
  }

  run(): Promise<RepositoryProbe> {
    this.#running ??= this.#probe().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  #probe(): Promise<RepositoryProbe> {
    const { location, s3 = {}, timeoutMs } = this.#options;
    if (location.kind === 'directory') return probeRepository(location.path, timeoutMs);
    return timed(async () => {
      const store = await openObjectStore(location, { ...s3, attemptsMax: 2, requestTimeoutMs: timeoutMs });
      try {
        await probeBucket(store);
      } finally {
        await store.close();
      }
    }, timeoutMs);
  }
}
