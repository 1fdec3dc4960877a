// Bringing archives back, and reading them back.
import { randomBytes } from 'node:crypto';
import { Option, type Command } from 'commander';
import { RestorePolicy, type BackupJob } from '@atoll/contracts/atoll/v1/backup';
import { callUnary } from '@atoll/platform-grpc';
import { askBackup, backupServiceCommand, type BackupFlags } from '../backup/backup-connection.ts';
import { jobJson, jobLine } from '../backup/job-view.ts';
import { watchJob } from '../backup/watch-job.ts';
import { usageError } from '../cli-error.ts';
import { backupAddresses } from '../connection/addresses.ts';
import { print, printJson, type Io } from '../io.ts';
import { printable } from '../output/table.ts';
import type { SetExitCode } from './dev.ts';
import { byteRate, requestId, wholeNumber } from './options.ts';

interface JobFlags extends BackupFlags {
  readonly id?: string;
  readonly detach?: boolean;
}

interface RestoreFlags extends JobFlags {
  readonly keyspace?: string[];
  readonly to?: string;
  readonly prefix?: string;
  readonly at?: number;
  readonly exact?: boolean;
  readonly partitions?: number;
  readonly replicationFactor?: number;
  readonly minInSync?: number;
  readonly policy: keyof typeof POLICIES;
  readonly bytesPerSecond?: number;
}

const POLICIES = { fail: RestorePolicy.RESTORE_POLICY_FAIL, replace: RestorePolicy.RESTORE_POLICY_REPLACE, 'keep-newer': RestorePolicy.RESTORE_POLICY_KEEP_NEWER } as const;

const idOption = (): Option => new Option('--id <id>', 'name of the job: the same one again answers with the job that it made (default: made up)').argParser(requestId);
const detachOption = (): Option => new Option('--detach', 'answer when the job is written, and do not watch it');

export function restoreCommand(io: Io, setExitCode: SetExitCode): Command {
  const collect = (text: string, list: string[] = []): string[] => [...list, text];
  return backupServiceCommand('restore', 'bring back what an archive has, in this cluster, whatever its nodes are')
    .argument('[archive]', 'archive to restore (default: with --at the newest one that leads there)')
    .addOption(new Option('--keyspace <name>', 'only this one of the archive; may come more than once (default: all)').argParser(collect))
    .addOption(new Option('--to <name>', 'name of what is made, with one --keyspace (default: as it was)'))
    .addOption(new Option('--prefix <text>', 'only keys that begin with it'))
    .addOption(new Option('--at <time>', 'as it was then: 2026-11-22T10:00:00Z, or milliseconds since 1970; rounded down to a moment at which all partitions were held at once (default: the cut of the archive)').argParser(moment))
    .addOption(new Option('--exact', 'with --at: to that very time, by each partition\'s own clock'))
    .addOption(new Option('--partitions <count>', 'a power of two (default: as it was)').argParser(wholeNumber(1, 4096)))
    .addOption(new Option('--replication-factor <count>', 'replicas per partition (default: as it was)').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--min-in-sync <count>', 'in-sync replicas without which nothing commits (default: as it was, or by the replication factor)').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--policy <policy>', 'where a keyspace of the name is there: "fail" unless it is empty, "replace" it in one step at the end, or "keep-newer": add the keys that it lacks').choices(Object.keys(POLICIES)).default('fail'))
    .addOption(new Option('--bytes-per-second <bytes>', 'bound over all nodes: 50MB (default: none)').argParser(byteRate))
    .addOption(idOption())
    .addOption(detachOption())
    .addHelpText('after', '\nExamples:\n  atoll backup restore full-20261122-101500-3fa8\n  atoll backup restore --at 2026-11-22T10:00:00Z --keyspace orders --to orders-before --prefix user:')
    .action(async (archive: string | undefined, flags: RestoreFlags) => {
      const { keyspace = [], to = '', prefix = '', at, exact = false, partitions = 0, replicationFactor = 0, minInSync = 0, policy, bytesPerSecond = 0 } = flags;
      if (archive === undefined && at === undefined) throw usageError('name an archive, or a moment with --at');
      const request = {
        id: flags.id ?? `restore-${randomBytes(4).toString('hex')}`,
        archive: archive ?? '',
        keyspaces: keyspace,
        target: to,
        prefix: Buffer.from(prefix),
        atMs: at,
        exact,
        partitionCount: partitions,
        replicationFactor,
        minInSync,
        policy: POLICIES[policy],
        bytesPerSecond,
      };
      await begin(io, setExitCode, flags, (client, settings) => callUnary(client, 'restoreBackup', request, settings));
    });
}

export function verifyArchiveCommand(io: Io, setExitCode: SetExitCode): Command {
  return backupServiceCommand('verify', 'read an archive back, with all that it goes on from, and compare it with the moment that it was made of')
    .argument('<archive>', 'archive to read')
    .addOption(new Option('--bytes-only', 'only whether the bytes are those that were written: takes no key, and less time'))
    .addOption(idOption())
    .addOption(detachOption())
    .action(async (archive: string, flags: JobFlags & { readonly bytesOnly?: boolean }) => {
      const request = { id: flags.id ?? `verify-${randomBytes(4).toString('hex')}`, archive, bytesOnly: flags.bytesOnly === true };
      await begin(io, setExitCode, flags, (client, settings) => callUnary(client, 'verifyBackup', request, settings));
    });
}

export function watchJobCommand(io: Io, setExitCode: SetExitCode): Command {
  return backupServiceCommand('watch', 'show how a job of the backup service gets on until it has ended')
    .argument('<job>', 'its id')
    .action((id: string, flags: BackupFlags) => watchJob(io, setExitCode, backupAddresses(io, flags.backup, flags.dataDir), id, flags.json === true));
}

export function cancelJobCommand(io: Io): Command {
  return backupServiceCommand('cancel', 'end a job of the backup service, and take back what it began')
    .argument('<job>', 'its id')
    .action(async (id: string, flags: BackupFlags) => {
      const { job } = await askBackup(backupAddresses(io, flags.backup, flags.dataDir), flags.timeout, (client, settings) => callUnary(client, 'cancelBackupJob', { id }, settings));
      if (flags.json) printJson(io, jobJson(job!));
      else print(io, printable(jobLine(job!)));
    });
}

type Ask = Parameters<typeof askBackup<{ job?: BackupJob | undefined }>>[2];

async function begin(io: Io, setExitCode: SetExitCode, flags: JobFlags, ask: Ask): Promise<void> {
  const addresses = backupAddresses(io, flags.backup, flags.dataDir);
  const { job } = await askBackup(addresses, flags.timeout, ask);
  if (flags.detach !== true) return watchJob(io, setExitCode, addresses, job!.id, flags.json === true);
  if (flags.json) printJson(io, jobJson(job!));
  else print(io, printable(jobLine(job!)));
}

function moment(text: string): number {
  const atMs = /^\d{10,}$/.test(text) ? Number(text) : Date.parse(text);
  if (!Number.isFinite(atMs)) throw usageError(`--at: ${text} is no time: 2026-11-22T10:00:00Z, or milliseconds since 1970`);
  return atMs;
}
