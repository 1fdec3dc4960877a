// What an operator asks for when something is wrong: atoll doctor, atoll top, atoll debug bundle.
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { Command, Option } from 'commander';
import { CliError, messageOf } from '../cli-error.ts';
import { backupOption, clusterDirOption, coordinatorOption, routerOption } from '../connection/addresses.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { RedrawnLines } from '../output/redrawn-lines.ts';
import { bundleFiles } from '../support/debug-bundle.ts';
import { CHECKS, diagnose, isSettled, type Finding } from '../support/diagnose.ts';
import { takeSurvey, type Survey, type SurveyFlags } from '../support/survey.ts';
import { packTar } from '../support/tar.ts';
import { topLines, topRows, type Look } from '../support/top-table.ts';
import type { SetExitCode } from './dev.ts';
import { durationMsOption, hostsAndPorts, jsonOption, timeoutOption } from './options.ts';

type Flags = SurveyFlags & { readonly json?: boolean };

function surveyCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(coordinatorOption())
    .addOption(routerOption())
    .addOption(backupOption())
    .addOption(new Option('--etcd <host:port,...>', 'servers of etcd (default: those of the local cluster, or those that the services use)').argParser(hostsAndPorts))
    .addOption(clusterDirOption());
}

/** Pause between two looks of `doctor --wait`. */
const SETTLE_POLL_MS = 1000;

/** Longest wait for each answer: those who are silent are many when it is needed. */
const eachTimeoutOption = (): Option => timeoutOption().default(5000, '5s');

export function doctorCommand(io: Io, setExitCode: SetExitCode): Command {
  return surveyCommand('doctor', 'look for what is wrong, and say what to do: clocks, etcd, versions, nodes, redundancy, memory, disk, settings, jobs')
    .addOption(eachTimeoutOption())
    .addOption(new Option('--wait <duration>', 'ask again, at most so long, until the next process may be restarted: no problem, every service ready, no node stopped').argParser(durationMsOption))
    .addOption(jsonOption())
    .addHelpText('after', '\nEnds with 0 when there is no problem (warnings may be there), with 1 when there is one, or what --wait waits for did not come, with 3 when nothing answers at all.')
    .action(async (flags: Flags & { wait?: number }) => {
      const { survey, findings, settled } = flags.wait === undefined ? await examine(io, flags) : await untilSettled(io, flags, flags.wait);
      if (isSilent(survey)) setExitCode(EXIT_CODE.unavailable);
      else if (findings.some(({ level }) => level === 'problem') || (flags.wait !== undefined && !settled)) setExitCode(EXIT_CODE.failed);
      if (flags.json) return printJson(io, { findings, checks: CHECKS, services: survey.services.map(({ target, problem, clock }) => ({ ...target, httpAddress: target.httpAddress ?? null, problem: problem ?? null, clockOffsetMs: clock?.offsetMs ?? null })), etcd: survey.etcd });
      for (const line of findingLines(findings, survey)) print(io, line);
    });
}

interface Diagnosis {
  readonly survey: Survey;
  readonly findings: readonly Finding[];
  readonly settled: boolean;
}

async function examine(io: Io, flags: Flags): Promise<Diagnosis> {
  const survey = await takeSurvey(io, flags);
  const findings = diagnose(survey);
  return { survey, findings, settled: isSettled(survey, findings) };
}

/** The last look, settled or not. Tells on stderr which checks it waits for, whenever they change. */
async function untilSettled(io: Io, flags: Flags, waitMs: number): Promise<Diagnosis> {
  const deadlineMs = performance.now() + waitMs;
  for (let told = ''; ; ) {
    const diagnosis = await examine(io, flags);
    if (diagnosis.settled || performance.now() >= deadlineMs) return diagnosis;
    const checks = [...new Set(diagnosis.findings.map(({ check }) => check))].join(', ');
    if (checks !== told) note(io, `waiting: ${checks}`);
    told = checks;
    await delay(Math.min(SETTLE_POLL_MS, Math.max(0, deadlineMs - performance.now())));
  }
}

