import { AtollError } from '@atoll/core-errors';

/** For requests that name the cluster they mean: addresses are used again, also by nodes of other clusters. @throws WRONG_CLUSTER */
export function requireOwnCluster(own: string, asked: string): void {
  if (asked !== own) throw new AtollError('WRONG_CLUSTER', `this node belongs to cluster ${own}`);
}
