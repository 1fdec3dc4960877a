import type { Settings } from './parse-settings.ts';

/** Markdown table of the settings for a README: name, default, range, meaning. */
export function settingsTable(settings: Settings): string {
  const rows = Object.entries(settings).map(([name, setting]) => {
    const standard = setting.default === undefined ? (setting.defaultText ?? 'required') : `\`${setting.default}\``;
    return `| \`${name}\` | ${standard} | ${cell(setting.range)} | ${cell(setting.description)} |`;
  });
  return ['| setting | default | range | meaning |', '|---|---|---|---|', ...rows, ''].join('\n');
}

/** Lines for `.env.example`: every setting commented out with its default, under its description. */
export function envExample(settings: Settings): string {
  const blocks = Object.entries(settings).map(([name, setting]) => {
    const note = setting.default === undefined ? ` (${setting.defaultText ?? 'required'})` : '';
    return `# ${setting.description}\n# Range: ${setting.range}${note}\n# ${name}=${setting.default ?? ''}\n`;
  });
  return blocks.join('\n');
}

const cell = (text: string): string => text.replaceAll('|', '\\|');
