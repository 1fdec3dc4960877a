// Archives of the cluster, and the jobs that make, read and remove them.
import { randomBytes } from 'node:crypto';
import { Command, Option } from 'commander';
import { ArchiveKind, BackupJobKind, type BackupJob, type GetLogArchivingResponse } from '@atoll/contracts/atoll/v1/backup';
import { callUnary } from '@atoll/platform-grpc';
import { askBackup } from '../backup/backup-connection.ts';
import { archiveJson, archiveText, archivesTable, jobJson, jobText, jobsTable, stateName } from '../backup/job-text.ts';
import { watchJob } from '../backup/watch-job.ts';
import { usageError } from '../cli-error.ts';
import { backupAddresses, backupOption, clusterDirOption } from '../connection/addresses.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { bytesText, durationText } from '../output/quantities.ts';
import { printable, renderTable } from '../output/table.ts';
import type { SetExitCode } from './dev.ts';
import { byteRate, durationMsOption, jsonOption, keyspacesOption, repositoryId, requestId, timeoutOption, wholeNumber } from './options.ts';

export interface BackupFlags {
  readonly backup?: string;
  readonly dataDir?: string;
  readonly timeout: number;
  readonly json?: boolean;
}

export interface JobFlags extends BackupFlags {
  readonly id?: string;
  readonly watch?: boolean;
}

export function backupCommand(io: Io, setExitCode: SetExitCode): Command {
  return new Command('backup')
    .description('archives of the cluster: made while it is served, as jobs that outlive this command')
    .addCommand(repositoryCommand(io, setExitCode))
    .addCommand(createCommand(io, setExitCode))
    .addCommand(listCommand(io))
    .addCommand(logCommand(io, setExitCode))
    .addCommand(showCommand(io))
    .addCommand(jobsCommand(io))
    .addCommand(watchCommand(io, setExitCode))
    .addCommand(cancelCommand(io))
    .addCommand(deleteCommand(io, setExitCode))
    .addCommand(collectCommand(io, setExitCode));
}

/** A command that asks a backup service. */
export function backupSubcommand(name: string, description: string): Command {
  return new Command(name).description(description).addOption(backupOption()).addOption(clusterDirOption()).addOption(timeoutOption()).addOption(jsonOption());
}

/** One that begins a job. */
export function jobCommand(name: string, description: string): Command {
  return backupSubcommand(name, description)
    .addOption(new Option('--id <id>', 'name of the job: the same one again answers with the job that it made (default: made up)').argParser(requestId))
    .addOption(new Option('--watch', 'go on as "atoll backup watch"'));
}

/** Made up here rather than by the service: when an answer is lost, the same job is asked for again, not a second one. */
export const newJobId = (what: string): string => `${what}-${randomBytes(4).toString('hex')}`;

export const backupServices = (io: Io, flags: BackupFlags): readonly string[] => backupAddresses(io, flags.backup, flags.dataDir);

/** Tells of a job that was begun, and watches it where that is wanted. */
export async function tellBegun(io: Io, setExitCode: SetExitCode, flags: JobFlags, job: BackupJob | undefined): Promise<void> {
  if (job === undefined) throw new Error('the backup service answered without a job');
  if (!flags.json) print(io, `job ${job.id}: ${stateName(job)}${job.archive === '' ? '' : `, archive ${job.archive}`}`);
  else if (flags.watch) print(io, JSON.stringify(jobJson(job)));
  else printJson(io, { job: jobJson(job) });
  if (flags.watch) await watchJob(io, setExitCode, { addresses: backupServices(io, flags), id: job.id, json: flags.json === true });
  else if (!flags.json) note(io, `atoll backup watch ${job.id} shows how it gets on`);
}

interface RepositoryFlags extends BackupFlags {
  readonly accept?: string;
  readonly acceptNew?: boolean;
}

function repositoryCommand(io: Io, setExitCode: SetExitCode): Command {
  return backupSubcommand('repository', 'check the place where archives are kept, or have the cluster use what is there')
    .addOption(new Option('--accept <id>', 'from now on use the repository of this id, which is there, whatever was used before').argParser(repositoryId))
    .addOption(new Option('--accept-new', 'where none is there: make one and use it; archives of before are not in it').conflicts('accept'))
    .action(async (flags: RepositoryFlags) => {
      if (flags.accept !== undefined || flags.acceptNew === true) return acceptRepository(io, flags);
      const answer = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'getRepository', {}, settings));
      const { writable, refusal, id, knownId, bytesFree } = answer;
      if (flags.json) printJson(io, answer);
      else {
        const free = bytesFree > 0 ? `, ${bytesText(bytesFree)} free` : '';
        print(io, `${answer.location}: ${writable ? `writable${free}` : `not writable: ${answer.problem}`} (probed in ${answer.probeMs} ms)`);
        if (refusal !== '') print(io, printable(`not used: ${refusal}`));
        else if (id !== '') print(io, printable(`repository ${id}${knownId === '' ? ', not used yet' : ''}`));
      }
      if (!writable || refusal !== '') setExitCode(EXIT_CODE.failed);
    });
}

