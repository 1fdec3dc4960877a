// Plain JavaScript for Node 18 and later with nothing installed: what has to happen before anything else can run.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Top of the repository. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Oldest Node that runs TypeScript files without a flag. */
const NODE_MIN = [22, 18];

/** Ends the program with a message: the user has to change something. */
export class BootstrapError extends Error {}

/**
 * Runs `npm ci` when node_modules is missing or belongs to another package-lock.json; says so. A stamp with
 * the lock's hash makes the check cheap; without one, the list of installed packages is compared.
 */
export function ensureInstalled({ root = ROOT, report = (line) => console.error(line) } = {}) {
  const stamp = join(root, 'node_modules', '.atoll-lock-hash');
  const lock = readFileSync(join(root, 'package-lock.json'));
  const hash = `${createHash('sha256').update(lock).digest('hex')} ${process.platform}-${process.arch}`;
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return;
  if (!isInstalled(root, lock)) {
    const why = existsSync(join(root, 'node_modules')) ? 'node_modules does not match package-lock.json' : 'there is no node_modules';
    report(`install: ${why}; running npm ci`);
    runNpm(root, ['ci', '--include=dev', '--include=optional', '--no-fund', '--no-audit']);
    report('install: done');
  }
  writeFileSync(stamp, hash);
}

/** True when every package of the lock is installed in its version; optional ones may be missing. */
export function isInstalled(root, lock) {
  const hidden = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(hidden)) return false;
  const installed = JSON.parse(readFileSync(hidden, 'utf8')).packages ?? {};
  return Object.entries(JSON.parse(lock).packages ?? {}).every(([path, wanted]) => {
    if (!path.startsWith('node_modules/') || wanted.link) return true;
    const found = installed[path];
    return found === undefined ? wanted.optional === true : found.version === wanted.version;
  });
}

function runNpm(root, args) {
  // npm tells its scripts where it is itself; a PATH need not have it.
  const self = process.env.npm_execpath;
  const [file, first] = self?.endsWith('npm-cli.js') ? [process.execPath, [self]] : ['npm', []];
  // Its words go to stderr: stdout belongs to the command that follows.
  const result = spawnSync(file, [...first, ...args], { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.error) throw new BootstrapError(`npm could not be started: ${result.error.message}`);
  if (result.status !== 0) throw new BootstrapError(`npm ${args.join(' ')} failed (${result.status ?? result.signal}); its message is above`);
}

/** The Node that runs Atoll: the pinned one of node_modules, else this one when it is new enough. */
export function findNode({ root = ROOT } = {}) {
  const pinned = join(root, 'node_modules', '.bin', 'node');
  if (isNewEnough(versionOf(pinned))) return pinned;
  if (isNewEnough(process.versions.node)) return process.execPath;
  throw new BootstrapError(
    `Node ${NODE_MIN.join('.')} or newer is needed; this is ${process.versions.node}, and no pinned one could be installed for ` +
      `${process.platform}-${process.arch}. Install Node 24 (https://nodejs.org) and run this again with it.`,
  );
}

function versionOf(node) {
  if (!existsSync(node)) return undefined;
  const result = spawnSync(node, ['--version'], { encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim().replace(/^v/, '') : undefined;
}

export function isNewEnough(version) {
  if (version === undefined) return false;
  const [major, minor] = version.split('.').map(Number);
  return major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1]);
}

/** Runs the program's main function; a BootstrapError becomes one line and exit code 1. */
export async function runMain(main) {
  try {
    process.exitCode = await main();
  } catch (error) {
    if (!(error instanceof BootstrapError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
