// npm test [-- --unit | --process | --cluster] [-- options of jest]
// Installs what is missing, finds etcd, runs the unit specs, the process specs, and then the cluster specs one after the other.
// The last line is the sum: `N passed, N failed`.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { BootstrapError, ROOT, ensureInstalled, findNode, runMain } from './bootstrap/install.mjs';
import { LINGERED, runChild } from './bootstrap/run-child.mjs';
import { addCounts, readCounts, sumLine } from './bootstrap/test-counts.mjs';

/** Specs that play real outages take long and are no unit specs, wherever they stand. */
const PROCESS_SPECS = '\\.process\\.spec\\.ts$';
const SUITES = {
  // Many specs wait for leases and streams rather than compute: half as many workers again as cores. (Jest takes 150% for 150 workers.)
  unit: { title: 'unit specs (libs, apps, tools)', args: ['--roots', 'libs', 'apps', 'tools', '--testPathIgnorePatterns', PROCESS_SPECS, `--maxWorkers=${Math.ceil(1.5 * availableParallelism())}`] },
  // They wait more than they compute, but stop and cut off what others would feel: as many as cores.
  process: {
    title: 'process specs (real processes, long outages)',
    args: ['--roots', 'libs', 'apps', 'tools', '--testMatch', '**/*.process.spec.ts', `--maxWorkers=${availableParallelism()}`],
  },
  // Each cluster has processes of its own: two at once would only slow each other down.
  cluster: { title: 'cluster specs (whole clusters, real outages)', args: ['--roots', 'tests', '--runInBand'] },
};

/** A connection or timer that a spec leaves open keeps jest alive; it gets this long. etcd leases take up to 30 s. */
const LINGER_MS = 45_000;

await runMain(async () => {
  const args = process.argv.slice(2);
  const named = Object.keys(SUITES).filter((name) => args.includes(`--${name}`));
  const suites = named.length > 0 ? named : Object.keys(SUITES);
  const jestArgs = args.filter((arg) => !suites.includes(arg.replace(/^--/, '')) || !arg.startsWith('--'));

  ensureInstalled();
  const node = findNode();
  const env = {
    ...process.env,
    ATOLL_ETCD_BIN: findEtcd(node),
    PATH: [join(ROOT, 'node_modules', '.bin'), dirname(node), process.env.PATH].join(delimiter),
  };
  let total = { passed: 0, failed: 0 };
  for (const suite of suites) total = addCounts(total, await runSuite(node, env, SUITES[suite], jestArgs));
  console.log(sumLine(total));
  return total.failed === 0 ? 0 : 1;
});

/** The same search as `atoll dev up`; what it does is told on stderr. */
function findEtcd(node) {
  const result = spawnSync(node, [join(ROOT, 'apps', 'cli', 'src', 'main.ts'), 'dev', 'etcd'], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  if (result.status !== 0) throw new BootstrapError('the tests need etcd');
  const path = result.stdout.trim();
  console.error(`etcd: ${path}`);
  return path;
}

async function runSuite(node, env, { title, args }, jestArgs) {
  console.log(`\n== ${title}`);
  const scratch = mkdtempSync(join(tmpdir(), 'atoll-test-'));
  try {
    const outputFile = join(scratch, 'result.json');
    const jest = join(ROOT, 'node_modules', 'jest', 'bin', 'jest.js');
    const nodeArgs = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', jest];
    // A pattern may match nothing in one of the suites; a whole suite without a test is a failure.
    const emptyOk = jestArgs.length > 0 ? ['--passWithNoTests'] : [];
    const jestCommand = [...nodeArgs, '--rootDir', ROOT, ...args, ...emptyOk, '--json', `--outputFile=${outputFile}`, ...jestArgs];
    // --json prints the result on stdout as well; the file has it.
    const options = { cwd: ROOT, env, stdio: ['ignore', 'ignore', 'inherit'], lingerMs: LINGER_MS, isDone: () => existsSync(outputFile) };
    const code = await runChild(node, jestCommand, options);
    if (code === LINGERED) console.log(`${title}: jest did not end within ${LINGER_MS / 1000} s of its last test; a spec leaves something open`);
    const counts = readCounts(outputFile, code);
    console.log(`${title}: ${sumLine(counts)}`);
    return counts;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
