import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { ReadOptions } from '@atoll/client';
import { CliError, messageOf, usageError } from '../cli-error.ts';
import { clusterDirOption, routerOption } from '../connection/addresses.ts';
import { withClient, type DataFlags } from '../connection/data-connection.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, printLine, type Io } from '../io.ts';
import { bytesJson, expiryText, versionText } from '../output/entry-text.ts';
import { printable } from '../output/table.ts';
import type { SetExitCode } from './dev.ts';
import { durationMsOption, jsonOption, timeoutOption, wholeNumber } from './options.ts';
import { watchCommand } from './watch.ts';

/** Entries that a router sends at a time. */
const SCAN_BATCH = 1000;

type Consistency = NonNullable<ReadOptions['consistency']>;
interface ReadFlags {
  readonly consistency?: Consistency;
  readonly maxStaleness?: number;
}
interface WriteFlags {
  readonly ack?: 'IN_SYNC' | 'LEADER';
}
interface ExpiryFlags {
  readonly ttl?: number;
  /** commander turns --no-expiry into `expiry: false`. */
  readonly expiry: boolean;
}

/** Commands that a router answers: one entry at a time, `scan` and `watch`. */
export function dataCommands(io: Io, setExitCode: SetExitCode): Command[] {
  return [getCommand(io, setExitCode), setCommand(io, setExitCode), delCommand(io, setExitCode), incrCommand(io), touchCommand(io, setExitCode), scanCommand(io), watchCommand(io)];
}

function dataCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(new Option('--keyspace <name>', 'which keyspace').default('default'))
    .addOption(routerOption())
    .addOption(clusterDirOption())
    .addOption(timeoutOption())
    .addOption(jsonOption());
}

const readable = (command: Command): Command =>
  command
    .addOption(new Option('--consistency <level>', 'how fresh the answer must be (default: STRONG)').choices(['STRONG', 'BOUNDED', 'EVENTUAL']))
    .addOption(new Option('--max-staleness <duration>', 'with BOUNDED: how old it may be').argParser(durationMsOption));

const writable = (command: Command): Command =>
  command.addOption(new Option('--ack <level>', "when the write is answered (default: the keyspace's)").choices(['IN_SYNC', 'LEADER']));

const expiring = (command: Command): Command =>
  command
    .addOption(new Option('--ttl <duration>', "life of the entry, such as 30s or 10m (default: the keyspace's)").argParser(durationMsOption))
    .addOption(new Option('--no-expiry', "the entry does not expire, whatever the keyspace's default"));

const readOptions = ({ consistency, maxStaleness }: ReadFlags): ReadOptions => ({ consistency, maxStalenessMs: maxStaleness });
const expiryOptions = ({ ttl, expiry }: ExpiryFlags): { ttlMs?: number; noExpiry?: boolean } => ({ ttlMs: ttl, noExpiry: !expiry || undefined });

function getCommand(io: Io, setExitCode: SetExitCode): Command {
  return readable(dataCommand('get', 'print the value of a key').argument('<key>'))
    .addOption(new Option('--out <file>', 'write the value to a file, byte by byte; - is stdout'))
    .addHelpText('after', '\nEnds with 1 when the key has no entry.\n\nExamples:\n  atoll get user:7\n  atoll get photo --out photo.jpg')
    .action(async (key: string, flags: DataFlags & ReadFlags & { out?: string }) => {
      const entry = await withClient(io, flags, (client) => client.get(key, readOptions(flags)));
      if (entry === undefined) {
        setExitCode(EXIT_CODE.failed);
        if (flags.json) printJson(io, { found: false });
        else note(io, `atoll: ${printable(key)} has no entry`);
        return;
      }
      const { value, version, expiresAtMs } = entry;
      if (flags.out !== undefined) writeOut(io, flags.out, value);
      if (flags.json) {
        const shown = flags.out === undefined ? bytesJson('value', value) : { valueBytes: value.length };
        printJson(io, { found: true, ...shown, version: versionText(version), expiresAtMs: expiresAtMs ?? 0 });
      } else if (flags.out === undefined) {
        io.stdout.write(value);
        io.stdout.write('\n');
      }
    });
}

function writeOut(io: Io, file: string, value: Uint8Array): void {
  if (file === '-') {
    io.stdout.write(value);
    return;
  }
  try {
    writeFileSync(resolve(io.cwd, file), value);
  } catch (error) {
    throw new CliError(`--out: ${messageOf(error)}`, { cause: error });
  }
}

interface SetFlags extends DataFlags, WriteFlags, ExpiryFlags {
  readonly file?: string;
  readonly ifAbsent?: boolean;
  readonly ifPresent?: boolean;
  readonly ifVersion?: Buffer;
}

function setCommand(io: Io, setExitCode: SetExitCode): Command {
  return expiring(writable(dataCommand('set', 'write an entry').argument('<key>').argument('[value]', 'the value; or --file')))
    .addOption(new Option('--file <file>', 'take the value from a file; - is stdin'))
    .addOption(new Option('--if-absent', 'only when the key has no entry').conflicts(['ifPresent', 'ifVersion']))
    .addOption(new Option('--if-present', 'only when the key has an entry').conflicts(['ifVersion']))
    .addOption(new Option('--if-version <version>', 'only when the entry has this version').argParser(versionOption))
    .addHelpText(
      'after',
      '\nEnds with 1 when the condition does not hold.\n\nExamples:\n  atoll set user:7 ada --ttl 10m\n  atoll set photo --file photo.jpg\n  atoll set lock me --if-absent --ttl 30s',
    )
    .action(async (key: string, text: string | undefined, flags: SetFlags) => {
      const value = await valueOf(io, text, flags.file);
      const only = flags.ifAbsent ? 'IF_ABSENT' : flags.ifPresent ? 'IF_PRESENT' : undefined;
      const { applied, version } = await withClient(io, flags, (client) =>
        client.set(key, value, { ...expiryOptions(flags), ack: flags.ack, only, ifVersion: flags.ifVersion }),
      );
      if (!applied) setExitCode(EXIT_CODE.failed);
      if (flags.json) printJson(io, { applied, version: versionText(version) });
      else print(io, applied ? `version ${versionText(version)}` : 'not applied: the condition does not hold');
    });
}

