// mailauth for `make bench-dkim`; src/worker.rs says how it is spoken to. The argument is where it is installed.
import fs from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const installed = process.argv[2];
const { dkimSign } = require(`${installed}/lib/dkim/sign`);
const { dkimVerify } = require(`${installed}/lib/dkim/verify`);

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

const [privateKey, record, signingDomain, selector, fields] = Array.from({ length: 5 }, () => frame().toString());
const messages = [], signed = [], last = [];
for (let place = 0; place < 3; place++) {
    messages.push(frame());
    signed.push(frame());
}

async function sign(place) {
    const { signatures, errors } = await dkimSign(messages[place], {
        canonicalization: 'relaxed/relaxed',
        algorithm: 'rsa-sha256',
        headerList: fields.split(':'),
        signatureData: [{ signingDomain, selector, privateKey }]
    });
    if (errors.length) throw errors[0].err || new Error(JSON.stringify(errors));
    last[place] = Buffer.from(signatures);
}

async function verify(message) {
    const { results } = await dkimVerify(message, { resolver: async () => [[record]] });
    return results.some(result => result.status.result === 'pass');
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
            if (word === 'sign') await sign(place);
            else if (!(await verify(signed[place]))) throw new Error('does not verify');
        }
        const { user, system } = process.cpuUsage(start);
        fs.writeSync(1, `${(user + system) * 1000}\n`);
    }
}
