// Links and paths in the documents lead somewhere, and what they do with Docker Compose is done to services that are there.
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

/** Of the headings of a document, as web pages of repositories make them. */
const anchors = (text: string): Set<string> =>
  new Set(Array.from(text.matchAll(/^#+ (.*)$/gm), ([, heading = '']) => heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-')));

/** Links to headings that are not there. */
function missingAnchors(file: string): string[] {
  const links = Array.from(readFileSync(join(root, file), 'utf8').matchAll(LINK), ([, target = '']) => target).filter((target) => /^(?!https?:).*#/.test(target));
  return links.filter((link) => {
    const [path = '', anchor = ''] = link.split('#', 2);
    const target = join(root, path === '' ? file : normalize(join(dirname(file), path)));
    return target.endsWith('.md') && existsSync(target) && !anchors(readFileSync(target, 'utf8')).has(anchor);
  });
}

const COMPOSE = /docker compose (?:--profile [\w-]+ )?(?:up|stop|restart|start|kill|rm|run|exec|logs|ps|pause|unpause)(?: [^\n`;|)#&]*)?/g;
const services = new Set(Array.from(readFileSync(join(root, 'infra/compose/docker-compose.yml'), 'utf8').split(/^services:$/m)[1]!.split(/^volumes:$/m)[0]!.matchAll(/^ {2}([a-z0-9-]+):$/gm), ([, name = '']) => name));

/** Words that look like services, `storage-node-9`, and are none of the compose file. */
function unknownServices(file: string): string[] {
  const commands = Array.from(readFileSync(join(root, file), 'utf8').matchAll(COMPOSE), ([command]) => command);
  return commands.flatMap((command) => (command.match(/(?<= )(?:etcd|storage-node|standby-node|coordinator|router|backup)(?:-\w+)?(?= |$)/g) ?? []).filter((name) => !services.has(name)).map((name) => `${name} in: ${command}`));
}

describe('the documents', () => {
  it.each(documents)('%s names only what is there', (file) => {
    expect(missing(file)).toEqual([]);
    expect(missingAnchors(file)).toEqual([]);
    expect(unknownServices(file)).toEqual([]);
  });

  it('name services of the compose file', () => {
    expect(services).toContain('storage-node-4');
    expect(documents.flatMap((file) => readFileSync(join(root, file), 'utf8').match(COMPOSE) ?? []).length).toBeGreaterThan(30);
  });
});