const isSilent = ({ services, etcd, cluster }: Survey): boolean => cluster.value === undefined && services.every(({ problem }) => problem !== undefined) && etcd.every(({ problem }) => problem !== undefined);

function findingLines(findings: readonly Finding[], { services, etcd }: Survey): string[] {
  const lines = CHECKS.flatMap((check) => {
    const own = findings.filter((finding) => finding.check === check);
    if (own.length === 0) return [`ok       ${check}`];
    return own.flatMap(({ level, message, advice }) => [`${(level === 'problem' ? 'PROBLEM' : 'warning').padEnd(9)}${check}: ${message}`, `           -> ${advice}`]);
  });
  const count = (level: Finding['level']): number => findings.filter((finding) => finding.level === level).length;
  return [...lines, '', `${services.length} services and ${etcd.length} etcd servers asked: ${count('problem')} problems, ${count('warning')} warnings`];
}

export function topCommand(io: Io): Command {
  return surveyCommand('top', 'a live table of the services: operations, latency, memory, lag, and the migrations that run')
    .addOption(eachTimeoutOption())
    .addOption(new Option('--interval <duration>', 'time between two looks').default(2000, '2s').argParser(durationMsOption))
    .addOption(new Option('--once', 'print one table and end; also where the output is no terminal'))
    .addOption(jsonOption())
    .action(async (flags: Flags & { interval: number; once?: boolean }) => {
      const look = async (): Promise<Look> => ({ survey: await takeSurvey(io, flags, { isBrief: true }), takenMs: performance.now() });
      let former = await look();
      if (flags.once || flags.json || io.stdout.isTTY !== true) {
        await delay(flags.interval);
        const present = await look();
        const rows = topRows(former, present);
        if (flags.json) return printJson(io, { services: rows });
        for (const line of topLines(rows, present.survey)) print(io, line);
        return;
      }
      const stop = new AbortController();
      const onSignal = (): void => stop.abort();
      process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
      const lines = new RedrawnLines(io);
      lines.draw(['asking the services ...']);
      try {
        while (!stop.signal.aborted) {
          await delay(flags.interval, undefined, { signal: stop.signal }).catch(() => undefined);
          if (stop.signal.aborted) break;
          const present = await look();
          lines.draw([...topLines(topRows(former, present), present.survey), '', 'Ctrl-C ends it']);
          former = present;
        }
      } finally {
        process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
      }
    });
}

export function debugCommand(io: Io): Command {
  const bundle = surveyCommand('bundle', 'write what others need to see what happened into one archive: state, metrics, settings and logs, without secrets and without keys and values')
    .addOption(eachTimeoutOption())
    .addOption(new Option('--out <file>', 'the archive (default: atoll-debug-<time>.tar.gz here)'))
    .action(async (flags: Flags & { out?: string }) => {
      const takenAtMs = Date.now();
      const name = `atoll-debug-${new Date(takenAtMs).toISOString().replace(/\.\d+Z$/, 'Z').replace(/[:-]/g, '')}`;
      const survey = await takeSurvey(io, flags);
      const logDirectory = flags.dataDir === undefined ? undefined : join(resolve(io.cwd, flags.dataDir), 'logs');
      const files = await bundleFiles(survey, { root: name, takenAtMs, logDirectory });
      const path = resolve(io.cwd, flags.out ?? `${name}.tar.gz`);
      try {
        await writeFile(path, gzipSync(packTar(files, takenAtMs)), { flag: 'wx', mode: 0o600 });
      } catch (error) {
        throw new CliError(`--out: ${path} cannot be written: ${messageOf(error)}`, { cause: error });
      }
      for (const { target, problem } of survey.services) if (problem !== undefined) note(io, `${target.role} ${target.name} is missing from it: ${problem}`);
      print(io, path);
    });
  return new Command('debug').description('for those who help').addCommand(bundle);
}
