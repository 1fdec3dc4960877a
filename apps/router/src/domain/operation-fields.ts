import { OPERATION, OP_ID_FIELD } from '@atoll/platform-wire';

/** Field numbers of cache.proto that differ from one operation to the next, and names for people. */
export interface OperationFields {
  /** Label of metrics, name of spans. */
  readonly name: string;
  /** `op_id` of the request; 0 for reads. */
  readonly opId: number;
  /** `session` of the request, and of the response. */
  readonly requestSession: number;
  readonly responseSession: number;
}

/** By the number of `Operation.kind`. operation-fields.spec.ts holds them against the generated code. */
export const FIELDS: Readonly<Record<number, OperationFields>> = {
  [OPERATION.GET]: { name: 'get', opId: 0, requestSession: 5, responseSession: 5 },
  [OPERATION.SET]: { name: 'set', opId: OP_ID_FIELD[OPERATION.SET]!, requestSession: 9, responseSession: 3 },
  [OPERATION.DELETE]: { name: 'delete', opId: OP_ID_FIELD[OPERATION.DELETE]!, requestSession: 6, responseSession: 3 },
  [OPERATION.INCREMENT]: { name: 'increment', opId: OP_ID_FIELD[OPERATION.INCREMENT]!, requestSession: 8, responseSession: 3 },
  [OPERATION.TOUCH]: { name: 'touch', opId: OP_ID_FIELD[OPERATION.TOUCH]!, requestSession: 7, responseSession: 4 },
};
