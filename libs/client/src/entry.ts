/** An entry as read. */
export interface Entry {
  readonly value: Buffer;
  /** Opaque; give it back as `ifVersion`. */
  readonly version: Buffer;
  /** Milliseconds since the Unix epoch; undefined: it does not expire. */
  readonly expiresAtMs: number | undefined;
}

export interface ScannedEntry extends Entry {
  readonly key: Buffer;
}

export interface WriteResult {
  /** False when the condition did not hold, or there was nothing to remove. */
  readonly applied: boolean;
  /** Of the write, or of the entry that the condition met; empty when there is none. */
  readonly version: Buffer;
}

export interface IncrementResult {
  readonly value: bigint;
  readonly version: Buffer;
}

export interface TouchResult {
  readonly found: boolean;
  readonly version: Buffer;
  readonly expiresAtMs: number | undefined;
}
