// The next step of an operator. Pure: the same operator, record and facts give the same answer, whoever asks.
import { membersOf, type PartitionRecord } from '@atoll/core-membership';
import { isEnded, type MigrationJob } from './migration-job.ts';
import { isCompared, sourcesOf, targetsOf, type MigrationOperator, type MigrationProof, type OperatorStep } from './operator.ts';
import { STEPS } from './steps.ts';

/** What is known beside the records. */
export interface OperatorFacts {
  /** Undefined when the partition's keyspace is gone. */
  readonly record: PartitionRecord | undefined;
  /** The limits let it begin now. */
  readonly mayBegin: boolean;
  /** Of this step: what the comparison found. A string: why target and source differ for good. */
  readonly verdict: MigrationProof | string | undefined;
  /** Why it cannot succeed any more, whatever its step; a target that lacks memory, for example. */
  readonly obstacle: string | undefined;
  /** How long its last change of leader made writes wait, in ms; undefined while there was none. */
  readonly pauseMs: number | undefined;
  /** Its office is being handed over: the record may show that already, and the pause is not known yet. */
  readonly isHandingOver: boolean;
  /** For how long, in ms, this coordinator has seen no progress in this step. */
  readonly stuckMs: number;
}

/** The operator at its next step; undefined when it stays where it is. */
export function advance(operator: MigrationOperator, job: MigrationJob, facts: OperatorFacts, wallMs: number): MigrationOperator | undefined {
  const { record } = facts;
  const to = (step: OperatorStep, changes: Partial<MigrationOperator> = {}): MigrationOperator => ({ ...operator, ...changes, step, stepSinceMs: wallMs });
  if (record === undefined || record.keyspaceId !== operator.keyspaceId) return to('ROLLED_BACK', { problem: operator.problem || 'its keyspace was deleted' });
  const isStuck = facts.stuckMs > STEPS[operator.step].patienceMs;
  switch (operator.step) {
    case 'DONE':
    case 'ROLLED_BACK':
      return undefined;
    case 'ROLL_BACK':
      return rollBack(operator, record, { isStuck: isStuck || (facts.stuckMs > AWAY_PATIENCE_MS && areAway(sourcesOf(operator), record)), to: (step, changes) => to(step, { ...changes, pauseMs: pauseBack(operator, record, facts) }) });
    case 'REMOVE':
      return remove(operator, record, { isStuck, to });
    case 'WAITING':
      if (job.state === 'CANCELLING') return to('ROLLED_BACK', { problem: job.problem });
      if (facts.obstacle !== undefined) return to('ROLLED_BACK', { problem: facts.obstacle });
      return job.state === 'RUNNING' && facts.mayBegin ? to('ADD') : undefined;
    default:
      break;
  }
  const back = (problem: string): MigrationOperator => to('ROLL_BACK', { problem, pauseMs: pauseBack(operator, record, facts) });
  if (job.state === 'CANCELLING') return back(job.problem);
  if (facts.obstacle !== undefined) return back(facts.obstacle);
  if (job.state !== 'RUNNING') return undefined;
  // A target that fell out of the in-sync set is compared when it is back: with other data, perhaps.
  const isThere = isInSync(targetsOf(operator), record) && isCompared(operator, record);
  if ((operator.step === 'VERIFY' || operator.step === 'TRANSFER') && !isThere) return to('CATCH_UP', { proof: undefined });
  if (operator.step === 'VERIFY') {
    if (targetsOf(operator).length === 0) return to('TRANSFER');
    if (typeof facts.verdict === 'string') return back(facts.verdict);
    if (facts.verdict !== undefined) return to('TRANSFER', { proof: facts.verdict });
  } else if (STEPS[operator.step].isFinished!(operator, record)) {
    const { next } = STEPS[operator.step];
    if (next === 'REMOVE' && facts.isHandingOver && facts.pauseMs === undefined) return undefined;
    return next === 'REMOVE' ? to(next, { pauseMs: pauseOf(operator, record, facts) }) : to(next);
  }
  return isStuck ? back(`no progress in step ${operator.step} for ${Math.round(STEPS[operator.step].patienceMs / 1000)} s`) : undefined;
}

