// One backup service of a cluster is on duty: the one that holds the cluster's lock. It does all jobs; the others take requests and
// wait for the lock. Safety does not rest on the lock but on the sessions in the repository (docs/design/archive-format.md).
import { AtollError, isAtollError } from '@atoll/core-errors';
import { holdLock, type ClusterView, type HeldLock, type MetadataStore } from '@atoll/platform-etcd';
import { waitFor } from '@atoll/platform-lifecycle';
import { Session, revokeEarlierSessions, type Repository, type SessionId, type SessionOptions } from '@atoll/platform-repository';
import type { Logger } from '@atoll/platform-telemetry';
import type { RepositoryAccess } from '../repository/repository-access.ts';

/** Of the lock in etcd, `held-locks/backup`. */
const LOCK = 'backup';
/** It stands in the queue for so long before it stands there anew: nothing but a bound. */
const WAIT_MS = 3_600_000;

/** A time for which this process, and no other one of the cluster, does jobs. */
export interface Duty {
  readonly view: ClusterView;
  readonly lock: HeldLock;
  /** Aborts when the lock is, or may be, gone, and when this process stops. */
  readonly signal: AbortSignal;
  /**
   * The repository, which the cluster knows from then on, and in which sessions of those who were on duty before have been revoked. To
   * be asked for again where it failed.
   * @throws REPOSITORY_*, METADATA_*, ARCHIVE_TOO_NEW, ARCHIVE_DAMAGED
   */
  repository(): Promise<Repository>;
  /** Another one at each call. */
  nextSession(): SessionId;
}

export interface DutyOptions {
  readonly store: MetadataStore;
  readonly view: ClusterView;
  readonly access: RepositoryAccess;
  /** For whoever finds the lock held. */
  readonly owner: string;
  readonly lockTtlMs: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Does jobs until `duty.signal` aborts, and rejects for nothing but a bug. */
  readonly work: (duty: Duty) => Promise<void>;
}

/** Takes the lock whenever it is free, until the signal aborts. Never rejects. */
export async function serveDuty({ store, view, access, owner, lockTtlMs, logger, signal, work }: DutyOptions): Promise<void> {
  while (!signal.aborted) {
    let lock: HeldLock;
    try {
      lock = await waitFor('the lock of backups', () => holdLock({ store, name: LOCK, owner, ttlMs: lockTtlMs, waitMs: WAIT_MS, signal }), {
        signal,
        attemptMs: 2 * WAIT_MS,
        onWaiting: (message, err) => logger.warn({ err }, message),
      });
    } catch {
      continue;
    }
    logger.info({ fencingToken: lock.fencingToken }, 'on duty: this service does the jobs of the cluster');
    const duty = new LockedDuty({ view, lock, access, signal });
    try {
      await work(duty);
    } catch (err) {
      logger.error({ err }, 'jobs cannot be done');
    }
    await lock.release();
    logger.info({ fencingToken: lock.fencingToken }, 'no longer on duty');
  }
}

class LockedDuty implements Duty {
  readonly view: ClusterView;
  readonly lock: HeldLock;
  readonly signal: AbortSignal;
  readonly #access: RepositoryAccess;
  #ready: { readonly id: string; readonly done: Promise<void> } | undefined;
  #sessions = 0;

  constructor({ view, lock, access, signal }: { readonly view: ClusterView; readonly lock: HeldLock; readonly access: RepositoryAccess; readonly signal: AbortSignal }) {
    this.view = view;
    this.lock = lock;
    this.#access = access;
    const lost = new AbortController();
    lock.lost.addEventListener('abort', () => lost.abort(new AtollError('STALE_FENCING_TOKEN', 'the lock of backups is gone, or may be')), { once: true });
    if (lock.lost.aborted) lost.abort(new AtollError('STALE_FENCING_TOKEN', 'the lock of backups is gone'));
    this.signal = AbortSignal.any([signal, lost.signal]);
  }

  async repository(): Promise<Repository> {
    const repository = await this.#access.open();
    // An operator may have another one accepted meanwhile.
    if (this.#ready?.id !== repository.id) this.#ready = { id: repository.id, done: this.#prepare(repository) };
    const ready = this.#ready;
    await ready.done.catch((error: unknown) => {
      if (this.#ready === ready) this.#ready = undefined;
      throw error;
    });
    return repository;
  }

  nextSession(): SessionId {
    this.#sessions += 1;
    return { clusterId: this.view.clusterId, fencingToken: this.lock.fencingToken, number: this.#sessions };
  }

  async #prepare(repository: Repository): Promise<void> {
    await this.#access.use(repository);
    await revokeEarlierSessions(repository, { clusterId: this.view.clusterId, fencingToken: this.lock.fencingToken });
  }
}

/** One of this process. @throws as Session.begin */
export const beginSession = (duty: Duty, repository: Repository, asked: Pick<SessionOptions, 'purpose' | 'archive' | 'uses' | 'owner'>): Promise<Session> =>
  Session.begin({ ...asked, repository, id: duty.nextSession(), startedAtMs: Date.now(), isHeld: () => duty.lock.isHeld() });

/** Whether a run ended because it has to be left to whoever is on duty next. */
export const isLeft = (duty: Duty, error: unknown): boolean => duty.signal.aborted || (isAtollError(error) && error.reason === 'STALE_FENCING_TOKEN');
