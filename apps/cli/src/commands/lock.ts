import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { hostname } from 'node:os';
import { Command, Option } from 'commander';
import { LocksClient, type LockInfo, type LockTarget } from '@atoll/client';
import { usageError } from '../cli-error.ts';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { renderTable } from '../output/table.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';
import { durationMsOption, tokenRange, tokenRangeText } from './options.ts';

interface TargetFlags extends AdminFlags {
  readonly keyspace?: string;
  readonly key?: string;
  readonly range?: { readonly start: bigint; readonly end?: bigint };
}

interface AcquireFlags extends TargetFlags {
  readonly shared?: boolean;
  readonly ttl?: number;
  readonly wait?: number;
  readonly owner?: string;
}

/** Exit code of a command whose lock was lost under it; of those that a signal ended, 128 and its number are usual. */
const LOST_EXIT_CODE = EXIT_CODE.unavailable;

export function lockCommand(io: Io, setExitCode: SetExitCode): Command {
  return new Command('lock')
    .description('locks by name, or on ranges of tokens of a keyspace')
    .addCommand(acquireCommand(io))
    .addCommand(renewCommand(io))
    .addCommand(releaseCommand(io, setExitCode))
    .addCommand(listCommand(io))
    .addCommand(runCommand(io, setExitCode));
}

const targeted = (command: Command): Command =>
  command
    .argument('[name]', 'name of the lock; left out: a range of --keyspace')
    .addOption(new Option('--keyspace <name>', 'lock tokens of this keyspace: --range, --key, or all of them'))
    .addOption(new Option('--range <start..end>', 'tokens in hex, without the last one; an empty end reaches to the last token').argParser(tokenRange))
    .addOption(new Option('--key <key>', 'the token of this key alone'));

const waiting = (command: Command): Command =>
  command
    .addOption(new Option('--shared', 'beside other shared holders'))
    .addOption(new Option('--ttl <duration>', 'a holder that falls silent loses it after so long, 2s to 1h (default: 10s)').argParser(durationMsOption))
    .addOption(new Option('--wait <duration>', 'how long to wait until it is free (default: 0s)').argParser(durationMsOption))
    .addOption(new Option('--owner <text>', 'who it is, for the list (default: host and process)'));

function acquireCommand(io: Io): Command {
  return waiting(targeted(adminCommand('acquire', 'take a lock; renew it before its ttl is over, or it is free again')))
    .addHelpText('after', '\nExamples:\n  atoll lock acquire nightly --ttl 60s --wait 10s\n  atoll lock acquire --keyspace default --range 0..8000000000000000')
    .action(async (name: string | undefined, flags: AcquireFlags) => {
      await withLocks(io, flags, async (locks) => {
        const lock = await locks.acquire(acquireOptions(name, flags));
        lock.abandon(); // From here on it is the caller's to renew.
        const { requestId, fencingToken, ttlMs } = lock;
        if (flags.json) printJson(io, { requestId, fencingToken, ttlMs });
        else print(io, `held for ${ttlMs} ms: request ${requestId}, fencing token ${fencingToken}`);
      });
    });
}

function renewCommand(io: Io): Command {
  return targeted(adminCommand('renew', 'prolong a lock, or a request that waits, by its ttl'))
    .requiredOption('--request <id>', 'as acquire and list print it')
    .action(async (name: string | undefined, flags: TargetFlags & { request: string }) => {
      await withLocks(io, flags, async (locks) => {
        const ttlMs = await locks.renew({ ...targetOf(name, flags), requestId: flags.request });
        if (flags.json) printJson(io, { ttlMs });
        else print(io, `stands for ${ttlMs} ms more`);
      });
    });
}

function releaseCommand(io: Io, setExitCode: SetExitCode): Command {
  return targeted(adminCommand('release', 'give a lock up, or a request that waits'))
    .requiredOption('--request <id>', 'as acquire and list print it')
    .addHelpText('after', '\nEnds with 1 when there is no such request any more.')
    .action(async (name: string | undefined, flags: TargetFlags & { request: string }) => {
      await withLocks(io, flags, async (locks) => {
        const released = await locks.release({ ...targetOf(name, flags), requestId: flags.request });
        if (!released) setExitCode(EXIT_CODE.failed);
        if (flags.json) printJson(io, { released });
        else if (released) print(io, 'released');
        else note(io, 'atoll: there is no such request any more');
      });
    });
}

