import { Command, type Option } from 'commander';
import { credentials } from '@grpc/grpc-js';
import { BackupClient } from '@atoll/contracts/atoll/v1/backup';
import { isAtollError } from '@atoll/core-errors';
import { createChannelOptions } from '@atoll/platform-grpc';
import { unavailable } from '../cli-error.ts';
import type { ConnectionFlags } from '../connection/addresses.ts';
import { backupOption, clusterDirOption } from '../connection/addresses.ts';
import { jsonOption, timeoutOption } from '../commands/options.ts';

export type BackupFlags = ConnectionFlags & { readonly backup?: string; readonly json?: boolean };

/** A command that asks a backup service: the options that all of them have. */
export function backupServiceCommand(name: string, description: string, timeout: Option = timeoutOption()): Command {
  return new Command(name).description(description).addOption(backupOption()).addOption(clusterDirOption()).addOption(timeout).addOption(jsonOption());
}

/** Asks any of the services: each knows all jobs. One that cannot be reached is passed over. */
export async function askBackup<Response>(addresses: readonly string[], timeoutMs: number, call: (client: BackupClient, settings: { deadlineMs: number }) => Promise<Response>): Promise<Response> {
  const deadline = Date.now() + timeoutMs;
  let failure: unknown;
  for (const address of addresses) {
    const client = new BackupClient(address, credentials.createInsecure(), createChannelOptions());
    try {
      return await call(client, { deadlineMs: deadline - Date.now() });
    } catch (error) {
      failure = error;
      if (!isAtollError(error) || !['PEER_UNAVAILABLE', 'SHUTTING_DOWN'].includes(error.reason)) throw error;
    } finally {
      client.close();
    }
  }
  throw unavailable(`no backup service answers at ${addresses.join(', ')}`, failure);
}
