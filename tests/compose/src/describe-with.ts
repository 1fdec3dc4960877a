/** `describe` where nothing is missing; else its tests are skipped and the reason printed. */
export function describeWith(missing: string | undefined): typeof describe.skip {
  if (missing === undefined) return describe;
  console.log(`skipped: ${missing}`);
  return describe.skip;
}
