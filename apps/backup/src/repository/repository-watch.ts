import type { Logger } from '@atoll/platform-telemetry';
import { rest } from '../jobs/rest.ts';
import type { RepositoryAccess } from './repository-access.ts';

/** How often it is looked, in ms: one small object is read, and one record of etcd. */
const LOOK_MS = 15_000;

/** Looks again and again whether the repository is the one that the cluster uses, also where no job asks for it: nobody else would notice. */
export class RepositoryWatch {
  readonly #access: Pick<RepositoryAccess, 'look'>;
  readonly #logger: Pick<Logger, 'warn' | 'info'>;
  readonly #stopping = new AbortController();
  readonly #done: Promise<void>;
  #refusal = '';

  constructor({ access, logger, lookMs = LOOK_MS }: { readonly access: Pick<RepositoryAccess, 'look'>; readonly logger: Pick<Logger, 'warn' | 'info'>; readonly lookMs?: number }) {
    this.#access = access;
    this.#logger = logger;
    this.#done = this.#run(lookMs);
  }

  /** Why it is not opened, as it was when it could last be told; empty: it is. */
  get refusal(): string {
    return this.#refusal;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  async #run(lookMs: number): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      // What is away tells nothing: jobs, and the probe, say so.
      await this.#look().catch(() => undefined);
      await rest(lookMs, signal).catch(() => undefined); // The loop ends with the signal.
    }
  }

  async #look(): Promise<void> {
    const { refusal } = await this.#access.look();
    const text = refusal?.message ?? '';
    if (text !== '' && text !== this.#refusal) this.#logger.warn({ refusal: text }, 'the repository is not used');
    if (text === '' && this.#refusal !== '') this.#logger.info('the repository is used again');
    this.#refusal = text;
  }
}
