import { SeededRandom, toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import type { HeldReplica } from '../decisions/cluster-state.ts';
import { createKeyspaceSpec, type KeyspaceSpec } from '../keyspace-spec.ts';
import type { NodeSpec } from '../node-record.ts';
import type { Member, PartitionRecord } from '../partition-record.ts';
import { planMetadataRecovery, type MetadataRecovery, type RecoveryInput, type RememberedRecord, type Testimony } from './plan-recovery.ts';

const on = (node: string): Member => ({ node: toNodeId(node), replica: toReplicaId(`00000000000000${node}${node}`) });
const keyspace = (name: string, id = `${name}-1`): KeyspaceSpec => createKeyspaceSpec({ name, id, partitionCount: 1 });

/** `text`: generation.epoch of its record and the in-sync nodes, the leader first: "1.7 ab". */
function record(text: string, changes: Partial<PartitionRecord> = {}): PartitionRecord {
  const [term, nodes] = text.split(' ');
  const [generation, epoch] = term!.split('.').map(Number);
  const inSync = nodes!.split('').map(on);
  return {
    keyspace: 'default',
    keyspaceId: 'default-1',
    partition: toPartitionId(0),
    state: 'ACTIVE',
    generation: { counter: generation!, id: `g${generation}` },
    epoch: toEpoch(epoch!),
    leader: inSync[0],
    leaderIncarnation: `${nodes![0]}-life`,
    relinquished: false,
    inSync,
    eligible: [],
    learners: [],
    leaving: [],
    changeId: 'c',
    ...changes,
  };
}

const held = (node: string, end: { epoch: number; seq: number }, generation = 1): HeldReplica => ({ replica: on(node).replica, generation: { counter: generation, id: `g${generation}` }, empty: false, end, installed: true });

const remembers = (text: string, modRevision: number, more: Partial<RememberedRecord> = {}): RememberedRecord => ({ record: record(text), modRevision, leads: false, heardEpoch: 0, held: undefined, ...more });

const testimony = (source: string, records: readonly RememberedRecord[], more: Partial<Testimony> = {}): Testimony => ({ source, mark: { revision: 100, changeRevision: 90 }, keyspaces: [keyspace('default')], nodeSpecs: [], records, ...more });

function plan(input: Partial<RecoveryInput> & { readonly etcd?: string }): MetadataRecovery {
  const records = input.etcd === undefined ? [] : [{ record: record(input.etcd), modRevision: 10 }];
  return planMetadataRecovery({
    stored: { keyspaces: new Map([['default', keyspace('default')]]), nodeSpecs: new Map(), records },
    testimonies: [],
    unreachable: new Set(),
    random: new SeededRandom(1),
    ...input,
  });
}

/** As `record` takes it, of the only partition. */
function rebuilt(recovery: MetadataRecovery): string {
  const [{ record: next, source }] = recovery.partitions as [MetadataRecovery['partitions'][number]];
  return `${next.generation.counter}.${next.epoch} ${next.inSync.map(({ node }) => node).join('')} by ${source}`;
}

describe('planMetadataRecovery (R13)', () => {
  // etcd shows | who remembers what (* leads by it) | expected: in an epoch above all, by whom
  it.each([
    ['the highest epoch', '1.3 ab', [testimony('a', [remembers('1.5 ba', 50)]), testimony('b', [remembers('1.7 ab', 60)])], '1.8 ab by b'],
    ['a higher generation before a higher epoch', '1.9 ab', [testimony('a', [remembers('2.4 c', 60)])], '2.10 c by a'],
    ["what the leader itself wrote before what others were told of its epoch", '1.3 ab', [testimony('b', [remembers('1.7 a', 60)]), testimony('a', [remembers('1.7 ab', 50, { leads: true })])], '1.8 ab by a'],
    ['the newest change of the epoch where its leader is gone', '1.7 abc', [testimony('b', [remembers('1.7 ab', 60)]), testimony('c', [remembers('1.7 abc', 50)])], '1.8 ab by b'],
    ['an epoch above one that was only heard of', '1.3 ab', [testimony('a', [remembers('1.5 ab', 50, { leads: true, heardEpoch: 9 })])], '1.10 ab by a'],
    ['what etcd has, where nobody knows better', '1.3 ab', [testimony('c', [])], '1.4 ab by etcd'],
    ['a record that etcd has lost', undefined, [testimony('a', [remembers('1.5 ab', 50, { leads: true })])], '1.6 ab by a'],
  ])('takes %s', (_name, etcd, testimonies, expected) => {
    const recovery = plan({ ...(etcd === undefined ? {} : { etcd }), testimonies });
    expect(rebuilt(recovery)).toBe(expected);
    expect(recovery.risks).toEqual([]);
  });

  it('leaves leaders and processes as they were, and has no office given up', () => {
    const known = { ...remembers('1.5 ab', 50, { leads: true }), record: record('1.5 ab', { relinquished: true, learners: [on('c')] }) };
    const [{ record: next }] = plan({ etcd: '1.3 ab', testimonies: [testimony('a', [known])] }).partitions as [MetadataRecovery['partitions'][number]];
    expect(next).toMatchObject({ leader: on('a'), leaderIncarnation: 'a-life', relinquished: false, learners: [on('c')], state: 'ACTIVE' });
    expect(next.changeId).not.toBe('c');
  });

  it('says what may be lost when a member does not answer, and only then', () => {
    const testimonies = [testimony('b', [remembers('1.7 ab', 60)])];
    expect(plan({ etcd: '1.3 ab', testimonies, unreachable: new Set(['z']) }).risks).toEqual([]);
    expect(plan({ etcd: '1.3 ab', testimonies, unreachable: new Set(['a']) }).risks).toEqual(['default/0: a did not answer: what changed after the record that b remembers, and writes acknowledged since then, may be lost']);
    const led = [testimony('a', [remembers('1.7 ab', 60, { leads: true })])];
    expect(plan({ etcd: '1.3 ab', testimonies: led, unreachable: new Set(['b']) }).risks).toEqual([]);
  });

  it('an epoch whose record nobody remembers: whoever wrote last in it goes on', () => {
    const testimonies = [
      testimony('a', [remembers('1.3 abc', 10, { held: held('a', { epoch: 3, seq: 20 }) })]),
      testimony('b', [remembers('1.3 abc', 10, { held: held('b', { epoch: 5, seq: 30 }) })]),
      testimony('c', [remembers('1.3 abc', 10, { held: held('c', { epoch: 5, seq: 30 }), heardEpoch: 5 })]),
    ];
    const recovery = plan({ etcd: '1.3 abc', testimonies });
    expect(recovery.partitions[0]!.record).toMatchObject({ epoch: 6, state: 'WAITING', leader: undefined, inSync: [on('b'), on('c')], learners: [on('a')] });
    expect(recovery.risks).toEqual(['default/0: b, c wrote in epoch 5, of which nobody remembers the record: writes of it that they do not hold are lost']);
  });

  it('keyspaces and nodes are those that the latest remembers, and those of which data is held', () => {
    const ofOld = { ...remembers('1.1 a', 30, { held: held('a', { epoch: 1, seq: 1 }) }), record: record('1.1 a', { keyspace: 'held', keyspaceId: 'held-1' }) };
    const spec = (state: NodeSpec['state']): NodeSpec => ({ id: toNodeId('x'), state, zone: '', weight: 1, incarnation: 'i', address: 'h:1', stopped: false });
    const recovery = plan({
      stored: {
        keyspaces: new Map([['default', keyspace('default')], ['deleted', keyspace('deleted')]]),
        nodeSpecs: new Map([['x', spec('UP')]]),
        records: [{ record: record('1.1 a', { keyspace: 'deleted', keyspaceId: 'deleted-1' }), modRevision: 4 }],
      },
      testimonies: [
        testimony('a', [remembers('1.1 a', 30), ofOld], { keyspaces: [keyspace('default'), keyspace('deleted'), keyspace('held')], mark: { revision: 100, changeRevision: 80 } }),
        testimony('b', [remembers('1.1 a', 30)], { keyspaces: [keyspace('default'), keyspace('made')], nodeSpecs: [spec('REMOVED')] }),
      ],
    });
    expect(recovery.keyspaces.map(({ spec: { name }, outcome }) => `${name} ${outcome}`)).toEqual(['default KEPT', 'held RESTORED', 'made RESTORED']);
    expect(recovery.removedKeyspaces.map(({ name }) => name)).toEqual(['deleted']);
    expect(recovery.orphans.map(({ keyspace: name }) => name)).toEqual(['deleted']);
    expect(recovery.nodeSpecs).toEqual([spec('REMOVED')]);
    expect(recovery.risks).toEqual(['made: nobody remembers a record of 1 of 1 partitions; these begin empty']);
  });

  it('a keyspace made again is another one: records of the old one count for nothing', () => {
    const again = keyspace('default', 'default-2');
    const young = { ...remembers('1.1 b', 80), record: record('1.1 b', { keyspaceId: 'default-2' }) };
    const recovery = plan({ etcd: '1.9 a', testimonies: [testimony('a', [young], { keyspaces: [again] })] });
    expect(rebuilt(recovery)).toBe('1.2 b by a');
    expect(recovery.keyspaces[0]).toEqual({ spec: again, outcome: 'RESTORED' });
  });

  it('without anybody who remembers, etcd is taken as it is', () => {
    const recovery = plan({ etcd: '1.3 ab' });
    expect(rebuilt(recovery)).toBe('1.4 ab by etcd');
    expect(recovery.risks[0]).toContain('nobody remembers anything');
  });
});