interface Moving {
  readonly isStuck: boolean;
  readonly to: (step: OperatorStep, changes?: Partial<MigrationOperator>) => MigrationOperator;
}

/** For how long, in ms, what is rolled back waits for sources that are no members any more: their nodes are down. */
const AWAY_PATIENCE_MS = 15_000;

const areAway = (sources: readonly string[], record: PartitionRecord): boolean => sources.every((node) => !membersOf(record).some((member) => member.node === node));

const isInSync = (nodes: readonly string[], { inSync }: PartitionRecord): boolean => nodes.every((node) => inSync.some((member) => member.node === node));

/** The longest pause of its changes of leader so far. An epoch after the comparison was brought about by this operator; an earlier transfer is none of its business. */
function pauseOf({ proof, pauseMs }: MigrationOperator, { epoch }: PartitionRecord, facts: OperatorFacts): number | undefined {
  return proof?.epoch === epoch || facts.pauseMs === undefined ? pauseMs : Math.max(pauseMs ?? 0, facts.pauseMs);
}

/** The same on the way back: the office of a partition that was never compared is where it was. */
const pauseBack = (operator: MigrationOperator, record: PartitionRecord, facts: OperatorFacts): number | undefined =>
  operator.proof === undefined ? operator.pauseMs : pauseOf(operator, record, facts);

/** Past the point of return as soon as a source is gone: until then a target that is lost is waited for, or given up, beside its source. */
function remove(operator: MigrationOperator, record: PartitionRecord, { isStuck, to }: Moving): MigrationOperator | undefined {
  if (STEPS.REMOVE.isFinished!(operator, record)) return to('DONE');
  const isServed = isInSync(targetsOf(operator), record) && isCompared(operator, record);
  if (!isServed && isInSync(sourcesOf(operator), record)) return to('CATCH_UP', { proof: undefined });
  if (!isStuck) return undefined;
  // What is missing is made good by the ordinary placement, which cannot touch the partition before.
  const missing = operator.after.filter((node) => !isInSync([node], record));
  if (missing.length > 0) return to('ROLLED_BACK', { problem: `the source is not let go: ${missing.join(', ')} is not in sync` });
  return operator.problem === '' ? { ...operator, problem: 'the source is not let go, although the target is in sync' } : undefined;
}

function rollBack(operator: MigrationOperator, record: PartitionRecord, { isStuck, to }: Moving): MigrationOperator | undefined {
  if (STEPS.ROLL_BACK.isFinished!(operator, record)) return to('ROLLED_BACK');
  // The source was lost meanwhile and the target was found to have everything: going back would lose redundancy.
  if (operator.proof !== undefined && !isInSync(sourcesOf(operator), record) && isInSync(targetsOf(operator), record)) return to('REMOVE', { problem: `${operator.problem}; went on, since the source was lost` });
  // What is left over is cleaned up by the ordinary placement, which goes back to the sources once they are there again.
  return isStuck ? to('ROLLED_BACK') : undefined;
}

/** The job, given how its operators stand; the same one where nothing changes. */
export function settleJob(job: MigrationJob, running: number, wallMs: number): MigrationJob {
  if (running > 0 || job.state === 'PREPARING' || isEnded(job)) return job;
  const state = job.state === 'CANCELLING' && job.rolledBack > 0 ? 'CANCELLED' : job.rolledBack > 0 ? 'FAILED' : 'SUCCEEDED';
  return { ...job, state, endedMs: wallMs, problem: state === 'SUCCEEDED' ? '' : job.problem };
}

/** The job behind the end of one of its operators. */
export function noteEnd(job: MigrationJob, operator: MigrationOperator): MigrationJob {
  const isDone = operator.step === 'DONE';
  return {
    ...job,
    done: job.done + (isDone ? 1 : 0),
    rolledBack: job.rolledBack + (isDone ? 0 : 1),
    bytes: job.bytes + operator.bytes,
    entries: job.entries + operator.entries,
    pauseMsMax: Math.max(job.pauseMsMax, operator.pauseMs ?? 0),
    problem: isDone || job.problem !== '' ? job.problem : `${operator.keyspace}/${operator.partition}: ${operator.problem}`,
  };
}
