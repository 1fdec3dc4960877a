import { command, isEnded, type JobCommand, type MigrationState } from './migration-job.ts';
import { job } from './testing/samples.ts';

const STATES: MigrationState[] = ['PREPARING', 'RUNNING', 'PAUSED', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED'];

describe('commands to a migration', () => {
  // same: nothing changes, refused: with the state in the text
  it.each<{ asked: JobCommand; outcomes: Record<MigrationState, MigrationState | 'same' | 'refused'> }>([
    { asked: { kind: 'pause' }, outcomes: { PREPARING: 'refused', RUNNING: 'PAUSED', PAUSED: 'same', CANCELLING: 'refused', SUCCEEDED: 'refused', FAILED: 'refused', CANCELLED: 'refused' } },
    { asked: { kind: 'resume' }, outcomes: { PREPARING: 'refused', RUNNING: 'same', PAUSED: 'RUNNING', CANCELLING: 'refused', SUCCEEDED: 'refused', FAILED: 'refused', CANCELLED: 'refused' } },
    { asked: { kind: 'cancel' }, outcomes: { PREPARING: 'refused', RUNNING: 'CANCELLING', PAUSED: 'CANCELLING', CANCELLING: 'same', SUCCEEDED: 'refused', FAILED: 'refused', CANCELLED: 'same' } },
  ])('$asked.kind in every state', ({ asked, outcomes }) => {
    for (const state of STATES) {
      const before = job({ state });
      const after = command(before, asked);
      const outcome = after === before ? 'same' : 'refusal' in after ? 'refused' : after.state;
      expect([state, outcome]).toEqual([state, outcomes[state]]);
      expect('refusal' in after ? after.refusal : `job-1 ${state} cannot be paused`).toMatch(new RegExp(`job-1.*${state}.* cannot be (paused|resumed|cancelled)`));
    }
  });

  it('a resumption sets another bound, also on a job that runs, and lifts it with 0', () => {
    expect(command(job({ state: 'PAUSED' }), { kind: 'resume', bytesPerSecond: 4096 })).toEqual(job({ bytesPerSecond: 4096 }));
    const bounded = job({ bytesPerSecond: 4096 });
    expect(command(bounded, { kind: 'resume', bytesPerSecond: 0 })).toEqual(job());
    expect(command(bounded, { kind: 'resume', bytesPerSecond: 4096 })).toBe(bounded);
    expect(command(bounded, { kind: 'resume' })).toBe(bounded);
  });

  it('a cancellation says who wanted it', () => {
    expect(command(job(), { kind: 'cancel' })).toMatchObject({ problem: 'cancelled by an operator' });
  });

  it('three states are ends', () => {
    expect(STATES.filter((state) => isEnded(job({ state })))).toEqual(['SUCCEEDED', 'FAILED', 'CANCELLED']);
  });
});
