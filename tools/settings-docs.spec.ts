import { fileURLToPath } from 'node:url';
import { settingsDocuments } from './settings-docs.ts';

const documents = settingsDocuments(fileURLToPath(new URL('..', import.meta.url)));

describe('the settings in the documents', () => {
  it.each(documents)('are those of the code (node tools/settings-docs.ts writes them): $path', ({ present, wanted }) => {
    expect(present).toBe(wanted);
  });
});
