import { Metadata } from '@grpc/grpc-js';
import { ErrorInfo, Status } from '@atoll/contracts/google/rpc/status';

/** Domain of our ErrorInfo; reasons of other domains mean something else. */
export const ERROR_DOMAIN = 'atoll';

const DETAILS_KEY = 'grpc-status-details-bin';
const ERROR_INFO_URL = 'type.googleapis.com/google.rpc.ErrorInfo';

/** What `grpc-status-details-bin` says about a failure, https://google.aip.dev/193. */
export interface ErrorFacts {
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Trailers that carry the facts beside the status code and message. */
export function encodeErrorDetails(code: number, message: string, { reason, metadata }: ErrorFacts): Metadata {
  const info = ErrorInfo.encode({ reason, domain: ERROR_DOMAIN, metadata: { ...metadata } }).finish();
  const details = Status.encode({ code, message, details: [{ typeUrl: ERROR_INFO_URL, value: Buffer.from(info) }] }).finish();
  const trailers = new Metadata();
  trailers.set(DETAILS_KEY, Buffer.from(details));
  return trailers;
}

/** The facts in the trailers of a failure; undefined where there are none of ours or they are malformed. */
export function decodeErrorDetails(trailers: Metadata | undefined): ErrorFacts | undefined {
  const [encoded] = trailers?.get(DETAILS_KEY) ?? [];
  if (!Buffer.isBuffer(encoded)) return undefined;
  try {
    const packed = Status.decode(encoded).details.find(({ typeUrl }) => typeUrl === ERROR_INFO_URL);
    const info = packed && ErrorInfo.decode(packed.value);
    return info?.domain === ERROR_DOMAIN ? { reason: info.reason, metadata: info.metadata } : undefined;
  } catch {
    return undefined; // a peer that sends garbage is treated like one that sends nothing
  }
}
