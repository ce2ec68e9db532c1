#!/usr/bin/env python3
"""Lays our measurements beside Flower's: `compare.py OUT (FLOWER_JSON OURS_JSON)...`."""

import json
import sys

ROWS = [
    ("agent: quantise", lambda x: x["agent"]["quantise_s"], "ms"),
    ("agent: mask", lambda x: x["agent"]["mask_s"], "ms"),
    ("agent: quantise and mask", lambda x: quantise_and_mask(x), "ms"),
    ("agent: noise", lambda x: x["agent"].get("noise_s"), "ms"),
    ("agent: signatures, hashes", lambda x: x["agent"].get("sign_s"), "ms"),
    ("agent: keys, shares, rest", lambda x: x["agent"].get("setup_s", x["agent"].get("other_s")), "ms"),
    ("agent: all", lambda x: x["agent"]["total_s"], "ms"),
    ("agent: bytes sent", lambda x: x["agent"]["bytes"], "bytes"),
    ("coordinator: add", lambda x: x["coordinator"]["add_s"], "ms"),
    ("coordinator: unmask", lambda x: x["coordinator"]["unmask_s"], "ms"),
    ("coordinator: add and unmask", lambda x: add_and_unmask(x), "ms"),
    ("coordinator: verify", lambda x: x["coordinator"].get("verify_s"), "ms"),
    ("coordinator: all", lambda x: x["coordinator"]["total_s"], "ms"),
    ("coordinator: bytes received", lambda x: x["coordinator"]["bytes_received"], "bytes"),
]


def quantise_and_mask(cost):
    return cost["agent"]["quantise_s"] + cost["agent"]["mask_s"]


def add_and_unmask(cost):
    return cost["coordinator"]["add_s"] + cost["coordinator"]["unmask_s"]


def shown(value, unit):
    if value is None:
        return ""
    return f"{value * 1e3:.2f} ms" if unit == "ms" else f"{int(value):,}"


def main():
    out, files = sys.argv[1], sys.argv[2:]
    settings = []
    for flower_path, ours_path in zip(files[::2], files[1::2], strict=True):
        with open(flower_path) as flower_file, open(ours_path) as ours_file:
            flower, ours = json.load(flower_file), json.load(ours_file)
        if (flower["n"], flower["d"]) != (ours["n"], ours["d"]):
            raise SystemExit(f"{flower_path} and {ours_path} are of different settings")
        if round(ours["n"] * ours["dropouts"]) != flower["dropouts"]:
            raise SystemExit(f"{flower_path} and {ours_path} have different drop-outs")
        ratios = {}
        print(f"\nn = {flower['n']}, d = {flower['d']:,}, {flower['dropouts']} dropped out\n")
        print(f"| CPU time or bytes | Flower {flower['flwr']} | Chorale | Flower / Chorale |")
        print("|---|---|---|---|")
        for name, read, unit in ROWS:
            theirs, mine = read(flower), read(ours)
            both = theirs is not None and mine is not None and mine > 0
            if both:
                ratios[name] = theirs / mine
            ratio = f"{theirs / mine:.1f}" if both else ""
            print(f"| {name} | {shown(theirs, unit)} | {shown(mine, unit)} | {ratio} |")
        settings.append({"flower": flower, "chorale": ours, "flower_over_chorale": ratios})
    with open(out, "w") as file:
        json.dump({"settings": settings}, file, indent=2)
        file.write("\n")
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    main()
