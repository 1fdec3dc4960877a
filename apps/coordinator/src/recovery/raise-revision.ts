import { AtollError } from '@atoll/core-errors';
import { FILLER_KEY, type Comparison, type MetadataStore } from '@atoll/platform-etcd';

/** Writes under way at a time: etcd writes what waits to its disk together. */
const AT_ONCE = 64;
/** Beyond that etcd itself should be told, when it is restored: each write costs it some 100 bytes until it is compacted. */
export const RAISE_MAX = 2_000_000;

/**
 * Writes one key again and again until etcd's revision is above `above`. Throws METADATA_CONFLICT when this coordinator
 * is not elected any more or etcd is away, METADATA_REGRESSED for more than RAISE_MAX writes; all can be called again.
 */
export async function raiseRevision(store: MetadataStore, { above, election, signal }: { readonly above: number; readonly election: Comparison; readonly signal: AbortSignal }): Promise<void> {
  let revision = (await store.list(FILLER_KEY)).revision;
  if (above - revision > RAISE_MAX) {
    throw new AtollError('METADATA_REGRESSED', `etcd's revision ${revision} is more than ${RAISE_MAX} below ${above}, which was seen: restore the backup again with etcdutl snapshot restore --bump-revision ${above - revision} --mark-compacted`, {
      metadata: { revision: String(revision), seen: String(above) },
    });
  }
  const fill = async (): Promise<void> => {
    while (revision <= above) {
      signal.throwIfAborted();
      const outcome = await store.transact([election], [{ kind: 'put', key: FILLER_KEY, value: '' }]);
      if (outcome.kind === 'succeeded') revision = Math.max(revision, outcome.revision);
      else throw new AtollError('METADATA_CONFLICT', "etcd's revision could not be raised: this coordinator is not elected any more, or etcd is away");
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, fill));
}
