// One bash for all commands of a chapter, so that variables and functions of one are there for the next.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { randomUUID } from 'node:crypto';

export interface ShellResult {
  readonly code: number;
  /** stdout and stderr as they came. */
  readonly output: string;
}

export class ShellSession {
  readonly #bash: ChildProcessWithoutNullStreams;
  #output = '';
  #onOutput: () => void = () => undefined;

  constructor({ cwd, env, prelude }: { readonly cwd: string; readonly env: Readonly<Record<string, string | undefined>>; readonly prelude: string }) {
    this.#bash = spawn('bash', ['--noprofile', '--norc'], { cwd, env: { ...env } });
    for (const stream of [this.#bash.stdout, this.#bash.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
        this.#onOutput();
      });
    }
    this.#bash.once('close', () => this.#onOutput());
    this.#bash.stdin.write(`${prelude}\n`);
  }

  /** Commands come one after the other; after `timeoutMs` one is given up, and the session is of no use any more. */
  run(command: string, timeoutMs: number): Promise<ShellResult> {
    const mark = `done-${randomUUID()}`;
    const end = new RegExp(`${mark} (\\d+)\\n`);
    this.#output = '';
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${command}: not done after ${timeoutMs} ms; so far: ${this.#output}`)), timeoutMs);
      this.#onOutput = () => {
        const found = end.exec(this.#output);
        if (found === null && this.#bash.exitCode === null) return;
        clearTimeout(timer);
        this.#onOutput = () => undefined;
        if (found === null) reject(new Error(`${command}: the shell ended with code ${this.#bash.exitCode}: ${this.#output}`));
        else resolve({ code: Number(found[1]), output: this.#output.slice(0, found.index) });
      };
      // Nothing of a command may read the commands behind it.
      this.#bash.stdin.write(`{ ${command}\n} </dev/null 2>&1; printf '%s %s\\n' '${mark}' $?\n`);
    });
  }

  close(): void {
    this.#bash.stdin.end();
    this.#bash.kill();
  }
}
