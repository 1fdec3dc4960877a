import { randomBytes } from 'node:crypto';
import type { Migration } from '@atoll/contracts/atoll/v1/migration';

/** Made up here rather than by the coordinator: when an answer is lost, another coordinator is asked for the same job, not for a second one. */
export const newRequestId = (what: 'move' | 'copy' | 'rebalance' | 'replace'): string => `${what}-${randomBytes(4).toString('hex')}`;

/** Throws where a coordinator breaks its contract. */
export function jobOf({ migration }: { migration?: Migration | undefined }): Migration {
  if (migration === undefined) throw new Error('the coordinator answered without a migration');
  return migration;
}
