// nodemailer's signer for `make bench-dkim`; it has no verifier. The argument is the folder in which it is installed.
import { createRequire } from 'node:module';
import path from 'node:path';
import { Readable } from 'node:stream';
import { serve } from './serve.mjs';

// As whoever depends on it sees it, since the package says itself what it exports.
const require = createRequire(path.resolve(process.argv[2], 'any'));
const DKIM = require('nodemailer/lib/dkim');

await serve(({ privateKey, signingDomain, selector, fields }) => {
    const signer = new DKIM({
        domainName: signingDomain,
        keySelector: selector,
        privateKey,
        headerFieldNames: fields,
        cacheDir: false
    });
    return {
        // It gives the whole message as a stream, with the signature on top.
        async sign(message) {
            const chunks = await signer.sign(Readable.from([message]), {}).toArray();
            const whole = Buffer.concat(chunks);
            return whole.subarray(0, whole.length - message.length);
        }
    };
});
