// Signs many messages with mailauth, for the tests of Postseal.
//
// sign_mailauth.mjs DOMAIN SELECTOR ALGORITHM CANONICALIZATION reads frames from standard input. The first holds the
// private key (PEM), each further frame a message. Writes for each message a frame with the message, signed, or
// `refused: ` and a reason.
import { createRequire } from 'node:module';
import { MAILAUTH, readFrames } from './frames.mjs';

const { dkimSign } = createRequire(MAILAUTH)('./lib/dkim/sign');

const [signingDomain, selector, algorithm, canonicalization] = process.argv.slice(2);
const [privateKey, ...messages] = readFrames();
for (const message of messages) {
    const signatureData = [{ signingDomain, selector, privateKey: privateKey.toString() }];
    const { signatures, errors } = await dkimSign(message, { algorithm, canonicalization, signatureData });
    const signed =
        errors.length > 0
            ? Buffer.from(`refused: ${errors[0].err ?? JSON.stringify(errors)}`)
            : Buffer.concat([Buffer.from(signatures), message]);
    process.stdout.write(Buffer.concat([Buffer.from(`${signed.length}\n`), signed]));
}
