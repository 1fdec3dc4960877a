import type { JobRun } from '../../jobs/job-kind.ts';
import { patiently } from '../../jobs/patience.ts';

/**
 * The fencing token of one run of a restore (I9): the revision of etcd at which its record was last written for it, under the lock of
 * backups. So of two processes that believe to be on duty the later one has the higher token.
 */
export class RestoreFence {
  readonly #run: JobRun;
  #token: number;
  #renewing: Promise<void> | undefined;

  private constructor(run: JobRun, token: number) {
    this.#run = run;
    this.#token = token;
  }

  static async take(run: JobRun): Promise<RestoreFence> {
    return new RestoreFence(run, await stamp(run));
  }

  get token(): number {
    return this.#token;
  }

  /** Another token in the place of one that was refused. */
  renew(refused: number): Promise<void> {
    if (refused !== this.#token) return Promise.resolve();
    this.#renewing ??= stamp(this.#run)
      .then((token) => void (this.#token = token))
      .finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }
}

const stamp = (run: JobRun): Promise<number> => patiently(run, () => run.checkpoint(run.job.checkpoint));
