// Failpoints, for tests alone: an operator stands still just before, or just behind, the write that brings it to a step,
// for as long as a file says so. Everything else goes on, so that a test can do something to whoever takes part at that
// very moment. Nothing here can be reached over the network: what counts are files in a directory of this machine, which
// the setting COORDINATOR_FAILPOINTS_DIR must name at the start.
//
//   DIRECTORY/<keyspace>.<partition>.<STEP>.<before|after>           made by the test: hold it there; removed: go on
//   DIRECTORY/<keyspace>.<partition>.<STEP>.<before|after>.reached   made by the coordinator that holds it, with its id
//
// The cut-over of a copy has such a place, too: the transaction by which it takes the place of its source, named by that one.
//
//   DIRECTORY/<source>.CUT_OVER.<before|after>                       as above, and with .reached
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MigrationOperator, OperatorChange, OperatorStep } from '@atoll/core-migration';
import { partitionName } from '@atoll/core-membership';
import type { Config } from '../config.ts';

export type FailpointPlace = 'before' | 'after';

/** Name of the file that holds the partition's operator there. */
export const failpointName = ({ keyspace, partition }: Pick<MigrationOperator, 'keyspace' | 'partition'>, step: OperatorStep, place: FailpointPlace): string => `${keyspace}.${partition}.${step}.${place}`;

export class Failpoints {
  readonly #directory: string;
  readonly #id: string;
  /** Steps that were written and are not acted on yet: by `partitionName`, the operator before it, and the name of the file. */
  readonly #behind = new Map<string, { readonly from: MigrationOperator; readonly name: string }>();

  /** `id` of the coordinator, for whoever reads the marks. */
  constructor({ directory, id }: { readonly directory: string; readonly id: string }) {
    this.#directory = directory;
    this.#id = id;
  }

  /** Changes that may be written now. */
  pass(changes: readonly OperatorChange[]): readonly OperatorChange[] {
    return changes.filter(({ to }) => !this.#behind.has(keyOf(to)) && !this.#holds(failpointName(to, to.step, 'before')));
  }

  /** To be told of everything that was written. An operator that has ended is no more: it cannot be held behind that. */
  wrote(changes: readonly OperatorChange[]): void {
    for (const { from, to } of changes) {
      const name = failpointName(to, to.step, 'after');
      if (to.step !== 'DONE' && to.step !== 'ROLLED_BACK' && this.#holds(name)) this.#behind.set(keyOf(to), { from, name });
    }
  }

  /** Operators as they are to be acted on: one that is held behind a write as if it had not been written. */
  acted(operators: readonly MigrationOperator[]): readonly MigrationOperator[] {
    for (const [key, { name }] of this.#behind) if (!this.#holds(name)) this.#behind.delete(key);
    return operators.map((operator) => {
      const held = this.#behind.get(keyOf(operator));
      return held !== undefined && held.from.job === operator.job ? held.from : operator;
    });
  }

  /** Whether the cut-over of a copy of this keyspace stands still there. */
  holdsCutOver(source: string, place: FailpointPlace): boolean {
    return this.#holds(`${source}.CUT_OVER.${place}`);
  }

  #holds(name: string): boolean {
    const path = join(this.#directory, name);
    if (!existsSync(path)) return false;
    if (!existsSync(`${path}.reached`)) writeFileSync(`${path}.reached`, this.#id);
    return true;
  }
}

/** Undefined wherever clients are served. */
export function failpointsOf({ failpointsDir, common }: Pick<Config, 'failpointsDir' | 'common'>): Failpoints | undefined {
  return failpointsDir === undefined ? undefined : new Failpoints({ directory: failpointsDir, id: common.id });
}

const keyOf = ({ keyspace, partition }: MigrationOperator): string => partitionName(keyspace, partition);
