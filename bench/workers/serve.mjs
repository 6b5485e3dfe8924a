// The other side of src/worker.rs, which says how a worker is spoken to, for libraries in JavaScript.
import fs from 'node:fs';

let buffered = Buffer.alloc(0);

/** Reads what there is; false at the end of input. */
function fill() {
    const chunk = Buffer.alloc(1 << 16);
    const count = fs.readSync(0, chunk);
    buffered = Buffer.concat([buffered, chunk.subarray(0, count)]);
    return count > 0;
}

function line() {
    let end;
    while ((end = buffered.indexOf(10)) < 0) {
        if (!fill()) return null;
    }
    const text = buffered.subarray(0, end).toString();
    buffered = buffered.subarray(end + 1);
    return text;
}

function frame() {
    const length = Number(line());
    while (buffered.length < length) {
        if (!fill()) throw new Error('a short frame');
    }
    const octets = Buffer.from(buffered.subarray(0, length));
    buffered = buffered.subarray(length);
    return octets;
}

/**
 * Serves until the other side closes the pipe. `library` takes the task and gives two functions: `sign`, from a
 * message to the signature as a whole field with its CRLF; `verify`, from a message to whether it passes.
 */
export async function serve(library) {
    const [privateKey, record, signingDomain, selector, fields] = Array.from({ length: 5 }, () => frame().toString());
    const { sign, verify } = library({ privateKey, record, signingDomain, selector, fields });
    const messages = [], signed = [], last = [];
    for (let place = 0; place < 3; place++) {
        messages.push(frame());
        signed.push(frame());
    }
    for (let request; (request = line()) !== null;) {
        const [word, place, times] = request.split(' ');
        if (word === 'accepts') {
            fs.writeSync(1, (await verify(frame())) ? 'pass\n' : 'fail\n');
        } else if (word === 'field') {
            fs.writeSync(1, Buffer.concat([Buffer.from(`${last[place].length}\n`), last[place]]));
        } else {
            const start = process.cpuUsage();
            for (let i = 0; i < Number(times); i++) {
                if (word === 'sign') last[place] = await sign(messages[place]);
                else if (!(await verify(signed[place]))) throw new Error('does not verify');
            }
            const { user, system } = process.cpuUsage(start);
            fs.writeSync(1, `${(user + system) * 1000}\n`);
        }
    }
}
