/** `it` where the outside tool is there; else the test is skipped and the reason printed. */
export function itWith(isThere: boolean, reason: string): typeof it.skip {
  if (isThere) return it;
  console.log(`skipped: ${reason}`);
  return it.skip;
}
