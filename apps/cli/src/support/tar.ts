// POSIX.1-1988 ustar, as every tar reads it: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06

export interface TarFile {
  /** At most 100 bytes, with / between directories. */
  readonly name: string;
  readonly content: Buffer;
}

const BLOCK = 512;

/** An archive of plain files, all with mode 600. Throws for a name that does not fit. */
export function packTar(files: readonly TarFile[], modifiedMs: number): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content } of files) {
    const header = headerOf(name, content.length, modifiedMs);
    parts.push(header, content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK));
  }
  parts.push(Buffer.alloc(2 * BLOCK));
  return Buffer.concat(parts);
}

function headerOf(name: string, bytes: number, modifiedMs: number): Buffer {
  if (Buffer.byteLength(name) > 100) throw new Error(`the name ${name} is too long for tar`);
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number): void => void header.write(`${Math.floor(value).toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  header.write(name, 0);
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(bytes, 124, 12);
  octal(modifiedMs / 1000, 136, 12);
  header.fill(' ', 148, 156);
  header.write('0', 156);
  header.write('ustar\x0000', 257, 'latin1');
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}
