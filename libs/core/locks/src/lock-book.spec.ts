import { LockBook, type BookedRequest } from './lock-book.ts';
import type { LockMode } from './lock-scope.ts';

const booked = (createRevision: number, mode: LockMode = 'EXCLUSIVE', name = 'n'): BookedRequest => ({
  scope: { kind: 'name', name },
  mode,
  createRevision,
  group: name,
  key: `${name}/${createRevision}`,
});

describe('LockBook', () => {
  it('says nothing about a request before it has seen its revision: an earlier one may still be unseen', () => {
    const book = new LockBook();
    book.replace([], 4);
    expect(book.stateOf(booked(7))).toBe('unseen');
    book.put(booked(5), 5);
    book.put(booked(7), 7);
    expect(book.stateOf(booked(7))).toBe('waiting');
    book.remove('n', 'n/5', 8);
    expect(book.stateOf(booked(7))).toBe('held');
  });

  it('knows that a request is gone, also when the gap of a watch swallowed it', () => {
    const book = new LockBook();
    book.replace([booked(3), booked(4)], 4);
    book.remove('n', 'n/3', 5);
    expect([book.stateOf(booked(3)), book.stateOf(booked(4))]).toEqual(['gone', 'held']);
    book.replace([booked(9)], 9);
    expect([book.stateOf(booked(4)), book.stateOf(booked(6)), book.stateOf(booked(9))]).toEqual(['gone', 'gone', 'held']);
  });

  it('takes a key that was made again for another request', () => {
    const book = new LockBook();
    book.put({ ...booked(3), key: 'n/id' }, 3);
    book.put({ ...booked(6), key: 'n/id' }, 6);
    expect(book.stateOf({ ...booked(3), key: 'n/id' })).toBe('gone');
    expect([book.size, book.countIn('n')]).toEqual([1, 1]);
  });

  it('forgets a group with its last request', () => {
    const book = new LockBook();
    book.put(booked(1, 'SHARED', 'a'), 1);
    book.put(booked(2, 'SHARED', 'b'), 2);
    book.remove('a', 'a/1', 3);
    book.remove('a', 'a/1', 4);
    expect([book.size, book.countIn('a'), book.countIn('b'), book.revision]).toEqual([1, 0, 1, 4]);
  });
});
