import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MODULE = fileURLToPath(new URL('priority.ts', import.meta.url));

/** What a process of its own prints: that of the tests keeps its priority. */
const run = (script: string): unknown => JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', `import { stepBack } from ${JSON.stringify(MODULE)}; ${script}`], { encoding: 'utf8' }));

it('steps back with all of its threads, those that run already included', () => {
  const script = `
    import { readdirSync } from 'node:fs';
    import { readFile } from 'node:fs/promises';
    import { getPriority } from 'node:os';
    await readFile(${JSON.stringify(MODULE)});
    const before = getPriority();
    stepBack(19);
    const threads = process.platform === 'linux' ? readdirSync('/proc/self/task').map(Number) : [process.pid];
    console.log(JSON.stringify({ before, after: [...new Set(threads.map((thread) => getPriority(thread)))], several: process.platform !== 'linux' || threads.length > 4 }));`;
  expect(run(script)).toEqual({ before: expect.any(Number), after: [19], several: true });
});
