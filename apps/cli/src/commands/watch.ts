import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { Watch, WatchChange, WatchGapReport } from '@atoll/client';
import { CliError, messageOf } from '../cli-error.ts';
import { clusterDirOption, routerOption } from '../connection/addresses.ts';
import { withClient, type DataFlags } from '../connection/data-connection.ts';
import { note, printLine, type Io } from '../io.ts';
import { bytesJson, versionText } from '../output/entry-text.ts';
import { printable } from '../output/table.ts';
import { jsonOption, timeoutOption, wholeNumber } from './options.ts';

interface WatchFlags extends DataFlags {
  readonly prefix?: string;
  readonly partition?: readonly number[];
  readonly values?: boolean;
  readonly fromOldest?: boolean;
  readonly skipGaps?: boolean;
  readonly limit?: number;
  readonly resume?: string;
}

/** Largest time between two savings of a position, in ms. */
const SAVE_MS = 1000;

export function watchCommand(io: Io): Command {
  return new Command('watch')
    .description('print changes as they commit, until it is interrupted')
    .addOption(new Option('--keyspace <name>', 'which keyspace').default('default'))
    .addOption(routerOption())
    .addOption(clusterDirOption())
    .addOption(timeoutOption())
    .addOption(jsonOption())
    .addOption(new Option('--prefix <text>', 'only keys that begin so'))
    .addOption(new Option('--partition <number...>', 'only these partitions').argParser(eachWholeNumber))
    .addOption(new Option('--values', 'print values as well, behind a tab'))
    .addOption(new Option('--from-oldest', 'begin with the oldest change that is still held'))
    .addOption(new Option('--skip-gaps', 'tell of changes that were missed and go on, instead of failing'))
    .addOption(new Option('--limit <count>', 'stop after so many changes').argParser(wholeNumber(1, Number.MAX_SAFE_INTEGER)).conflicts('resume'))
    .addOption(new Option('--resume <file>', 'go on where the last call with this file stopped, and keep the position there'))
    .addHelpText('after', '\nEach change comes at least once. With --json each one is one line of JSON.\n\nExamples:\n  atoll watch --prefix user: --values\n  atoll watch --json --resume changes.position >> changes.jsonl')
    .action(async (flags: WatchFlags) => {
      const interrupted = new AbortController();
      const onSignal = (): void => interrupted.abort();
      process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
      try {
        await withClient(io, flags, async (client) => {
          const file = flags.resume === undefined ? undefined : resolve(io.cwd, flags.resume);
          const watch = client.watch({
            ...(file !== undefined && { position: readPosition(file) }),
            ...(flags.partition !== undefined && { partitions: flags.partition }),
            prefix: flags.prefix ?? '',
            keysOnly: flags.values !== true,
            fromOldest: flags.fromOldest === true,
            onGap: flags.skipGaps ? 'REPORT' : 'FAIL',
            patienceMs: flags.timeout,
            signal: interrupted.signal,
            onReady: () => note(io, 'atoll: watching'),
          });
          await printChanges(io, watch, flags, file, interrupted.signal);
        });
      } finally {
        process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
      }
    });
}

async function printChanges(io: Io, watch: Watch, flags: WatchFlags, file: string | undefined, signal: AbortSignal): Promise<void> {
  let left = flags.limit ?? Infinity;
  let savedMs = performance.now();
  try {
    for await (const change of watch) {
      await printLine(io, flags.json ? JSON.stringify(changeJson(change, flags)) : changeText(change, flags));
      left -= 1;
      if (left === 0) break;
      if (file === undefined || performance.now() - savedMs < SAVE_MS) continue;
      savePosition(file, watch);
      savedMs = performance.now();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    if (file !== undefined) savePosition(file, watch);
  }
}

function changeText(change: WatchChange | WatchGapReport, { values }: WatchFlags): string {
  if (change.kind === 'GAP') return `GAP     partition ${change.partition}: ${change.reason}`;
  const text = `${change.kind.padEnd(7)} ${printable(change.key.toString('utf8'))}`;
  return values && change.kind === 'PUT' ? `${text}\t${printable(change.value.toString('utf8'))}` : text;
}

function changeJson(change: WatchChange | WatchGapReport, { values }: WatchFlags): object {
  if (change.kind === 'GAP') return change;
  const { kind, partition, key, value, version, expiresAtMs, stampMs } = change;
  const shown = values && kind === 'PUT' ? bytesJson('value', value) : {};
  return { kind, partition, ...bytesJson('key', key), ...shown, version: versionText(version), expiresAtMs: expiresAtMs ?? 0, stampMs };
}

function readPosition(file: string): Buffer {
  if (!existsSync(file)) return Buffer.alloc(0);
  try {
    return Buffer.from(readFileSync(file, 'utf8').trim(), 'base64');
  } catch (error) {
    throw new CliError(`--resume: ${messageOf(error)}`, { cause: error });
  }
}

/** Replaced in one step: a crash leaves the one before. */
function savePosition(file: string, watch: Watch): void {
  const { position } = watch;
  if (position.length === 0) return;
  try {
    writeFileSync(`${file}.new`, `${position.toString('base64')}\n`);
    renameSync(`${file}.new`, file);
  } catch (error) {
    throw new CliError(`--resume: ${messageOf(error)}`, { cause: error });
  }
}

const parsePartition = wholeNumber(0, 4095);
const eachWholeNumber = (text: string, before: readonly number[] = []): readonly number[] => [...before, parsePartition(text)];
