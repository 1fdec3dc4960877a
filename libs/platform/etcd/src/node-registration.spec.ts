import type { NodeRecord } from '@atoll/core-membership';

import { nodeKey } from './cluster-keys.ts';
import { registerNode } from './node-registration.ts';
import type { NodeRegistration } from './node-registration.ts';
import { encodeNodeRecord, parseNodeRecord } from './record-codecs.ts';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from './testing/index.ts';
import { sampleNode } from './testing/sample-records.ts';

describe('registerNode', () => {
  let etcd: InMemoryEtcd;
  let store: InMemoryMetadataStore;
  let registrations: NodeRegistration[];
  let taken: NodeRecord[];
  let states: boolean[];
  /** Who answers where. */
  let processes: Map<string, string>;
  let probed: string[];

  const register = async (record: NodeRecord, on = store): Promise<NodeRegistration> => {
    const registration = await registerNode(on, record, {
      ttlMs: 1000,
      probe: async (address) => {
        probed.push(address);
        return processes.get(address);
      },
      onTaken: (by) => taken.push(by),
      onRegistered: (registered) => states.push(registered),
    });
    registrations.push(registration);
    return registration;
  };
  const present = (id = 'a'): NodeRecord | undefined => {
    const stored = etcd.get(nodeKey(id));
    const parsed = stored === undefined ? undefined : parseNodeRecord(stored.value);
    return parsed?.kind === 'parsed' ? parsed.value : undefined;
  };

  beforeEach(() => {
    etcd = new InMemoryEtcd();
    store = new InMemoryMetadataStore({ etcd });
    [registrations, taken, states, probed] = [[], [], [], []];
    processes = new Map();
  });
  afterEach(async () => {
    await Promise.all(registrations.map((registration) => registration.deregister()));
    await store.close();
  });

  it('writes the record, changes it on update, and takes it away at the end', async () => {
    const registration = await register(sampleNode('a'));
    expect(present()).toEqual(sampleNode('a'));
    expect(registration.isRegistered()).toBe(true);
    await registration.update(sampleNode('a', { phase: 'STOPPING' }));
    expect(present()?.phase).toBe('STOPPING');
    await registration.deregister();
    expect(present()).toBeUndefined();
    expect(registration.isRegistered()).toBe(false);
    expect(states).toEqual([true]);
    expect(probed).toEqual([]);
  });

  it('does not take the id of a process that answers: NODE_ID_TAKEN (R5)', async () => {
    const holder = sampleNode('a', { address: '10.0.0.1:1' });
    await register(holder);
    processes.set(holder.address, holder.incarnation);
    const second = sampleNode('a', { address: '10.0.0.2:1', incarnation: 'other' });
    await expect(register(second)).rejects.toMatchObject({ reason: 'NODE_ID_TAKEN', metadata: { node: 'a', address: '10.0.0.1:1' } });
    expect(present()).toEqual(holder);
    expect(taken).toEqual([]);
  });

  it('takes the key of a process that does not answer, without waiting for its lease (R5)', async () => {
    const first = await register(sampleNode('a', { address: '10.0.0.1:1' }));
    const second = sampleNode('a', { address: '10.0.0.2:1', incarnation: 'other' });
    await register(second, store);
    expect(probed).toEqual(['10.0.0.1:1']);
    expect(present()).toEqual(second);
    await eventually('the first process hears of it', () => taken.length === 1);
    expect(taken[0]).toEqual(second);
    expect(first.isRegistered()).toBe(false);
    await first.deregister();
    expect(present()).toEqual(second);
  });

  it('takes the key of its own former life at the same address, where it answers itself', async () => {
    etcd.transact([], [{ kind: 'put', key: nodeKey('a'), value: encodeNodeRecord(sampleNode('a', { incarnation: 'former' })) }]);
    const record = sampleNode('a');
    processes.set(record.address, record.incarnation);
    await register(record);
    expect(present()).toEqual(record);
  });

  it('takes the key of a value that cannot be read', async () => {
    etcd.transact([], [{ kind: 'put', key: nodeKey('a'), value: 'broken' }]);
    await register(sampleNode('a'));
    expect(present()).toEqual(sampleNode('a'));
  });

  it('settles a lost answer by a further compare-and-swap (R7)', async () => {
    store.loseNextAnswer();
    const registration = await register(sampleNode('a'));
    expect(registration.isRegistered()).toBe(true);
    store.loseNextAnswer();
    await registration.update(sampleNode('a', { phase: 'STOPPING' }));
    expect(registration.isRegistered()).toBe(true);
    expect(present()?.phase).toBe('STOPPING');
    expect(taken).toEqual([]);
  });

  it('registers again under a new lease after etcd was away for longer than the ttl (R11)', async () => {
    const registration = await register(sampleNode('a'));
    store.goAway();
    await eventually('the key has gone', () => present() === undefined);
    expect(registration.isRegistered()).toBe(false);
    store.comeBack();
    await eventually('registered again', () => registration.isRegistered());
    expect(present()).toEqual(sampleNode('a'));
    await eventually('both are told', () => states.length === 3);
    expect(states).toEqual([true, false, true]);
    expect(taken).toEqual([]);
  });

  it('registers again when somebody deletes its key', async () => {
    const registration = await register(sampleNode('a'));
    etcd.transact([], [{ kind: 'delete', key: nodeKey('a') }]);
    await eventually('registered again', () => present() !== undefined && registration.isRegistered());
    expect(present()).toEqual(sampleNode('a'));
  });

  it('writes an update that etcd did not take when it is back', async () => {
    const registration = await register(sampleNode('a'));
    store.goAway();
    await expect(registration.update(sampleNode('a', { phase: 'STOPPING' }))).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    store.comeBack();
    await eventually('the update is there', () => present()?.phase === 'STOPPING');
  });

  it('gives up when another process took the id while this one was cut off (R5)', async () => {
    const registration = await register(sampleNode('a', { address: '10.0.0.1:1' }));
    store.goAway();
    const rival = new InMemoryMetadataStore({ etcd });
    const second = sampleNode('a', { address: '10.0.0.2:1', incarnation: 'other' });
    processes.set(second.address, second.incarnation);
    await register(second, rival);
    store.comeBack();
    await eventually('it is told', () => taken.length === 1);
    expect(registration.isRegistered()).toBe(false);
    expect(present()).toEqual(second);
    await rival.close();
  });

  it('is not disturbed by a node whose id begins with its own', async () => {
    const registration = await register(sampleNode('a'));
    const other = await register(sampleNode('ab'));
    await other.deregister();
    await store.list('');
    expect(registration.isRegistered()).toBe(true);
    expect(taken).toEqual([]);
  });

  it('says METADATA_UNAVAILABLE when etcd is away at the start, and refuses another identity in an update', async () => {
    store.goAway();
    await expect(register(sampleNode('a'))).rejects.toMatchObject({ reason: 'METADATA_UNAVAILABLE' });
    store.comeBack();
    const registration = await register(sampleNode('a'));
    await expect(registration.update(sampleNode('a', { incarnation: 'x' }))).rejects.toThrow('must keep');
  });
});
