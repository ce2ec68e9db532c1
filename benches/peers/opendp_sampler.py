#!/usr/bin/env python3
"""Draws of discrete Gaussian noise per second: OpenDP's beside ours, in one run.

    python3 benches/peers/opendp_sampler.py [--venv FOLDER] [--draws N] [--opendp-only]

Makes a virtual environment (a temporary one unless a folder is named, which is used again), installs
OpenDP of the pinned version from PyPI, and times its Gaussian mechanism on vectors of integers at
the scales at which our example `sampler_rate` times ours, one core each, in seconds of the
processor. Prints JSON: a list with a row for each σ, and the ratios.

OpenDP's figure is that of its exact sampler (Canonne, Kamath, Steinke 2020) called through its
Python interface; a call covers a whole vector, so the interface is a small part of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv

OPENDP = "0.16.0"
SIGMAS = [16, 100, 1000, 65_536, 1 << 24]
VECTOR = 10_000
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def measure(draws):
    """Runs inside the virtual environment: best of three, as our example takes the best of five."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    rows = []
    for sigma in SIGMAS:
        space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
        mechanism = space >> dp.m.then_gaussian(scale=float(sigma))
        zeros = [0] * VECTOR
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            for _ in range(max(1, draws // VECTOR)):
                noise = mechanism(zeros)
            best = min(best, time.process_time() - start)
        mean_square = sum(x * x for x in noise) / VECTOR
        # Five standard errors of a variance: this is the law that we compare with.
        assert abs(mean_square / sigma**2 - 1) < 5 * (2 / VECTOR) ** 0.5, mean_square
        rows.append({"sigma": sigma, "opendp_per_s": max(1, draws // VECTOR) * VECTOR / best})
    print(json.dumps(rows))


def run_in_environment(folder, draws):
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        venv.create(folder, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", f"opendp=={OPENDP}"]
    subprocess.run(install, check=True, stdout=sys.stderr)
    own = [python, os.path.abspath(__file__), "--inside", "--draws", str(draws)]
    return json.loads(subprocess.run(own, check=True, stdout=subprocess.PIPE).stdout)


def ours():
    command = "cargo run --quiet --release -p chorale-dp --example sampler_rate -- --json".split()
    output = subprocess.run(command, check=True, cwd=REPOSITORY, stdout=subprocess.PIPE).stdout
    return {row["sigma"]: row for row in json.loads(output)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", help="folder of the virtual environment, to be used again")
    parser.add_argument("--draws", type=int, default=50_000, help="OpenDP's draws for each σ")
    parser.add_argument("--opendp-only", action="store_true", help="do not run our own example")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return measure(arguments.draws)
    with tempfile.TemporaryDirectory() as temporary:
        rows = run_in_environment(arguments.venv or temporary, arguments.draws)
    if not arguments.opendp_only:
        own = ours()
        for row in rows:
            row.update(own[row["sigma"]])
            row["fast_over_opendp"] = row["fast_per_s"] / row["opendp_per_s"]
            row["exact_over_opendp"] = row["exact_per_s"] / row["opendp_per_s"]
    rounded = [{key: round(value, 1) for key, value in row.items()} for row in rows]
    print(json.dumps({"opendp": OPENDP, "rows": rounded}, indent=2))


if __name__ == "__main__":
    main()
