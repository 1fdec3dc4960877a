// Specs that want more than this repository brings are skipped where it is missing, and say why.

/** `it` where the outside tool is there; else the test is skipped and the reason printed. */
export function itWith(isThere: boolean, reason: string): typeof it.skip {
  return isThere ? it : skip(reason, it.skip);
}

/** `describe` where nothing is missing; else its tests are skipped and the reason printed. */
export function describeWith(missing: string | undefined): typeof describe.skip {
  return missing === undefined ? describe : skip(missing, describe.skip);
}

function skip<T>(reason: string, skipped: T): T {
  console.log(`skipped: ${reason}`);
  return skipped;
}
