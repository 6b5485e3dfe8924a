#!/usr/bin/env python3
"""Verifies many messages with dkimpy, for the tests of Postseal.

Reads frames from standard input, each a decimal length, a line feed and that many bytes. The first frame holds the
keys (owner TAB text, one TXT record a line, as in `--dns-file`), each further frame a message. Writes for each message
one line per DKIM-Signature, from the top:

    number TAB verdict TAB signing domain TAB selector TAB algorithm TAB reason

and then `number TAB end`. The verdict is pass, fail or error; dkimpy knows no finer results.
"""

import sys

import dkim
from dkim.util import parse_tag_value


class LastError:
    """The logger given to dkimpy, which says only there why a key was of no use."""

    text = ""

    def error(self, text, *arguments):
        self.text = text % arguments if arguments else str(text)

    def debug(self, *_):
        pass

    info = warning = debug


def frames(stream):
    while line := stream.readline():
        length = int(line)
        data = stream.read(length)
        if len(data) != length:
            raise SystemExit("a frame is shorter than its length")
        yield data


def read_keys(data):
    keys = {}
    for line in data.decode().splitlines():
        if line and not line.startswith("#"):
            owner, _, text = line.partition("\t")
            keys.setdefault(owner.lower().rstrip("."), []).append(text)
    return keys


def main():
    stream = frames(sys.stdin.buffer)
    keys = read_keys(next(stream))

    def txt(name, timeout=5):
        texts = keys.get(name.decode("utf-8", "replace").lower().rstrip("."), [])
        if not texts or texts[0] == "NXDOMAIN":
            return None
        if texts[0] in ("SERVFAIL", "TIMEOUT"):
            raise dkim.DnsTimeoutError(texts[0])
        return texts[0].encode()

    def one_line(value):
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return " ".join(str(value).split()) or "-"

    for number, message in enumerate(stream):
        fields = []
        try:
            fields = [value for name, value in dkim.DKIM(message).headers if name.lower() == b"dkim-signature"]
        except dkim.DKIMException as error:
            print(number, "error", "-", "-", "-", one_line(error), sep="\t")
        for index, field in enumerate(fields):
            log = LastError()
            try:
                tags = parse_tag_value(field)
            except Exception:  # the verification below says what is wrong with it
                tags = {}
            try:
                passed = dkim.DKIM(message, logger=log).verify(index, dnsfunc=txt)
                verdict, reason = ("pass", "") if passed else ("fail", log.text or "signature does not match")
            except dkim.ValidationError as error:
                verdict, reason = "fail", error
            except Exception as error:  # dkimpy lets exceptions of any kind out on malformed input
                verdict, reason = "error", f"{type(error).__name__}: {error}"
            print(
                number,
                verdict,
                *(one_line(tags.get(tag, b"")) for tag in (b"d", b"s", b"a")),
                one_line(reason),
                sep="\t",
            )
        print(number, "end", sep="\t")


main()
