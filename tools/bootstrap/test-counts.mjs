import { readFileSync } from 'node:fs';

/**
 * Counts of one jest run out of its --json file. A spec file that cannot be loaded counts as one failure,
 * and so does a run that failed without saying why: a red run never sums up to "0 failed".
 */
export function readCounts(file, exitCode) {
  let result;
  try {
    result = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return { passed: 0, failed: 1 };
  }
  const failed = result.numFailedTests + result.numRuntimeErrorTestSuites;
  return { passed: result.numPassedTests, failed: failed === 0 && exitCode !== 0 ? 1 : failed };
}

export function addCounts(a, b) {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed };
}

export function sumLine({ passed, failed }) {
  return `${passed} passed, ${failed} failed`;
}
