import { beforeEach, describe, expect, it } from 'vitest';
import { Circuit } from './circuit.ts';

let circuit: Circuit;
const fail = (now: number, thing?: string) => {
  circuit.enter(now);
  circuit.failed(now, 'GET x: 503', thing);
};

beforeEach(() => {
  circuit = new Circuit({ failures: 3, pauseMs: 1_000, longestPauseMs: 4_000 });
});

describe('a circuit', () => {
  it('opens after some failures in a row, and says what the last one was', () => {
    fail(0);
    fail(0);
    expect(circuit.enter(0)).toBe(0);
    circuit.failed(0, 'HEAD a.test/b:c: 502');

    expect(circuit.enter(400)).toBe(600);
    expect(circuit.state(400)).toEqual({ state: 'open', failures: 3, retryAt: 1_000, last: 'HEAD a.test/b:c: 502' });
  });

  it('stays closed when anything succeeds in between', () => {
    for (let n = 0; n < 10; n++) {
      fail(0);
      fail(0);
      circuit.enter(0);
      circuit.succeeded();
    }

    expect(circuit.enter(0)).toBe(0);
  });

  it('then lets one request see how things are', () => {
    for (let n = 0; n < 3; n++) fail(0);

    expect(circuit.enter(1_000)).toBe(0);
    expect(circuit.state(1_000).state).toBe('probing');
    expect(circuit.enter(1_000)).toBeGreaterThan(0);

    circuit.succeeded();
    expect(circuit.state(1_000)).toEqual({ state: 'closed', failures: 0 });
    expect(circuit.enter(1_000)).toBe(0);
  });

  it('waits twice as long each time that the probe fails, up to a limit', () => {
    for (let n = 0; n < 3; n++) fail(0);
    const waits: number[] = [];
    for (let now = 1_000, n = 0; n < 4; n++) {
      fail(now);
      waits.push(circuit.enter(now));
      now += waits.at(-1) ?? 0;
    }

    expect(waits).toEqual([2_000, 4_000, 4_000, 4_000]);
  });

  it('lets another request probe when the first came to nothing', () => {
    for (let n = 0; n < 3; n++) fail(0);

    expect(circuit.enter(1_000)).toBe(0);
    circuit.left();
    expect(circuit.enter(1_000)).toBe(0);
  });

  it('does not wait longer for requests that were under way when it opened', () => {
    for (let n = 0; n < 20; n++) circuit.enter(0);
    for (let n = 0; n < 20; n++) circuit.failed(n, 'timeout');

    expect(circuit.state(20)).toMatchObject({ state: 'open', retryAt: 1_002 });
  });

  it('does not open for one thing that fails again and again, but for several', () => {
    for (let n = 0; n < 10; n++) fail(0, '/v2/a/manifests/1');
    expect(circuit.enter(0)).toBe(0);

    circuit.failed(0, '500', '/v2/b/manifests/1');
    expect(circuit.enter(0)).toBe(1_000);
  });
});
