#!/usr/bin/env python3
"""Seals or verifies the ARC chains of many messages with dkimpy, for the tests of Postseal.

Reads frames from standard input, each a decimal length, a line feed and that many bytes.

arc_dkimpy.py seal DOMAIN SELECTOR STATUS: the first frame holds an RSA key as PEM, each further frame a message. Adds an
ARC set to each, by DOMAIN, as one that found the chain to be STATUS (none or pass), and writes a frame with the result.

arc_dkimpy.py verify: frames by twos, the keys (owner TAB text, one TXT record a line, as in `--dns-file`) and a message.
Writes `number TAB pass|fail|none TAB reason` for each. dkimpy has no word of its own for a chain that ended with
cv=fail; here that is fail.
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


def seal(domain, selector, status):
    stream = frames(sys.stdin.buffer)
    key = next(stream)
    for message in stream:
        found = f"Authentication-Results: {domain}; arc={status}; spf=pass smtp.mailfrom=a.example\r\n".encode()
        fields = dkim.arc_sign(found + message, selector.encode(), domain.encode(), key, domain.encode())
        sealed = b"".join(fields) + found + message
        sys.stdout.buffer.write(b"%d\n" % len(sealed) + sealed)


def verify():
    stream = frames(sys.stdin.buffer)
    for number, (records, message) in enumerate(zip(stream, stream)):
        keys = dict(line.split("\t", 1) for line in records.decode().splitlines())

        def txt(name, timeout=5, keys=keys):
            text = keys.get(name.decode("utf-8", "replace").lower().rstrip("."))
            if text in ("SERVFAIL", "TIMEOUT"):
                raise dkim.DnsTimeoutError(text)
            return text and text.encode()

        try:
            status, _, reason = dkim.arc_verify(message, dnsfunc=txt)
        except Exception as error:  # dkimpy lets exceptions of any kind out on malformed input
            status, reason = dkim.CV_Fail, f"{type(error).__name__}: {error}"
        word = (status or dkim.CV_Fail).decode()
        print(number, word, " ".join(str(reason).split()), sep="\t")


{"seal": seal, "verify": verify}[sys.argv[1]](*sys.argv[2:])
