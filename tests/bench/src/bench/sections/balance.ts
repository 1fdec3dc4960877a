import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Section } from '../section.ts';

const SCRIPT = fileURLToPath(new URL('../../../../../tools/placement-table.ts', import.meta.url));
const TIMEOUT_MS = 120_000;
/** `683 of 752`, `25.00 % of 31.25 %`: a figure and its bound. */
const BOUNDED = /(\d+(?:\.\d+)?)(?: %)? of (\d+(?:\.\d+)?)/g;

/** How evenly placement spreads, and what a join moves: the table of tools/placement-table.ts. */
export const balanceSection: Section = async ({ print, signal }) => {
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT], { signal, timeout: TIMEOUT_MS });
  const table = stdout.trim();
  print(table);
  const figures = [...table.matchAll(BOUNDED)].map(([, figure, bound]) => ({ figure: Number(figure), bound: Number(bound) }));
  const beyond = figures.filter(({ figure, bound }) => figure > bound).length;
  const passed = figures.length > 0 && beyond === 0;
  return { checks: [{ name: 'balance and movement, 3 to 100 nodes, 1024 partitions: figures beyond their bound', value: beyond, text: `${beyond} of ${figures.length}`, target: '0', passed }], details: table };
};
