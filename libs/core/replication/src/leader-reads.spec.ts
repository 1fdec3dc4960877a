import { keyHash } from '@atoll/core-runtime';
import type { Leader } from './leader.ts';
import { follow, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

/** What a STRONG read answers: noted at once, or at the commit that it waits for. */
function readInto(answers: (string | undefined)[], leader: Leader, text: string): void {
  const key = Buffer.from(text);
  const place = answers.push('no answer yet') - 1;
  const found = leader.read(key, keyHash(key));
  if (found === undefined || !('kind' in found)) answers[place] = found?.value.toString();
  else found.write.onSettled((committed) => (answers[place] = committed ? found.entry?.value.toString() : 'lost'));
}

describe('a STRONG read of a key with writes under way', () => {
  it('waits for those before it and shows none that came behind it, though all commit in one turn (R19, R26)', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
    const follower = follow(solo, openState('b'));
    const exchange = (nowMs: number): void => {
      follower.receive(nowMs);
      follower.acknowledge(nowMs);
    };
    follower.subscribe(0);
    exchange(0);
    const answers: (string | undefined)[] = [];
    const read = (): void => readInto(answers, solo.leader, 'key');
    read();
    solo.write('key', setTo('one'), momentAt(1));
    read();
    solo.write('key', setTo('two'), momentAt(1));
    read();
    solo.write('key', { kind: 'delete' }, momentAt(1));
    read();
    solo.write('key', setTo('three'), momentAt(1));
    expect(answers).toEqual([undefined, 'no answer yet', 'no answer yet', 'no answer yet']);
    exchange(2);
    expect(answers).toEqual([undefined, 'one', 'two', undefined]);
    read();
    expect(answers.at(-1)).toBe('three');
  });
});
