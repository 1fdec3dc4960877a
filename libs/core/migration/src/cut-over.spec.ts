import { refusalOfMove } from './source-hold.ts';
import { createKeyspaceSpec, isRetired, standbyFence, type KeyspaceSpec, type VersionedRecord } from '@atoll/core-membership';
import { copiedPairs, frozenForNothing, switchedSpecs, withFrozen, withPlacesTaken } from './cut-over-records.ts';
import { record } from './testing/samples.ts';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { abortCutOver, beginCutOver, beginMove, commandCopy, completeCutOver, type CopyJob, type CopyJobState } from './copy-job.ts';
import { CUT_OVER_LAG_MS_MAX, nextCutOverStep, refusalOfCutOver, type CopiedPair, type CutOverFacts, type FrozenSource } from './cut-over.ts';

const source = (partition: number, fields: Partial<FrozenSource> = {}): FrozenSource => ({ partition, isFrozen: true, generation: 1, barrier: { generation: 1, seq: 10 }, ...fields });
const pair = (at: number, fields: Partial<CopiedPair> = {}): CopiedPair => ({ source: at, target: at, applied: { generation: 1, seq: 10 }, ...fields });
const facts = (fields: Partial<CutOverFacts> = {}): CutOverFacts => ({ sources: [source(0), source(1)], pairs: [pair(0), pair(1)], heldMs: 50, maxPauseMs: 2000, ...fields });

describe('what is next in a cut-over (R37)', () => {
  it.each<[string, Partial<CutOverFacts>, ReturnType<typeof nextCutOverStep>['kind']]>([
    ['all is frozen, confirmed and applied', {}, 'commit'],
    ['the copy is ahead of the barrier', { pairs: [pair(0), pair(1, { applied: { generation: 1, seq: 12 } })] }, 'commit'],
    ['all is ready, and time is up', { heldMs: 5000 }, 'commit'],
    ['nothing is frozen yet', { sources: [source(0, { isFrozen: false, barrier: undefined })], heldMs: 0 }, 'freeze'],
    ['some are not frozen yet', { sources: [source(0), source(1, { isFrozen: false, barrier: undefined })] }, 'freeze'],
    ['a write of a record may yet be carried out that names another leader (R7)', { sources: [source(0), source(1, { isSettled: false })] }, 'freeze'],
    ['a record says no more that it is frozen, behind a barrier', { sources: [source(0), source(1, { isFrozen: false })] }, 'abort'],
    ['a barrier lacks', { sources: [source(0), source(1, { barrier: undefined })] }, 'drain'],
    ['the copy is behind one barrier', { pairs: [pair(0), pair(1, { applied: { generation: 1, seq: 9 } })] }, 'drain'],
    ['a partition of the copy says nothing', { pairs: [pair(0), pair(1, { applied: undefined })] }, 'drain'],
    ['the copy holds another generation', { pairs: [pair(0), pair(1, { applied: { generation: 2, seq: 99 } })] }, 'drain'],
    ['the source began another generation', { sources: [source(0), source(1, { generation: 2 })] }, 'abort'],
    ['time is up while the copy is behind', { pairs: [pair(0, { applied: undefined }), pair(1)], heldMs: 2000 }, 'abort'],
    ['time is up before all is frozen', { sources: [source(0, { isFrozen: false, barrier: undefined })], heldMs: 2000 }, 'abort'],
    ['there is no source', { sources: [], pairs: [], heldMs: 0 }, 'drain'],
  ])('%s', (_name, fields, kind) => {
    expect(nextCutOverStep(facts(fields)).kind).toBe(kind);
  });

  it('what is frozen and confirmed is named by partition, and why it was given up by number', () => {
    expect(nextCutOverStep(facts({ sources: [source(0, { isFrozen: false, barrier: undefined }), source(1, { isFrozen: false, barrier: undefined }), source(2)] }))).toEqual({ kind: 'freeze', partitions: [0, 1] });
    expect(nextCutOverStep(facts({ sources: [source(0), source(1, { barrier: undefined })] }))).toMatchObject({ kind: 'drain', unconfirmed: [1] });
    expect(nextCutOverStep(facts({ pairs: [pair(0, { applied: undefined }), pair(1)], heldMs: 2100 }))).toEqual({
      kind: 'abort',
      reason: 'writes were held for 2100 ms, of at most 2000: 1 partition of the copy did not come to the end of the source, 0',
    });
  });

  it('never commits unless every partition is frozen, has its barrier in its present generation, and is held up to there by all that have keys of it (seeds 0 to 4999)', () => {
    for (let seed = 0; seed < 5000; seed += 1) {
      const random = new SeededRandom(seed);
      const count = 1 + randomBelow(random, 4);
      const often = (): boolean => randomBelow(random, 8) > 0;
      const sources = Array.from({ length: count }, (_, partition) => {
        const generation = 1 + randomBelow(random, 2);
        return source(partition, { isFrozen: often(), generation, barrier: often() ? { generation: often() ? generation : 1, seq: randomBelow(random, 4) } : undefined });
      });
      const pairs = sources.flatMap(({ partition, generation }) =>
        Array.from({ length: 1 + randomBelow(random, 2) }, (_, at) => pair(partition, { target: partition * 2 + at, applied: often() ? { generation: often() ? generation : 1, seq: 2 + randomBelow(random, 4) } : undefined })),
      );
      const isReady =
        sources.every(({ isFrozen, barrier, generation }) => isFrozen && barrier?.generation === generation) &&
        pairs.every(({ source: at, applied }) => applied !== undefined && applied.generation === sources[at]!.barrier!.generation && applied.seq >= sources[at]!.barrier!.seq);
      const step = nextCutOverStep({ sources, pairs, heldMs: randomBelow(random, 100), maxPauseMs: 50 });
      expect({ seed, isCommit: step.kind === 'commit' }).toEqual({ seed, isCommit: isReady });
    }
  });
});

