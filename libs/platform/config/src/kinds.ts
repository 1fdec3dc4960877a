import { isNodeId } from '@atoll/core-runtime';
import { parseAddress, type Address } from './address.ts';
import { formatBytes, parseBytes, parseDurationMs } from './quantity.ts';
import { defineSetting, type Setting, type SettingOptions } from './setting.ts';

interface Range {
  /** Lowest value allowed, inclusive. */
  readonly min: number;
  /** Highest value allowed, inclusive. */
  readonly max: number;
}

const inside = (value: number | undefined, { min, max }: Range): number | undefined =>
  value !== undefined && value >= min && value <= max ? value : undefined;

/** Any text; `pattern` narrows it and `range` says how in words. */
export function text(options: SettingOptions<string> & { pattern?: RegExp; range?: string }): Setting<string> {
  const { pattern } = options;
  return defineSetting(options.range ?? 'text', (value) => (pattern?.test(value) === false ? undefined : value), options);
}

/** Name of a process in its cluster: 1 to 64 of `a-z 0-9 -`. */
export function nodeId(options: SettingOptions<string>): Setting<string> {
  return defineSetting('1 to 64 characters of a-z, 0-9 and - (not first or last)', (value) => (isNodeId(value) ? value : undefined), options);
}

/** `host:port`; `[::1]:7400` for IPv6. */
export function address(options: SettingOptions<Address>): Setting<Address> {
  return defineSetting('host:port', parseAddress, options);
}

/** An address, or `off`. */
export function addressOrOff(options: SettingOptions<Address | 'off'>): Setting<Address | 'off'> {
  return defineSetting('host:port or off', (value) => (value === 'off' ? 'off' : parseAddress(value)), options);
}

/** Milliseconds; `250`, `250ms`, `10s`, `2m` and `1h` are understood. */
export function durationMs(options: SettingOptions<number> & Range): Setting<number> {
  return defineSetting(`${options.min} to ${options.max} ms (suffixes ms, s, m, h)`, (value) => inside(parseDurationMs(value), options), options);
}

/** Bytes; `4096`, `64KiB`, `512MiB` and `2GiB` are understood. */
export function bytes(options: SettingOptions<number> & Range): Setting<number> {
  return defineSetting(
    `${formatBytes(options.min)} to ${formatBytes(options.max)} (suffixes KiB, MiB, GiB)`,
    (value) => inside(parseBytes(value), options),
    options,
  );
}

export function integer(options: SettingOptions<number> & Range): Setting<number> {
  const parse = (value: string): number | undefined => inside(/^-?\d{1,16}$/.test(value) ? Number(value) : undefined, options);
  return defineSetting(`whole number, ${options.min} to ${options.max}`, parse, options);
}

/** A share of one: 0.001 is one in a thousand. */
export function ratio(options: SettingOptions<number> & Partial<Range>): Setting<number> {
  const range = { min: options.min ?? 0, max: options.max ?? 1 };
  const parse = (value: string): number | undefined => inside(/^\d*\.?\d+(?:e-?\d+)?$/i.test(value) ? Number(value) : undefined, range);
  return defineSetting(`${range.min} to ${range.max}`, parse, options);
}

/** One of a few words, exactly as written. */
export function choice<const Word extends string>(words: readonly Word[], options: SettingOptions<Word>): Setting<Word> {
  return defineSetting(
    `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`,
    (value) => words.find((word) => word === value),
    options,
  );
}

export function boolean(options: SettingOptions<boolean>): Setting<boolean> {
  return defineSetting('true or false', (value) => (value === 'true' ? true : value === 'false' ? false : undefined), options);
}

/** `http://host:port` or `https://host:port`, without a path. */
export function endpoint(options: SettingOptions<string>): Setting<string> {
  return defineSetting('http://host:port', (value) => (isEndpoint(value) ? value.replace(/\/$/, '') : undefined), options);
}

/** Comma-separated endpoints, at least one. */
export function endpoints(options: SettingOptions<readonly string[]>): Setting<readonly string[]> {
  return list('http://host:port', (value) => (isEndpoint(value) ? value.replace(/\/$/, '') : undefined), options);
}

/** Comma-separated values, at least one; `of` says in words what each must be. */
export function list<T>(of: string, parse: (text: string) => T | undefined, options: SettingOptions<readonly T[]>): Setting<readonly T[]> {
  const parseAll = (value: string): readonly T[] | undefined => {
    const items = value.split(',').map((item) => parse(item.trim()));
    return items.includes(undefined) ? undefined : (items as readonly T[]);
  };
  return defineSetting(`a comma-separated list of ${of}`, parseAll, options);
}

function isEndpoint(value: string): boolean {
  if (!/^https?:\/\//.test(value) || !URL.canParse(value)) return false;
  const url = new URL(value);
  return (url.pathname === '/' || url.pathname === '') && url.search === '' && url.hash === '' && url.username === '';
}
