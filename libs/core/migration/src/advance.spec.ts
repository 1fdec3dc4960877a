import { advance, noteEnd, settleJob, type OperatorFacts } from './advance.ts';
import type { MigrationState } from './migration-job.ts';
import { toReplicaId } from '@atoll/core-runtime';
import { placementOf, type MigrationOperator, type OperatorStep } from './operator.ts';
import { STEPS } from './steps.ts';
import { PROOF, facts, job, nodes, operator, record } from './testing/samples.ts';

const NOW = 5000;
const LONG = 1_000_000;

interface Row {
  readonly title: string;
  readonly step: OperatorStep;
  readonly state?: MigrationState;
  readonly facts?: Partial<OperatorFacts>;
  readonly fields?: Partial<MigrationOperator>;
  /** Undefined: it stays. */
  readonly to: OperatorStep | undefined;
  readonly gets?: Partial<MigrationOperator>;
}

const gone = 'its keyspace was deleted';
const ROWS: Row[] = [
  { title: 'begins when the limits let it', step: 'WAITING', to: 'ADD' },
  { title: 'waits while they do not', step: 'WAITING', facts: { mayBegin: false, stuckMs: LONG }, to: undefined },
  { title: 'does not begin in a job that is being written', step: 'WAITING', state: 'PREPARING', to: undefined },
  { title: 'does not begin in a job that is paused', step: 'WAITING', state: 'PAUSED', to: undefined },
  { title: 'ends at once when its job is cancelled', step: 'WAITING', state: 'CANCELLING', to: 'ROLLED_BACK', gets: { problem: 'cancelled by an operator' } },
  { title: 'ends at once when it cannot succeed', step: 'WAITING', facts: { obstacle: 'd is DRAINING' }, to: 'ROLLED_BACK', gets: { problem: 'd is DRAINING' } },
  { title: 'ends when it cannot succeed, also while its job is paused', step: 'WAITING', state: 'PAUSED', facts: { obstacle: 'no' }, to: 'ROLLED_BACK' },

  { title: 'is over when the target is a learner', step: 'ADD', facts: { record: record({ learners: 'd' }) }, to: 'CATCH_UP' },
  { title: 'is over when the target is in sync already', step: 'ADD', facts: { record: record({ inSync: 'abd' }) }, to: 'CATCH_UP' },
  { title: 'stays without the target', step: 'ADD', to: undefined },
  { title: 'stays with one of two targets', step: 'ADD', fields: { after: nodes('de') }, facts: { record: record({ learners: 'd' }) }, to: undefined },
  { title: 'needs no target where only a replica too many goes', step: 'ADD', fields: { before: nodes('abd'), after: nodes('ab') }, to: 'CATCH_UP' },
  { title: 'goes back without progress', step: 'ADD', facts: { stuckMs: 60_001 }, to: 'ROLL_BACK', gets: { problem: 'no progress in step ADD for 60 s' } },

  { title: 'is over when the target is in sync', step: 'CATCH_UP', facts: { record: record({ inSync: 'abd' }) }, to: 'VERIFY' },
  { title: 'stays while it is a learner', step: 'CATCH_UP', facts: { record: record({ learners: 'd' }), stuckMs: 120_000 }, to: undefined },
  { title: 'goes back without progress', step: 'CATCH_UP', facts: { record: record({ learners: 'd' }), stuckMs: 120_001 }, to: 'ROLL_BACK', gets: { problem: 'no progress in step CATCH_UP for 120 s' } },
  { title: 'holds its next step while paused', step: 'CATCH_UP', state: 'PAUSED', facts: { record: record({ inSync: 'abd' }), stuckMs: LONG }, to: undefined },
  { title: 'goes back when its job is cancelled', step: 'CATCH_UP', state: 'CANCELLING', to: 'ROLL_BACK', gets: { problem: 'cancelled by an operator' } },
  { title: 'goes back when it cannot succeed', step: 'CATCH_UP', facts: { obstacle: 'd is short of memory' }, to: 'ROLL_BACK', gets: { problem: 'd is short of memory' } },

  { title: 'stays without a verdict', step: 'VERIFY', facts: { record: record({ inSync: 'abd' }) }, to: undefined },
  { title: 'is over when target and source are equal, which the operator tells', step: 'VERIFY', facts: { record: record({ inSync: 'abd' }), verdict: PROOF }, to: 'TRANSFER', gets: { proof: PROOF } },
  { title: 'goes back when they differ', step: 'VERIFY', facts: { record: record({ inSync: 'abd' }), verdict: '1 of 64 sub-ranges' }, to: 'ROLL_BACK', gets: { problem: '1 of 64 sub-ranges', proof: undefined } },
  { title: 'fills a target again that fell out of the in-sync set, whatever was found of it', step: 'VERIFY', facts: { record: record({ learners: 'd' }), verdict: PROOF }, to: 'CATCH_UP', gets: { proof: undefined } },
  { title: 'compares nothing where nothing was copied', step: 'VERIFY', fields: { before: nodes('abd'), after: nodes('ab') }, facts: { record: record({ inSync: 'abd' }) }, to: 'TRANSFER', gets: { proof: undefined } },
  { title: 'goes back without a verdict for long', step: 'VERIFY', facts: { record: record({ inSync: 'abd' }), stuckMs: 120_001 }, to: 'ROLL_BACK' },
  { title: 'holds its next step while paused', step: 'VERIFY', state: 'PAUSED', facts: { record: record({ inSync: 'abd' }), verdict: PROOF }, to: undefined },

  { title: 'stays while the source leads', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ inSync: 'abd' }) }, to: undefined },
  { title: 'stays while nobody leads', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ leader: '', inSync: 'abd' }) }, to: undefined },
  { title: 'is over when the target leads, with the pause', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ leader: 'd', inSync: 'abd', epoch: 8 }), pauseMs: 12 }, to: 'REMOVE', gets: { pauseMs: 12 } },
  { title: 'is over when another one that stays leads', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ leader: 'b', inSync: 'abd', epoch: 8 }), pauseMs: 3 }, to: 'REMOVE', gets: { pauseMs: 3 } },
  { title: 'waits until it is known for how long writes waited: the record may be seen before the transfer has ended', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ leader: 'd', inSync: 'abd', epoch: 8 }), isHandingOver: true }, to: undefined },
  { title: 'is over with the pause though the transfer still tells others', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ leader: 'd', inSync: 'abd', epoch: 8 }), pauseMs: 12, isHandingOver: true }, to: 'REMOVE', gets: { pauseMs: 12 } },
  { title: 'tells no pause of a transfer before its own time', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ leader: 'b', inSync: 'abd', epoch: 7 }), pauseMs: 99 }, to: 'REMOVE', gets: { pauseMs: undefined } },
  { title: 'fills a target again that fell out of the in-sync set, and compares it again', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ leader: 'b', inSync: 'ab', learners: 'd' }) }, to: 'CATCH_UP', gets: { proof: undefined } },
  { title: 'goes back when its job is cancelled', step: 'TRANSFER', state: 'CANCELLING', facts: { record: record({ leader: 'd', inSync: 'abd' }) }, to: 'ROLL_BACK' },
  { title: 'goes back without progress', step: 'TRANSFER', fields: { proof: PROOF }, facts: { record: record({ inSync: 'abd' }), stuckMs: 60_001 }, to: 'ROLL_BACK' },

  { title: 'is over when no member is on the source', step: 'REMOVE', facts: { record: record({ leader: 'd', inSync: 'db' }) }, to: 'DONE' },
  { title: 'is over also when its job is cancelled: the source is gone', step: 'REMOVE', state: 'CANCELLING', facts: { record: record({ leader: 'd', inSync: 'db' }) }, to: 'DONE' },
  { title: 'stays while the source is leaving', step: 'REMOVE', facts: { record: record({ leader: 'd', inSync: 'abd', leaving: 'a' }) }, to: undefined },
  { title: 'stays while the source may be named as one that has everything', step: 'REMOVE', facts: { record: record({ leader: 'd', inSync: 'db', eligible: 'a' }) }, to: undefined },
  { title: 'goes on for a job that is cancelled while the target is in sync', step: 'REMOVE', state: 'CANCELLING', facts: { record: record({ leader: 'd', inSync: 'abd', leaving: 'a' }), obstacle: 'd is DRAINING' }, to: undefined },
  { title: 'fills the target again when it is lost while the source is there', step: 'REMOVE', fields: { proof: PROOF }, facts: { record: record({ leader: 'b', inSync: 'ab', leaving: 'a' }) }, to: 'CATCH_UP', gets: { proof: undefined } },
  { title: 'waits while neither is in sync', step: 'REMOVE', facts: { record: record({ leader: 'b', inSync: 'b', learners: 'ad' }) }, to: undefined },
  { title: 'is given up when neither is in sync for long', step: 'REMOVE', facts: { record: record({ leader: 'b', inSync: 'b', learners: 'ad' }), stuckMs: 120_001 }, to: 'ROLLED_BACK', gets: { problem: 'the source is not let go: d is not in sync' } },
  { title: 'is given up when one that stays is not in sync for long: its loss is made good otherwise', step: 'REMOVE', fields: { proof: PROOF }, facts: { record: record({ leader: 'd', inSync: 'ad', learners: 'b' }), stuckMs: 120_001 }, to: 'ROLLED_BACK', gets: { problem: 'the source is not let go: b is not in sync' } },
  { title: 'tells that it is stuck', step: 'REMOVE', facts: { record: record({ leader: 'd', inSync: 'abd' }), stuckMs: 120_001 }, to: 'REMOVE', gets: { stepSinceMs: 1000, problem: 'the source is not let go, although the target is in sync' } },
  { title: 'tells it once', step: 'REMOVE', fields: { problem: 'told' }, facts: { record: record({ leader: 'd', inSync: 'abd' }), stuckMs: 120_001 }, to: undefined },

  { title: 'keeps the pause of an office that went and goes back', step: 'TRANSFER', state: 'CANCELLING', fields: { proof: PROOF }, facts: { record: record({ leader: 'd', inSync: 'abd', epoch: 8 }), pauseMs: 12 }, to: 'ROLL_BACK', gets: { pauseMs: 12 } },
  { title: 'keeps no pause of an office that did not go', step: 'TRANSFER', state: 'CANCELLING', fields: { proof: PROOF }, facts: { record: record({ inSync: 'abd', epoch: 7 }), pauseMs: 99 }, to: 'ROLL_BACK', gets: { pauseMs: undefined } },
  { title: 'keeps the pause of the way back where that was longer', step: 'ROLL_BACK', fields: { proof: PROOF, pauseMs: 12, problem: 'why' }, facts: { record: record({ epoch: 9 }), pauseMs: 20 }, to: 'ROLLED_BACK', gets: { pauseMs: 20 } },
  { title: 'keeps the pause of the way there where that was longer', step: 'ROLL_BACK', fields: { proof: PROOF, pauseMs: 12, problem: 'why' }, facts: { record: record({ epoch: 9 }), pauseMs: 5 }, to: 'ROLLED_BACK', gets: { pauseMs: 12 } },
  { title: 'tells no pause of others when it never came to a comparison', step: 'ROLL_BACK', fields: { problem: 'why' }, facts: { pauseMs: 99 }, to: 'ROLLED_BACK', gets: { pauseMs: undefined } },
  { title: 'is over when no member is on the target', step: 'ROLL_BACK', fields: { problem: 'why' }, to: 'ROLLED_BACK', gets: { problem: 'why' } },
  { title: 'stays while the target is there', step: 'ROLL_BACK', facts: { record: record({ inSync: 'abd' }) }, to: undefined },
  { title: 'stays while the target is a learner, also of a paused job', step: 'ROLL_BACK', state: 'PAUSED', facts: { record: record({ learners: 'd' }) }, to: undefined },
  { title: 'goes on when the source was lost and the target was found equal', step: 'ROLL_BACK', fields: { proof: PROOF, problem: 'why' }, facts: { record: record({ leader: 'd', inSync: 'bd' }) }, to: 'REMOVE', gets: { problem: 'why; went on, since the source was lost' } },
  { title: 'does not go on with a target that was not found equal', step: 'ROLL_BACK', fields: { problem: 'it differs' }, facts: { record: record({ leader: 'b', inSync: 'bd' }) }, to: undefined },
  { title: 'waits for a source that is down for some seconds', step: 'ROLL_BACK', facts: { record: record({ inSync: 'bd' }), stuckMs: 15_000 }, to: undefined },
  { title: 'is left to the ordinary placement while the source stays down: others wait for the partition', step: 'ROLL_BACK', facts: { record: record({ inSync: 'bd' }), stuckMs: 15_001 }, to: 'ROLLED_BACK' },
  { title: 'waits longer for one that catches up', step: 'ROLL_BACK', facts: { record: record({ inSync: 'bd', learners: 'a' }), stuckMs: 15_001 }, to: undefined },
  { title: 'is left to the ordinary placement without progress', step: 'ROLL_BACK', facts: { record: record({ inSync: 'abd' }), stuckMs: 120_001 }, to: 'ROLLED_BACK' },
  { title: 'stays what it is', step: 'DONE', to: undefined },
  { title: 'stays what it is', step: 'ROLLED_BACK', to: undefined },
];

