#!/usr/bin/env python3
"""Signs many messages with dkimpy, for the tests of Postseal.

sign_dkimpy.py DOMAIN SELECTOR ALGORITHM CANONICALIZATION reads frames from standard input, each a decimal length, a
line feed and that many bytes. The first frame holds the private key (PEM for RSA, a base64 seed for Ed25519), each
further frame a message. Writes for each message a frame with the message, signed, or `refused: ` and a reason.
"""

import sys

import dkim


def frames(stream):
    while line := stream.readline():
        length = int(line)
        data = stream.read(length)
        if len(data) != length:
            raise SystemExit("a frame is shorter than its length")
        yield data


def main():
    domain, selector, algorithm, canonicalization = (argument.encode() for argument in sys.argv[1:])
    stream = frames(sys.stdin.buffer)
    key = next(stream)
    for message in stream:
        try:
            signer = dkim.DKIM(message, signature_algorithm=algorithm)
            field = signer.sign(selector, domain, key, canonicalize=tuple(canonicalization.split(b"/")))
            signed = field + message
        except dkim.DKIMException as error:
            signed = b"refused: " + str(error).encode()
        sys.stdout.buffer.write(b"%d\n" % len(signed) + signed)


main()
