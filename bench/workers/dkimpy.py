"""dkimpy for `make bench-dkim`; src/worker.rs says how it is spoken to."""

import sys
import time

import dkim

requests, answers = sys.stdin.buffer, sys.stdout.buffer


def frame():
    length = int(requests.readline())
    octets = requests.read(length)
    if len(octets) != length:
        sys.exit("a short frame")
    return octets


pem, record, domain, selector, fields = (frame() for _ in range(5))
messages, signed, last = [], [], {}
for _ in range(3):
    messages.append(frame())
    signed.append(frame())
fields = fields.split(b":")


def sign(place):
    last[place] = dkim.DKIM(messages[place]).sign(
        selector, domain, pem, canonicalize=(b"relaxed", b"relaxed"), include_headers=fields)


def verify(message):
    try:
        return dkim.DKIM(message).verify(dnsfunc=lambda name, timeout=5: record)
    except dkim.DKIMException:
        return False


def measure(word, place, times):
    start = time.process_time_ns()
    for _ in range(times):
        if word == b"sign":
            sign(place)
        elif not verify(signed[place]):
            sys.exit("does not verify")
    return time.process_time_ns() - start


for line in requests:
    word, *numbers = line.split()
    if word == b"accepts":
        answer = b"pass\n" if verify(frame()) else b"fail\n"
    elif word == b"field":
        field = last[int(numbers[0])]
        answer = b"%d\n%s" % (len(field), field)
    else:
        answer = b"%d\n" % measure(word, *map(int, numbers))
    answers.write(answer)
    answers.flush()
