// Objects of an S3 bucket, or of any server that speaks its protocol, addressed by path. The SDK is loaded here and only when
// a bucket is opened: it takes a tenth of a second and tens of MiB.
import { setTimeout as sleep } from 'node:timers/promises';
import type * as Sdk from '@aws-sdk/client-s3';
import { AtollError } from '@atoll/core-errors';
import { MIB } from '@atoll/core-runtime';
import { OBJECT_BYTES_MAX, checkObjectKey, type ObjectStore, type StoredObject } from '../object-store.ts';

export interface S3Options {
  readonly bucket: string;
  /** Put before every key, without a slash at its end; empty for none. */
  readonly prefix?: string;
  /** http(s)://host:port of the server; undefined for AWS itself. */
  readonly endpoint?: string | undefined;
  /** Default: of the environment (AWS_REGION), else us-east-1, which most other servers take for any. */
  readonly region?: string | undefined;
  /** Default: as the SDK finds them, first AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
  /** Larger objects are sent in parts of this size: 5 MiB at least, but for the last. Default 8 MiB. */
  readonly partBytes?: number;
  /** Of one request, first one included; the pauses grow and are jittered. Default 5. */
  readonly attemptsMax?: number;
  /** Of one attempt, in milliseconds. Default 60 s. */
  readonly requestTimeoutMs?: number;
  /** What an operator has set each of these by, for messages. Default: the words for them. */
  readonly settingNames?: { readonly bucket: string; readonly endpoint: string; readonly region: string } | undefined;
}

const PART_BYTES = 8 * MIB;
const PART_BYTES_MIN = 5 * MIB;
/** Parts that are sent side by side. */
const PARTS_AT_ONCE = 3;
const ATTEMPTS_MAX = 5;
const REQUEST_TIMEOUT_MS = 60_000;
const CONNECTION_TIMEOUT_MS = 5000;
const PAUSE_MS = 200;

const SETTING_NAMES = { bucket: 'the bucket', endpoint: 'the endpoint', region: 'the region' };
const CREDENTIALS = 'AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY';

type Commands = typeof Sdk;

/** Does not look at the bucket. */
export async function openS3ObjectStore(options: S3Options): Promise<ObjectStore> {
  const sdk = await import('@aws-sdk/client-s3');
  const client = new sdk.S3Client({
    region: options.region ?? process.env['AWS_REGION'] ?? 'us-east-1',
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    ...(options.credentials !== undefined && { credentials: options.credentials }),
    forcePathStyle: true,
    maxAttempts: options.attemptsMax ?? ATTEMPTS_MAX,
    requestHandler: { connectionTimeout: CONNECTION_TIMEOUT_MS, requestTimeout: options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS, throwOnRequestTimeout: true },
  });
  return new S3ObjectStore(sdk, client, options);
}

class S3ObjectStore implements ObjectStore {
  readonly location: string;
  readonly #sdk: Commands;
  readonly #client: Sdk.S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #partBytes: number;
  readonly #attemptsMax: number;
  readonly #options: S3Options;

  constructor(sdk: Commands, client: Sdk.S3Client, options: S3Options) {
    const { bucket, prefix = '', partBytes = PART_BYTES, attemptsMax = ATTEMPTS_MAX } = options;
    if (partBytes < PART_BYTES_MIN) throw new RangeError(`parts of ${partBytes} bytes are too small for S3`);
    this.#sdk = sdk;
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix === '' ? '' : `${prefix}/`;
    this.#partBytes = partBytes;
    this.#attemptsMax = attemptsMax;
    this.#options = options;
    this.location = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
  }

  async put(key: string, body: Uint8Array): Promise<void> {
    await this.#writing(key, () => this.#send(key, body, {}));
  }

