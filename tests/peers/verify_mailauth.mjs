// Verifies many messages with mailauth, for the tests of Postseal.
//
// Reads frames from standard input. The first holds the keys (owner TAB text, one TXT record a line, as in
// `--dns-file`), each further frame a message. Writes for each message one line per DKIM-Signature, from the top:
//
//     number TAB verdict TAB signing domain TAB selector TAB algorithm TAB reason
//
// and then `number TAB end`. The verdict is one of mailauth's in its strict mode: pass, fail, neutral, policy,
// temperror; or error.
import { createRequire } from 'node:module';
import { MAILAUTH, readFrames } from './frames.mjs';

const { dkimVerify } = createRequire(MAILAUTH)('./lib/dkim/verify');

const [records, ...messages] = readFrames();
const keys = new Map();
for (const line of records.toString('utf8').split('\n')) {
    const tab = line.indexOf('\t');
    if (tab < 0 || line.startsWith('#')) {
        continue;
    }
    const owner = line.slice(0, tab).replace(/\.$/, '').toLowerCase();
    keys.set(owner, [...(keys.get(owner) ?? []), line.slice(tab + 1)]);
}

async function resolver(name) {
    const texts = keys.get(name.replace(/\.$/, '').toLowerCase()) ?? ['NXDOMAIN'];
    const code = { NXDOMAIN: 'ENOTFOUND', SERVFAIL: 'ESERVFAIL', TIMEOUT: 'ETIMEOUT' }[texts[0]];
    if (code) {
        throw Object.assign(new Error(code), { code });
    }
    return texts.map((text) => text.match(/[^]{1,255}/g) ?? ['']);
}

const oneLine = (value) => String(value ?? '').replace(/\s+/g, ' ').trim() || '-';

for (const [number, message] of messages.entries()) {
    const lines = [];
    try {
        const { results } = await dkimVerify(message, { resolver, strict: true });
        for (const { status, signingDomain, selector, algo } of results) {
            if (status.result !== 'none') {
                lines.push([status.result, signingDomain, selector, algo, status.comment]);
            }
        }
    } catch (error) {
        lines.push(['error', '', '', '', error]);
    }
    const text = lines.map((line) => `${[number, ...line.map(oneLine)].join('\t')}\n`);
    process.stdout.write(`${text.join('')}${number}\tend\n`);
}
