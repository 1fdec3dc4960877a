import { assertRecord } from '@atoll/core-membership';
import { RecordInForce, withInSync, withoutInSync } from './in-sync-change.ts';
import { memberOf, recordOf } from './testing/solo.ts';

const [A, B, C] = ['a', 'b', 'c'].map(memberOf) as [ReturnType<typeof memberOf>, ReturnType<typeof memberOf>, ReturnType<typeof memberOf>];
const options = (minInSync: number, changeId = 'x') => ({ minInSync, changeId });
const nodes = (members: Iterable<{ readonly node: string }>) => [...members].map(({ node }) => node).sort();

describe('the record in force (R7)', () => {
  it('counts both sets from the moment that a change is sent until a newer record is seen', () => {
    const record = new RecordInForce(recordOf({ leader: 'a', inSync: ['a', 'b'], learners: ['c'], revision: 8 }));
    // 1. "add C" is sent, compared with revision 8; the answer is lost
    record.begin(withInSync(record.record, C, options(1)));
    expect(nodes(record.required())).toEqual(['a', 'b', 'c']);
    // 2. a read shows revision 8: nothing is settled
    expect(record.adopt(recordOf({ leader: 'a', inSync: ['a', 'b'], revision: 8 }))).toBe(false);
    expect([record.isChanging, record.isRequired(C.replica)]).toEqual([true, true]);
    // 3. revision 9, whoever wrote it: nothing that compares 8 can succeed any more
    expect(record.adopt(recordOf({ leader: 'a', inSync: ['a', 'b'], revision: 9 }))).toBe(true);
    expect([record.isChanging, record.isRequired(C.replica)]).toEqual([false, false]);
  });

  it('goes on to need the member that it asked to remove', () => {
    const record = new RecordInForce(recordOf({ leader: 'a', inSync: ['a', 'b'] }));
    const attempt = record.begin(withoutInSync(record.record, B, options(1)));
    expect(nodes(record.required())).toEqual(['a', 'b']);
    expect(record.smallestSet).toBe(1);
    expect(record.succeed(attempt, 2)).toBe(true);
    expect(nodes(record.required())).toEqual(['a']);
  });

  it('lets an attempt of an older revision settle nothing', () => {
    const record = new RecordInForce(recordOf({ leader: 'a', inSync: ['a', 'b'], revision: 8 }));
    const attempt = record.begin(withoutInSync(record.record, B, options(1)));
    record.adopt(recordOf({ leader: 'a', inSync: ['a', 'b'], revision: 12 }));
    expect(record.succeed(attempt, 9)).toBe(false);
    expect(nodes(record.required())).toEqual(['a', 'b']);
  });

  it('holds a bounded number of attempts while etcd is away (I10)', () => {
    const record = new RecordInForce(recordOf({ leader: 'a', inSync: ['a', 'b'], learners: ['c'] }));
    for (let count = 0; count < 1000; count += 1) {
      record.begin(withoutInSync(record.record, B, options(1, `remove-${count}`)));
      record.begin(withInSync(record.record, C, options(1, `add-${count}`)));
    }
    expect(nodes(record.required())).toEqual(['a', 'b', 'c']);
    expect(record.smallestSet).toBe(1);
  });
});

describe('changes of the in-sync set (docs/adr/0002-in-sync-moves.md)', () => {
  it('move a member between the set and the learners in one write', () => {
    const { record } = recordOf({ leader: 'a', inSync: ['a', 'b'], learners: ['c'] });
    const without = withoutInSync(record, B, options(1));
    expect([nodes(without.inSync), nodes(without.learners)]).toEqual([['a'], ['b', 'c']]);
    const back = withInSync(without, B, options(1));
    expect([nodes(back.inSync), nodes(back.learners)]).toEqual([['a', 'b'], ['c']]);
    for (const changed of [without, back]) assertRecord(changed);
  });

  it('let go a member that is to leave', () => {
    const { record } = recordOf({ leader: 'a', inSync: ['a', 'b'] });
    const without = withoutInSync({ ...record, leaving: [B] }, B, options(1));
    expect([nodes(without.inSync), nodes(without.learners), nodes(without.leaving)]).toEqual([['a'], [], ['b']]);
  });

  it('keep a member eligible that was removed below minInSync, until the set suffices again (R9)', () => {
    const { record } = recordOf({ leader: 'a', inSync: ['a', 'b', 'c'] });
    const two = withoutInSync(record, B, options(2));
    expect(nodes(two.eligible)).toEqual([]);
    const one = withoutInSync(two, C, options(2));
    expect([nodes(one.inSync), nodes(one.eligible), nodes(one.learners)]).toEqual([['a'], ['c'], ['b', 'c']]);
    const again = withInSync(one, B, options(2));
    expect([nodes(again.inSync), nodes(again.eligible)]).toEqual([['a', 'b'], []]);
    expect(A.node).toBe('a');
  });
});
