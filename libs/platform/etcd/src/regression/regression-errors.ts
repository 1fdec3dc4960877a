import { AtollError } from '@atoll/core-errors';

export const RECOVERY_COMMAND = 'atoll cluster recover-metadata';

/** etcd shows less than was seen: nothing is changed until it was recovered (R13). */
export function metadataRegressed(reasons: readonly string[]): AtollError {
  const what = reasons.join('; ');
  return new AtollError('METADATA_REGRESSED', `etcd went back, perhaps to a backup: ${what}. What is served goes on as it is; nothing can be changed until ${RECOVERY_COMMAND} has rebuilt the records from the nodes`, {
    metadata: { regressed: what, command: RECOVERY_COMMAND },
  });
}