describe('an operator at each step', () => {
  it.each(ROWS.map((row) => ({ state: 'RUNNING' as const, ...row })))('$step in a $state job: $title', ({ step, state, facts: known = {}, fields = {}, to, gets = {} }) => {
    const from = operator({ step, ...fields });
    const next = advance(from, job({ state, problem: state === 'CANCELLING' ? 'cancelled by an operator' : '' }), facts(known), NOW);
    expect(next).toEqual(to === undefined ? undefined : { ...from, step: to, stepSinceMs: NOW, problem: next?.problem, ...gets });
  });

  const RUNNING: OperatorStep[] = ['WAITING', 'ADD', 'CATCH_UP', 'VERIFY', 'TRANSFER', 'REMOVE', 'ROLL_BACK'];
  it.each(RUNNING)('%s ends with the keyspace, and with an older one of the same name', (step) => {
    for (const seen of [undefined, record({ keyspaceId: 'id-2' })]) {
      expect(advance(operator({ step }), job(), facts({ record: seen }), NOW)).toMatchObject({ step: 'ROLLED_BACK', problem: gone });
      expect(advance(operator({ step, problem: 'why' }), job(), facts({ record: seen }), NOW)).toMatchObject({ step: 'ROLLED_BACK', problem: 'why' });
    }
  });

  it.each(RUNNING)('%s: the source keeps its place before REMOVE, the target has one from ADD on', (step) => {
    const placement = placementOf(operator({ step })).join('');
    const expected: Partial<Record<OperatorStep, string>> = { WAITING: 'ab', ROLL_BACK: 'ab', REMOVE: 'db' };
    expect(placement).toBe(expected[step] ?? 'abd');
  });

  it('each step names the next one, and those that wait for others have patience', () => {
    expect(Object.entries(STEPS).map(([step, { next }]) => `${step} ${next}`)).toEqual([
      'WAITING ADD', 'ADD CATCH_UP', 'CATCH_UP VERIFY', 'VERIFY TRANSFER', 'TRANSFER REMOVE', 'REMOVE DONE', 'DONE DONE', 'ROLL_BACK ROLLED_BACK', 'ROLLED_BACK ROLLED_BACK',
    ]);
    expect(Object.entries(STEPS).filter(([, { patienceMs }]) => patienceMs === Infinity).map(([step]) => step)).toEqual(['WAITING', 'DONE', 'ROLLED_BACK']);
  });
});