async function acceptRepository(io: Io, flags: RepositoryFlags): Promise<void> {
  const accepted = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'acceptRepository', { id: flags.accept ?? '' }, settings));
  if (flags.json) printJson(io, accepted);
  else print(io, printable(`the cluster uses the repository ${accepted.id}`));
}

interface CreateFlags extends JobFlags {
  readonly incremental?: boolean;
  readonly parent?: string;
  readonly keyspaces?: string[];
  readonly archive?: string;
  readonly bytesPerSecond?: number;
  readonly compression?: number;
  readonly offline?: boolean;
}

function createCommand(io: Io, setExitCode: SetExitCode): Command {
  return jobCommand('create', 'make an archive of what the cluster holds at one moment')
    .addOption(new Option('--incremental', 'only what changed since another archive'))
    .addOption(new Option('--parent <archive>', 'with --incremental: the archive to go on from (default: the newest of the same keyspaces)'))
    .addOption(keyspacesOption('only these (default: all)'))
    .addOption(new Option('--archive <name>', 'its name: a-z 0-9 - (default: made up from kind and time)'))
    .addOption(new Option('--bytes-per-second <bytes>', 'bound on what is read, over all nodes: 50MB (default: that of the service)').argParser(byteRate))
    .addOption(new Option('--compression <level>', 'of zstd, 1 to 19; 0: none (default: that of the service)').argParser(wholeNumber(0, 19)))
    .addOption(new Option('--offline', 'keyspaces take no writes from before the copy until the cut'))
    .addHelpText('after', '\nExamples:\n  atoll backup create --watch\n  atoll backup create --incremental --keyspaces users,sessions --watch\n  atoll backup create --archive before-upgrade --bytes-per-second 100MB')
    .action(async (flags: CreateFlags) => {
      if (flags.parent !== undefined && flags.incremental !== true) throw usageError('--parent belongs to --incremental');
      const request = {
        id: flags.id ?? newJobId('backup'),
        kind: flags.incremental === true ? ArchiveKind.ARCHIVE_KIND_INCREMENTAL : ArchiveKind.ARCHIVE_KIND_FULL,
        keyspaces: flags.keyspaces ?? [],
        archive: flags.archive ?? '',
        parent: flags.parent ?? '',
        bytesPerSecond: flags.bytesPerSecond ?? 0,
        offline: flags.offline === true,
        compressionLevel: flags.compression,
      };
      const { job } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'createBackup', request, settings));
      await tellBegun(io, setExitCode, flags, job);
    });
}

function listCommand(io: Io): Command {
  return backupSubcommand('list', 'archives, newest first')
    .addOption(new Option('--logs', 'those of log as well, which restores to a moment go by'))
    .action(async (flags: BackupFlags & { logs?: boolean }) => {
    const { archives } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'listArchives', {}, settings));
    const shown = archives.filter(({ kind }) => flags.logs === true || kind !== ArchiveKind.ARCHIVE_KIND_LOG);
    if (flags.json) return printJson(io, { archives: shown.map(archiveJson) });
    print(io, archivesTable(shown));
    if (shown.length < archives.length) note(io, `and ${archives.length - shown.length} of log (--logs)`);
  });
}

/** Asks all services: one of them is on duty. */
function logCommand(io: Io, setExitCode: SetExitCode): Command {
  return backupSubcommand('log', 'to which moments a restore leads: how far the archiving of logs is').action(async (flags: BackupFlags) => {
    const answers: GetLogArchivingResponse[] = [];
    for (const address of backupServices(io, flags)) answers.push(await askBackup([address], flags.timeout, (client, settings) => callUnary(client, 'getLogArchiving', {}, settings)));
    const state = answers.find(({ onDuty }) => onDuty) ?? answers[0]!;
    if (flags.json) printJson(io, state);
    else if (!state.onDuty) print(io, 'no service that was asked is on duty');
    else if (!state.on) print(io, 'off: a restore leads to the moments of backups alone (BACKUP_LOG_ARCHIVING)');
    else {
      const columns = [{ heading: 'KEYSPACE' }, { heading: 'RECOVERY POINT' }, { heading: 'LAG', numeric: true }, { heading: 'DETACHED', numeric: true }];
      const rows = state.keyspaces.map(({ keyspace, recoveryPointMs, detachedPartitions }) => [keyspace, recoveryPointMs === 0 ? 'none' : new Date(recoveryPointMs).toISOString(), recoveryPointMs === 0 ? '-' : durationText(Math.max(0, Date.now() - recoveryPointMs)), String(detachedPartitions)]);
      print(io, renderTable(columns, rows));
      if (state.keyspaces.some(({ detachedPartitions }) => detachedPartitions > 0)) note(io, 'log of DETACHED partitions goes on from no backup: make one');
      if (state.gaps > 0) note(io, `${state.gaps} times log was dropped before it was archived`);
      if (state.problem !== '') note(io, `at the moment nothing is archived: ${state.problem}`);
    }
    if (state.problem !== '') setExitCode(EXIT_CODE.failed);
  });
}

