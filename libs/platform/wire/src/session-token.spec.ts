import * as fc from 'fast-check';
import { SESSION_PARTITIONS_MAX, encodePosition, keyspaceTag, mergeSessions, narrowSession, positionIn, type SessionPosition } from './session-token.ts';

const tag = keyspaceTag('1f2e3d4c');
const EMPTY: Buffer = Buffer.alloc(0);
const at = (partition: number, seq: number, epoch = 1, generation = 1): SessionPosition => ({ partition, generation, epoch, seq });
const tokenOf = (...positions: SessionPosition[]): Buffer =>
  positions.reduce<Buffer>((token, position) => mergeSessions(token, encodePosition(tag, position)), EMPTY);

describe('session token', () => {
  it('golden: one position', () => {
    expect(encodePosition({ high: 0x01020304, low: 0x05060708 }, at(9, 2 ** 32 + 1, 3, 2)).toString('hex')).toBe(
      '010000010102030405060708000900000002000000030000000100000001b9fe29e6',
    );
  });

  it('gives back what was put in', () => {
    fc.assert(
      fc.property(fc.nat(4095), fc.maxSafeNat(), fc.nat(), fc.nat(), (partition, seq, epoch, generation) => {
        const position = at(partition, seq, epoch, generation);
        expect(positionIn(encodePosition(tag, position), tag, partition)).toEqual(position);
      }),
    );
  });

  it('takes no bytes as an empty token', () => {
    expect(positionIn(EMPTY, tag, 0)).toBeUndefined();
    expect(narrowSession(EMPTY, tag, 0)).toEqual({ token: EMPTY, mustBeStrong: false });
    expect(mergeSessions(EMPTY, EMPTY)).toHaveLength(0);
  });

  it('keeps the later position, by generation, then epoch, then seq', () => {
    expect(positionIn(tokenOf(at(1, 5), at(1, 4)), tag, 1)?.seq).toBe(5);
    expect(positionIn(tokenOf(at(1, 5, 1), at(1, 4, 2)), tag, 1)?.seq).toBe(4);
    expect(positionIn(tokenOf(at(1, 5, 9, 1), at(1, 4, 2, 2)), tag, 1)?.seq).toBe(4);
    expect(positionIn(tokenOf(at(1, 5), at(2, 7), at(1, 6)), tag, 1)?.seq).toBe(6);
  });

  it('merges in any order to the same positions', () => {
    const position = fc.record({ partition: fc.nat(20), generation: fc.nat(2), epoch: fc.nat(3), seq: fc.nat(50) });
    fc.assert(
      fc.property(fc.array(position), fc.array(position), (a, b) => {
        const left = mergeSessions(tokenOf(...a), tokenOf(...b));
        const right = mergeSessions(tokenOf(...b), tokenOf(...a));
        for (let partition = 0; partition <= 20; partition += 1) expect(positionIn(left, tag, partition)).toEqual(positionIn(right, tag, partition));
      }),
    );
  });

  it('tells keyspaces apart', () => {
    const other = keyspaceTag('another id');
    expect(positionIn(tokenOf(at(1, 5)), other, 1)).toBeUndefined();
  });

  it('narrows to the partition concerned', () => {
    const token = tokenOf(at(1, 5), at(2, 7));
    expect(narrowSession(token, tag, 2)).toEqual({ token: encodePosition(tag, at(2, 7)), mustBeStrong: false });
    expect(narrowSession(token, tag, 3)).toEqual({ token: EMPTY, mustBeStrong: false });
  });

  it('(R35) drops the partitions not seen for longest beyond the bound and then asks for STRONG reads of them', () => {
    const all = Array.from({ length: SESSION_PARTITIONS_MAX }, (_, partition) => at(partition, 1));
    const full = tokenOf(...all);
    expect(narrowSession(full, tag, 1000).mustBeStrong).toBe(false);
    const over = tokenOf(...all, at(0, 2), at(1000, 1));
    expect(positionIn(over, tag, 0)?.seq).toBe(2);
    expect(positionIn(over, tag, 1)).toBeUndefined();
    expect(positionIn(over, tag, 1000)).toBeDefined();
    expect(narrowSession(over, tag, 1).mustBeStrong).toBe(true);
    expect(narrowSession(over, tag, 2).mustBeStrong).toBe(false);
    expect(narrowSession(mergeSessions(encodePosition(tag, at(5, 1)), over), tag, 1).mustBeStrong).toBe(true);
  });

  const good = tokenOf(at(1, 5), at(2, 7));
  it.each([
    ['another format', Buffer.concat([Buffer.of(2), good.subarray(1)])],
    ['truncated', good.subarray(0, good.length - 1)],
    ['too short', Buffer.from('abc')],
    ['a changed byte', Buffer.concat([good.subarray(0, 10), Buffer.of(good[10]! ^ 1), good.subarray(11)])],
    ['something behind it', Buffer.concat([good, Buffer.of(0)])],
    ['unknown flags', Buffer.concat([Buffer.of(1, 2), good.subarray(2)])],
  ])('refuses %s', (_name, token) => {
    const malformed = expect.objectContaining({ reason: 'SESSION_MALFORMED', metadata: { field: 'session' } }) as Error;
    expect(() => narrowSession(token, tag, 1)).toThrow(malformed);
    expect(() => mergeSessions(token, EMPTY)).toThrow(malformed);
    expect(() => mergeSessions(EMPTY, token)).toThrow(malformed);
  });
});