describe('a cut-over that is asked for', () => {
  const ready = { isFollowing: true, partitions: 4, following: 4, lagMs: 0, comparedEntries: 100, differing: 0 };
  it.each([
    ['is ready', {}, undefined],
    ['does not follow', { isFollowing: false, following: 3 }, '1 of 4 partitions do not follow yet'],
    ['does not say how far it is', { lagMs: undefined }, 'how far the copy is behind its source is not known'],
    ['is behind', { lagMs: CUT_OVER_LAG_MS_MAX + 1 }, 'the copy is 1001 ms behind its source, and 1000 are allowed'],
    ['was not compared', { comparedEntries: undefined }, 'not every partition has been compared with its source since its node leads it'],
    ['is not equal', { differing: 2 }, '2 sub-ranges of the copy differ from the source'],
  ])('of a copy that %s', (_name, fields, refusal) => {
    expect(refusalOfCutOver({ ...ready, ...fields })).toBe(refusal);
  });

  const job = (state: CopyJobState, fields: Partial<CopyJob> = {}): CopyJob => ({ id: 'c', state, source: 's', sourceId: '1', target: 't', targetId: '2', partitionCount: 4, createdMs: 1, endedMs: 0, bytesPerSecond: 0, traceparent: '', problem: '', ...fields });
  const cutOver = { id: 'x', maxPauseMs: 500 };

  it.each([
    ['of a range of tokens', { tokens: { start: { high: 0, low: 0 }, end: { high: 1, low: 0 } } }, 'migration c copies a range of tokens, and the name of a keyspace cannot mean the copy for some of its keys and the source for the others: the copy can be read under its own name until it is cancelled; to move keys for good, copy the whole keyspace and cut that over'],
  ])('of a copy %s is refused, whatever its state', (_name, fields, refusal) => {
    for (const state of ['RUNNING', 'PAUSED'] as const) expect(beginCutOver(job(state, fields), cutOver)).toEqual({ refusal });
  });

  it.each<[CopyJobState, CopyJobState | 'refused']>([
    ['RUNNING', 'CUTTING_OVER'],
    ['PAUSED', 'refused'],
    ['CUTTING_OVER', 'CUTTING_OVER'],
    ['SUCCEEDED', 'SUCCEEDED'],
    ['CANCELLING', 'refused'],
    ['CANCELLED', 'refused'],
  ])('of a job that is %s makes it %s', (state, expected) => {
    const next = beginCutOver(job(state), cutOver);
    expect('refusal' in next ? 'refused' : next.state).toBe(expected);
  });

  it('is given up only while it is the one that is under way', () => {
    const under = job('CUTTING_OVER', { cutOver });
    expect(abortCutOver(under, 'x', 'why')).toEqual(job('RUNNING', { cutOver: undefined, problem: 'the cut-over was given up: why' }));
    for (const other of [job('CUTTING_OVER', { cutOver: { id: 'y', maxPauseMs: 1 } }), job('SUCCEEDED'), job('CANCELLING')]) expect(abortCutOver(other, 'x', 'why')).toBe(other);
  });

  it('is cancelled with its copy until it is done, and then no more', () => {
    expect(commandCopy(job('CUTTING_OVER', { cutOver }), { kind: 'cancel' })).toMatchObject({ state: 'CANCELLING', cutOver: undefined });
    expect(commandCopy(job('SUCCEEDED'), { kind: 'cancel' })).toEqual({ refusal: 'migration c has ended (SUCCEEDED): the copy has the place of its source, and there is no way back' });
    for (const kind of ['pause', 'resume'] as const) expect(commandCopy(job('CUTTING_OVER', { cutOver }), { kind })).toHaveProperty('refusal');
  });

  const extent = { comparedEntries: 7, bytes: 8, entries: 9 };
  const cluster = { id: 'far', routers: ['h:1'], partitionCount: 4 };

  it('of a keyspace of another cluster is not given up by a cancel once that cluster may have moved it', () => {
    const moving = beginMove(job('CUTTING_OVER', { cutOver, cluster }), { cutOver: 'x', hold: 'h', heldSinceMs: 5, extent });
    expect(moving).toMatchObject({ state: 'CUTTING_OVER', cutOver: { id: 'x', maxPauseMs: 500, hold: 'h', heldSinceMs: 5 }, ...extent });
    expect(commandCopy(moving, { kind: 'cancel' })).toEqual({ refusal: 'migration c is being cut over, and how that ends is decided in cluster far; ask again when it is known' });
    expect(abortCutOver(moving, 'x', 'why')).toEqual(job('RUNNING', { cluster, cutOver: undefined, problem: 'the cut-over was given up: why' }));
    expect(completeCutOver(moving, { pausesMs: [3], endedMs: 9 })).toMatchObject({ state: 'SUCCEEDED', pauseMsMax: 3, sourceRemains: false, ...extent });
    for (const other of [job('RUNNING', { cluster }), job('CUTTING_OVER', { cluster, cutOver: { id: 'y', maxPauseMs: 1 } })]) expect(beginMove(other, { cutOver: 'x', hold: 'h', heldSinceMs: 5, extent })).toBe(other);
  });

  it('keeps the pauses of the first 1024 partitions, and the longest of all', () => {
    const done = completeCutOver(job('CUTTING_OVER', { cutOver }), { pausesMs: Array.from({ length: 4096 }, (_, index) => index + 0.4), endedMs: 9, extent: { comparedEntries: 7, bytes: 8, entries: 7 } });
    expect(done).toMatchObject({ state: 'SUCCEEDED', endedMs: 9, comparedEntries: 7, pauseMsMax: 4095, sourceRemains: true });
    expect(done.pausesMs).toHaveLength(1024);
  });
});

