#!/usr/bin/env python3
"""Times dp_accounting's privacy loss distributions on a table of plans, and lays ours beside them.

    accounting.py TABLE OURS OUT [--check RATIO]

TABLE has the form of common/dp/tests/data/dp_accounting-0.6.0.csv, OURS is what the example
`accounting_rate` printed for it. Each row is built, composed and asked for ε in the way in which
the table was made: with the default grid of 1e-4, or 1e-3 where only that gives the table's figure.
Both peers take the wall clock in one thread; theirs the fastest of three, of two where a run takes
over a second, of one where it takes over ten; ours the fastest of five.

Run it by `benches/peers/run-accounting`, which installs dp-accounting and compares.
"""

import argparse
import csv
import json
import re
import statistics
import time
from importlib.metadata import version

from dp_accounting.pld import privacy_loss_distribution as pld


def single(name, sigma, q, steps, grid):
    interval = {"value_discretization_interval": grid}
    after = lambda prefix: int(name.removeprefix(prefix))
    if name == "gaussian":
        # Their accountant merges Gaussians before it makes a grid, as ours does.
        return pld.from_gaussian_mechanism(sigma / steps**0.5, **interval)
    if name == "poisson_gaussian":
        one = pld.from_gaussian_mechanism(sigma, sampling_prob=q, **interval)
    elif name == "laplace":
        one = pld.from_laplace_mechanism(sigma, **interval)
    elif name == "poisson_laplace":
        one = pld.from_laplace_mechanism(sigma, sampling_prob=q, **interval)
    elif name.startswith("discrete_gaussian_1d_sens"):
        sensitivity = after("discrete_gaussian_1d_sens")
        one = pld.from_discrete_gaussian_mechanism(sigma, sensitivity=sensitivity, **interval)
    elif name.startswith("discrete_laplace_sens"):
        sensitivity = after("discrete_laplace_sens")
        one = pld.from_discrete_laplace_mechanism(sigma, sensitivity=sensitivity, **interval)
    else:
        raise SystemExit(f"unknown mechanism {name}")
    return one.self_compose(steps) if steps > 1 else one


def mixture(text, grid):
    """`A: 100xGauss(s=5)+10xLaplace(b=20)`."""
    names = {"Gauss": "gaussian", "Laplace": "laplace", "DiscreteLaplace": "discrete_laplace_sens1"}
    pattern = r"(\d+)x(?:(Poisson)\(q=([\d.]+)\))?(\w+)\(\w=([\d.]+)\)"
    whole = None
    for count, sampled, q, name, sigma in re.findall(pattern, text):
        kind = "poisson_gaussian" if sampled else names[name]
        part = single(kind, float(sigma), float(q or 1), int(count), grid)
        whole = part if whole is None else whole.compose(part)
    return whole


def epsilon(row, grid):
    name, sigma, q, steps, delta = row[:5]
    if name.startswith("mix_"):
        composed = mixture(name, grid)
    else:
        composed = single(name, float(sigma), float(q), int(steps), grid)
    return composed.get_epsilon_for_delta(float(delta))


def measure(row, grid):
    fastest, runs = float("inf"), 3
    while runs > 0:
        start = time.perf_counter()
        found = epsilon(row, grid)
        spent = time.perf_counter() - start
        fastest = min(fastest, spent)
        runs -= 3 if spent > 10 else 2 if spent > 1 else 1
    return found, fastest


def theirs(row):
    """Their figure and time on the grid with which the table was made."""
    expected = float(row[5])
    # The fine grid takes minutes where the coarse one was used.
    large = expected > 500
    for grid in [1e-3, 1e-4] if large else [1e-4, 1e-3]:
        found, seconds = measure(row, grid)
        if abs(found - expected) <= 1e-6 * max(1.0, expected):
            return found, seconds, grid
    raise SystemExit(f"dp_accounting does not give the table's figure for {row[:5]}: {found}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("ours")
    parser.add_argument("out")
    parser.add_argument("--check", type=float, help="largest median of our time over theirs")
    arguments = parser.parse_args()
    with open(arguments.ours) as file:
        ours = {tuple(row[:5]): row[5:] for row in list(csv.reader(file))[1:]}
    rows = []
    with open(arguments.table) as file:
        table = [row for row in list(csv.reader(file))[1:] if row[5]]
    for row in table:
        found, seconds, grid = theirs(row)
        mine, mine_seconds = map(float, ours[tuple(row[:5])])
        rows.append(
            {
                "row": row[:5],
                "grid": grid,
                "theirs": found,
                "ours": mine,
                "theirs_s": seconds,
                "ours_s": mine_seconds,
                "ratio": mine_seconds / seconds,
            }
        )
    groups = {}
    for row in rows:
        name = re.sub(r"(_1d)?_sens\d+$", "", re.sub(r"^mix_.*", "mixture", row["row"][0]))
        groups.setdefault(name, []).append(row)
    groups["all rows"] = rows
    print(f"dp_accounting {version('dp-accounting')} and ours, medians\n")
    print("| rows | number | theirs | ours | ours / theirs | largest |")
    print("|---|---|---|---|---|---|")
    for name, group in groups.items():
        median = lambda key: statistics.median(row[key] for row in group)
        largest = max(row["ratio"] for row in group)
        print(
            f"| {name} | {len(group)} | {median('theirs_s') * 1e3:.2f} ms |"
            f" {median('ours_s') * 1e3:.3f} ms | {median('ratio'):.5f} | {largest:.3f} |"
        )
    ratio = statistics.median(row["ratio"] for row in rows)
    with open(arguments.out, "w") as file:
        json.dump({"median_ratio": ratio, "rows": rows}, file, indent=1)
        file.write("\n")
    print(f"\nmedian of our time over theirs: {ratio:.5f}; written to {arguments.out}")
    if arguments.check is not None and ratio > arguments.check:
        raise SystemExit(f"above {arguments.check}")


if __name__ == "__main__":
    main()
