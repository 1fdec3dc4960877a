// Links and paths in the documents lead somewhere.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const documents = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)));

/** Paths from the top that stand in backquotes, `libs/core/store` or `tools/start.mjs`; patterns and places to fill in are none. */
const PATH = /`((?:apps|libs|docs|proto|tests|tools|infra)\/[A-Za-z0-9._/-]+)`/g;
const LINK = /\]\(([^)\s]+)\)/g;

function missing(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  const links = [...text.matchAll(LINK)].map(([, target = '']) => target).filter((target) => !/^(?:https?:|#)/.test(target));
  const paths = [...text.matchAll(PATH)].map(([, path = '']) => path);
  return [
    ...links.filter((target) => !existsSync(join(root, normalize(join(dirname(file), target.split('#', 1)[0]!))))),
    ...paths.filter((path) => !existsSync(join(root, path))),
  ];
}

describe('the documents', () => {
  it.each(documents)('%s names only what is there', (file) => {
    expect(missing(file)).toEqual([]);
  });
});
