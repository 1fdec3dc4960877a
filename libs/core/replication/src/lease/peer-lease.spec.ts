import { toReplicaId } from '@atoll/core-runtime';
import { PeerLease, type LeaseItem } from './peer-lease.ts';

const item = (partition: number, epoch = 1): LeaseItem => ({ keyspace: 'k', partition, epoch, replica: toReplicaId('b'.repeat(16)) });

const open = (): PeerLease => new PeerLease({ leaseMs: 1000, driftMs: 50 });
const until = (lease: PeerLease, partition: number, epoch = 1): number => lease.leaseUntilMs('k', partition, epoch, toReplicaId('b'.repeat(16)));

describe('a lease (R14)', () => {
  it('counts from when the beat was sent, less the drift', () => {
    const lease = open();
    lease.setItems([item(0)]);
    const { beat, listVersion, items } = lease.nextBeat(100);
    expect(items).toEqual([item(0)]);
    lease.onAnswer({ beat, listVersion, exceptions: [] }, 900);
    expect(until(lease, 0)).toBe(1050);
    expect(lease.heardMs).toBe(900);
  });

  it('is not there for an exception, and what was promised before stands until it has run out', () => {
    const lease = open();
    lease.setItems([item(0), item(1)]);
    lease.onAnswer({ ...lease.nextBeat(0), exceptions: [] }, 1);
    lease.onAnswer({ ...lease.nextBeat(100), exceptions: [1] }, 101);
    lease.onAnswer({ ...lease.nextBeat(200), exceptions: [1] }, 201);
    expect(until(lease, 0)).toBe(1150);
    expect(until(lease, 1)).toBe(950);
    lease.onAnswer({ ...lease.nextBeat(300), exceptions: [] }, 301);
    expect(until(lease, 1)).toBe(1250);
  });

  it('covers neither another epoch nor another replica', () => {
    const lease = open();
    lease.setItems([item(0, 4)]);
    lease.onAnswer({ ...lease.nextBeat(0), exceptions: [] }, 1);
    expect(until(lease, 0, 4)).toBe(950);
    expect(until(lease, 0, 5)).toBe(Number.NEGATIVE_INFINITY);
    expect(lease.leaseUntilMs('k', 0, 4, toReplicaId('c'.repeat(16)))).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe('a list that changes', () => {
  it('is sent until the peer has acknowledged it, and once more on a new stream', () => {
    const lease = open();
    lease.setItems([item(0)]);
    const first = lease.nextBeat(0);
    expect(lease.nextBeat(100).items).toHaveLength(1);
    lease.onAnswer({ ...first, exceptions: [] }, 101);
    expect(lease.nextBeat(200).items).toEqual([]);
    lease.onStreamOpened();
    expect(lease.nextBeat(300).items).toHaveLength(1);
  });

  it('keeps the leases of what is still on it', () => {
    const lease = open();
    lease.setItems([item(0)]);
    lease.onAnswer({ ...lease.nextBeat(0), exceptions: [] }, 1);
    expect(lease.setItems([item(0), item(1)])).toBe(true);
    expect(lease.setItems([item(0), item(1)])).toBe(false);
    expect(until(lease, 0)).toBe(950);
    expect(until(lease, 1)).toBe(Number.NEGATIVE_INFINITY);
  });

  it('gets nothing from an answer to the list before: its places mean other partitions', () => {
    const lease = open();
    lease.setItems([item(0)]);
    const beat = lease.nextBeat(0);
    lease.setItems([item(1)]);
    lease.onAnswer({ ...beat, exceptions: [] }, 1);
    expect(until(lease, 1)).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe('a clock that stood still (R17)', () => {
  it('voids what is held, and what was asked before it was noticed', () => {
    const lease = open();
    lease.setItems([item(0)]);
    lease.onAnswer({ ...lease.nextBeat(0), exceptions: [] }, 1);
    const beat = lease.nextBeat(100);
    lease.dropAll();
    lease.onAnswer({ ...beat, exceptions: [] }, 101);
    expect(until(lease, 0)).toBe(Number.NEGATIVE_INFINITY);
    lease.onAnswer({ ...lease.nextBeat(200), exceptions: [] }, 201);
    expect(until(lease, 0)).toBe(1150);
  });
});

describe('beats without answers', () => {
  it('are kept in a bounded number; an answer to one that was given up changes nothing', () => {
    const lease = open();
    lease.setItems([item(0)]);
    const first = lease.nextBeat(0);
    for (let atMs = 1; atMs <= 64; atMs += 1) lease.nextBeat(atMs);
    lease.onAnswer({ ...first, exceptions: [] }, 100);
    expect(until(lease, 0)).toBe(Number.NEGATIVE_INFINITY);
  });
});
