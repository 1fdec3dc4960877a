import { TurnEnd } from './turn.ts';

const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('TurnEnd', () => {
  it('runs what one turn gathered once, in order, at its end', async () => {
    const turn = new TurnEnd();
    const ran: string[] = [];
    turn.schedule(() => ran.push('first'));
    await Promise.resolve();
    turn.schedule(() => ran.push('second'));
    expect(ran).toEqual([]);
    await endOfTurn();
    expect(ran).toEqual(['first', 'second']);
  });

  it('leaves what a task schedules to the next turn', async () => {
    const turn = new TurnEnd();
    const ran: string[] = [];
    turn.schedule(() => {
      ran.push('outer');
      turn.schedule(() => ran.push('inner'));
    });
    await endOfTurn();
    expect(ran).toEqual(['outer']);
    await endOfTurn();
    expect(ran).toEqual(['outer', 'inner']);
  });

  it('takes nobody the turn when a task throws', async () => {
    const turn = new TurnEnd();
    const ran: string[] = [];
    const thrown = new Promise<unknown>((resolve) => process.setUncaughtExceptionCaptureCallback(resolve));
    turn.schedule(() => {
      throw new Error('a bug');
    });
    turn.schedule(() => ran.push('other'));
    expect(await thrown).toMatchObject({ message: 'a bug' });
    process.setUncaughtExceptionCaptureCallback(null);
    await endOfTurn();
    expect(ran).toEqual(['other']);
  });
});
