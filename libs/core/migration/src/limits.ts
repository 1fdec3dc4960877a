// Which operators may begin: in order of urgency, as many as the nodes bear.
import type { NodeId } from '@atoll/core-runtime';
import { MIGRATION_REASONS, type MigrationJob } from './migration-job.ts';
import { isFilling, targetsOf, type MigrationOperator } from './operator.ts';

export interface MigrationLimits {
  /** Replicas that one node fills at a time, 1 or more; a job may allow its own more (`partitionsAtOnce`). */
  readonly perTarget: number;
  /** Replicas that are filled at a time in the whole cluster, 1 or more. */
  readonly perCluster: number;
}

/** Those that wait and may begin now. `canTake`: new replicas may go to the node. `otherFills`: replicas that it fills beside those of migrations. */
export function admit(
  operators: Iterable<MigrationOperator>,
  jobs: ReadonlyMap<string, MigrationJob>,
  limits: MigrationLimits,
  canTake: (node: NodeId) => boolean,
  otherFills: (node: NodeId) => number = () => 0,
): ReadonlySet<MigrationOperator> {
  const filling = new Map<NodeId, number>();
  const fillsOf = (node: NodeId): number => filling.get(node) ?? otherFills(node);
  let total = 0;
  const waiting: MigrationOperator[] = [];
  for (const operator of operators) {
    if (operator.step === 'WAITING' && jobs.get(operator.job)?.state === 'RUNNING') waiting.push(operator);
    if (!isFilling(operator)) continue;
    total += 1;
    for (const node of targetsOf(operator)) filling.set(node, fillsOf(node) + 1);
  }
  waiting.sort((a, b) => MIGRATION_REASONS.indexOf(a.reason) - MIGRATION_REASONS.indexOf(b.reason) || createdMsOf(jobs, a) - createdMsOf(jobs, b) || a.partition - b.partition);
  const admitted = new Set<MigrationOperator>();
  for (const operator of waiting) {
    if (total >= limits.perCluster) break;
    const targets = targetsOf(operator);
    const perTarget = Math.max(limits.perTarget, jobs.get(operator.job)?.partitionsAtOnce ?? 0);
    if (!targets.every((node) => canTake(node) && fillsOf(node) < perTarget)) continue;
    for (const node of targets) filling.set(node, fillsOf(node) + 1);
    total += 1;
    admitted.add(operator);
  }
  return admitted;
}

const createdMsOf = (jobs: ReadonlyMap<string, MigrationJob>, { job }: MigrationOperator): number => jobs.get(job)?.createdMs ?? 0;
