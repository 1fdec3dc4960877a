/**
 * Functions of bytes that the archive format needs and the language does not have. None of them reads or writes anything
 * else. `nodeArchiveCodec` of platform-repository has them from Node.
 */
export interface ArchiveCodec {
  /** 32 bytes. */
  sha256(parts: readonly Uint8Array[]): Buffer;
  /** HMAC-SHA-256 (RFC 2104): 32 bytes. */
  hmac(key: Uint8Array, parts: readonly Uint8Array[]): Buffer;
  /** One zstd frame (RFC 8878). `level` is 1 to 19. */
  compress(bytes: Uint8Array, level: number): Promise<Uint8Array>;
  /** Undefined unless the bytes are one zstd frame of exactly `plainBytes`; never makes more than that. */
  decompress(bytes: Uint8Array, plainBytes: number): Promise<Uint8Array | undefined>;
  /** AES-256-GCM (NIST SP 800-38D): the ciphertext, and the tag of 16 bytes behind it. `nonce` has 12 bytes. */
  seal(key: Uint8Array, nonce: Uint8Array, header: Uint8Array, plain: Uint8Array): Uint8Array;
  /** Undefined when the tag is another one. */
  open(key: Uint8Array, nonce: Uint8Array, header: Uint8Array, sealed: Uint8Array): Uint8Array | undefined;
}
