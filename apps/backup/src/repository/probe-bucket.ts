import { randomBytes } from 'node:crypto';
import type { ObjectStore } from '@atoll/platform-repository';

const PROBE_BYTES = 4096;

/**
 * Does to a bucket what a backup would: writes an object, reads it back, asks whether it can be created twice, removes it. Rejects
 * with what failed.
 */
export async function probeBucket(store: ObjectStore): Promise<void> {
  const key = `probes/${randomBytes(8).toString('hex')}`;
  const content = randomBytes(PROBE_BYTES);
  try {
    await store.put(key, content);
    const readBack = await store.get(key);
    if (readBack?.equals(content) !== true) throw new Error('the probe object was read back with other content than was written');
    if (await store.create(key, randomBytes(PROBE_BYTES))) throw new Error('the server takes no notice of If-None-Match: two backup services could not be kept apart');
  } finally {
    await store.delete(key).catch(() => undefined); // What could not be written is not there.
  }
}
