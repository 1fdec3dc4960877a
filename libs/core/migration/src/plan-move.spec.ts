import { placedOn, planMove } from './plan-move.ts';
import { nodes, record } from './testing/samples.ts';

const [a, d] = nodes('ad') as [ReturnType<typeof nodes>[0], ReturnType<typeof nodes>[0]];
const ask = (isNamed = false) => ({ from: a, to: d, isNamed });

describe('a move that was asked for', () => {
  it('puts the target in the source\'s place, also as the preferred leader, and keeps the others', () => {
    const { operators, refusals } = planMove([record({ leader: 'a', inSync: 'bac' }), record({ leader: 'b', inSync: 'ab', partition: 4 })], ask());
    expect(operators.map(({ before, after }) => [before.join(''), after.join('')])).toEqual([['abc', 'dbc'], ['ba', 'bd']]);
    expect(refusals).toEqual([]);
  });

  it('takes a learner for a replica, and one that is leaving for none', () => {
    expect(planMove([record({ leader: 'b', inSync: 'b', learners: 'a' })], ask()).operators).toHaveLength(1);
    expect(planMove([record({ leader: 'b', inSync: 'ab', leaving: 'a' })], ask()).operators).toEqual([]);
  });

  it.each([
    { title: 'no replica on the source', record: record({ leader: 'b', inSync: 'bc' }), refusal: 'default/3 has no replica on a' },
    { title: 'a replica on the target', record: record({ leader: 'a', inSync: 'ad' }), refusal: 'default/3 has a replica on d already' },
    { title: 'a replica on its way to the target', record: record({ leader: 'a', inSync: 'ab', learners: 'd' }), refusal: 'default/3 has a replica on d already' },
  ])('with $title is refused when named, and left out otherwise', ({ record: unfit, refusal }) => {
    expect(planMove([unfit, record({ partition: 5 })], ask(true))).toMatchObject({ operators: [{ record: { partition: 5 } }], refusals: [refusal] });
    expect(planMove([unfit], ask())).toEqual({ operators: [], refusals: [] });
  });

  it('of a target that is being let go is a move all the same', () => {
    expect(planMove([record({ leader: 'a', inSync: 'abd', leaving: 'd' })], ask()).operators.map(({ after }) => after.join(''))).toEqual(['db']);
  });
});

describe('where a partition is', () => {
  it.each([
    { title: 'the leader first', record: record({ leader: 'c', inSync: 'abc' }), on: 'cab' },
    { title: 'learners after those in sync', record: record({ leader: 'b', inSync: 'ab', learners: 'c' }), on: 'bac' },
    { title: 'nobody who is leaving', record: record({ leader: 'a', inSync: 'abc', leaving: 'b' }), on: 'ac' },
    { title: 'without a leader', record: record({ leader: '', inSync: 'ab' }), on: 'ab' },
    { title: 'a leader that is leaving is not there to stay', record: record({ leader: 'a', inSync: 'ab', leaving: 'a' }), on: 'b' },
  ])('$title', ({ record: seen, on }) => {
    expect(placedOn(seen).join('')).toBe(on);
  });
});
