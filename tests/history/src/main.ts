// node tests/history/src/main.ts FILE   judges a history that a test kept; exit code 1 when it is not linearizable.
import { readFileSync } from 'node:fs';
import { checkHistory } from './check-history.ts';
import { parseHistory } from './history-text.ts';

const path = process.argv[2];
if (path === undefined) {
  console.error('usage: node tests/history/src/main.ts FILE');
  process.exitCode = 2;
} else {
  const history = parseHistory(readFileSync(path, 'utf8'));
  const problems = checkHistory(history);
  for (const { key, kind, story } of problems) console.log(`${key}: ${kind}\n${story}`);
  console.log(`${history.length} operations, ${problems.length} keys with problems`);
  if (problems.length > 0) process.exitCode = 1;
}
