import { isValue, makeValue } from './value-pattern.ts';

interface Written {
  readonly writeNumber: number;
  readonly bytes: number;
}

interface Believed {
  lastWriteNumber: number;
  /** Of the last write that was answered; undefined: none was. */
  confirmed: Written | undefined;
  /** Writes of unknown fate (WRITE_IN_DOUBT). They may still take effect later, so they stay. */
  doubtful: Written[];
}

/** A write about to be sent. */
export interface PlannedWrite {
  readonly value: Buffer;
  /** The write was answered. */
  confirm(): void;
  /** Its fate is unknown. A write that failed plainly (R20) calls neither. */
  doubt(): void;
}

/** `expected`: a value that it may have. `absent`: rightly so. `missing`: a confirmed write is gone. `wrong`: any other content. */
export type Finding = 'expected' | 'absent' | 'missing' | 'wrong';

/** What one single writer of each key believes the keys to hold. */
export class Expectations {
  readonly #keys = new Map<string, Believed>();

  planWrite(key: string, bytes: number): PlannedWrite {
    let believed = this.#keys.get(key);
    if (believed === undefined) {
      believed = { lastWriteNumber: 0, confirmed: undefined, doubtful: [] };
      this.#keys.set(key, believed);
    }
    const known = believed;
    known.lastWriteNumber += 1;
    const written: Written = { writeNumber: known.lastWriteNumber, bytes };
    return {
      value: makeValue(key, written.writeNumber, bytes),
      confirm: () => {
        known.confirmed = written;
      },
      doubt: () => {
        known.doubtful.push(written);
      },
    };
  }

  /** `value`: as read while no write of the key was under way; undefined: the key has no entry. */
  check(key: string, value: Buffer | undefined): Finding {
    const believed = this.#keys.get(key);
    if (value === undefined) return believed?.confirmed === undefined ? 'absent' : 'missing';
    const may = (written: Written | undefined): boolean => written !== undefined && isValue(value, key, written.writeNumber, written.bytes);
    return believed !== undefined && (may(believed.confirmed) || believed.doubtful.some(may)) ? 'expected' : 'wrong';
  }

  /** Keys with a confirmed write, or with one that may have happened. */
  *keys(): Generator<string, void, undefined> {
    for (const [key, { confirmed, doubtful }] of this.#keys) if (confirmed !== undefined || doubtful.length > 0) yield key;
  }

  /** Keys with a confirmed write. */
  get liveCount(): number {
    let count = 0;
    for (const { confirmed } of this.#keys.values()) if (confirmed !== undefined) count += 1;
    return count;
  }
}