  /** `If-None-Match: *`. A server without it answers 501, or takes no notice: then the later of two writers wins. */
  async create(key: string, body: Uint8Array): Promise<boolean> {
    return this.#writing(key, async () => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          await this.#send(key, body, { IfNoneMatch: '*' });
          return true;
        } catch (error) {
          const status = statusOf(error);
          // Of an attempt whose answer was lost the next one finds the object: it is the caller's own.
          if (status === 412) return (await this.get(key))?.equals(body) ?? false;
          if (status === 409 && attempt < this.#attemptsMax) await this.#pause(attempt);
          else if (status === 501) return await this.#createUnguarded(key, body);
          else throw error;
        }
      }
    });
  }

  async get(key: string, bytesMax = OBJECT_BYTES_MAX): Promise<Buffer | undefined> {
    checkObjectKey(key);
    return this.#reading(key, async () => {
      for (let attempt = 1; ; attempt += 1) {
        const { Body: body, ContentLength: bytes } = await this.#client.send(new this.#sdk.GetObjectCommand({ Bucket: this.#bucket, Key: this.#prefix + key }));
        if (body === undefined) throw new Error('the answer has no body');
        if ((bytes ?? 0) > bytesMax) {
          if ('destroy' in body) body.destroy();
          throw new RangeError(`${this.location}: ${key} has ${bytes} bytes, at most ${bytesMax} are read`);
        }
        try {
          const content = await body.transformToByteArray();
          if (bytes !== undefined && content.length !== bytes) throw new Error(`the answer ended after ${content.length} of ${bytes} bytes`);
          return Buffer.from(content.buffer, content.byteOffset, content.length);
        } catch (error) {
          // The SDK repeats requests, and not answers that break off.
          if (attempt >= this.#attemptsMax) throw error;
          await this.#pause(attempt);
        }
      }
    });
  }

  async stat(key: string): Promise<StoredObject | undefined> {
    checkObjectKey(key);
    return this.#reading(key, async () => {
      const { ContentLength: bytes = 0, LastModified: modified } = await this.#client.send(new this.#sdk.HeadObjectCommand({ Bucket: this.#bucket, Key: this.#prefix + key }));
      return { key, bytes, modifiedMs: modified?.getTime() ?? 0 };
    });
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    let token: string | undefined;
    do {
      const input = { Bucket: this.#bucket, Prefix: this.#prefix + prefix, ...(token !== undefined && { ContinuationToken: token }) };
      const page = await this.#reading(prefix, () => this.#client.send(new this.#sdk.ListObjectsV2Command(input)));
      for (const { Key: key = '', Size: bytes = 0, LastModified: modified } of page?.Contents ?? []) {
        yield { key: key.slice(this.#prefix.length), bytes, modifiedMs: modified?.getTime() ?? 0 };
      }
      token = page?.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async delete(key: string): Promise<void> {
    checkObjectKey(key);
    await this.#writing(key, async () => {
      try {
        await this.#client.send(new this.#sdk.DeleteObjectCommand({ Bucket: this.#bucket, Key: this.#prefix + key }));
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
    });
  }

  async copy(from: string, to: string): Promise<boolean> {
    checkObjectKey(from);
    checkObjectKey(to);
    return this.#writing(to, async () => {
      const source = `${this.#bucket}/${this.#prefix}${from}`.split('/').map(encodeURIComponent).join('/');
      try {
        await this.#client.send(new this.#sdk.CopyObjectCommand({ Bucket: this.#bucket, Key: this.#prefix + to, CopySource: source }));
        return true;
      } catch (error) {
        if (isAbsent(error)) return false;
        throw error;
      }
    });
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  async #createUnguarded(key: string, body: Uint8Array): Promise<boolean> {
    const present = await this.get(key);
    if (present !== undefined) return present.equals(body);
    await this.#send(key, body, {});
    return true;
  }

  /** The SDK adds a checksum (CRC-32) to every request with a body, and the server compares. */
  async #send(key: string, body: Uint8Array, condition: { IfNoneMatch?: string }): Promise<void> {
    checkObjectKey(key);
    const object = { Bucket: this.#bucket, Key: this.#prefix + key };
    if (body.length <= this.#partBytes) {
      await this.#client.send(new this.#sdk.PutObjectCommand({ ...object, ...condition, Body: body, ContentType: 'application/octet-stream' }));
      return;
    }
    const { UploadId: upload } = await this.#client.send(new this.#sdk.CreateMultipartUploadCommand({ ...object, ContentType: 'application/octet-stream', ChecksumAlgorithm: 'CRC32' }));
    try {
      const parts = await this.#sendParts({ ...object, UploadId: upload }, body);
      await this.#client.send(new this.#sdk.CompleteMultipartUploadCommand({ ...object, ...condition, UploadId: upload, MultipartUpload: { Parts: parts } }));
    } catch (error) {
      // Or the bucket's lifecycle rule does away with it.
      await this.#client.send(new this.#sdk.AbortMultipartUploadCommand({ ...object, UploadId: upload })).catch(() => undefined);
      throw error;
    }
  }

  async #sendParts(object: { Bucket: string; Key: string; UploadId: string | undefined }, body: Uint8Array) {
    const count = Math.ceil(body.length / this.#partBytes);
    const parts: { PartNumber: number; ETag: string | undefined; ChecksumCRC32?: string }[] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < count) {
        const index = next;
        next += 1;
        const Body = body.subarray(index * this.#partBytes, (index + 1) * this.#partBytes);
        const { ETag, ChecksumCRC32 } = await this.#client.send(new this.#sdk.UploadPartCommand({ ...object, PartNumber: index + 1, Body, ChecksumAlgorithm: 'CRC32' }));
        parts[index] = { PartNumber: index + 1, ETag, ...(ChecksumCRC32 !== undefined && { ChecksumCRC32 }) };
      }
    };
    const results = await Promise.allSettled(Array.from({ length: Math.min(PARTS_AT_ONCE, count) }, work));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    return parts;
  }

  #pause(attempt: number): Promise<void> {
    return sleep(PAUSE_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2));
  }

  async #reading<T>(key: string, read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw this.#convert(key, error, 'REPOSITORY_UNAVAILABLE');
    }
  }

  async #writing<T>(key: string, write: () => Promise<T>): Promise<T> {
    try {
      return await write();
    } catch (error) {
      throw this.#convert(key, error, 'REPOSITORY_READ_ONLY');
    }
  }

  /** What to look at; empty where nothing is known. */
  #hint(error: unknown): string {
    const { name, message, code = '' } = error as Error & { code?: string };
    const { endpoint, settingNames: { bucket, endpoint: server, region } = SETTING_NAMES } = this.#options;
    const status = statusOf(error);
    if (name === 'NoSuchBucket') return `the bucket has to be there: ${bucket}, and the server in ${server}`;
    if (name === 'CredentialsProviderError') return `no credentials: ${CREDENTIALS}`;
    if (status === 301 || name === 'AuthorizationHeaderMalformed' || name === 'PermanentRedirect') return `is the bucket in ${this.#options.region ?? 'this region'}? ${region}`;
    if (status === 401 || status === 403) return `the server does not let these credentials do that: ${CREDENTIALS}, and what they may do in ${bucket}`;
    if (status === undefined && [code, name, ...message.split(' ')].some((word) => UNREACHED.test(word))) return `no answer from ${endpoint ?? 'AWS'}: ${server}`;
    return '';
  }

  #convert(key: string, error: unknown, denied: 'REPOSITORY_READ_ONLY' | 'REPOSITORY_UNAVAILABLE'): unknown {
    if (error instanceof AtollError || error instanceof RangeError) return error;
    const { name, message, code } = error as Error & { code?: string };
    const status = statusOf(error);
    const metadata = { location: this.location, code: name };
    // An answer without a body, as to HEAD, says nothing else.
    const what = status !== undefined && (message === '' || UNTOLD.has(message)) ? `it answered ${status}` : message || code || name;
    const hint = this.#hint(error);
    const text = `${this.location}: ${key}: ${what}${hint === '' ? '' : `; ${hint}`}`;
    if (status === 507 || FULL.has(name)) return new AtollError('REPOSITORY_FULL', text, { metadata, cause: error });
    return new AtollError(status === 403 || status === 401 ? denied : 'REPOSITORY_UNAVAILABLE', text, { metadata, cause: error });
  }
}

const UNTOLD: ReadonlySet<string> = new Set(['UnknownError', 'Unknown']);
/** What connections fail with, and the SDK where it had no answer. */
const UNREACHED = /^(?:E[A-Z]{4,}|UND_ERR_\w+|HPE_\w+|TimeoutError|NetworkingError)$/;
/** As servers say it: MinIO, Ceph, others. */
const FULL: ReadonlySet<string> = new Set(['XMinioStorageFull', 'QuotaExceeded', 'InsufficientStorage', 'InsufficientCapacity', 'StorageFull']);

const statusOf = (error: unknown): number | undefined => (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
/** A missing bucket is something else. */
const isAbsent = (error: unknown): boolean => statusOf(error) === 404 && (error as Error).name !== 'NoSuchBucket';
