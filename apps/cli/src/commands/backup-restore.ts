// Bringing archives back, and reading them back.
import { InvalidArgumentError, Option, type Command } from 'commander';
import { RestorePolicy } from '@atoll/contracts/atoll/v1/backup';
import { callUnary } from '@atoll/platform-grpc';
import { askBackup } from '../backup/backup-connection.ts';
import { usageError } from '../cli-error.ts';
import type { Io } from '../io.ts';
import { backupServices, jobCommand, newJobId, tellBegun, type JobFlags } from './backup.ts';
import type { SetExitCode } from './dev.ts';
import { byteRate, keyspacesOption, wholeNumber } from './options.ts';

interface RestoreFlags extends JobFlags {
  readonly keyspaces?: string[];
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

export function restoreCommand(io: Io, setExitCode: SetExitCode): Command {
  return jobCommand('restore', 'bring back what an archive has, in this cluster, whatever its nodes are')
    .argument('[archive]', 'archive to restore (default: with --at the newest one that leads there)')
    .addOption(keyspacesOption('only these of the archive (default: all)'))
    .addOption(new Option('--to <name>', 'name of what is made, with one keyspace (default: as it was)'))
    .addOption(new Option('--prefix <text>', 'only keys that begin with it'))
    .addOption(new Option('--at <time>', 'as it was then: 2026-11-22T10:00:00Z, or milliseconds since 1970; rounded down to a moment at which all partitions were held at once (default: the cut of the archive)').argParser(moment))
    .addOption(new Option('--exact', 'with --at: to that very time, by the clock of each partition'))
    .addOption(new Option('--partitions <count>', 'a power of two (default: as it was)').argParser(wholeNumber(1, 4096)))
    .addOption(new Option('--replication-factor <count>', 'replicas per partition (default: as it was)').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--min-in-sync <count>', 'in-sync replicas without which nothing commits (default: as it was, or by the replication factor)').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--policy <policy>', 'where a keyspace of the name is there: "fail" unless it is empty, "replace" it in one step at the end, or "keep-newer": write into it, while it is served, what it lacks or has older').choices(Object.keys(POLICIES)).default('fail'))
    .addOption(new Option('--bytes-per-second <bytes>', 'bound over all nodes: 50MB (default: none)').argParser(byteRate))
    .addHelpText('after', '\nExamples:\n  atoll backup restore full-20261122-101500-3fa8 --watch\n  atoll backup restore --at 2026-11-22T10:00:00Z --keyspaces orders --to orders-before --prefix user:\n  atoll backup restore full-20261122-101500-3fa8 --keyspaces orders --policy keep-newer --watch\n\nWith keep-newer no entry that is newer is touched. In another keyspace than the one that was archived (made again, restored, of another\ncluster) nothing tells which entry is newer, and only missing keys come. Keys that were deleted since the archive was made come back,\nalso those that are deleted while the restore runs. A cancel leaves what was written.')
    .action(async (archive: string | undefined, flags: RestoreFlags) => {
      const { keyspaces = [], to = '', prefix = '', at, exact = false, partitions = 0, replicationFactor = 0, minInSync = 0, policy, bytesPerSecond = 0 } = flags;
      if (archive === undefined && at === undefined) throw usageError('name an archive, or a moment with --at');
      const request = {
        id: flags.id ?? newJobId('restore'),
        archive: archive ?? '',
        keyspaces,
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
      const { job } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'restoreBackup', request, settings));
      await tellBegun(io, setExitCode, flags, job);
    });
}

export function verifyArchiveCommand(io: Io, setExitCode: SetExitCode): Command {
  return jobCommand('verify', 'read an archive back, with all that it goes on from, and compare it with the moment that it was made of')
    .argument('<archive>', 'archive to read')
    .addOption(new Option('--bytes-only', 'only whether the bytes are those that were written: takes no key, and less time'))
    .action(async (archive: string, flags: JobFlags & { readonly bytesOnly?: boolean }) => {
      const request = { id: flags.id ?? newJobId('verify'), archive, bytesOnly: flags.bytesOnly === true };
      const { job } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'verifyBackup', request, settings));
      await tellBegun(io, setExitCode, flags, job);
    });
}

export function drillCommand(io: Io, setExitCode: SetExitCode): Command {
  return jobCommand('drill', 'restore an archive for practice: read back, restored under another name, compared, timed, and removed again')
    .argument('[archive]', 'archive to restore (default: the newest one)')
    .addOption(keyspacesOption('only these of the archive (default: all)'))
    .addOption(new Option('--replication-factor <count>', 'replicas per partition of what is made (default: 1)').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--bytes-per-second <bytes>', 'bound over all nodes: 50MB (default: none)').argParser(byteRate))
    .action(async (archive: string | undefined, flags: JobFlags & Pick<RestoreFlags, 'keyspaces' | 'replicationFactor' | 'bytesPerSecond'>) => {
      const { keyspaces = [], replicationFactor = 0, bytesPerSecond = 0 } = flags;
      const request = { id: flags.id ?? newJobId('drill'), archive: archive ?? '', keyspaces, replicationFactor, bytesPerSecond };
      const { job } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'drillBackup', request, settings));
      await tellBegun(io, setExitCode, flags, job);
    });
}

function moment(text: string): number {
  const atMs = /^\d{10,}$/.test(text) ? Number(text) : Date.parse(text);
  if (!Number.isFinite(atMs)) throw new InvalidArgumentError('It must be a time like 2026-11-22T10:00:00Z, or milliseconds since 1970.');
  return atMs;
}