function showCommand(io: Io): Command {
  return backupSubcommand('show', 'one archive')
    .argument('<archive>', 'its name')
    .action(async (name: string, flags: BackupFlags) => {
      const { archive, chain } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'getArchive', { archive: name }, settings));
      if (archive === undefined) throw new Error('the backup service answered without an archive');
      if (flags.json) return printJson(io, { archive: archiveJson(archive), chain });
      print(io, archiveText(archive, chain).split('\n').map(printable).join('\n'));
    });
}

function jobsCommand(io: Io): Command {
  return backupSubcommand('jobs', 'backups, restores and other jobs, newest first; or one of them')
    .argument('[id]', 'of one job')
    .addOption(new Option('--active', 'only those that have not ended'))
    .action(async (id: string | undefined, flags: BackupFlags & { active?: boolean }) => {
      if (id !== undefined) {
        const { job } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'getBackupJob', { id }, settings));
        if (job === undefined) throw new Error('the backup service answered without a job');
        if (flags.json) return printJson(io, { job: jobJson(job) });
        return print(io, jobText(job, Date.now()).split('\n').map(printable).join('\n'));
      }
      const request = { kind: BackupJobKind.BACKUP_JOB_KIND_UNSPECIFIED, active: flags.active === true };
      const { jobs } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'listBackupJobs', request, settings));
      if (flags.json) return printJson(io, { jobs: jobs.map(jobJson) });
      print(io, jobsTable(jobs, Date.now()));
    });
}

function watchCommand(io: Io, setExitCode: SetExitCode): Command {
  return backupSubcommand('watch', 'how a job gets on, until it has ended')
    .argument('<id>', 'of the job')
    .addHelpText('after', '\nEnds with 0 for SUCCEEDED, with 1 for FAILED or CANCELLED. Ctrl-C stops watching, not the job, and ends with 3.')
    .action((id: string, flags: BackupFlags) => watchJob(io, setExitCode, { addresses: backupServices(io, flags), id, json: flags.json === true }));
}

function cancelCommand(io: Io): Command {
  return backupSubcommand('cancel', 'have a job end and take back what it began')
    .argument('<id>', 'of the job')
    .action(async (id: string, flags: BackupFlags) => {
      const { job } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'cancelBackupJob', { id }, settings));
      if (job === undefined) throw new Error('the backup service answered without a job');
      if (flags.json) return printJson(io, { job: jobJson(job) });
      print(io, `job ${job.id}: ${stateName(job)}`);
    });
}

function deleteCommand(io: Io, setExitCode: SetExitCode): Command {
  return jobCommand('delete', 'remove archives: all that are named or, where one is needed, none')
    .argument('<archive...>', 'their names')
    .addHelpText('after', '\nWhat they leave in the repository goes with "atoll backup collect".')
    .action(async (archives: string[], flags: JobFlags) => {
      const { job } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'deleteArchive', { id: flags.id ?? newJobId('delete'), archives }, settings));
      await tellBegun(io, setExitCode, flags, job);
    });
}

function collectCommand(io: Io, setExitCode: SetExitCode): Command {
  return jobCommand('collect', 'remove what no archive needs from the repository')
    .addOption(new Option('--beside-writers', 'also while a backup is made'))
    .addOption(new Option('--older-than <duration>', 'leave what is younger (default: 1h)').argParser(durationMsOption))
    .action(async (flags: JobFlags & { besideWriters?: boolean; olderThan?: number }) => {
      const request = { id: flags.id ?? newJobId('collect'), besideWriters: flags.besideWriters === true, chunkAgeMsMin: flags.olderThan };
      const { job } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'collectGarbage', request, settings));
      await tellBegun(io, setExitCode, flags, job);
    });
}
