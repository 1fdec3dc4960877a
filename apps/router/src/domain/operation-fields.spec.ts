import {
  DeleteRequest,
  DeleteResponse,
  GetRequest,
  GetResponse,
  IncrementRequest,
  IncrementResponse,
  SetRequest,
  SetResponse,
  TouchRequest,
  TouchResponse,
} from '@atoll/contracts/atoll/v1/cache';
import { OPERATION, encodeOpIdField } from '@atoll/platform-wire';
import { bytesField } from './intake.ts';
import { FIELDS } from './operation-fields.ts';
import { sessionIn } from './result-session.ts';

const session = Buffer.from('session');
const opId = { clientId: Buffer.from('12345678'), counter: 300, repeatAgeMs: 9 };
const encoded = (writer: { finish(): Uint8Array }): Buffer => Buffer.from(writer.finish());

describe('field numbers', () => {
  it.each([
    ['get', OPERATION.GET, GetRequest, GetResponse],
    ['set', OPERATION.SET, SetRequest, SetResponse],
    ['delete', OPERATION.DELETE, DeleteRequest, DeleteResponse],
    ['increment', OPERATION.INCREMENT, IncrementRequest, IncrementResponse],
    ['touch', OPERATION.TOUCH, TouchRequest, TouchResponse],
  ] as const)('of %s are those of the contracts', (name, kind, request, response) => {
    const fields = FIELDS[kind]!;
    expect(fields.name).toBe(name);
    expect(request.decode(bytesField(fields.requestSession, session)).session).toEqual(session);
    expect(sessionIn(encoded(response.encode(response.create({ session, version: Buffer.from('v') }) as never)), fields.responseSession)).toEqual(session);
    const withOpId = kind === OPERATION.GET ? undefined : (request.decode(encodeOpIdField(fields.opId, opId)) as SetRequest).opId;
    expect(withOpId).toEqual(kind === OPERATION.GET ? undefined : opId);
  });

  it('lets an appended session override an earlier one, also with an empty one', () => {
    const first = bytesField(5, session);
    expect(GetRequest.decode(Buffer.concat([first, bytesField(5, Buffer.alloc(0))])).session).toHaveLength(0);
    expect(GetRequest.decode(Buffer.concat([first, bytesField(5, Buffer.alloc(300, 1))])).session).toHaveLength(300);
  });
});
