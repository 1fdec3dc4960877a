import { slotOfKey } from './redis-slot.ts';

describe('a Redis slot', () => {
  it('is what the cluster specification and `CLUSTER KEYSLOT` say', () => {
    // The check value of the specification: CRC16 of "123456789" is 0x31c3.
    expect(slotOfKey('123456789')).toBe(0x31c3 % 16_384);
    expect(slotOfKey('foo')).toBe(12_182);
    expect(slotOfKey('bar')).toBe(5061);
  });
});
