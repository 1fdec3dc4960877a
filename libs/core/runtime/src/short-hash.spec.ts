import { describe, expect, it } from '@jest/globals';
import xxhash from 'xxhash-wasm';
import { SeededRandom } from './random.ts';
import { SHORT_HASH_BYTES_MAX, shortHash } from './short-hash.ts';

// oxlint-disable-next-line typescript/unbound-method -- a function of a record, not a method
const { h64Raw } = await xxhash();

describe('shortHash', () => {
  const random = new SeededRandom(20_261_121);
  const randomBytes = (length: number) => Uint8Array.from({ length }, () => random.nextUint32() & 0xff);
  const expected = (bytes: Uint8Array, seed: { high: number; low: number }) => {
    const hash = h64Raw(bytes, (BigInt(seed.high) << 32n) | BigInt(seed.low));
    return { high: Number(hash >> 32n), low: Number(hash & 0xffff_ffffn) };
  };

  it.each(Array.from({ length: SHORT_HASH_BYTES_MAX + 1 }, (_, length) => length))('is xxh64 of %d bytes, whatever they are and whatever the seed', (length) => {
    for (let round = 0; round < 200; round += 1) {
      const bytes = randomBytes(length);
      const seed = { high: random.nextUint32(), low: random.nextUint32() };
      expect({ bytes, seed, hash: shortHash(bytes, seed) }).toEqual({ bytes, seed, hash: expected(bytes, seed) });
    }
  });

  it.each([0x00, 0x7f, 0x80, 0xff])('carries right when every byte is %d', (byte) => {
    for (const half of [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
      const seed = { high: half, low: half };
      for (let length = 0; length <= SHORT_HASH_BYTES_MAX; length += 1) {
        const bytes = new Uint8Array(length).fill(byte);
        expect({ length, half, hash: shortHash(bytes, seed) }).toEqual({ length, half, hash: expected(bytes, seed) });
      }
    }
  });
});
