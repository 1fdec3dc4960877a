import type { DiscardedWrites } from '@atoll/contracts/atoll/v1/heartbeat';

/** Of the keys, as the event holds them; it is 2 KiB in all. */
const KEYS_BYTES_MAX = 1000;

/** For people: what a node found to be gone. */
export function discardText(node: string, { discarded, superseded, kept, unknown, firstKeys, listFile }: Omit<DiscardedWrites, 'number' | 'keyspace' | 'partitions'>): string {
  const found = [
    ...(discarded > 0 ? [`${discarded} that are gone`] : []),
    ...(unknown > 0 ? [`${unknown} that went without being compared`] : []),
    ...(superseded > 0 ? [`${superseded} with a newer write since`] : []),
    ...(kept > 0 ? [`${kept} that are still there`] : []),
  ];
  const file = listFile === '' ? '' : `; listed in ${listFile} there`;
  return `node ${node} held writes of an older generation: ${found.join(', ')}${file}; ${unknown > 0 ? 'keys' : 'gone'}: ${keysText(firstKeys, discarded + unknown)}`;
}

/** The keys that fit; of `count` altogether. */
function keysText(keys: readonly string[], count: number): string {
  const shown: string[] = [];
  let bytes = 0;
  for (const key of keys) {
    bytes += Buffer.byteLength(JSON.stringify(key));
    if (bytes > KEYS_BYTES_MAX) break;
    shown.push(key);
  }
  const more = count - shown.length;
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join(', ');
}