function listCommand(io: Io): Command {
  return adminCommand('list', 'who holds locks and who waits for them, in the order of arrival')
    .argument('[name]', 'only locks of this name')
    .addOption(new Option('--keyspace <name>', 'only locks on ranges of this keyspace'))
    .action(async (name: string | undefined, flags: TargetFlags) => {
      await withLocks(io, flags, async (locks) => {
        const requests = await locks.list({ ...(name !== undefined && { name }), ...(flags.keyspace !== undefined && { keyspace: flags.keyspace }) });
        if (flags.json) return printJson(io, { locks: requests.map((request) => ({ ...request, range: request.range && tokenRangeText(request.range) })) });
        const columns = [{ heading: 'LOCK' }, { heading: 'MODE' }, { heading: 'STATE' }, { heading: 'TOKEN', numeric: true }, { heading: 'TTL MS', numeric: true }, { heading: 'OWNER' }, { heading: 'REQUEST' }];
        const rows = requests.map((request) => [
          whatText(request),
          request.mode,
          request.held ? 'held' : `waits for ${request.waitsFor}`,
          request.fencingToken,
          request.ttlMs,
          request.owner,
          request.requestId,
        ]);
        print(io, renderTable(columns, rows));
      });
    });
}

function runCommand(io: Io, setExitCode: SetExitCode): Command {
  return waiting(adminCommand('run', 'run a command while a lock is held; ends it when the lock is lost'))
    .argument('<name>', 'name of the lock')
    .argument('<command...>', 'the command and its arguments, behind --')
    .addHelpText('after', '\nThe command finds ATOLL_LOCK_REQUEST and ATOLL_FENCING_TOKEN in its environment. Ends as the command does.\n\nExample:\n  atoll lock run nightly --wait 1m -- ./import.sh')
    .action(async (name: string, command: string[], flags: AcquireFlags) => {
      await withLocks(io, flags, async (locks) => {
        const lock = await locks.acquire(acquireOptions(name, flags));
        const env = { ...io.env, ATOLL_LOCK_REQUEST: lock.requestId, ATOLL_FENCING_TOKEN: String(lock.fencingToken) };
        const child = spawn(command[0]!, command.slice(1), { stdio: 'inherit', env, cwd: io.cwd });
        const onLost = (): void => void child.kill('SIGKILL');
        lock.signal.addEventListener('abort', onLost, { once: true });
        try {
          const [code] = (await once(child, 'exit')) as [number | null];
          setExitCode(lock.signal.aborted ? LOST_EXIT_CODE : code === 0 ? EXIT_CODE.ok : EXIT_CODE.failed);
          if (lock.signal.aborted) note(io, 'atoll: the lock was lost, so the command was ended');
        } finally {
          await lock.release().catch(() => undefined);
        }
      });
    });
}

async function withLocks(io: Io, flags: AdminFlags, use: (locks: LocksClient) => Promise<void>): Promise<void> {
  const locks = new LocksClient({ coordinators: coordinatorAddresses(io, flags), deadlineMs: flags.timeout });
  try {
    await use(locks);
  } finally {
    locks.close();
  }
}

function acquireOptions(name: string | undefined, flags: AcquireFlags): Parameters<LocksClient['acquire']>[0] {
  const { ttl, wait } = flags;
  return {
    ...targetOf(name, flags),
    ...(ttl !== undefined && { ttlMs: ttl }),
    ...(wait !== undefined && { waitMs: wait }),
    mode: flags.shared === true ? 'SHARED' : 'EXCLUSIVE',
    owner: flags.owner ?? `${hostname()} ${process.pid}`,
  };
}

function targetOf(name: string | undefined, { keyspace, key, range }: TargetFlags): LockTarget {
  const isRange = keyspace !== undefined || key !== undefined || range !== undefined;
  if ((name !== undefined) === isRange) throw usageError('give either the name of a lock, or --keyspace with --range, --key or nothing more');
  if (name !== undefined) return { name };
  return { ...(keyspace !== undefined && { keyspace }), ...(key !== undefined && { key }), ...(range !== undefined && { range }) };
}

const whatText = ({ name, keyspace, range }: LockInfo): string => name ?? `${keyspace} ${range === undefined ? '' : tokenRangeText(range)}`;
