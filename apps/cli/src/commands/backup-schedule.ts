import { Command, Option } from 'commander';
import { ScheduleAction, type BackupRetention, type BackupScheduleState } from '@atoll/contracts/atoll/v1/backup';
import { callUnary } from '@atoll/platform-grpc';
import { askBackup } from '../backup/backup-connection.ts';
import { print, printJson, type Io } from '../io.ts';
import { durationText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';
import { backupServices, backupSubcommand, type BackupFlags } from './backup.ts';
import { byteRate, durationMsOption, keyspacesOption, wholeNumber } from './options.ts';

interface SetFlags extends BackupFlags {
  readonly cron: string;
  readonly action: string;
  readonly incrementals: number;
  readonly keyspaces?: readonly string[];
  readonly bytesPerSecond?: number;
  readonly keep?: number;
  readonly keepFor?: number;
  readonly keepDays?: number;
  readonly keepWeeks?: number;
  readonly keepMonths?: number;
  readonly maxAge?: number;
  readonly paused?: boolean;
}

const ACTIONS: Readonly<Record<string, ScheduleAction>> = { backup: ScheduleAction.SCHEDULE_ACTION_BACKUP, verify: ScheduleAction.SCHEDULE_ACTION_VERIFY, drill: ScheduleAction.SCHEDULE_ACTION_DRILL };
const KEPT_MAX = 10_000;

export function scheduleCommand(io: Io): Command {
  return new Command('schedule')
    .description('backups that begin by themselves, and which of them stay')
    .addCommand(setCommand(io))
    .addCommand(listCommand(io))
    .addCommand(removeCommand(io));
}

function setCommand(io: Io): Command {
  return backupSubcommand('set', 'make a schedule, or change one; what is not given has its default again')
    .argument('<name>', '1 to 48 characters of a-z, 0-9 and -; its archives are called NAME-YYYYMMDD-HHMMSS')
    .addOption(new Option('--cron <expression>', 'minute, hour, day of month, month, day of week, in UTC').makeOptionMandatory())
    .addOption(new Option('--action <action>', 'backup; verify or drill: of the newest archive').choices(Object.keys(ACTIONS)).default('backup'))
    .addOption(new Option('--incrementals <count>', 'incremental backups between two full ones').default(0).argParser(wholeNumber(0, 1000)))
    .addOption(keyspacesOption('which ones (default: all)'))
    .addOption(new Option('--bytes-per-second <bytes>', 'bound on what is read: 50MB (default: as the service is set)').argParser(byteRate))
    .addOption(new Option('--keep <count>', 'the newest so many stay').argParser(wholeNumber(1, KEPT_MAX)))
    .addOption(new Option('--keep-for <duration>', 'those of up to so long ago stay: 168h').argParser(durationMsOption))
    .addOption(new Option('--keep-days <count>', 'the newest one of each of so many days stays').argParser(wholeNumber(1, KEPT_MAX)))
    .addOption(new Option('--keep-weeks <count>', 'of each of so many weeks').argParser(wholeNumber(1, KEPT_MAX)))
    .addOption(new Option('--keep-months <count>', 'of each of so many months').argParser(wholeNumber(1, KEPT_MAX)))
    .addOption(new Option('--max-age <duration>', 'an alert goes off when the newest one is older (default: twice the time between two)').argParser(durationMsOption))
    .addOption(new Option('--paused', 'nothing begins'))
    .addHelpText('after', '\nWithout any --keep every archive stays.\n\nExamples:\n  atoll backup schedule set nightly --cron "0 3 * * *" --incrementals 6 --keep-days 14 --keep-weeks 8\n  atoll backup schedule set orders --cron "*/15 * * * *" --incrementals 95 --keyspaces orders --keep-for 72h\n  atoll backup schedule set practice --cron "0 5 * * 7" --action drill')
    .action(async (name: string, flags: SetFlags) => {
      const retention: BackupRetention = { count: flags.keep ?? 0, ageMs: flags.keepFor ?? 0, days: flags.keepDays ?? 0, weeks: flags.keepWeeks ?? 0, months: flags.keepMonths ?? 0 };
      const schedule = { name, cron: flags.cron, incrementals: flags.incrementals, keyspaces: [...(flags.keyspaces ?? [])], bytesPerSecond: flags.bytesPerSecond ?? 0, retention, paused: flags.paused === true, ageMsMax: flags.maxAge ?? 0, action: ACTIONS[flags.action]! };
      const { state } = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'putBackupSchedule', { schedule }, settings));
      if (flags.json) return printJson(io, state);
      print(io, state!.nextAtMs === 0 ? `${name} is paused` : `${name} begins at ${timeText(state!.nextAtMs)}`);
    });
}

function listCommand(io: Io): Command {
  return backupSubcommand('list', 'schedules, and what became of them').action(async (flags: BackupFlags) => {
    const answer = await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'listBackupSchedules', {}, settings));
    if (flags.json) return printJson(io, answer);
    const columns = [{ heading: 'SCHEDULE' }, { heading: 'ACTION' }, { heading: 'CRON' }, { heading: 'KEYSPACES' }, { heading: 'STAY' }, { heading: 'NEXT' }, { heading: 'NEWEST' }, { heading: 'ARCHIVES', align: 'right' as const }, { heading: 'PROBLEM' }];
    print(io, renderTable(columns, answer.schedules.map(row)));
  });
}

function removeCommand(io: Io): Command {
  return backupSubcommand('remove', 'end a schedule; its archives stay')
    .argument('<name>')
    .action(async (name: string, flags: BackupFlags) => {
      await askBackup(backupServices(io, flags), flags.timeout, (client, settings) => callUnary(client, 'deleteBackupSchedule', { name }, settings));
      if (flags.json) return printJson(io, { name });
      print(io, `${name} is removed; its archives stay`);
    });
}

function row({ schedule, nextAtMs, newestCutAtMs, archives, overdue, problem }: BackupScheduleState): (string | number)[] {
  const { name, cron, keyspaces, retention, incrementals, action } = schedule!;
  const isBackup = action === ScheduleAction.SCHEDULE_ACTION_BACKUP;
  const newest = newestCutAtMs === 0 ? 'none' : `${timeText(newestCutAtMs)} (${durationText(Math.max(0, Date.now() - newestCutAtMs))} ago)`;
  const kind = incrementals === 0 ? cron : `${cron}, ${incrementals} incremental`;
  return [name, Object.keys(ACTIONS).find((key) => ACTIONS[key] === action) ?? '', kind, keyspaces.length === 0 ? 'all' : keyspaces.join(','), isBackup ? retentionText(retention!) : '', nextAtMs === 0 ? 'paused' : timeText(nextAtMs), newest, isBackup ? archives : '', [overdue ? 'OVERDUE' : '', problem].filter((text) => text !== '').join('; ')];
}

function retentionText({ count, ageMs, days, weeks, months }: BackupRetention): string {
  const rules = [count > 0 ? `newest ${count}` : '', ageMs > 0 ? durationText(ageMs) : '', days > 0 ? `${days} days` : '', weeks > 0 ? `${weeks} weeks` : '', months > 0 ? `${months} months` : ''].filter((rule) => rule !== '');
  return rules.length === 0 ? 'all' : rules.join(', ');
}

/** To the second, in UTC. */
const timeText = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