async function valueOf(io: Io, text: string | undefined, file: string | undefined): Promise<Buffer> {
  if ((text === undefined) === (file === undefined)) throw usageError('give either a value or --file');
  if (text !== undefined) return Buffer.from(text);
  if (file === '-') return buffer(io.stdin);
  try {
    return readFileSync(resolve(io.cwd, file ?? ''));
  } catch (error) {
    throw usageError(`--file: ${messageOf(error)}`);
  }
}

function delCommand(io: Io, setExitCode: SetExitCode): Command {
  return writable(dataCommand('del', 'remove entries').argument('<key...>'))
    .addOption(new Option('--if-version <version>', 'only when the entry has this version').argParser(versionOption))
    .addHelpText('after', '\nEnds with 1 when one of the keys had no entry.')
    .action(async (keys: string[], flags: DataFlags & WriteFlags & { ifVersion?: Buffer }) => {
      const results = await withClient(io, flags, (client) => Promise.all(keys.map((key) => client.delete(key, { ack: flags.ack, ifVersion: flags.ifVersion }))));
      const removed = results.filter(({ applied }) => applied).length;
      if (removed < keys.length) setExitCode(EXIT_CODE.failed);
      if (flags.json) printJson(io, { results: keys.map((key, index) => ({ key, applied: results[index]?.applied ?? false })) });
      else print(io, `${removed} removed`);
    });
}

function incrCommand(io: Io): Command {
  return writable(dataCommand('incr', 'add to an integer and print the sum').argument('<key>').argument('[delta]', 'may be negative', bigInteger, 1n))
    .addOption(new Option('--initial <number>', 'value of a missing key before').default(0n, '0').argParser(bigInteger))
    .addOption(new Option('--ttl <duration>', 'life of the entry when this creates it').argParser(durationMsOption))
    .action(async (key: string, delta: bigint, flags: DataFlags & WriteFlags & { initial: bigint; ttl?: number }) => {
      const { value, version } = await withClient(io, flags, (client) => client.increment(key, delta, { initial: flags.initial, ttlMs: flags.ttl, ack: flags.ack }));
      if (flags.json) printJson(io, { value: String(value), version: versionText(version) });
      else print(io, String(value));
    });
}

function touchCommand(io: Io, setExitCode: SetExitCode): Command {
  return expiring(writable(dataCommand('touch', 'replace the expiry of an entry').argument('<key>')))
    .addHelpText('after', '\nEnds with 1 when the key has no entry.')
    .action(async (key: string, flags: DataFlags & WriteFlags & ExpiryFlags) => {
      const { found, version, expiresAtMs } = await withClient(io, flags, (client) => client.touch(key, { ...expiryOptions(flags), ack: flags.ack }));
      if (!found) setExitCode(EXIT_CODE.failed);
      if (flags.json) printJson(io, { found, version: versionText(version), expiresAtMs: expiresAtMs ?? 0 });
      else if (found) print(io, `expires ${expiryText(expiresAtMs)}`);
      else note(io, `atoll: ${printable(key)} has no entry`);
    });
}

function scanCommand(io: Io): Command {
  return readable(dataCommand('scan', 'list keys, in no particular order'))
    .addOption(new Option('--prefix <text>', 'only keys that begin so'))
    .addOption(new Option('--limit <count>', 'stop after so many').argParser(wholeNumber(1, Number.MAX_SAFE_INTEGER)))
    .addOption(new Option('--values', 'print values as well, behind a tab'))
    .addHelpText('after', '\nControl characters are shown as \\xNN. With --json each entry is one line of JSON.\n\nExample:\n  atoll scan --prefix user: --limit 10')
    .action(async (flags: DataFlags & ReadFlags & { prefix?: string; limit?: number; values?: boolean }) => {
      await withClient(io, flags, async (client) => {
        const entries = client.scan({ ...readOptions(flags), prefix: flags.prefix, keysOnly: !flags.values, batchEntries: Math.min(flags.limit ?? SCAN_BATCH, SCAN_BATCH) });
        let left = flags.limit ?? Infinity;
        for await (const { key, value, version, expiresAtMs } of entries) {
          if (flags.json) {
            const shown = flags.values ? bytesJson('value', value ?? Buffer.alloc(0)) : {};
            await printLine(io, JSON.stringify({ ...bytesJson('key', key), ...shown, version: versionText(version), expiresAtMs: expiresAtMs ?? 0 }));
          } else {
            await printLine(io, printable(Buffer.from(key).toString('utf8')) + (flags.values ? `\t${printable(Buffer.from(value ?? []).toString('utf8'))}` : ''));
          }
          left -= 1;
          if (left === 0) break;
        }
      });
    });
}

function versionOption(text: string): Buffer {
  if (!/^(?:[0-9a-f]{2})+$/i.test(text)) throw new InvalidArgumentError('It must be a version as set and get --json print it.');
  return Buffer.from(text, 'hex');
}

function bigInteger(text: string): bigint {
  if (!/^-?\d{1,20}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return BigInt(text);
}
