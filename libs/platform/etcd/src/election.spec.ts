import { campaign } from './election.ts';
import type { Election, ElectionTerm } from './election.ts';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from './testing/index.ts';

describe('campaign', () => {
  let etcd: InMemoryEtcd;
  let stand: (id: string) => Candidate;
  let candidates: Candidate[];

  interface Candidate {
    readonly store: InMemoryMetadataStore;
    readonly election: Election;
    readonly story: string[];
    readonly terms: ElectionTerm[];
  }

  beforeEach(() => {
    etcd = new InMemoryEtcd();
    candidates = [];
    stand = (id) => {
      const store = new InMemoryMetadataStore({ etcd });
      const story: string[] = [];
      const terms: ElectionTerm[] = [];
      const election = campaign(
        { store, id, address: `${id}:1`, ttlMs: 1000 },
        {
          onElected: (_revision, term) => {
            story.push('elected');
            terms.push(term);
          },
          onLost: () => story.push('lost'),
          onProblem: () => story.push('problem'),
        },
      );
      const candidate = { store, election, story, terms };
      candidates.push(candidate);
      return candidate;
    };
  });
  afterEach(async () => {
    await Promise.all(candidates.map(({ election }) => election.resign()));
    await Promise.all(candidates.map(({ store }) => store.close()));
  });

  const elected = (candidate: Candidate) => eventually('a term', () => candidate.election.term());
  const keys = (count: number) => eventually(`${count} candidates stand`, () => etcd.list('coordinator/').length === count);

  it('elects the first, and the next one as soon as that one resigns', async () => {
    const a = stand('a');
    const first = await elected(a);
    const b = stand('b');
    await keys(2);
    expect(b.election.term()).toBeUndefined();
    await a.election.resign();
    const second = await elected(b);
    expect(second.revision).toBeGreaterThan(first.revision);
    expect(first.isHeld()).toBe(false);
    expect(a.story).toEqual(['elected']);
    await keys(1);
  });

  it('ends the term of a candidate that is cut off before another one is elected (R11)', async () => {
    const a = stand('a');
    await elected(a);
    const b = stand('b');
    await keys(2);
    a.store.goAway();
    await eventually('b is elected', () => b.story.includes('elected'));
    expect(a.terms[0]?.isHeld()).toBe(false);
    expect(a.story.slice(0, 2)).toEqual(['elected', 'lost']);
    a.store.comeBack();
    await keys(2);
    await b.election.resign();
    expect((await elected(a)).revision).toBeGreaterThan(b.terms[0]!.revision);
  });

  it('refuses the transactions of a former coordinator (R11)', async () => {
    const a = stand('a');
    const { comparison } = await elected(a);
    const write = () => a.store.transact([comparison], [{ kind: 'put', key: 'k', value: 'x' }]);
    expect((await write()).kind).toBe('succeeded');
    await a.election.resign();
    expect(await write()).toEqual({ kind: 'refused' });
  });

  it('loses its term when somebody deletes its key, and stands again', async () => {
    const a = stand('a');
    await elected(a);
    await a.store.transact([], [{ kind: 'delete', key: etcd.list('coordinator/')[0]!.key }]);
    await eventually('elected again', () => a.story.length === 3);
    expect(a.story).toEqual(['elected', 'lost', 'elected']);
  });

  it('stands again after the answer to its request was lost (R7)', async () => {
    const store = new InMemoryMetadataStore({ etcd });
    store.loseNextAnswer();
    let problems = 0;
    const election = campaign(
      { store, id: 'a', address: 'a:1', ttlMs: 1000 },
      { onElected: () => undefined, onLost: () => undefined, onProblem: () => (problems += 1) },
    );
    await eventually('a term', () => election.term());
    expect(problems).toBe(1);
    await election.resign();
    await store.close();
  });

  it('elects one of five at a time while each in turn dies', async () => {
    const five = ['a', 'b', 'c', 'd', 'e'].map((id) => stand(id));
    await keys(5);
    const holders = () => five.filter(({ election }) => election.term() !== undefined);
    for (let deaths = 0; deaths < 4; deaths += 1) {
      const [holder] = await eventually('a holder', () => holders().length > 0 && holders());
      expect(holders()).toHaveLength(1);
      await holder!.election.resign();
    }
    const revisions = five.flatMap(({ terms }) => terms.map(({ revision }) => revision));
    expect(new Set(revisions).size).toBe(revisions.length);
  });

  it('stops on the signal', async () => {
    const store = new InMemoryMetadataStore({ etcd });
    const stop = new AbortController();
    const election = campaign({ store, id: 'a', address: 'a:1', ttlMs: 1000, signal: stop.signal }, { onElected: () => undefined, onLost: () => undefined });
    await eventually('a term', () => election.term());
    stop.abort();
    await keys(0);
    expect(election.term()).toBeUndefined();
    await store.close();
  });
});
