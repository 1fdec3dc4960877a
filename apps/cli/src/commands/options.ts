import { InvalidArgumentError, Option } from 'commander';
import { parseAddress, parseBytes, parseDurationMs } from '@atoll/platform-config';

// Converters of option texts. commander puts the option's name before the message and ends with exit code 2.

export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`It must be a whole number, ${min} to ${max}.`);
    return value;
  };
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('It must be a number above 0.');
  return value;
}

export function byteCount(text: string): number {
  const value = parseBytes(text);
  if (value === undefined || value <= 0) throw new InvalidArgumentError('It must be a number of bytes, with B, KiB, MiB or GiB: 512MiB.');
  return value;
}

const DECIMAL_UNITS: Readonly<Record<string, number>> = { kB: 1e3, MB: 1e6, GB: 1e9 };

/** Bytes per second: a plain number, `50MB` (50,000,000; rates are told so) or `50MiB` (52,428,800), also with `/s`. 0 means no bound of one's own. */
export function byteRate(text: string): number {
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)(?:\/s)?$/.exec(text.trim()) ?? [];
  const decimal = DECIMAL_UNITS[unit];
  const value = amount === undefined ? undefined : decimal === undefined ? parseBytes(`${amount}${unit}`) : Math.round(Number(amount) * decimal);
  if (value === undefined || !Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be bytes per second, with kB, MB, GB, KiB, MiB or GiB: 50MB; 0 for the bounds of the nodes.');
  return value;
}

/** What names a request so that it can come again. */
export function requestId(text: string): string {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(text)) throw new InvalidArgumentError('It must be 1 to 64 characters of A-Z a-z 0-9 _ -.');
  return text;
}

/** As `atoll backup repository` shows it. */
export function repositoryId(text: string): string {
  if (text === '' || text.length > 128) throw new InvalidArgumentError('It must be the id of a repository, 1 to 128 characters.');
  return text;
}

export function hostAndPort(text: string): string {
  if (parseAddress(text) === undefined) throw new InvalidArgumentError('It must be host:port.');
  return text;
}

/** Several of them, with commas between. */
export function hostsAndPorts(text: string): string[] {
  const list = text.split(',').map((address) => address.trim());
  if (list.some((address) => parseAddress(address) === undefined)) throw new InvalidArgumentError('It must be host:port, or several with commas between them.');
  return list;
}

export function names(text: string): string[] {
  const list = text.split(',').map((name) => name.trim());
  if (!list.every((name) => /^[A-Za-z0-9._-]{1,64}$/.test(name))) {
    throw new InvalidArgumentError('It must be names of A-Z a-z 0-9 . _ - with commas between them.');
  }
  return list;
}

/** Of commands that take several keyspaces; those that take one have `--keyspace` alone, so that is understood here as well. */
export const keyspacesOption = (which: string): Option => new Option('--keyspace, --keyspaces <names>', `${which}, with commas between them`).argParser(names);

/** `--json`, the same everywhere. */
export function jsonOption(): Option {
  return new Option('--json', 'print JSON for programs');
}

export function durationMsOption(text: string): number {
  const value = parseDurationMs(text);
  if (value === undefined) throw new InvalidArgumentError('It must be a time such as 250ms, 10s, 5m or 1h.');
  return value;
}

const TIMEOUT_MS_DEFAULT = 10_000;

/** Time for the whole command. */
export function timeoutOption(): Option {
  return new Option('--timeout <duration>', 'longest wait for the answer').default(TIMEOUT_MS_DEFAULT, '10s').argParser(durationMsOption);
}

/** Tokens from `start` up to, and without, `end`; without one to the last. */
export interface TokenRangeFlag {
  readonly start: bigint;
  readonly end?: bigint;
}

/** `0..8000000000000000`: tokens in hex, without the last one; an empty end reaches to the last token. */
export function tokenRange(text: string): TokenRangeFlag {
  const match = /^([0-9a-f]{1,16})\.\.([0-9a-f]{0,16})$/i.exec(text);
  if (match === null) throw new InvalidArgumentError('It must be two tokens in hex with .. between them, such as 0..8000000000000000.');
  const start = BigInt(`0x${match[1]}`);
  return match[2] === '' ? { start } : { start, end: BigInt(`0x${match[2]}`) };
}

export const tokenText = (token: bigint): string => token.toString(16).padStart(16, '0');
export const tokenRangeText = ({ start, end }: TokenRangeFlag): string => `${tokenText(start)}..${end === undefined ? '' : tokenText(end)}`;

/** As requests name it: 0 for the end of all tokens, and twice 0 for no range. */
export const tokenFields = (range: TokenRangeFlag | undefined): { tokenFrom: bigint; tokenTo: bigint } => ({ tokenFrom: range?.start ?? 0n, tokenTo: range?.end ?? 0n });
