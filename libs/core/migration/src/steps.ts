// The steps of an operator as data: when each is over, what comes next, and after how long without progress it goes
// back. Everything is judged by the partition's record, so that a step which was carried out just before a coordinator
// died is simply found done by the next one. (TiKV's placement driver has its operators and steps like this: an
// operator is a list of steps, each with `IsFinish`, checked against the region as the store reports it.)
import type { PartitionRecord } from '@atoll/core-membership';
import { membersOf } from '@atoll/core-membership';
import type { NodeId } from '@atoll/core-runtime';
import { sourcesOf, targetsOf, type MigrationOperator, type OperatorStep } from './operator.ts';

interface StepRule {
  /** By the partition's record. A step that says nothing of it is ended by what the shell finds (VERIFY) or decides (WAITING). */
  readonly isFinished?: (operator: MigrationOperator, record: PartitionRecord) => boolean;
  readonly next: OperatorStep;
  /** Without progress for so long, in ms, it goes back, or tells that it is stuck where it cannot go back any more. */
  readonly patienceMs: number;
}

const isOn = (nodes: readonly NodeId[], members: readonly { readonly node: NodeId }[]): boolean => nodes.every((node) => members.some((member) => member.node === node));
const isOffice = (record: PartitionRecord, nodes: readonly NodeId[]): boolean => record.leader !== undefined && nodes.includes(record.leader.node);

export const STEPS: Readonly<Record<OperatorStep, StepRule>> = {
  WAITING: { next: 'ADD', patienceMs: Number.POSITIVE_INFINITY },
  ADD: {
    isFinished: (operator, record) => isOn(targetsOf(operator), [...record.inSync, ...record.learners]),
    next: 'CATCH_UP',
    patienceMs: 60_000,
  },
  CATCH_UP: { isFinished: (operator, record) => isOn(targetsOf(operator), record.inSync), next: 'VERIFY', patienceMs: 120_000 },
  VERIFY: { next: 'TRANSFER', patienceMs: 120_000 },
  TRANSFER: { isFinished: (operator, record) => record.leader !== undefined && !isOffice(record, sourcesOf(operator)), next: 'REMOVE', patienceMs: 60_000 },
  REMOVE: {
    isFinished: (operator, record) => !sourcesOf(operator).some((node) => membersOf(record).some((member) => member.node === node)),
    next: 'DONE',
    patienceMs: 120_000,
  },
  DONE: { next: 'DONE', patienceMs: Number.POSITIVE_INFINITY },
  ROLL_BACK: {
    isFinished: (operator, record) => !targetsOf(operator).some((node) => membersOf(record).some((member) => member.node === node)),
    next: 'ROLLED_BACK',
    patienceMs: 120_000,
  },
  ROLLED_BACK: { next: 'ROLLED_BACK', patienceMs: Number.POSITIVE_INFINITY },
};
