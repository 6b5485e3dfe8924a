#!/usr/bin/env python3
"""Collects the DKIM tests of other software as cases with an expected verdict.

collect_suites.py SUITE FROM TO reads what the tests of SUITE hold, below FROM, and writes each of their verifications
as a file in TO, in the form that crates/testkit/src/vectors.rs describes. What is expected is `pass`, `fail` (not what
was signed) or `nopass` (nobody may pass it); where a message has several signatures it is that of the topmost, and of
the last in mail-auth's. Nothing is decided here: a test that cannot be read is left out and counted.
"""

import pathlib
import re
import sys


class Cases:
    """The cases of a suite on their way into a folder."""

    def __init__(self, folder):
        self.folder, self.written, self.left_out, self.seen = folder, 0, {}, set()

    def add(self, name, expect, keys, message, now=None):
        texts = [f"expect: {expect}", f"reason: {name}"]
        texts += [f"key: {owner.rstrip('.')} {text}" for owner, text in keys]
        texts += [f"now: {now}"] if now else []
        head = "\n".join(texts).encode("utf-8", "surrogateescape")
        if head.count(b"\n") != len(texts) - 1:
            return self.leave_out("a key of several lines")
        case = head.split(b"\n", 2)[2:] + [message]
        if repr((expect, case)) in self.seen:
            return None
        self.seen.add(repr((expect, case)))
        self.written += 1
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        (self.folder / f"{self.written:03}-{safe}").write_bytes(head + b"\n\n" + message)
        return None

    def leave_out(self, reason):
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


# --- dkimpy: its own tests are run, and each verification of a test that passes is written down.


def dkimpy(root, cases):
    import unittest

    sys.path.insert(0, str(root))
    import dkim
    from dkim.tests import test_dkim

    verify, calls = dkim.DKIM.verify, []

    def watched(self, idx=0, dnsfunc=dkim.get_txt):
        keys = []

        def lookup(name, *arguments, **options):
            text = dnsfunc(name, *arguments, **options)
            if text is not None:
                decoded = [part.decode("utf-8", "surrogateescape") for part in (name, text)]
                keys.append((decoded[0], decoded[1].strip().replace("\n", "")))
            return text

        message = b"\r\n".join(name + b":" + value.rstrip(b"\r\n") for name, value in self.headers)
        message += b"\r\n\r\n" + self.body
        result = "nopass"
        try:
            passed = verify(self, idx, dnsfunc=lookup)
            result = "pass" if passed else "nopass"
            return passed
        finally:
            calls.append((idx, result, keys, message))

    dkim.DKIM.verify = watched
    tests = unittest.TestSuite([test_dkim.test_suite()])

    def flatten(suite):
        for test in suite:
            if isinstance(test, unittest.TestSuite):
                yield from flatten(test)
            else:
                yield test

    for test in flatten(tests):
        calls.clear()
        outcome = unittest.TestResult()
        test.run(outcome)
        if not outcome.wasSuccessful():
            cases.leave_out("the test itself fails here")
            continue
        for idx, result, keys, message in calls:
            if idx != 0:
                cases.leave_out("another than the topmost signature")
            else:
                cases.add(test.id().rsplit(".", 1)[-1], result, keys, message)


# --- OpenDKIM: C programs that give fields and body to the library one by one and assert the status at the end.

TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([A-Za-z_]\w*)')
ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\", '"': '"', "0": "\0", "f": "\f", "v": "\v"}


class Unreadable(Exception):
    pass


