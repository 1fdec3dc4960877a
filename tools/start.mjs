// npm start [-- options of `atoll dev up`]   installs what is missing, then runs a local cluster in the foreground.
import { join } from 'node:path';
import { ROOT, ensureInstalled, findNode, runMain } from './bootstrap/install.mjs';
import { runChild } from './bootstrap/run-child.mjs';

await runMain(async () => {
  ensureInstalled();
  const entry = join(ROOT, 'apps', 'cli', 'src', 'main.ts');
  return runChild(findNode(), [entry, 'dev', 'up', ...process.argv.slice(2)], { cwd: ROOT });
});
