import { decodeFence, encodeFence, fenceBytes, FENCING_TOKEN_MAX, type Fence } from './fence.ts';

const fences: readonly Fence[] = [
  { lock: { kind: 'name', name: 'nightly résumé' }, token: 7, isShared: false },
  { lock: { kind: 'range', range: { start: { high: 1, low: 2 }, end: { high: 3, low: 0xffff_ffff } } }, token: FENCING_TOKEN_MAX, isShared: true },
  { lock: { kind: 'range', range: { start: { high: 0, low: 0 }, end: undefined } }, token: 2 ** 40, isShared: false },
];

describe('a fence in bytes', () => {
  it('comes back as it went, also behind others', () => {
    const bytes = Buffer.alloc(fences.reduce((sum, fence) => sum + fenceBytes(fence), 0));
    let at = 0;
    for (const fence of fences) at = encodeFence(fence, bytes, at);
    expect(at).toBe(bytes.length);
    at = 0;
    for (const fence of fences) {
      const decoded = decodeFence(bytes, at);
      expect(decoded.fence).toEqual(fence);
      at = decoded.end;
    }
    expect(at).toBe(bytes.length);
  });

  it.each(fences)('is a RangeError when it is cut anywhere: %j', (fence) => {
    const bytes = Buffer.alloc(fenceBytes(fence));
    encodeFence(fence, bytes, 0);
    // Of a range without an end the last eight bytes say nothing.
    const needed = bytes.length - (fence.lock.kind === 'range' && fence.lock.range.end === undefined ? 8 : 0);
    for (let length = 0; length < needed; length += 1) {
      expect(() => decodeFence(Buffer.from(bytes.subarray(0, length)), 0)).toThrow(expect.objectContaining({ name: 'RangeError' }));
    }
  });
});
