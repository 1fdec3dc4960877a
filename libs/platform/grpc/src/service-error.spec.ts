import { Metadata, status } from '@grpc/grpc-js';
import { AtollError, ERROR_REASONS } from '@atoll/core-errors';
import { encodeErrorDetails } from './error-details.ts';
import { fromServiceError, toServiceError } from './service-error.ts';
import { RETRY_ADVICE, STATUS_BY_REASON } from './status.ts';

const raw = (code: status, metadata = new Metadata()) => Object.assign(new Error('x'), { code, details: 'x', metadata });

describe('errors on the wire', () => {
  it.each(ERROR_REASONS)('%s survives the wire', (reason) => {
    const sent = toServiceError(new AtollError(reason, 'text', { metadata: { node: 'n1' } }));
    expect(sent.code).toBe(STATUS_BY_REASON[reason]);
    expect(fromServiceError(sent, { mayWrite: true })).toMatchObject({ reason, message: 'text', metadata: { node: 'n1' } });
  });

  it('keeps the text of a bug at home', () => {
    const sent = toServiceError(new TypeError('password is hunter2'));
    expect(sent).toMatchObject({ code: status.INTERNAL, details: 'internal error' });
    expect(JSON.stringify(sent)).not.toContain('hunter2');
  });

  it.each([
    [status.UNAVAILABLE, 'PEER_UNAVAILABLE', 'WRITE_IN_DOUBT'],
    [status.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED', 'WRITE_IN_DOUBT'],
    [status.CANCELLED, 'CANCELLED', 'WRITE_IN_DOUBT'],
    [status.INTERNAL, 'INTERNAL', 'WRITE_IN_DOUBT'],
    [status.RESOURCE_EXHAUSTED, 'OVERLOADED', 'WRITE_IN_DOUBT'],
    [status.UNIMPLEMENTED, 'INTERNAL', 'INTERNAL'],
  ])('status %d without details is %s for a read and %s for a write (R20)', (code, read, write) => {
    expect(fromServiceError(raw(code)).reason).toBe(read);
    expect(fromServiceError(raw(code), { mayWrite: true }).reason).toBe(write);
  });

  it('falls back to the status for reasons of a newer peer and of other domains, and for garbage', () => {
    const newer = encodeErrorDetails(status.UNAVAILABLE, 'x', { reason: 'FROM_THE_FUTURE', metadata: { a: 'b' } });
    expect(fromServiceError(raw(status.UNAVAILABLE, newer))).toMatchObject({ reason: 'PEER_UNAVAILABLE', metadata: { reason: 'FROM_THE_FUTURE', a: 'b' } });
    const garbage = new Metadata();
    garbage.set('grpc-status-details-bin', Buffer.from([0xff, 0xff, 0xff]));
    expect(fromServiceError(raw(status.UNAVAILABLE, garbage)).reason).toBe('PEER_UNAVAILABLE');
  });

  it('never advises to repeat what may have been applied (R21)', () => {
    expect(RETRY_ADVICE.WRITE_IN_DOUBT).toBe('never');
    expect(STATUS_BY_REASON.WRITE_IN_DOUBT).toBe(status.UNKNOWN);
  });
});
