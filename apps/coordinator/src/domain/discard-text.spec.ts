import { discardText } from './discard-text.ts';

const NOTHING = { discarded: 0, superseded: 0, kept: 0, unknown: 0, firstKeys: [], listFile: '' };

it('names the first keys of what is gone, and where more of them are', () => {
  const text = discardText('n1', { ...NOTHING, discarded: 3, superseded: 1, kept: 7, firstKeys: ['k1', 'k2'], listFile: '/data/discarded.jsonl' });
  expect(text).toBe(
    'node n1 held writes of an older generation: 3 that are gone, 1 with a newer write since, 7 that are still there; listed in /data/discarded.jsonl there; gone: k1, k2, and 1 more',
  );
});

it('tells what nobody compared from what is certainly gone', () => {
  expect(discardText('n1', { ...NOTHING, unknown: 2, firstKeys: ['k1', 'k2'] })).toBe(
    'node n1 held writes of an older generation: 2 that went without being compared; keys: k1, k2',
  );
});

it('stays small, whatever the keys are', () => {
  const firstKeys = Array.from({ length: 32 }, (_, index) => `${index}${'ß'.repeat(62)}`);
  const text = discardText('n1', { ...NOTHING, discarded: 5000, firstKeys });
  expect(Buffer.byteLength(text)).toBeLessThan(1200);
  expect(text).toMatch(/and 49\d\d more$/);
});
