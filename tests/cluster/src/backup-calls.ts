// A backup service, and the jobs that it is asked for.
import { credentials } from '@grpc/grpc-js';
import { isAtollError } from '@atoll/client';
import { BackupClient, BackupJobState, CreateBackupRequest, RestoreBackupRequest, backupJobStateToJSON, type BackupJob } from '@atoll/contracts/atoll/v1/backup';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';

const CALL = { deadlineMs: 15_000 };
const JOB_MS = 90_000;
/** Of a service, or of its etcd, that is away: it may be asked again. */
const AWAY: ReadonlySet<string> = new Set(['PEER_UNAVAILABLE', 'METADATA_UNAVAILABLE', 'DEADLINE_EXCEEDED', 'SHUTTING_DOWN']);

export class BackupCalls {
  readonly client: BackupClient;

  constructor(address: string) {
    this.client = new BackupClient(address, credentials.createInsecure(), createChannelOptions());
  }

  /** Begins a backup. */
  async create(fields: Partial<CreateBackupRequest>): Promise<BackupJob> {
    return (await callUnary(this.client, 'createBackup', CreateBackupRequest.fromPartial(fields), CALL)).job!;
  }

  /** Begins a restore. */
  async restore(fields: Partial<RestoreBackupRequest>): Promise<BackupJob> {
    return (await callUnary(this.client, 'restoreBackup', RestoreBackupRequest.fromPartial(fields), CALL)).job!;
  }

  async cancel({ id }: Pick<BackupJob, 'id'>): Promise<void> {
    await callUnary(this.client, 'cancelBackupJob', { id }, CALL);
  }

  /** Resolves to the job when it is so. */
  until({ id }: Pick<BackupJob, 'id'>, what: string, isSo: (job: BackupJob) => boolean): Promise<BackupJob> {
    return eventually(
      `the job ${id} ${what}`,
      async () => {
        const { job } = await callUnary(this.client, 'getBackupJob', { id }, CALL).catch((error: unknown) => {
          if (isAtollError(error) && AWAY.has(error.reason)) return { job: undefined };
          throw error;
        });
        return job !== undefined && isSo(job) && job;
      },
      JOB_MS,
    );
  }

  ended(job: Pick<BackupJob, 'id'>): Promise<BackupJob> {
    return this.until(job, 'has ended', ({ endedAtMs }) => endedAtMs > 0);
  }

  /** Throws with the problem where it does not. */
  async succeeded(job: Pick<BackupJob, 'id'>): Promise<BackupJob> {
    const end = await this.ended(job);
    if (end.state !== BackupJobState.BACKUP_JOB_STATE_SUCCEEDED || end.problem !== '') throw new Error(`the job ${end.id} ended as ${backupJobStateToJSON(end.state)}: ${end.problem}`);
    return end;
  }

  close(): void {
    this.client.close();
  }
}
