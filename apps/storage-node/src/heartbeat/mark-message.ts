import type { MetadataMark } from '@atoll/contracts/atoll/v1/replication';
import type { GuardedMetadataStore } from '@atoll/platform-etcd';

/** What this process saw of etcd, for the coordinator (R13). */
export function markMessage({ mark, reasons }: Pick<GuardedMetadataStore, 'mark' | 'reasons'>): MetadataMark {
  return { ...mark, regressed: [...reasons] };
}
