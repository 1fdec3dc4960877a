import { toNodeId, toReplicaId } from '@atoll/core-runtime';
import * as fc from 'fast-check';

import {
  encodeKeyspaceSpec,
  encodeNodeRecord,
  encodeNodeSpec,
  encodePartitionRecord,
  parseKeyspaceSpec,
  parseNodeRecord,
  parseNodeSpec,
  parsePartitionRecord,
} from './record-codecs.ts';
import { sampleKeyspace, sampleNode, sampleNodeSpec, samplePartition } from './testing/sample-records.ts';

const waiting = samplePartition('default', 3, { state: 'WAITING', leader: undefined, leaderIncarnation: '' });

describe('records in etcd', () => {
  it.each([
    ['a node', sampleNode('a'), encodeNodeRecord, parseNodeRecord],
    ['a node spec', sampleNodeSpec('a'), encodeNodeSpec, parseNodeSpec],
    ['a keyspace', sampleKeyspace('default'), encodeKeyspaceSpec, parseKeyspaceSpec],
    ['a partition', samplePartition('default', 4095), encodePartitionRecord, parsePartitionRecord],
    ['a partition after a failover', samplePartition('default', 3, { traceparent: `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-01` }), encodePartitionRecord, parsePartitionRecord],
    ['a partition without a leader', waiting, encodePartitionRecord, parsePartitionRecord],
  ] as const)('%s comes back as it was', (_name, record, encode, parse) => {
    const text = (encode as (record: unknown) => string)(record);
    expect(parse(text)).toEqual({ kind: 'parsed', value: record });
  });

  it.each([
    ['', 'is not JSON'],
    ['{"id":', 'is not JSON'],
    ['null', 'value: '],
    ['[]', 'value: '],
    ['{}', 'keyspace: '],
    [JSON.stringify({ ...samplePartition('k', 0), epoch: -1 }), 'epoch: '],
    [JSON.stringify({ ...samplePartition('k', 0), state: 'SLEEPING' }), 'state: '],
    [JSON.stringify({ ...samplePartition('k', 0), inSync: [{ node: 'A!', replica: 'x' }] }), 'inSync.0.node: is not a node id'],
    [JSON.stringify({ ...samplePartition('k', 0), inSync: [] }), 'leader outside the in-sync set'],
  ])('a malformed partition %j is reported', (text, problem) => {
    const parsed = parsePartitionRecord(text);
    expect(parsed).toMatchObject({ kind: 'malformed', problem: expect.stringContaining(problem) });
  });

  it('reports a keyspace whose fields do not fit together', () => {
    const text = JSON.stringify({ ...sampleKeyspace('k'), minInSync: 9 });
    expect(parseKeyspaceSpec(text)).toMatchObject({ kind: 'malformed', problem: expect.stringContaining('min_in_sync') });
  });

  it('reports whatever else stands there, and never throws', () => {
    const parsers = [parseKeyspaceSpec, parseNodeRecord, parseNodeSpec, parsePartitionRecord];
    const text = fc.oneof(fc.string(), fc.json(), fc.object().map((value) => JSON.stringify({ ...samplePartition('k', 0), ...value })));
    fc.assert(
      fc.property(text, (value) => parsers.every((parse) => ['parsed', 'malformed'].includes(parse(value).kind))),
      { numRuns: 500 }, // A failure prints its seed.
    );
    expect(parsePartitionRecord('['.repeat(100_000)).kind).toBe('malformed');
  });

  it('passes over fields that a newer writer added', () => {
    const text = JSON.stringify({ ...sampleNode('a'), colour: 'blue' });
    expect(parseNodeRecord(text)).toEqual({ kind: 'parsed', value: sampleNode('a') });
  });

  it('refuses to write a partition that contradicts itself', () => {
    expect(() => encodePartitionRecord(samplePartition('k', 0, { leader: undefined }))).toThrow('ACTIVE without a leader');
  });

  it('holds the largest partition in 8 KiB, and refuses to write more', () => {
    const members = (count: number) =>
      Array.from({ length: count }, (_, index) => ({
        node: toNodeId(`n${index}`.padEnd(64, 'x')),
        replica: toReplicaId(String(index).padStart(16, '0')),
      }));
    const largest = members(7);
    const record = samplePartition('k'.repeat(64), 4095, { leader: largest[0]!, inSync: largest, eligible: largest, learners: [], leaving: largest, traceparent: `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-01` });
    expect(Buffer.byteLength(encodePartitionRecord(record))).toBeLessThan(8192);
    expect(() => encodePartitionRecord({ ...record, leaving: members(100) })).toThrow('too many for etcd');
  });
});
