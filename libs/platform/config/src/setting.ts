import { z } from 'zod';

/** What every setting tells about itself: enough for the README, `.env.example` and error messages. */
export interface SettingOptions<T> {
  /** One sentence: what it does, and what each direction costs. */
  readonly description: string;
  /** Text as it would stand in the environment. Without a default the setting is required, unless `optional` wraps it. */
  readonly default?: string;
  /** A further check of the parsed value; the text that it returns follows the setting's name. */
  readonly problem?: (value: T) => string | undefined;
  /** The value never appears in messages. */
  readonly secret?: boolean;
}

/** One environment variable: how its text becomes a value of type T. */
export interface Setting<T> {
  readonly schema: z.ZodType<T, string>;
  readonly description: string;
  /** Allowed values for people: `1ms to 60s`, `json or pretty`. */
  readonly range: string;
  readonly default: string | undefined;
  /** Shown in place of the default where it is computed or absent: `same as ATOLL_LISTEN`. */
  readonly defaultText: string | undefined;
  readonly required: boolean;
  readonly secret: boolean;
}

/** A setting that may be absent; its value is then undefined. `defaultText` tells people what happens. */
export function optional<T>(setting: Setting<T>, defaultText = 'not set'): Setting<T | undefined> {
  return { ...setting, default: undefined, defaultText, required: false };
}

/** Building block of the kinds: `parse` answers undefined for malformed text. */
export function defineSetting<T>(range: string, parse: (text: string) => T | undefined, options: SettingOptions<T>): Setting<T> {
  const schema = z.string().transform((text, context): T => {
    const value = parse(text);
    const problem = value === undefined ? `must be ${range}` : options.problem?.(value);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
    return value as T;
  });
  return {
    schema,
    range,
    description: options.description,
    default: options.default,
    defaultText: undefined,
    required: options.default === undefined,
    secret: options.secret ?? false,
  };
}
