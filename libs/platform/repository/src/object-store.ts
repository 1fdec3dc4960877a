import { invalidArgument } from '@atoll/core-errors';

export interface StoredObject {
  readonly key: string;
  readonly bytes: number;
  /** By the clock of the storage, ms since the epoch: good for ages, not for order. */
  readonly modifiedMs: number;
}

/**
 * The port to storage: named objects that are written whole. What is written is durable when the promise resolves, and seen by
 * every later call of anybody (S3 has been so since December 2020). Keys have 1 to 512 characters: parts of A-Z, a-z, 0-9,
 * `.`, `-` and `_` between slashes, none of which begins with a dot.
 *
 * Every method may throw REPOSITORY_UNAVAILABLE, and those that write REPOSITORY_FULL and REPOSITORY_READ_ONLY; an object is
 * then as it was before, or, where the answer was lost, as it was to be.
 */
export interface ObjectStore {
  /** For people: `file:///...`, `s3://bucket/prefix`. */
  readonly location: string;
  /** Replaces what was there. Readers see the one or the other, never a part. */
  put(key: string, body: Uint8Array): Promise<void>;
  /** Writes it where nothing is; of several at once one succeeds. Resolves to whether the object has these bytes now. */
  create(key: string, body: Uint8Array): Promise<boolean>;
  /** Undefined where there is none. Throws RangeError for an object above `bytesMax`. */
  get(key: string, bytesMax?: number): Promise<Buffer | undefined>;
  stat(key: string): Promise<StoredObject | undefined>;
  /** All whose keys begin with `prefix`, in the order of their keys. What is written or removed meanwhile may be in it or not. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** Removes it; nothing happens where there is none. */
  delete(key: string): Promise<void>;
  /** Gives it another name as well, replacing what is there. False where there is none. */
  copy(from: string, to: string): Promise<boolean>;
  /** Gives back what it holds of the process. */
  close(): Promise<void>;
}

/** Largest object that `get` reads unless told otherwise. */
export const OBJECT_BYTES_MAX = 1024 * 1024 * 1024;

const KEY_CHARACTERS_MAX = 512;
const KEY = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

export function checkObjectKey(key: string): void {
  if (key.length > KEY_CHARACTERS_MAX || !KEY.test(key)) throw invalidArgument('key', `${JSON.stringify(key.slice(0, 80))} is no key of an object`);
}
