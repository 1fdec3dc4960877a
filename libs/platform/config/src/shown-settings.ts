import type { Env, Settings } from './parse-settings.ts';

/** A setting as a process shows it to whoever asks: nothing secret is in it. */
export interface ShownSetting {
  /** As it was understood: durations in ms, sizes in bytes; empty where it is not set. */
  readonly value: string;
  /** It stands in the environment; else it is the default. */
  readonly given: boolean;
}

export type ShownSettings = Readonly<Record<string, ShownSetting>>;

const REDACTED = '[redacted]';

/** Every setting of a service by name, without those of other services and without what is secret. */
export function shownSettings(settings: Settings, env: Env): ShownSettings {
  return Object.freeze(
    Object.fromEntries(
      Object.entries(settings).map(([name, setting]) => {
        const given = env[name]?.trim() || undefined;
        const raw = given ?? setting.default;
        if (raw === undefined) return [name, { value: '', given: false }];
        const parsed = setting.schema.safeParse(raw).data;
        const text = typeof parsed === 'number' ? String(parsed) : raw;
        return [name, { value: setting.secret ? REDACTED : withoutCredentials(text), given: given !== undefined }];
      }),
    ),
  );
}

/** Addresses may have a user and a password in them. */
const withoutCredentials = (text: string): string => text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^/\s,@]+@/gi, `$1${REDACTED}@`);
