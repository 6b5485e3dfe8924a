#!/usr/bin/env python3
"""Collects the messages among the test data of other mail software.

collect_mail.py SOURCES FROM TO reads the list SOURCES (tests/peers/mail-sources), looks below FROM, and writes each
message once, as TO/<source>/<file name>.eml, byte for byte but for the separator line of an mbox. Files that do not
begin with a header section are left out. Prints a line for each source; fails when a source gives nothing.
"""

import hashlib
import pathlib
import re
import sys

FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
# A header section names at least one of these; a script, a table or a picture does not.
TELLING = re.compile(rb"^(from|to|subject|date|received|message-id|return-path|mime-version)[ \t]*:", re.I | re.M)


def as_message(data):
    """The message in a file, or None."""
    if data.startswith(b"From "):
        data = data.partition(b"\n")[2]
    header = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0]
    if FIELD.match(data) and TELLING.search(header):
        return data
    return None


def main():
    sources, below, to = (pathlib.Path(argument) for argument in sys.argv[1:])
    seen = set()
    for line in sources.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        source, folder, pattern = line.split()
        written = 0
        (to / source).mkdir(exist_ok=True)
        for path in sorted((below / folder).glob(pattern)):
            if not path.is_file():
                continue
            message = as_message(path.read_bytes())
            digest = hashlib.sha256(message or b"").digest()
            if message is None or digest in seen:
                continue
            seen.add(digest)
            # Some names hold characters that are awkward in a path or a report.
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name)
            target = to / source / f"{name}.eml"
            number = 1
            while target.exists():
                number += 1
                target = to / source / f"{name}.{number}.eml"
            target.write_bytes(message)
            written += 1
        if written == 0:
            raise SystemExit(f"{folder} holds no message: has the package changed?")
        print(f"{source}: {written} messages from {folder}")
    print(f"{len(seen)} messages")


main()
