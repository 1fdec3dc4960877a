import * as fc from 'fast-check';
import { decodeVersion, encodeVersion, type VersionParts } from './version-codec.ts';

const versions = fc.record({
  generation: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  epoch: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  seq: fc.maxSafeNat(),
});

const compare = (a: VersionParts, b: VersionParts): number => a.generation - b.generation || a.epoch - b.epoch || a.seq - b.seq;

describe('version codec', () => {
  it.each([
    [{ generation: 1, epoch: 2, seq: 3 }, '00000001000000020000000000000003'],
    [{ generation: 0xffff_ffff, epoch: 0x8000_0000, seq: Number.MAX_SAFE_INTEGER }, 'ffffffff80000000001fffffffffffff'],
    [{ generation: 0, epoch: 0, seq: 2 ** 32 }, '00000000000000000000000100000000'],
  ])('golden %j', (version, hex) => {
    expect(encodeVersion(version).toString('hex')).toBe(hex);
    expect(decodeVersion(Buffer.from(hex, 'hex'))).toEqual(version);
  });

  it('orders bytes as versions', () => {
    fc.assert(
      fc.property(versions, versions, (a, b) => {
        expect(Math.sign(Buffer.compare(encodeVersion(a), encodeVersion(b)))).toBe(Math.sign(compare(a, b)));
        expect(decodeVersion(encodeVersion(a))).toEqual(a);
      }),
    );
  });

  it('takes no bytes as no version', () => {
    expect(decodeVersion(Buffer.alloc(0))).toBeUndefined();
  });

  it.each([Buffer.alloc(15), Buffer.alloc(17), Buffer.alloc(16, 0xff)])('refuses %p and names the field', (bytes) => {
    expect(() => decodeVersion(bytes)).toThrow(
      expect.objectContaining({ reason: 'INVALID_ARGUMENT', metadata: { field: 'expected_version' } }) as Error,
    );
  });
});
