/** `[######....]`: so much of `width` characters is filled as `share`, 0 to 1, is done. */
export function bar(share: number, width: number): string {
  const filled = Math.round(width * Math.min(Math.max(share, 0), 1));
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}]`;
}
