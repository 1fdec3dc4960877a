import { spawn } from 'node:child_process';

export interface ProgramResult {
  /** null when a signal ended it; 127 when it could not be started. */
  readonly code: number | null;
  /** stdout and stderr as they came, at most 64 KiB. */
  readonly output: string;
}

const OUTPUT_CHARS_MAX = 65_536;

/** Runs a program to its end; ends it by SIGKILL after `timeoutMs`. Never rejects. */
export function runProgram(
  file: string,
  args: readonly string[],
  options: { env: Readonly<Record<string, string | undefined>>; timeoutMs: number },
): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      env: { ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
    });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output = (output + chunk.toString('utf8')).slice(-OUTPUT_CHARS_MAX);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', (error) => resolve({ code: 127, output: error.message }));
    child.once('close', (code) => resolve({ code, output }));
  });
}
