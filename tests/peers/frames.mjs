// The form in which the scripts of this folder take and give many messages: frames of a decimal length, a line feed and
// that many bytes.
import { readFileSync } from 'node:fs';

// Takes all of standard input apart.
export function readFrames() {
    const input = readFileSync(0);
    const frames = [];
    for (let at = 0; at < input.length; ) {
        const end = input.indexOf(10, at);
        const length = Number(input.toString('latin1', at, end));
        at = end + 1 + length;
        if (end < 0 || !Number.isSafeInteger(length) || at > input.length) {
            throw new Error('a frame is shorter than its length');
        }
        frames.push(input.subarray(end + 1, at));
    }
    return frames;
}

// The parts of mailauth, from where tests/install-peers put it.
export const MAILAUTH = new URL('../../build/peers/mailauth/node_modules/mailauth/', import.meta.url);
