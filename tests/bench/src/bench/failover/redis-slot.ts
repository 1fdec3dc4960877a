/** Slots of a Redis Cluster: CRC16 (XMODEM) of the key, modulo 16384. Keys without hash tags. https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ */
export function slotOfKey(key: string): number {
  let crc = 0;
  for (const byte of Buffer.from(key)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021;
    crc &= 0xffff;
  }
  return crc % 16_384;
}
