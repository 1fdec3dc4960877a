const TEXT_LENGTH_MAX = 64;

/** A key for people: as it is where that can be read, else 0x and hex; cut, with … at the end. */
export function keyText(key: Uint8Array): string {
  const text = Buffer.from(key).toString('utf8');
  const isReadable = Buffer.from(text).equals(key) && text.length > 0 && !/[\p{C}\p{Z}",]/u.test(text);
  return cut(isReadable ? text : `0x${Buffer.from(key).toString('hex')}`);
}

function cut(text: string): string {
  const characters = Array.from(text);
  return characters.length <= TEXT_LENGTH_MAX ? text : `${characters.slice(0, TEXT_LENGTH_MAX).join('')}…`;
}
