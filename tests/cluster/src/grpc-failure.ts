import { status, type ServiceError } from '@grpc/grpc-js';
import { decodeErrorDetails } from '@atoll/platform-grpc';

/** How a call failed, as a client of any language sees it. */
export interface GrpcFailure {
  /** Name of the gRPC status. */
  readonly status: string;
  /** Of the ErrorInfo with domain `atoll`. */
  readonly reason: string;
  /** metadata.field of the ErrorInfo. */
  readonly field: string | undefined;
}

/** One unary call, with nothing between the caller and grpc-js. */
export function unaryFailure(call: (callback: (error: ServiceError | null) => void) => unknown): Promise<GrpcFailure> {
  return new Promise((resolve, reject) => {
    call((error) => {
      if (error === null) reject(new Error('the call succeeded'));
      else resolve(describeFailure(error));
    });
  });
}

export function describeFailure(error: ServiceError): GrpcFailure {
  const facts = decodeErrorDetails(error.metadata);
  return { status: status[error.code], reason: facts?.reason ?? `no ErrorInfo: ${error.details}`, field: facts?.metadata['field'] };
}
