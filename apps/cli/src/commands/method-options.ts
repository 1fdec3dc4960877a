// How a migration is to copy, as `atoll migrate start` and `atoll rebalance` take it.
import { Option } from 'commander';
import { MigrationMethod } from '@atoll/contracts/atoll/v1/migration';
import { usageError } from '../cli-error.ts';
import { wholeNumber } from './options.ts';

const METHODS = {
  auto: MigrationMethod.MIGRATION_METHOD_AUTO,
  move: MigrationMethod.MIGRATION_METHOD_MOVE,
  sharded: MigrationMethod.MIGRATION_METHOD_SHARDED,
} as const;

export type MethodName = keyof typeof METHODS;

export interface MethodFlags {
  readonly method?: MethodName;
  readonly shards?: number;
}

export const methodOption = (): Option =>
  new Option('--method <method>', 'move: each partition by one stream; sharded: split into sub-ranges streamed side by side; auto: one of them, by sizes, bounds and load, and the job says why (default: auto)').choices(Object.keys(METHODS));

export const shardsOption = (): Option => new Option('--shards <count>', 'sub-ranges of each partition, 2 to 16, with --method sharded (default: 4)').argParser(wholeNumber(2, 16));

/** Throws a usage error for a number of sub-ranges where none is made. */
export function checkShards({ method, shards }: MethodFlags): void {
  if (shards !== undefined && method !== 'sharded') throw usageError('--shards goes with --method sharded');
}

export const methodRequest = ({ method, shards }: MethodFlags): { method: MigrationMethod; shards: number } => ({ method: METHODS[method ?? 'auto'], shards: shards ?? 0 });

export interface VerifyFlags {
  readonly verify?: 'digests' | 'full';
  readonly fullVerify?: boolean;
}

export const verifyOption = (): Option => new Option('--verify <how>', 'what of target and leader is compared before the source lets go: digests, or full: each entry, which takes longer (default: digests)').choices(['digests', 'full']);

/** Says the same as `--verify=full`. */
export const fullVerifyOption = (): Option => new Option('--full-verify', 'as --verify=full').conflicts('verify');

export const isFullVerify = ({ verify, fullVerify }: VerifyFlags): boolean => fullVerify === true || verify === 'full';