describe('a target that came back without its data since it was compared: another replica in its place (R34)', () => {
  const compared = (step: OperatorStep, replica: string) => operator({ step, proof: { ...PROOF, replicas: [toReplicaId(replica)] } });
  const seen = record({ leader: 'd', inSync: 'abd' });

  it.each<OperatorStep>(['TRANSFER', 'REMOVE'])('%s: it is compared again, and its source keeps its place until then', (step) => {
    const from = compared(step, 'former-replica');
    expect(advance(from, job(), facts({ record: seen }), NOW)).toMatchObject({ step: 'CATCH_UP', proof: undefined });
    expect(placementOf(from, seen).join('')).toBe('abd');
  });

  it('the same replica, and one of which an older coordinator did not say which it was: the source goes', () => {
    for (const from of [compared('REMOVE', 'd-replica'), operator({ step: 'REMOVE', proof: PROOF })]) {
      expect(advance(from, job(), facts({ record: seen }), NOW)).toBeUndefined();
      expect(placementOf(from, seen).join('')).toBe('db');
    }
  });

  it('goes on where the source is gone already', () => {
    expect(placementOf(compared('REMOVE', 'former-replica'), record({ leader: 'd', inSync: 'bd' })).join('')).toBe('db');
  });
});

describe('a job', () => {
  it.each([
    { title: 'all done', job: job({ done: 2 }), to: { state: 'SUCCEEDED', problem: '' } },
    { title: 'one went back by itself', job: job({ done: 1, rolledBack: 1, problem: 'why' }), to: { state: 'FAILED', problem: 'why' } },
    { title: 'one went back in a job that is paused', job: job({ state: 'PAUSED', rolledBack: 1, problem: 'why' }), to: { state: 'FAILED', problem: 'why' } },
    { title: 'one went back as asked for', job: job({ state: 'CANCELLING', done: 1, rolledBack: 1, problem: 'cancelled' }), to: { state: 'CANCELLED', problem: 'cancelled' } },
    { title: 'a cancellation that came too late', job: job({ state: 'CANCELLING', done: 2, problem: 'cancelled' }), to: { state: 'SUCCEEDED', problem: '' } },
  ])('ends when no operator is left: $title', ({ job: ending, to }) => {
    expect(settleJob(ending, 0, NOW)).toEqual({ ...ending, ...to, endedMs: NOW });
  });

  it.each([
    { title: 'operators are left', job: job({ done: 1 }), running: 1 },
    { title: 'it is being written', job: job({ state: 'PREPARING' }), running: 0 },
    { title: 'it has ended', job: job({ state: 'FAILED', endedMs: 9 }), running: 0 },
  ])('is the same while $title', ({ job: going, running }) => {
    expect(settleJob(going, running, NOW)).toBe(going);
  });

  it('counts operators that ended, keeps the longest pause and the first problem', () => {
    const done = operator({ step: 'DONE', bytes: 100, entries: 10, pauseMs: 7, problem: 'went on, since the source was lost' });
    const back = operator({ step: 'ROLLED_BACK', bytes: 5, entries: 1, problem: 'd is full' });
    const first = noteEnd(job({ total: 3 }), done);
    expect(first).toEqual(job({ total: 3, done: 1, bytes: 100, entries: 10, pauseMsMax: 7 }));
    const second = noteEnd(first, back);
    expect(second).toEqual(job({ total: 3, done: 1, rolledBack: 1, bytes: 105, entries: 11, pauseMsMax: 7, problem: 'default/3: d is full' }));
    expect(noteEnd(second, { ...back, problem: 'another' }).problem).toBe('default/3: d is full');
  });
});