def preprocess(text):
    """Without comments, and without what is only compiled if something is defined."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S).replace("\\\n", " ")
    lines, kept = [], []
    for line in text.split("\n"):
        words = line.replace("#", "# ").split()
        if words[:1] == ["#"] and words[1:2] in (["ifdef"], ["if"]):
            kept.append(False)
        elif words[:1] == ["#"] and words[1:2] == ["ifndef"]:
            kept.append(True)
        elif words[:1] == ["#"] and words[1:2] == ["else"]:
            kept[-1] = not kept[-1]
        elif words[:1] == ["#"] and words[1:2] == ["endif"]:
            kept.pop()
        elif all(kept):
            lines.append(line)
    return "\n".join(lines)


def definitions(text):
    return dict(re.findall(r"^\s*#\s*define\s+(\w+)[ \t]+(.*)$", text, flags=re.M))


def string(expression, macros, depth=0):
    """The string that a C expression of literals and macros stands for."""
    rest = TOKEN.sub("", expression).strip()
    if rest or not expression.strip() or depth > 8:
        raise Unreadable("an expression that is no string")
    parts = []
    for literal, name in TOKEN.findall(expression):
        if name:
            if name not in macros:
                raise Unreadable("a string that is made at run time")
            parts.append(string(macros[name], macros, depth + 1))
        else:
            parts.append(re.sub(r"\\(.)", lambda m: ESCAPES[m[1]], literal))
    return "".join(parts)


CALL = re.compile(
    r"\b(dkim_verify|dkim_header|dkim_body|dkim_chunk|dkim_eom|snprintf|assert|strlcpy|dkim_eoh)\s*\(((?:[^()\"]|\"(?:[^\"\\]|\\.)*\"|\([^()]*\))*)\)\s*;"
)
# What changes the verdict or the message in ways that a case cannot say.
BEYOND = re.compile(
    r"dkim_sign\s*\(|dkim_resign|\bfor\s*\(|\bwhile\s*\(|dkim_set_|dkim_ohdrs|DKIM_LIBFLAGS_(?!TMPFILES|KEEPFILES)\w+"
    r"|DKIM_OPTS_(?!QUERYMETHOD|QUERYINFO|FLAGS|TMPDIR|FIXEDTIME)\w+|dkim_atps|dkim_add_"
)


def opendkim(root, cases):
    (folder,) = root.glob("*/libopendkim/tests")
    macros = definitions(preprocess((folder / "t-testdata.h").read_text()))
    macros.update(definitions(preprocess((folder.parent / "dkim.h").read_text())))
    macros["DKIM_DNSKEYNAME"] = '"_domainkey"'
    setup = preprocess((folder / "t-setup.c").read_text())
    names = re.findall(r'fprintf\(f, "%s\.%s\.%s ", (\w+), DKIM_DNSKEYNAME, (\w+)\)', setup)
    texts = re.findall(r"for \(p = (\w+);", setup)
    records = [
        (f"{string(selector, macros)}._domainkey.{string(domain, macros)}", string(text, macros).replace("\n", ""))
        for (selector, domain), text in zip(names, texts)
    ]
    for path in sorted(folder.glob("t-test*.c")):
        text = preprocess(path.read_text())
        if "dkim_verify(" not in text:
            continue
        if BEYOND.search(text):
            cases.leave_out("more than fields, a body and a status")
            continue
        try:
            read_program(path.stem, text, {**macros, **definitions(text)}, records, cases)
        except Unreadable as error:
            cases.leave_out(str(error))


def read_program(name, text, macros, records, cases):
    fields, body, in_body, buffers, ended, now = [], [], False, {}, False, None
    fixed = re.search(r"fixed_time\s*=\s*(\d+)", text)
    if "FIXEDTIME" in text:
        if not fixed:
            raise Unreadable("a time that cannot be read")
        now = int(fixed[1])
    for function, arguments in CALL.findall(text):
        parts = split_arguments(arguments)
        if function == "dkim_verify":
            fields, body, in_body, ended = [], [], False, False
        elif function == "snprintf":
            shape = string(parts[2], macros)
            if re.findall(r"%.", shape) != ["%s"] * shape.count("%"):
                raise Unreadable("a format of other things than strings")
            filled = tuple(string(part, macros) for part in parts[3:])
            buffers[parts[0]] = (shape % filled)
        elif function in ("dkim_header", "dkim_body", "dkim_chunk"):
            if parts[1] == "NULL":
                continue
            value = buffers[parts[1]] if parts[1] in buffers else string(parts[1], macros)
            if function == "dkim_header":
                fields.append(value)
            elif function == "dkim_body":
                body.append(value)
            else:
                body.append(value)
                in_body = True
        elif function == "dkim_eom":
            ended = True
        elif function == "assert" and ended:
            status = re.fullmatch(r"status == (DKIM_STAT_\w+)", arguments.strip())
            ended = False
            if not status:
                raise Unreadable("no status at the end")
            expect = {"DKIM_STAT_OK": "pass", "DKIM_STAT_BADSIG": "fail"}.get(status[1], "nopass")
            message = "".join(field + "\r\n" for field in fields) + ("" if in_body and not fields else "\r\n") + "".join(body)
            cases.add(name, expect, records, message.encode("latin-1"), now)


def split_arguments(text):
    parts, depth, quoted, current, last = [], 0, False, "", ""
    for character in text:
        if character == '"' and last != "\\":
            quoted = not quoted
        if not quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0 and not quoted:
            parts.append(current.strip())
            current = ""
        else:
            current += character
        last = character if last != "\\" else ""
    return parts + [current.strip()]


# --- mail-auth: files of key records, an empty line and a message, of which the last signature passes at a fixed time.


def mail_auth(root, cases):
    for path in sorted((root / "resources/dkim").glob("*.txt")):
        records, message = path.read_bytes().split(b"\n\n", 1)
        keys = [line.decode().split(" ", 1) for line in records.split(b"\n") if b" " in line]
        cases.add(path.stem, "pass", keys, message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), 1667843664)


# --- rspamd: messages, made-up DNS records in a configuration file, and the symbol that a scan has to give.

SYMBOLS = {
    "R_DKIM_ALLOW": "pass",
    "R_DKIM_REJECT": "fail",
    "R_DKIM_PERMFAIL": "nopass",
    "R_DKIM_TEMPFAIL": "nopass",
}


def rspamd(root, cases):
    (folder,) = root.glob("*/test/functional")
    records = []
    for block in re.findall(r"\{([^{}]*)\}", (folder / "configs/plugins.conf").read_text()):
        name, replies = re.search(r'name\s*=\s*"([^"]+)"', block), re.search(r'replies\s*=\s*\["([^"]*)"\]', block)
        if name and "_domainkey" in name[1]:
            records.append((name[1], replies[1] if replies else "SERVFAIL" if "rcode" in block else "NXDOMAIN"))
    for path in sorted(folder.glob("cases/**/*dkim*.robot")):
        scans = re.findall(r"Scan File\s+\$\{RSPAMD_TESTDIR\}/(\S+)\n(?:  \.\.\..*\n)*  Expect Symbol\s+(\S+)", path.read_text())
        for message, symbol in scans:
            if symbol in SYMBOLS:
                octets = (folder / message).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
                cases.add(message.replace("messages/", ""), SYMBOLS[symbol], records, octets)


def main():
    suite, below, to = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    to.mkdir(parents=True)
    cases = Cases(to)
    {"dkimpy": dkimpy, "opendkim": opendkim, "mail-auth": mail_auth, "rspamd": rspamd}[suite](below, cases)
    if cases.written == 0:
        raise SystemExit(f"{suite} holds no test: has the package changed?")
    print(f"{suite}: {cases.written} cases; left out: {cases.left_out}")


main()
