import { keyText } from './key-text.ts';

it.each([
  ['text', Buffer.from('user:1'), 'user:1'],
  ['text beyond ASCII', Buffer.from('größe'), 'größe'],
  ['bytes that are no text', Buffer.from([0xff, 0x00]), '0xff00'],
  ['control characters', Buffer.from('a\nb'), '0x610a62'],
  ['what would end the list', Buffer.from('a, b'), '0x612c2062'],
  ['a long key', Buffer.from('k'.repeat(65)), `${'k'.repeat(64)}…`],
  ['long bytes', Buffer.alloc(100, 0xab), `0x${'ab'.repeat(31)}…`],
])('shows %s', (_what, key, shown) => expect(keyText(key)).toBe(shown));
