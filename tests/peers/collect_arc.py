#!/usr/bin/env python3
"""Writes the cases of the public ARC test suite as files that the tests read.

collect_arc.py SUITE TO reads the YAML file SUITE: documents with `txt-records` and `tests`, each test with a `message`
and the chain validation status `cv` that a verifier has to come to. Writes TO/<number>-<name>, in the form of the
test vectors (crates/testkit/src/vectors.rs). An empty `cv` means a chain that has ended, which verifies as fail.

The nodes of the YAML are read and not Python's dictionaries, since the suite has some names twice.
"""

import pathlib
import sys

import yaml


def pairs(node):
    return [(key.value, value) for key, value in node.value]


def main():
    suite, to = (pathlib.Path(argument) for argument in sys.argv[1:])
    number = 0
    for document in yaml.compose_all(suite.read_text(), Loader=yaml.SafeLoader):
        parts = dict(pairs(document))
        records = [(owner, " ".join(text.value.split())) for owner, text in pairs(parts["txt-records"])]
        for name, test in pairs(parts["tests"]):
            fields = {key: value.value for key, value in pairs(test)}
            number += 1
            lines = [f"expect: {fields['cv'].strip().lower() or 'fail'}", f"reason: {fields['description']}"]
            lines += [f"key: {owner} {text}" for owner, text in records]
            message = fields["message"].replace("\r\n", "\n").replace("\n", "\r\n")
            head = "".join(line + "\r\n" for line in lines) + "\r\n"
            (to / f"{number:03}-{name}").write_bytes(head.encode() + message.encode())
    if number == 0:
        raise SystemExit(f"{suite} holds no case: has the package changed?")
    print(f"{number} cases")


main()
