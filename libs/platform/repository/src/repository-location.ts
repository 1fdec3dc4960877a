import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { ObjectStore } from './object-store.ts';
import { openFileObjectStore, peekFileObjectStore } from './stores/file-object-store.ts';
import { openS3ObjectStore, type S3Options } from './stores/s3-object-store.ts';

export type RepositoryLocation =
  | { readonly kind: 'directory'; /** Absolute. */ readonly path: string }
  | { readonly kind: 'bucket'; readonly bucket: string; /** Without slashes at its ends; empty for none. */ readonly prefix: string };

/** For people. */
export const LOCATION_RANGE = 'path of a directory, file:///path or s3://bucket/prefix';

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const PREFIX = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/** A relative path is below the working directory. Undefined for what is no location. */
export function parseRepositoryLocation(text: string): RepositoryLocation | undefined {
  const s3 = /^s3:\/\/([^/]*)\/?(.*?)\/?$/.exec(text);
  if (s3 !== null) {
    const [, bucket = '', prefix = ''] = s3;
    return BUCKET.test(bucket) && (prefix === '' || PREFIX.test(prefix)) ? { kind: 'bucket', bucket, prefix } : undefined;
  }
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return text === '' ? undefined : { kind: 'directory', path: resolve(text) };
  try {
    const path = fileURLToPath(text);
    return isAbsolute(path) ? { kind: 'directory', path: resolve(path) } : undefined;
  } catch {
    return undefined;
  }
}

export function formatRepositoryLocation(location: RepositoryLocation): string {
  if (location.kind === 'directory') return pathToFileURL(location.path).href;
  return `s3://${location.bucket}${location.prefix === '' ? '' : `/${location.prefix}`}`;
}

/** @throws REPOSITORY_* where a directory cannot be made; of a bucket the first call tells */
export async function openObjectStore(location: RepositoryLocation, s3: Omit<S3Options, 'bucket' | 'prefix'> = {}): Promise<ObjectStore> {
  if (location.kind === 'directory') return openFileObjectStore(location.path);
  return openS3ObjectStore({ ...s3, bucket: location.bucket, prefix: location.prefix });
}

/** As `openObjectStore`, to look into it alone: a directory that is missing is not made. */
export async function peekObjectStore(location: RepositoryLocation, s3: Omit<S3Options, 'bucket' | 'prefix'> = {}): Promise<Pick<ObjectStore, 'get' | 'location' | 'close'>> {
  return location.kind === 'directory' ? peekFileObjectStore(location.path) : openObjectStore(location, s3);
}
