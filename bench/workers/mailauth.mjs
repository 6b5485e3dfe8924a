// mailauth for `make bench-dkim`. The argument is the folder in which it is installed.
import { createRequire } from 'node:module';
import { serve } from './serve.mjs';

const require = createRequire(import.meta.url);
const installed = process.argv[2];
const { dkimSign } = require(`${installed}/mailauth/lib/dkim/sign`);
const { dkimVerify } = require(`${installed}/mailauth/lib/dkim/verify`);

await serve(({ privateKey, record, signingDomain, selector, fields }) => ({
    async sign(message) {
        const { signatures, errors } = await dkimSign(message, {
            canonicalization: 'relaxed/relaxed',
            algorithm: 'rsa-sha256',
            headerList: fields.split(':'),
            signatureData: [{ signingDomain, selector, privateKey }]
        });
        if (errors.length) throw errors[0].err || new Error(JSON.stringify(errors));
        return Buffer.from(signatures);
    },

    async verify(message) {
        const { results } = await dkimVerify(message, { resolver: async () => [[record]] });
        return results.some(result => result.status.result === 'pass');
    }
}));
