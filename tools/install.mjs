// node tools/install.mjs   installs the dependencies when that is needed, and prints the Node to use.
import { ensureInstalled, findNode, runMain } from './bootstrap/install.mjs';

await runMain(() => {
  ensureInstalled();
  console.log(findNode());
  return 0;
});
