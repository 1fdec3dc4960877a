// Server reflection from the descriptor set that `buf build -o` writes. @grpc/reflection 1.0.4 is not used: it
// goes through protobufjs, which drops every file's import list, and strict clients (buf curl) then reject
// the answers.
import { status, type Server } from '@grpc/grpc-js';
import { createFileRegistry, fromBinary, toBinary, type DescFile } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import {
  ServerReflectionService,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  type ServerReflectionServer,
} from '@atoll/contracts/grpc/reflection/v1/reflection';

type Answer = NonNullable<ServerReflectionResponse['messageResponse']>;

/** Serves `grpc.reflection.v1` for the named services, out of a serialized FileDescriptorSet. */
export function addReflection(server: Server, descriptorSet: Uint8Array, services: readonly string[]): void {
  const answer = createAnswers(descriptorSet, services);
  server.addService(ServerReflectionService, {
    serverReflectionInfo(call) {
      call.on('data', (request: ServerReflectionRequest) => {
        // One answer per question: a client that does not read its answers is not read from either.
        if (!call.write({ validHost: request.host, originalRequest: request, messageResponse: answer(request) })) {
          call.pause();
          call.once('drain', () => call.resume());
        }
      });
      call.on('end', () => call.end());
    },
  } satisfies ServerReflectionServer);
}

function createAnswers(descriptorSet: Uint8Array, services: readonly string[]): (request: ServerReflectionRequest) => Answer {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptorSet));
  const encoded = new Map<string, Buffer>();
  const encode = (file: DescFile): Buffer => {
    const known = encoded.get(file.name);
    if (known !== undefined) return known;
    const bytes = Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto));
    encoded.set(file.name, bytes);
    return bytes;
  };
  const withImports = (file: DescFile, seen = new Set<string>()): Buffer[] => {
    if (seen.has(file.name)) return [];
    seen.add(file.name);
    return [encode(file), ...file.dependencies.flatMap((next) => withImports(next, seen))];
  };
  const filesOf = (file: DescFile | undefined, what: string): Answer =>
    file === undefined ? notFound(what) : { $case: 'fileDescriptorResponse', value: { fileDescriptorProto: withImports(file) } };
  const fileOfSymbol = (name: string): DescFile | undefined => {
    // A method, field or enum value belongs to the type before its last dot.
    const found = registry.get(name) ?? registry.get(name.slice(0, Math.max(name.lastIndexOf('.'), 0)));
    return found?.file;
  };
  return ({ messageRequest: question }) => {
    switch (question?.$case) {
      case 'listServices':
        return { $case: 'listServicesResponse', value: { service: services.map((name) => ({ name })) } };
      case 'fileByFilename':
        return filesOf(registry.getFile(question.value.replace(/\.proto$/, '')), question.value);
      case 'fileContainingSymbol':
        return filesOf(fileOfSymbol(question.value), question.value);
      case 'allExtensionNumbersOfType':
        return registry.getMessage(question.value) === undefined
          ? notFound(question.value)
          : { $case: 'allExtensionNumbersResponse', value: { baseTypeName: question.value, extensionNumber: [] } };
      case 'fileContainingExtension':
        return notFound(`extension ${question.value.extensionNumber} of ${question.value.containingType}`);
      default:
        return { $case: 'errorResponse', value: { errorCode: status.INVALID_ARGUMENT, errorMessage: 'empty request' } };
    }
  };
}

function notFound(what: string): Answer {
  return { $case: 'errorResponse', value: { errorCode: status.NOT_FOUND, errorMessage: `${what} not found` } };
}
