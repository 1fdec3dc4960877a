// The commands of a document and what it says that they print. A block of code whose lines begin with `$ ` is a
// transcript: each such line is a command, the lines behind it are what it prints, in this order, others in between left
// out. `...` stands for anything. Numbers, times and sizes are of the day on which the text was written: any other will do.
// A comment in front of a block says what is special about it:
//
//   <!-- not run: reason -->        it is left out
//   <!-- played instead: COMMAND -->
//   <!-- fails -->                  its commands are refused
//   <!-- clients stop -->           what the cluster does next ends clients
//   <!-- clients go on -->          from here on they are served again

export interface Step {
  readonly command: string;
  readonly expected: readonly string[];
  readonly fails: boolean;
  /** Of the command, from 1. */
  readonly line: number;
}

export type Part =
  | { readonly kind: 'heading'; readonly title: string; readonly line: number }
  | { readonly kind: 'step'; readonly step: Step }
  | { readonly kind: 'left out'; readonly reason: string; readonly commands: readonly string[]; readonly line: number }
  | { readonly kind: 'clients'; readonly run: boolean; readonly line: number };

const DIRECTIVE = /^ *<!-- (not run: (?<reason>.+)|played instead: (?<instead>.+)|(?<fails>fails)|clients (?<clients>stop|go on)) -->$/;
const CONTINUED = /\\$/;
/** Of a shell, which ends with a line that is a brace. */
const FUNCTION = /^\w+\(\) \{$/m;

/** Everything of a document that matters to whoever executes it, in its order. */
export function readTranscript(text: string): Part[] {
  const lines = text.split('\n');
  const parts: Part[] = [];
  let reason: string | undefined;
  let instead: string | undefined;
  let fails = false;
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at]!;
    // In a list a block is as far to the right as its text.
    const fence = /^( *)```/.exec(line);
    const directive = DIRECTIVE.exec(line)?.groups;
    const heading = /^#+ (.*)$/.exec(line)?.[1];
    if (heading !== undefined) parts.push({ kind: 'heading', title: heading, line: at + 1 });
    else if (directive?.['clients'] !== undefined) parts.push({ kind: 'clients', run: directive['clients'] === 'go on', line: at + 1 });
    else if (directive !== undefined) [reason, instead, fails] = [directive['reason'], directive['instead'], directive['fails'] !== undefined];
    else if (fence !== null) {
      const indent = fence[1]!;
      const end = lines.indexOf(`${indent}\`\`\``, at + 1);
      if (end < 0) throw new Error(`line ${at + 1}: the block has no end`);
      const block = lines.slice(at + 1, end).map((each) => (each.startsWith(indent) ? each.slice(indent.length) : each));
      const steps = stepsOf(block, at + 2, fails);
      if (instead !== undefined) parts.push({ kind: 'step', step: { command: instead, expected: [], fails: false, line: at + 1 } });
      else if (reason === undefined) parts.push(...steps.map((step): Part => ({ kind: 'step', step })));
      else parts.push({ kind: 'left out', reason, commands: steps.map(({ command }) => command), line: at + 1 });
      [reason, instead, fails, at] = [undefined, undefined, false, end];
    }
  }
  return parts;
}

function stepsOf(block: readonly string[], firstLine: number, fails: boolean): Step[] {
  const steps: { command: string; expected: string[]; fails: boolean; line: number }[] = [];
  for (let at = 0; at < block.length; at += 1) {
    const line = block[at]!;
    const step = steps.at(-1);
    if (line.startsWith('$ ')) steps.push({ command: line.slice(2), expected: [], fails, line: firstLine + at });
    else if (step !== undefined && FUNCTION.test(step.command) && !step.command.endsWith('}')) step.command += `\n${line.trim()}`;
    else if (step !== undefined && CONTINUED.test(step.command) && step.expected.length === 0) step.command = `${step.command.replace(CONTINUED, '')}${line.trimStart()}`;
    else if (line.trim() !== '') step?.expected.push(line);
  }
  return steps;
}

/** The first expected line that was not printed behind those before it; undefined: all were. */
export function firstMissing(expected: readonly string[], printed: string): string | undefined {
  const lines = printed.split('\n').map(squeezed);
  let at = 0;
  for (const line of expected) {
    if (line.trim() === '...') continue;
    const pattern = patternOf(line);
    while (at < lines.length && !pattern.test(lines[at]!)) at += 1;
    if (at === lines.length) return line;
    at += 1;
  }
  return undefined;
}

const squeezed = (line: string): string => line.trim().replace(/\s+/g, ' ');

const NUMBER = String.raw`\d+(?:,\d{3})*(?:\.\d+)?`;
const TIME = String.raw`\d{4}-\d\d-\d\dT[\d:.]+Z`;
const DURATION = String.raw`${NUMBER}(?:ms|[smhd])(?:\d+[smhd])*`;
const SIZE = String.raw`${NUMBER} (?:[KMG]i)?B`;
/** What is measured: `4m12s`, `1.3 MiB`, `21`, `2026-11-22T10:05:11.123Z`; not the 2 of `node-2`, nor `0.1.0`. */
const MEASURED = new RegExp(String.raw`(?<![\w.-])(?:(?<time>${TIME})|(?<duration>${DURATION})|(?<size>${SIZE})|(?<number>${NUMBER}))(?!\.\d)(?![\w-])`, 'g');
const ANY: Readonly<Record<string, string>> = { time: TIME, duration: DURATION, size: SIZE, number: NUMBER };

function patternOf(line: string): RegExp {
  const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('\\.\\.\\.', '.*');
  const text = squeezed(line);
  let pattern = '';
  let from = 0;
  for (const match of text.matchAll(MEASURED)) {
    pattern += escaped(text.slice(from, match.index)) + ANY[Object.entries(match.groups!).find(([, value]) => value !== undefined)![0]]!;
    from = match.index + match[0].length;
  }
  return new RegExp(`^${pattern}${escaped(text.slice(from))}$`);
}
