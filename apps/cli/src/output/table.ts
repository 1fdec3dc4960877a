/** A column: its heading, and whether it holds numbers (then it is set flush right). */
export interface Column {
  readonly heading: string;
  readonly numeric?: boolean;
}

const GAP = '  ';

/** Rows under headings, each column as wide as its widest cell. Control characters are shown escaped, so that data cannot move the cursor. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) => columns.map((_, index) => printable(String(row[index] ?? ''))));
  const widths = columns.map(({ heading }, index) => Math.max(heading.length, ...cells.map((row) => row[index]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, index) => (columns[index]?.numeric ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0)))
      .join(GAP)
      .trimEnd();
  return [line(columns.map(({ heading }) => heading)), ...cells.map(line)].join('\n');
}

/** The text with control characters written as `\x1b`; what people see is what is there. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
