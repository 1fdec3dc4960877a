// Commands that move leaders and replicas: drains, planned transfers, recoveries.
import { Command, Option } from 'commander';
import type { Node, PartitionRecovery } from '@atoll/contracts/atoll/v1/admin';
import { callUnary } from '@atoll/platform-grpc';
import { usageError } from '../cli-error.ts';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { nodeJson } from '../output/messages.ts';
import { ProgressLine } from '../output/progress-line.ts';
import { renderTable } from '../output/table.ts';
import { adminCommand, lastInSyncText, type AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';
import { durationMsOption, wholeNumber } from './options.ts';

const POLL_MS = 500;
const WAIT_DEFAULT_MS = 3_600_000;

type ScopeFlags = AdminFlags & { readonly keyspace?: string; readonly partition?: number[] };

const heldBy = (node: Node | undefined): number => (node === undefined ? 0 : node.replicas + node.learners);

export function nodeCommand(io: Io, setExitCode: SetExitCode): Command {
  const drain = adminCommand('drain', 'move the leaderships and replicas of a node to the others')
    .argument('<node>', 'node id')
    .addOption(new Option('--undo', 'the node is wanted again'))
    .addOption(new Option('--wait [duration]', 'until it holds nothing any more (default: at most 1h)').argParser(durationMsOption))
    .action(async (node: string, flags: AdminFlags & { undo?: boolean; wait?: number | true }) => {
      const addresses = coordinatorAddresses(io, flags);
      const answer = await askCoordinator(addresses, flags.timeout, (client, settings) => callUnary(client, 'drainNode', { node, undo: flags.undo === true }, settings));
      let state = answer.node;
      if (flags.wait !== undefined && flags.undo !== true) {
        const deadline = Date.now() + (flags.wait === true ? WAIT_DEFAULT_MS : flags.wait);
        const progress = new ProgressLine(io);
        const total = heldBy(state);
        while (heldBy(state) > 0 && Date.now() < deadline) {
          progress.show(total - heldBy(state), total, 'replicas moved');
          await new Promise((resolve) => setTimeout(resolve, POLL_MS));
          const { nodes } = await askCoordinator(addresses, flags.timeout, (client, settings) => callUnary(client, 'listNodes', {}, settings));
          state = nodes.find(({ id }) => id === node);
        }
        progress.end();
        if (heldBy(state) > 0) setExitCode(EXIT_CODE.failed);
      }
      if (state !== undefined && flags.undo !== true) for (const warning of lastInSyncText(state)) note(io, `${node}: ${warning}`);
      if (flags.json) return printJson(io, { node: state === undefined ? undefined : nodeJson(state) });
      const what = flags.undo === true ? 'is wanted again' : heldBy(state) > 0 ? 'is being drained' : 'is drained';
      print(io, `${node} ${what}: it leads ${state?.leaders ?? 0} partitions and holds ${state?.replicas ?? 0} replicas`);
    });
  const remove = adminCommand('remove', 'forget a node that is stopped and holds nothing any more')
    .argument('<node>', 'node id')
    .addOption(new Option('--data-is-lost', 'it holds replicas by the records, and its data does not come back'))
    .action(async (node: string, flags: AdminFlags & { dataIsLost?: boolean }) => {
      await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'removeNode', { node, dataIsLost: flags.dataIsLost === true }, settings));
      if (flags.json) printJson(io, { node, removed: true });
      else print(io, `${node} is removed`);
    });
  return new Command('node').description('drain and remove storage nodes').addCommand(drain).addCommand(remove);
}

export function transferCommand(io: Io, setExitCode: SetExitCode): Command {
  return scoped(adminCommand('transfer', 'hand leaderships over to in-sync members, without an error to clients'))
    .addOption(new Option('--from <node>', 'only what this node leads'))
    .addOption(new Option('--to <node>', 'who is to lead (default: the member that leads least)'))
    .action(async (flags: ScopeFlags & { from?: string; to?: string }) => {
      if (flags.partition === undefined && flags.from === undefined) throw usageError('name partitions with --partition, or a node with --from');
      const request = { keyspace: flags.keyspace ?? '', partitions: flags.partition ?? [], from: flags.from ?? '', to: flags.to ?? '' };
      const { results } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'transferLeadership', request, settings));
      if (results.some(({ problem }) => problem !== '')) setExitCode(EXIT_CODE.failed);
      if (flags.json) return printJson(io, { results });
      const columns = [{ heading: 'PARTITION', numeric: true }, { heading: 'LEADER' }, { heading: 'PROBLEM' }];
      print(io, renderTable(columns, results.map(({ partition, leader, problem }) => [partition, leader || '-', problem])));
    });
}

export function recoverCommand(io: Io, setExitCode: SetExitCode): Command {
  return scoped(adminCommand('recover', 'partitions that no in-sync replica can lead: show what going on without it would lose, or do it'))
    .addOption(new Option('--unclean', 'do it: writes are lost; states that the processes of the missing members are stopped'))
    .addOption(new Option('--allow-empty', 'where no replica is left, start again empty'))
    .action(async (flags: ScopeFlags & { unclean?: boolean; allowEmpty?: boolean }) => {
      const execute = flags.unclean === true;
      const request = { keyspace: flags.keyspace ?? '', partitions: flags.partition ?? [], execute, oldMembersAreStopped: execute, allowEmpty: flags.allowEmpty === true };
      const { recoveries } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'recoverPartitions', request, settings));
      if (recoveries.some((recovery) => execute && !recovery.executed)) setExitCode(EXIT_CODE.failed);
      if (flags.json) return printJson(io, { recoveries });
      if (recoveries.length === 0) return print(io, 'every partition has an in-sync replica that can lead: there is nothing to recover');
      print(io, renderTable(RECOVERY_COLUMNS, recoveries.map(recoveryRow)));
      if (!execute) note(io, 'Nothing was done. Make sure that the processes of the missing members are stopped, then repeat with --unclean.');
    });
}

const RECOVERY_COLUMNS = [{ heading: 'PARTITION', numeric: true }, { heading: 'MISSING' }, { heading: 'GOES ON FROM' }, { heading: 'ENTRIES', numeric: true }, { heading: 'LOST' }, { heading: 'STATE' }];

function recoveryRow({ partition, missing, source, entries, loss, executed, problem }: PartitionRecovery): (string | number)[] {
  return [partition, missing.join(','), source || '(empty)', entries, loss, executed ? 'done' : problem || 'possible'];
}

function scoped(command: Command): Command {
  const collect = (text: string, list: number[] = []): number[] => [...list, wholeNumber(0, 4095)(text)];
  return command
    .addOption(new Option('--keyspace <name>', 'keyspace (default: default)'))
    .addOption(new Option('--partition <id>', 'only this partition; may come more than once').argParser(collect));
}
