import { Dice, EventQueue } from '@atoll/core-replication/testing';
import { Network } from './network.ts';
import { SimClock } from './sim-clock.ts';
import { SimProcess } from './sim-process.ts';

describe('Network', () => {
  let events: EventQueue;
  let network: Network;
  let a: SimProcess;
  let b: SimProcess;

  const process = (id: string) => new SimProcess({ id, incarnation: id, events, clock: new SimClock({ now: () => events.nowMs, rate: 1, startMs: 0 }) });

  beforeEach(() => {
    events = new EventQueue();
    network = new Network({ events, dice: new Dice(1), delayMsMax: 20 });
    network.isRough = false;
    [a, b] = [process('a'), process('b')];
  });

  it('keeps the order of a stream, also behind a short cut; what it carries comes late then', () => {
    const stream = network.open(a, b);
    const seen: number[] = [];
    for (let index = 0; index < 10; index += 1) stream.toAcceptor(() => seen.push(index));
    network.cut('a', 'b');
    events.runUntil(400);
    expect(seen).toEqual([]);
    network.heal('a', 'b');
    for (let index = 10; index < 20; index += 1) stream.toAcceptor(() => seen.push(index));
    events.runUntil(2000);
    expect(seen).toEqual(Array.from({ length: 20 }, (_, index) => index));
  });

  it('cuts one way only, and ends a stream that is cut for long', () => {
    const stream = network.open(a, b);
    const seen: string[] = [];
    const gone: string[] = [];
    stream.onBreak('opener', () => gone.push('opener'));
    stream.onBreak('acceptor', () => gone.push('acceptor'));
    network.cut('a', 'b');
    stream.toAcceptor(() => seen.push('there'));
    stream.toOpener(() => seen.push('back'));
    events.runUntil(300);
    expect(seen).toEqual(['back']);
    events.runUntil(3000);
    expect([seen, gone.toSorted(), stream.isOpen]).toEqual([['back'], ['acceptor', 'opener'], false]);
  });

  it('holds what reaches a paused process, and drops what reaches a dead one', () => {
    const seen: string[] = [];
    b.pause();
    network.send(a, b, () => seen.push('held'));
    events.runUntil(100);
    expect(seen).toEqual([]);
    b.resume();
    expect(seen).toEqual(['held']);
    b.die();
    network.send(a, b, () => seen.push('dead'));
    events.runUntil(200);
    expect(seen).toEqual(['held']);
  });
});

describe('SimClock', () => {
  it('stands still in suspend, while uptime and wall go on (R17)', () => {
    const queue = new EventQueue();
    const clock = new SimClock({ now: () => queue.nowMs, rate: 1, startMs: 1000 });
    queue.runUntil(100);
    clock.suspend();
    queue.runUntil(5100);
    const before = clock.look();
    clock.wake();
    queue.runUntil(5200);
    const after = clock.look();
    expect([before.monotonicMs, before.uptimeMs]).toEqual([1100, 6100]);
    expect([after.monotonicMs, after.uptimeMs, after.wallMs - before.wallMs]).toEqual([1200, 6200, 100]);
  });
});
