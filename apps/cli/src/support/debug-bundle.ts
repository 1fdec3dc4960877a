// What somebody who was not there needs to see what happened: as files, without anything secret. Keys and values of users
// are in none of it: services show and log neither; of events, the one kind that names keys comes without its text.
import { open, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { migrationJson } from '../migration/migration-tables.ts';
import { eventJson, keyspaceJson, nodeJson, partitionJson } from '../output/messages.ts';
import { diagnose } from './diagnose.ts';
import { redactJson, redactText } from './redact.ts';
import type { ServiceReading } from './services.ts';
import type { Answer, Survey } from './survey.ts';
import type { TarFile } from './tar.ts';

/** Of each log, its end. */
const LOG_BYTES_MAX = 2 * 1024 * 1024;
/** Names keys of users in its message. */
const KEYS_IN_MESSAGE = 'DATA_DISCARDED';

const README = `What is in this bundle (made by: atoll debug bundle)

doctor.json       what atoll doctor finds
cluster.json      the cluster as a whole; nodes, partitions (the routing table), keyspaces, migrations, events
etcd.json         health and versions of etcd's servers
services/NAME.*   of each process: metrics as Prometheus text, settings without secrets, readiness
logs/             the ends of the logs, where they lie on this machine (--data-dir)

A file that could not be made says why. Keys and values of entries are in none of them. Look through it before you hand it on.
`;

/** Files of a bundle, under the directory `root`. */
export async function bundleFiles(survey: Survey, options: { readonly root: string; readonly takenAtMs: number; readonly logDirectory: string | undefined }): Promise<TarFile[]> {
  const { root, takenAtMs, logDirectory } = options;
  const json = (name: string, value: unknown): TarFile => ({ name: `${root}/${name}`, content: Buffer.from(`${JSON.stringify(redactJson(value), undefined, 2)}\n`) });
  const list = <T>(name: string, answer: Answer<readonly T[]>, show: (item: T) => unknown): TarFile => json(`${name}.json`, answer.value === undefined ? { problem: answer.problem } : answer.value.map(show));
  return [
    { name: `${root}/README.txt`, content: Buffer.from(README) },
    json('bundle.json', { takenAt: new Date(takenAtMs).toISOString(), services: survey.services.map(({ target, problem, clock }) => ({ ...target, problem, clock })) }),
    json('doctor.json', diagnose(survey)),
    json('cluster.json', survey.cluster.value ?? { problem: survey.cluster.problem }),
    list('nodes', survey.nodes, nodeJson),
    list('partitions', survey.partitions, partitionJson),
    list('keyspaces', survey.keyspaces, keyspaceJson),
    list('migrations', survey.migrations, migrationJson),
    list('events', survey.events, (event) => eventJson(event.kind === KEYS_IN_MESSAGE ? { ...event, message: '[names keys; atoll events shows it]' } : event)),
    json('repositories.json', survey.repositories.map(({ address, answer }) => ({ address, ...answer }))),
    json('etcd.json', survey.etcd),
    ...survey.services.flatMap((reading) => serviceFiles(reading, root, json)),
    ...(logDirectory === undefined ? [] : await logFiles(logDirectory, root)),
  ];
}

function serviceFiles({ target, problem, metricsText, ready, reasons, settings }: ServiceReading, root: string, json: (name: string, value: unknown) => TarFile): TarFile[] {
  const name = `services/${target.role}-${target.name}`.replace(/[^A-Za-z0-9./_-]/g, '-').slice(0, 60);
  if (problem !== undefined) return [json(`${name}.json`, { problem })];
  return [json(`${name}.ready.json`, { ready, reasons }), json(`${name}.settings.json`, settings), { name: `${root}/${name}.metrics.txt`, content: Buffer.from(redactText(metricsText)) }];
}

async function logFiles(directory: string, root: string): Promise<TarFile[]> {
  const names = (await readdir(directory).catch(() => [])).filter((name) => name.endsWith('.log')).toSorted();
  return Promise.all(names.map(async (name) => ({ name: `${root}/logs/${basename(name).slice(0, 60)}`, content: Buffer.from(redactText(await readEnd(join(directory, name)))) })));
}

/** From the first whole line on; for a file that cannot be read, why. */
async function readEnd(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    const start = Math.max(0, size - LOG_BYTES_MAX);
    const content = Buffer.alloc(size - start);
    const { bytesRead } = await file.read(content, 0, content.length, start);
    const text = content.toString('utf8', 0, bytesRead);
    return start === 0 ? text : text.slice(text.indexOf('\n') + 1);
  } catch (error) {
    return `cannot be read: ${(error as Error).message}\n`;
  }
}
