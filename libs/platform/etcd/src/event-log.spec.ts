import { EVENTS_MAX, appendEvent, listEvents } from './event-log.ts';
import type { ClusterEvent } from './event-log.ts';
import { InMemoryMetadataStore } from './testing/index.ts';

const event = (atMs: number, changes: Partial<ClusterEvent> = {}): ClusterEvent => ({
  atMs,
  kind: 'NODE_JOINED',
  keyspace: '',
  node: 'a',
  partitions: [],
  message: 'node a joined',
  ...changes,
});

describe('event log', () => {
  let store: InMemoryMetadataStore;
  beforeEach(() => {
    store = new InMemoryMetadataStore();
  });

  it('lists the newest first, of one kind if asked', async () => {
    await appendEvent(store, event(1));
    await appendEvent(store, event(2, { kind: 'DATA_LOSS', keyspace: 'default', partitions: [3, 4] }));
    await appendEvent(store, event(3));
    expect((await listEvents(store)).map(({ atMs }) => atMs)).toEqual([3, 2, 1]);
    expect(await listEvents(store, { limit: 1 })).toEqual([event(3)]);
    expect(await listEvents(store, { kind: 'DATA_LOSS' })).toEqual([event(2, { kind: 'DATA_LOSS', keyspace: 'default', partitions: [3, 4] })]);
  });

  it('keeps at most 1000 events (I10)', async () => {
    for (let atMs = 0; atMs < EVENTS_MAX + 5; atMs += 1) await appendEvent(store, event(atMs));
    const events = await listEvents(store, { limit: EVENTS_MAX });
    expect(events).toHaveLength(EVENTS_MAX);
    expect(events[0]?.atMs).toBe(EVENTS_MAX + 4);
    expect(events.at(-1)?.atMs).toBe(5);
  });

  it('keeps every event of writers that append at the same time', async () => {
    await Promise.all([1, 2, 3, 4].map((atMs) => appendEvent(store, event(atMs))));
    expect((await listEvents(store)).map(({ atMs }) => atMs).sort((a, b) => a - b)).toEqual([1, 2, 3, 4]);
  });

  it('cuts an event that is too large for 2 KiB', async () => {
    await appendEvent(store, event(1, { message: '\u0001'.repeat(5000), partitions: Array.from({ length: 4096 }, (_, index) => index) }));
    const [cut] = await listEvents(store);
    expect(cut?.partitions).toHaveLength(128);
    expect(cut?.message.length).toBeGreaterThan(0);
    expect(Buffer.byteLength((await store.get('events/000'))!.value)).toBeLessThanOrEqual(2048);
  });

  it('is refused when the guard does not hold (R11)', async () => {
    const guard = [{ kind: 'createRevision' as const, key: 'coordinator/1', equals: 7 }];
    await expect(appendEvent(store, event(1), guard)).rejects.toMatchObject({ reason: 'METADATA_CONFLICT' });
    expect(await listEvents(store)).toEqual([]);
  });

  it('says METADATA_UNAVAILABLE when the answer was lost, and passes over what cannot be read', async () => {
    store.loseNextAnswer();
    await expect(appendEvent(store, event(1))).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    await store.transact([], [{ kind: 'put', key: 'events/500', value: 'broken' }]);
    await appendEvent(store, event(2));
    expect((await listEvents(store)).map(({ atMs }) => atMs)).toEqual([2, 1]);
  });
});