describe('a keyspace that is held for another cluster (R37)', () => {
  const all = (frozen: (string | undefined)[], generation = 1) => frozen.map((of, partition) => ({ ...record({ partition }), frozen: of, generation: { counter: generation, id: 'g' } }));
  const barriers = new Map([0, 1].map((partition) => [partition, { generation: 1 }]));

  it.each([
    ['all stand still, as they were confirmed', all(['h', 'h']), barriers, undefined],
    ['one has no record', all(['h']), barriers, '1 of 2 partitions have no record'],
    ['one was never confirmed', all(['h', 'h']), new Map([[0, { generation: 1 }]]), 'partition 1 has not confirmed that nothing more is written'],
    ['one was thawed behind its barrier', all(['h', undefined]), barriers, 'partition 1 takes writes again'],
    ['one is frozen for something else', all(['h', 'other']), barriers, 'partition 1 takes writes again'],
    ['one began a new generation behind its barrier (R3)', all(['h', 'h'], 2), barriers, 'partition 0 began a new generation'],
  ])('%s', (_title, records, confirmed, refusal) => {
    expect(refusalOfMove('h', 2, records, confirmed)).toBe(refusal);
  });
});

describe('what a cut-over makes of records (R37)', () => {
  const random = new SeededRandom(1);
  const frozen = (keyspaceId: string, by: string | undefined, keyspace = keyspaceId) => ({ record: { ...record({}), keyspace, keyspaceId, frozen: by }, modRevision: 5 });
  const spec = (name: string, fields: Partial<KeyspaceSpec> = {}): KeyspaceSpec => createKeyspaceSpec({ name, id: name, ...fields });
  const copy = (state: CopyJobState, of: string, fields: Partial<CopyJob> = {}): CopyJob => ({ id: `copy-${of}`, state, source: of, sourceId: of, target: `${of}-wide`, targetId: 'w', partitionCount: 4, createdMs: 1, endedMs: 0, bytesPerSecond: 0, traceparent: '', problem: '', ...fields });

  it('one that was given up is thawed, one that is under way, held or done is not, nor what an operator froze, however old the keyspaces are that are known', () => {
    const records = new Map(['given', 'going', 'held', 'done', 'moved', 'kept', 'free'].map((name) => [name, [frozen(name, name === 'free' ? undefined : `x-${name}`)]]));
    const jobs = [copy('RUNNING', 'given'), copy('CUTTING_OVER', 'going', { cutOver: { id: 'x-going', maxPauseMs: 1 } }), copy('SUCCEEDED', 'done')];
    const keyspaces = [...records.keys()].map((name) => spec(name, name === 'moved' ? { movedTo: 'other' } : name === 'kept' ? { freeze: { id: 'keyspace-1', sinceMs: 0, note: '' } } : {}));
    const left = frozenForNothing({ jobs, holds: ['x-held'], keyspaces: new Map(keyspaces.map((each) => [each.name, each])), recordsOf: (name) => records.get(name)! });
    expect(left.map(({ record: { keyspace } }) => keyspace)).toEqual(['given']);
    expect(withFrozen(left[0]!, undefined, random)).toMatchObject({ decision: 'THAW', record: { keyspace: 'given' }, modRevision: 5 });
    expect(withFrozen(left[0]!, undefined, random).record).not.toHaveProperty('frozen');
    expect(withFrozen(left[0]!, 'y', random)).toMatchObject({ decision: 'FREEZE', record: { frozen: 'y' } });
  });

  it('a source whose place was taken says so, also where what was read of it is older', () => {
    const known = new Map([spec('done'), spec('given')].map((each) => [each.name, each]));
    const seen = withPlacesTaken(known, [copy('SUCCEEDED', 'done'), copy('RUNNING', 'given')]);
    expect([...seen.values()].map(({ name, movedTo }) => [name, movedTo])).toEqual([['done', 'done-wide'], ['given', undefined]]);
  });

  // 1. a standby on another pool is promoted by a cut-over: the leaders of its primary are sealed, their records say so for the cut-over
  // 2. the coordinator has not read of it yet; one of these leaders dies
  // 3. another replica is given office by a record that is frozen and sealed by nobody: it takes no writes, and answers STRONG reads
  // 4. a router that has not heard of it reads there what the standby has changed since (I5)
  it('the primary of a standby that was promoted gets no leader that nobody sealed, before the promotion is read', () => {
    const standby = copy('SUCCEEDED', 'p', { isStandby: true, target: 's', targetId: 's', cutOver: { id: 'x', maxPauseMs: 1 } });
    const state = { partitions: new Map<string, readonly VersionedRecord[]>([['p', [frozen('p', 'x')]]]) };
    const copyOf = { job: 'copy-p', keyspace: 'p', keyspaceId: 'p', isPaused: false, run: 5 };
    const known = (...specs: KeyspaceSpec[]): ReadonlyMap<string, KeyspaceSpec> => new Map(specs.map((each) => [each.name, each]));
    const seen = (jobs: readonly CopyJob[], keyspaces: ReadonlyMap<string, KeyspaceSpec>) => [...withPlacesTaken(keyspaces, jobs).values()].map((each) => `${each.name} ${each.movedTo ?? '-'} ${isRetired(state, each)}`);

    const before = known(spec('p', { standby: 's' }), spec('s', { copyOf }));
    expect(seen([{ ...standby, state: 'CUTTING_OVER' }], before)).toEqual(['p - false', 's - false']);
    expect(seen([standby], before)).toEqual(['p s true', 's - false']);
    expect(frozenForNothing({ jobs: [standby], holds: [], keyspaces: before, recordsOf: (name) => state.partitions.get(name) ?? [] })).toEqual([]);

    // As it is read, the records count: each that says so seals whoever leads by it.
    const read = known(spec('p', { movedTo: 's' }), spec('s'));
    expect(seen([standby], read)).toEqual(['p s true', 's - false']);
    state.partitions.set('p', [frozen('p', standbyFence('f'))]);
    expect(seen([standby], read)).toEqual(['p s false', 's - false']);

    // The way back: the keyspaces change their roles, and the job of the promotion says nothing of that.
    state.partitions.set('p', [frozen('p', undefined)]);
    const back = copy('RUNNING', 's', { id: 'copy-s', isStandby: true, target: 'p', targetId: 'p' });
    expect(seen([standby, back], known(spec('p', { copyOf: { ...copyOf, job: 'copy-s', keyspace: 's', keyspaceId: 's' } }), spec('s', { standby: 'p' })))).toEqual(['p - false', 's - false']);
    const again = copy('RUNNING', 'p', { id: 'copy-p2', isStandby: true, target: 's', targetId: 's' });
    expect(seen([standby, { ...back, state: 'SUCCEEDED' }, again], known(spec('p', { standby: 's' }), spec('s', { copyOf: { ...copyOf, job: 'copy-p2' } })))).toEqual(['p - false', 's - false']);
    expect(seen([standby, { ...back, state: 'SUCCEEDED' }], known(spec('p')))).toEqual(['p - false']);
  });

  it('names go with the place', () => {
    const cutOver = { job: 'c', id: 'x', fencesBelow: 7, timeMs: 8 };
    const { source: retired, target } = switchedSpecs({ source: spec('s', { aliases: ['older'] }), target: spec('t', { copyOf: { job: 'c', keyspace: 's', keyspaceId: 's', isPaused: false } }) }, cutOver);
    expect([retired.movedTo, retired.aliases, target.aliases, target.copyOf, target.cutOver]).toEqual(['t', undefined, ['s', 'older'], undefined, cutOver]);
    expect(copiedPairs({ sourceCount: 2, targetCount: 4 }, (to, from) => ({ generation: 1, seq: 10 * to + from })).map(({ source: from, target: to, applied }) => [from, to, applied!.seq])).toEqual([[0, 0, 0], [0, 1, 10], [1, 2, 21], [1, 3, 31]]);
  });
});
