import { GIB, KIB, MIB, MINUTE_MS, SECOND_MS } from '@atoll/core-runtime';

// Numbers with a suffix, as people write them in settings: 250ms, 10s, 512MiB.

const DURATION_UNITS: Readonly<Record<string, number>> = { '': 1, ms: 1, s: SECOND_MS, m: MINUTE_MS, h: 60 * MINUTE_MS };
const BYTE_UNITS: Readonly<Record<string, number>> = { '': 1, B: 1, KiB: KIB, MiB: MIB, GiB: GIB };
const QUANTITY = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/;

function parseQuantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = QUANTITY.exec(text);
  const unit = units[match?.[2] ?? ''];
  if (match === null || unit === undefined) return undefined;
  const value = Number(match[1]) * unit;
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Whole milliseconds from `250`, `250ms`, `1.5s`, `2m` or `1h`; undefined when malformed. */
export function parseDurationMs(text: string): number | undefined {
  return parseQuantity(text, DURATION_UNITS);
}

/** Whole bytes from `4096`, `64KiB`, `512MiB` or `1.5GiB`; undefined when malformed. Decimal units (MB) are refused: people mean either. */
export function parseBytes(text: string): number | undefined {
  return parseQuantity(text, BYTE_UNITS);
}

/** The largest unit that gives a whole number: 1536 is `1536B`, 2048 is `2KiB`. */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [['GiB', GIB], ['MiB', MIB], ['KiB', KIB]] as const) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}
