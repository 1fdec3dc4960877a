import { Server, ServerCredentials } from '@grpc/grpc-js';
import { BackupJobKind, BackupJobState, BackupService, RestorePolicy, type BackupJob, type BackupServer, type RestoreBackupRequest, type VerifyBackupRequest } from '@atoll/contracts/atoll/v1/backup';
import { runCollected } from '../testing/run-cli.ts';

const progress = { bytesDone: 0, bytesTotal: 0, entries: 0, partitionsDone: 0, partitionsTotal: 0, bytesPerSecond: 0, remainingMs: undefined };
const jobOf = (fields: Partial<BackupJob>): BackupJob => ({ id: 'j', kind: BackupJobKind.BACKUP_JOB_KIND_RESTORE, state: BackupJobState.BACKUP_JOB_STATE_PENDING, phase: '', archive: 'full', keyspaces: [], createdAtMs: 1, startedAtMs: 1, endedAtMs: 0, progress, problem: '', traceId: '', summary: '', takeUps: 0, result: undefined, ...fields });

describe('atoll backup restore and verify', () => {
  const restores: RestoreBackupRequest[] = [];
  const checks: VerifyBackupRequest[] = [];
  /** Names of keyspaces in requests of all kinds. */
  const named: (readonly string[])[] = [];
  let ended: BackupJob;
  let server: Server;
  let address: string;
  beforeAll(async () => {
    const methods: Partial<BackupServer> = {
      restoreBackup: (call, reply) => {
        restores.push(call.request);
        reply(null, { job: jobOf({ id: call.request.id }) });
      },
      verifyBackup: (call, reply) => {
        checks.push(call.request);
        reply(null, { job: jobOf({ id: call.request.id, kind: BackupJobKind.BACKUP_JOB_KIND_VERIFY }) });
      },
      getRepository: (_call, reply) => reply(null, { location: 'file:///r', writable: true, problem: '', bytesFree: 0, probeMs: 3, id: 'other', knownId: 'ours', refusal: 'the repository other is there' }),
      acceptRepository: ({ request: { id } }, reply) => reply(null, { id: id || 'made' }),
      createBackup: ({ request: { id, keyspaces } }, reply) => {
        named.push(keyspaces);
        reply(null, { job: jobOf({ id }) });
      },
      drillBackup: ({ request: { id, keyspaces } }, reply) => {
        named.push(keyspaces);
        reply(null, { job: jobOf({ id }) });
      },
      putBackupSchedule: ({ request: { schedule } }, reply) => {
        named.push(schedule!.keyspaces);
        reply(null, { state: { schedule, nextAtMs: 0, lastAtMs: 0, lastJob: '', newestCutAtMs: 0, archives: 0, overdue: false, problem: '' } });
      },
      watchBackupJob: (call) => {
        call.write({ job: ended });
        call.end();
      },
    };
    server = new Server();
    server.addService(BackupService, methods as BackupServer);
    const port = await new Promise<number>((resolve, reject) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error))));
    address = `127.0.0.1:${port}`;
  });
  afterAll(() => server.forceShutdown());
  beforeEach(() => {
    restores.length = 0;
    checks.length = 0;
    named.length = 0;
  });

  it.each(['--keyspaces', '--keyspace'])('names keyspaces with %s in every command that takes several of them', async (option) => {
    const commands = [['create'], ['drill', 'full'], ['schedule', 'set', 'nightly', '--cron', '0 3 * * *'], ['restore', 'full']];
    for (const command of commands) expect((await runCollected(['backup', ...command, option, 'orders,users', '--backup', address])).code).toBe(0);
    expect([...named, restores[0]!.keyspaces]).toEqual(commands.map(() => ['orders', 'users']));
  });

  it('asks for what is said, and for the rest as it was', async () => {
    const { code, out } = await runCollected(['backup', 'restore', 'full', '--id', 'r', '--keyspaces', 'orders', '--to', 'orders-before', '--prefix', 'user:', '--at', '2026-11-22T10:00:00Z', '--exact', '--partitions', '128', '--policy', 'replace', '--bytes-per-second', '50MB', '--backup', address]);
    expect([code, out]).toEqual([0, 'job r: PENDING, archive full\n']);
    expect(restores).toEqual([
      { id: 'r', archive: 'full', keyspaces: ['orders'], target: 'orders-before', prefix: Buffer.from('user:'), atMs: Date.UTC(2026, 10, 22, 10), exact: true, partitionCount: 128, replicationFactor: 0, minInSync: 0, policy: RestorePolicy.RESTORE_POLICY_REPLACE, bytesPerSecond: 50_000_000 },
    ]);
    await runCollected(['backup', 'restore', '--at', '1795341600000', '--backup', address]);
    await runCollected(['backup', 'restore', 'full', '--prefix', 'user:', '--policy', 'keep-newer', '--backup', address]);
    expect(restores[2]).toMatchObject({ archive: 'full', prefix: Buffer.from('user:'), policy: RestorePolicy.RESTORE_POLICY_KEEP_NEWER });
    expect(restores[1]).toMatchObject({ archive: '', atMs: 1_795_341_600_000, keyspaces: [], policy: RestorePolicy.RESTORE_POLICY_FAIL });
  });

  it.each([[['backup', 'restore']], [['backup', 'restore', 'full', '--at', 'noon']], [['backup', 'restore', 'full', '--policy', 'merge']]])('takes %j for a mistake in usage', async (args) => {
    expect((await runCollected([...args, '--backup', address])).code).toBe(2);
    expect(restores).toEqual([]);
  });

  it('shows why a repository is not used, and has another one accepted by its id, or a new one', async () => {
    const shown = await runCollected(['backup', 'repository', '--backup', address]);
    expect([shown.code, shown.out]).toEqual([1, 'file:///r: writable (probed in 3 ms)\nnot used: the repository other is there\n']);
    expect((await runCollected(['backup', 'repository', '--accept', 'other', '--backup', address])).out).toBe('the cluster uses the repository other\n');
    expect((await runCollected(['backup', 'repository', '--accept-new', '--backup', address])).out).toBe('the cluster uses the repository made\n');
    expect((await runCollected(['backup', 'repository', '--accept-new', '--accept', 'other', '--backup', address])).code).toBe(2);
  });

  it('tells each damage that a check has found, and ends with 1', async () => {
    const damage = { archive: 'full', keyspace: 'orders', partition: 3, chunk: 'c0ffee', damage: 'MISSING', problem: 'chunk c0ffee: is not there' };
    const value = { archives: ['full'], chunks: 2, storedBytes: 1, entries: 0, rangesEqual: 0, rangesWithoutDigest: 0, damages: [damage], damagesTotal: 2, tookMs: 1 };
    ended = jobOf({ id: 'v', kind: BackupJobKind.BACKUP_JOB_KIND_VERIFY, state: BackupJobState.BACKUP_JOB_STATE_FAILED, endedAtMs: 2001, problem: 'full: 2 damages', result: { $case: 'verify', value } });
    const { code, out, err } = await runCollected(['backup', 'verify', 'full', '--id', 'v', '--watch', '--backup', address]);
    expect(code).toBe(1);
    expect(out.split('\n')).toEqual(expect.arrayContaining(['MISSING full, orders, partition 3, chunk c0ffee: chunk c0ffee: is not there', 'and 1 more']));
    expect(err).toBe('atoll: full: 2 damages\n');
    expect(checks).toEqual([{ id: 'v', archive: 'full', bytesOnly: false }]);
  });
});
