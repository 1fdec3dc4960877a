import { createKeyspaceSpec } from '@atoll/core-membership';
import { completeCutOver, type CopyJob } from './copy-job.ts';
import { PLACES_KEPT, promoteAlone, refusalOfPromotion, timeOfPrimary, type StandbyPair } from './standby.ts';
import { takePlace } from './take-place.ts';

const JOB: CopyJob = {
  id: 's',
  state: 'RUNNING',
  source: 'orders',
  sourceId: 'o1',
  target: 'orders',
  targetId: 't1',
  cluster: { id: 'far', routers: ['far:1'], partitionCount: 2 },
  partitionCount: 2,
  bytesPerSecond: 0,
  traceparent: '',
  createdMs: 1,
  endedMs: 0,
  problem: 'router far:1: it is gone',
  isStandby: true,
};
const pair = (changes: Partial<StandbyPair> = {}): StandbyPair => ({ target: 0, source: 0, isFollowing: true, held: { seq: 10, stampMs: 1000 }, head: { seq: 14, stampMs: 1300 }, ageMs: 700, ...changes });
const NOTHING = { held: undefined, head: undefined, ageMs: undefined };
const at = { atMs: 2000, isFenced: false };

describe('a standby that is promoted without its primary', () => {
  // partition:  0 of 0        1 of 1             1 of 0
  // held:       10, at 1000   20, at 900         nothing
  // known:      14, at 1300   not since it leads nothing
  it('says what it is known to lack, how old its state was, and of what nothing is known', () => {
    const pairs = [pair(), pair({ target: 1, source: 1, held: { seq: 20, stampMs: 900 }, head: undefined, ageMs: undefined }), pair({ target: 1, isFollowing: false, ...NOTHING })];
    const { state, endedMs, problem, promotion } = promoteAlone({ ...JOB, cutOver: { id: 'c', maxPauseMs: 500, hold: 'h' } }, pairs, { ...at, extent: { bytes: 7, entries: 3 } });
    expect([state, endedMs, problem]).toEqual(['SUCCEEDED', 2000, '']);
    expect(promotion).toEqual({
      atMs: 2000,
      missingKnown: 4,
      ageMs: 1100,
      unknown: 1,
      incomplete: 1,
      isFenced: false,
      places: [{ target: 0, source: 0, heldSeq: 10, heldMs: 1000, knownSeq: 14, knownMs: 1300 }, { target: 1, source: 1, heldSeq: 20, heldMs: 900 }, { target: 1, source: 0, heldSeq: 0, heldMs: 0 }],
    });
    expect(timeOfPrimary(pairs)).toBe(1300);
  });

  it('keeps what fits into a value in etcd, however many partitions there are', () => {
    const { promotion } = promoteAlone(JOB, Array.from({ length: 4096 }, (_, target) => pair({ target })), at);
    expect([promotion!.places.length, promotion!.missingKnown]).toEqual([PLACES_KEPT, 4 * 4096]);
    expect(JSON.stringify(promotion).length).toBeLessThan(6000);
  });

  it.each<[string, Partial<CopyJob>, Partial<StandbyPair>, boolean, unknown]>([
    ['it follows', {}, {}, false, undefined],
    ['it is paused', { state: 'PAUSED' }, {}, false, undefined],
    ['its primary died in the middle of a cut-over', { state: 'CUTTING_OVER' }, {}, false, undefined],
    ['a partition lacks keys', {}, { isFollowing: false }, false, expect.stringContaining('1 of 2 partitions of orders lack keys')],
    ['a partition lacks keys, and that is accepted', {}, { isFollowing: false }, true, undefined],
    ['it is being removed', { state: 'CANCELLING' }, {}, true, 'orders is CANCELLING'],
    ['it is gone', { state: 'CANCELLED' }, {}, true, 'orders is CANCELLED'],
  ])('%s', (_name, job, changes, acceptsIncomplete, refusal) => {
    expect(refusalOfPromotion({ ...JOB, ...job }, [pair(changes)], acceptsIncomplete)).toEqual(refusal);
  });
});

describe('the names of a keyspace whose standby is promoted in its own cluster', () => {
  const primary = createKeyspaceSpec({ name: 'orders', id: '1', aliases: ['older'], standby: 'orders-standby' });
  const standby = createKeyspaceSpec({ name: 'orders-standby', id: '2', pool: 'standby' });

  it('go there and back, whatever the keyspaces are called, and none means two of them', () => {
    const away = takePlace({ source: primary, target: standby });
    expect([away.source.movedTo, away.source.aliases, away.source.standby]).toEqual(['orders-standby', undefined, undefined]);
    expect(away.target).toMatchObject({ name: 'orders-standby', pool: 'standby', aliases: ['orders', 'older'] });
    const home = takePlace({ source: away.target, target: { ...away.source, movedTo: undefined } });
    expect([home.source.movedTo, home.source.aliases, home.target.aliases, home.target.movedTo]).toEqual(['orders', undefined, ['older'], undefined]);
    const again = takePlace({ source: home.target, target: { ...home.source, movedTo: undefined } });
    expect([again.source.movedTo, again.target.aliases]).toEqual(['orders-standby', ['orders', 'older']]);
  });

  it('the former primary is kept, to become the standby; the source of another copy is deleted', () => {
    const job: CopyJob = { ...JOB, target: 'orders-standby', cluster: undefined };
    const ended = (isStandby: boolean) => completeCutOver({ ...job, isStandby }, { pausesMs: [3], endedMs: 9 }).sourceRemains;
    expect([ended(true), ended(false)]).toEqual([false, true]);
  });
});
