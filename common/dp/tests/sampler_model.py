#!/usr/bin/env python3
"""The fast sampler by its definition, for a second opinion on its frozen draws.

    python3 common/dp/tests/sampler_model.py

Prints the SHA-256 of 10,000 draws (64 bits, little-endian) for each variance of the test
`ten_thousand_draws_of_a_seed_are_frozen`, computed in decimal arithmetic of 90 digits with neither
bands nor tables of our code. The generator is AES-256 in counter mode by the `openssl` command;
its key is the bytes 0 to 31. Docs: `docs/privacy.md`, section 7.
"""

import bisect
import hashlib
import struct
import subprocess
from decimal import Decimal, getcontext
from fractions import Fraction

TRIALS = 256
BLOCK_BYTES = (2 * TRIALS + 1) * 8

getcontext().prec = 90


def stream(length):
    key, counter = bytes(range(32)).hex(), "00" * 16
    command = ["openssl", "enc", "-aes-256-ctr", "-K", key, "-iv", counter, "-nopad"]
    return subprocess.run(command, input=bytes(length), capture_output=True, check=True).stdout


def draws(variance, count):
    bits = 0
    while Fraction(4) ** (bits + 1) <= variance:
        bits += 1
    width, buckets = 2**bits, 0
    while Fraction(buckets * width) ** 2 < 169 * variance:
        buckets += 1
    sigma_squared = Decimal(variance.numerator) / Decimal(variance.denominator)

    def weight(x):
        return (-(Decimal(x) * Decimal(x)) / (2 * sigma_squared)).exp()

    total = sum(weight(k * width) for k in range(buckets))
    steps = [Decimal(0)]
    for k in range(buckets - 1):
        steps.append(steps[-1] + weight(k * width) / total)
    steps = [int(step * 2**63) for step in steps]
    found, blocks = [], stream(BLOCK_BYTES * (2 * count // TRIALS + 2))
    for start in range(0, len(blocks), BLOCK_BYTES):
        words = struct.unpack_from("<513Q", blocks, start)
        for head, offset in zip(words[:TRIALS], words[TRIALS:]):
            uniform, negative = head >> 1, head & 1
            bucket = bisect.bisect_right(steps, uniform) - 1
            x = bucket * width + (offset >> (64 - bits))
            above = uniform - steps[bucket]
            height = int(weight(x) / total * 2**63)
            assert abs(above - height) > 300 and above > 40, "this seed has an unsure trial"
            if above < height and not (negative and x == 0):
                found.append(-x if negative else x)
        if len(found) >= count:
            return found[:count]


def main():
    for variance in ["1", "256", "1000/3", str(2**32), f"{2**60}/7", str(2**80)]:
        digest = hashlib.sha256()
        for draw in draws(Fraction(variance), 10_000):
            digest.update(struct.pack("<q", draw))
        print(variance, digest.hexdigest())


if __name__ == "__main__":
    main()
