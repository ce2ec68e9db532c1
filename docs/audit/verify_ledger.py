#!/usr/bin/env python3
"""Verifies Chorale ledgers as docs/ledger.md specifies them, with Python's standard library alone.

It shares no code with Chorale, so that an auditor need not trust Chorale's own verifier. Costs, sums
and caps are exact fractions; the two figures of epsilon are floats, rounded up. Exit codes: 0 every
file holds, 1 one does not (the first entry at fault is named), 2 wrong usage."""
import argparse, json, math, re, sys
from fractions import Fraction
from pathlib import Path

import canary
from ed25519 import signed
from epsilon import epsilons, tau
from lines import Refused, digest, need, parse
from promise import check, fits, rises

# The rules.

def number(value):
    tag, size = next(pair for pair in ((0xFB, 2), (0xFC, 4), (0xFD, 8)) if value < 256**pair[1])
    return bytes([value]) if value <= 250 else bytes([tag]) + value.to_bytes(size, "big")

class Ledger:
    """Where a ledger stands after some entries."""
    def __init__(self):
        self.genesis = self.roster = None
        self.last_round, self.spent, self.samplers, self.graphs = 0, Fraction(0), Fraction(0), Fraction(0)
        self.open, self.sessions, self.counted, self.ended = {}, set(), [], {"release": 0, "abort": 0}
        self.serial, self.roster_is_old = 0, False
        self.charges = []  # task, charge and time of rounds that ended
        self.heads, self.cosigned, self.cosigners = [], -1, 0  # each entry's hash, and the roster after it

    def held(self, what):
        return sum((getattr(entry, what) for entry in self.open.values()), Fraction(0))

    def delta_left(self):
        return self.genesis.delta_reserved - self.graphs - self.samplers - self.held("samplers")

    def cohort(self, t_min, n):
        N, A, T = self.genesis.enrolled, self.genesis.corrupt, (n + self.genesis.corrupt) // 2 + 1
        floors = A + 3, T, n - n // 3, 10 if N >= 10 else 0, max(A + 2, T) if n <= 128 else 0
        need(1 <= A <= N <= 10000 and N >= 4 <= n and max(floors) <= t_min <= min(n, N),
             f"N, A and T_min do not protect {n} agents")
        return T

    def slots(self, roster, agents, floor):
        slots = [roster.slots.get(agent, -1) for agent in agents]
        need(rises([-1] + slots), "survivors, cohort or voters are not agents of the roster, each once, in order")
        need(len(slots) >= floor, f"{len(slots)} survivors or voters, or a cohort of so many, are too few")
        return slots

    def take_genesis(self, entry):
        need(self.genesis is None, "a ledger has one genesis entry")
        check(entry)
        self.genesis = entry
        self.cohort(entry.survivors_min, entry.survivors_min)

    def take_roster(self, entry):
        n, members = len(entry.agents), entry.memberships
        need(entry.epoch > (self.roster.epoch if self.roster else 0), "epochs only ascend, from 1")
        need(n <= self.genesis.enrolled and rises(entry.agents), "agents are too many or do not ascend")
        self.graphs = Fraction(entry.epoch, 2**40) if n > 128 else self.graphs
        need(n <= 128 or entry.epoch <= 1024 and self.delta_left() >= 0, "no delta is left for the graph")
        entry.votes_min, entry.slots = self.cohort(self.genesis.survivors_min, n), {}
        need(len(members) == n == len({member.identity for member in members}), "an identity is missing or twice")
        for agent, member in zip(entry.agents, members):
            payload = number(len(agent)) + agent.encode() + member.identity + member.tls_key + member.administrator
            payload += number(member.not_before_s) + number(member.not_after_s) + number(member.enrolled)
            need(signed(self.genesis.authority, b"membership", payload, member.signature),
                 f"the membership of {agent} is not signed by the authority")
            entry.slots[agent] = len(entry.slots)
        self.roster, self.roster_is_old = entry, False

    def take_reserve(self, entry):
        genesis, roster = self.genesis, self.roster
        need(entry.round > self.last_round, "rounds only ascend, from 1")
        need(roster and roster.epoch == entry.epoch and not self.roster_is_old, "the epoch is not that of the latest roster")
        need(1 <= entry.coordinates <= 2**24 and entry.scale_bits <= 40 and entry.delta >= 1
             and 2 <= entry.modulus_bits <= 62, "a number is out of its range")
        payload = number(len(genesis.federation)) + genesis.federation.encode() + entry.plan_digest
        need(signed(genesis.compliance, b"plan sign-off", payload, entry.sign_off), "the plan is not signed off")
        need(entry.corrupt == genesis.corrupt and entry.survivors_min >= genesis.survivors_min
             and entry.clip_share_rule == genesis.identity_method, "a field differs from genesis")
        need(entry.clip_share == (genesis.stores_max and Fraction(1, genesis.stores_max)), "clip_share is not 1/stores_max")
        self.cohort(entry.survivors_min, len(roster.agents))
        canary.committed(entry)
        noise = entry.sigma_squared, entry.share_variance, entry.sampler_distance
        entry.roster, entry.samplers, self.last_round = roster, Fraction(0), entry.round
        if genesis.cap_rho == "unprotected":
            need(entry.mechanism == entry.rho == "unprotected" and (*noise, entry.noise_levels) == (None,) * 4,
                 "a federation without noise has a round with noise")
        else:
            need(entry.mechanism == "discrete-gaussian" and None not in noise, "the noise is missing")
            self.cost(entry, len(roster.agents), *noise)
        self.open[entry.round] = entry

    def cost(self, entry, n, sigma_squared, share, distance):
        genesis, h, levels = self.genesis, entry.survivors_min - entry.corrupt, entry.noise_levels
        need(share == sigma_squared / h, f"share_variance is {share}, but sigma_squared gives {sigma_squared / h}")
        need(levels is None or 2 <= len(levels) <= 5 and rises(levels[::-1]) and levels[0] == n
             and levels[-1] == entry.survivors_min, "noise_levels do not fall from the roster to T_min")
        sums = [0] + [sigma_squared / (level - entry.corrupt) for level in levels or [entry.survivors_min]]
        need(all(b - a >= 256 for a, b in zip(sums, sums[1:])), "a share of noise is below 16 squared")
        rho = entry.delta**2 / (2 * sigma_squared) + entry.coordinates * tau(h, share)
        need(entry.rho == rho, f"rho is {entry.rho}, but the entry's own numbers give {rho}")
        need(self.spent + self.held("rho") + rho <= genesis.cap_rho, "the round does not fit the cap")
        fits(genesis, entry, self.open.values(), self.charges)
        a, odds = genesis.cap_rho * Fraction(14427, 10000), 1 / (genesis.delta - genesis.delta_reserved)
        square = math.ceil(4 * a * (math.ceil(odds) - 1).bit_length())
        g = math.ceil(a) + math.isqrt(square) + (math.isqrt(square)**2 < square) + 1
        growth = n * entry.coordinates * distance * (1 + 2**min(g, 256))
        entry.samplers = min(Fraction(1), growth) if g <= 256 else Fraction(1)
        need(distance < 1 and self.delta_left() >= entry.samplers, "no delta is left for the samplers")

    def end(self, entry, charge):
        held, noise = self.open.pop(entry.round), self.genesis.cap_rho != "unprotected"
        self.ended[entry.kind] += 1
        self.counted += [held] if charge else []
        self.spent += charge if noise else 0
        self.charges += [(held.task, charge, entry.time_s)] if noise else []
        self.samplers += held.samplers if charge else 0
        need(entry.spent == (self.spent if noise else "unprotected"),
             f"spent is {entry.spent}, but the charges give {self.spent}")

    def take_release(self, entry):
        need(held := self.open.get(entry.round), "the round holds no reservation")
        self.slots(held.roster, entry.survivors, held.survivors_min)
        need(len(entry.vectors) == len(entry.survivors), "there is not one vector for each survivor")
        need(entry.session not in self.sessions, "the session stands in an earlier entry")
        need(entry.rho == held.rho, "rho differs from the reservation")
        canary.opened(held, entry)
        self.sessions.add(entry.session)
        self.end(entry, entry.rho)

    def take_abort(self, entry):
        need(held := self.open.get(entry.round), "the round holds no reservation")
        nothing = "unprotected" if self.genesis.cap_rho == "unprotected" else 0
        need(entry.committed or not entry.unmask_started, "unmasked, and never committed")
        need(entry.rho_charged in (held.rho, nothing), "rho_charged is neither all nor nothing")
        if entry.certificate:
            need(entry.committed and not entry.unmask_started and entry.rho_charged == nothing, "no votes can be here")
            self.votes(held, held.roster, len(held.roster.agents), entry.certificate)
        else:
            need(not entry.committed or entry.rho_charged == held.rho, "the charge is given back without votes")
        self.end(entry, entry.rho_charged)

    def take_cosigned(self, entry):
        need(self.cosigned < entry.seq < len(self.heads), "there is no such head, or a later one is cosigned")
        hash, roster = self.heads[entry.seq]
        need(hash == entry.hash and roster, "the cosigned hash is another, or there was no roster yet")
        voters = self.slots(roster, entry.voters, roster.votes_min)
        need(len(voters) == len(entry.signatures), "there is not one signature for each voter")
        for slot, signature in zip(voters, entry.signatures):
            key, payload = roster.memberships[slot].identity, number(entry.seq) + hash
            need(signed(key, b"ledger head", payload, signature), f"{roster.agents[slot]} did not cosign")
        self.cosigned, self.cosigners = entry.seq, len(voters)

    def take_change(self, entry):
        genesis, before = self.genesis, dict(vars(self.genesis))
        need(entry.serial == self.serial + 1 and not self.open, "the serial number is wrong, or a round is open")
        need(signed(genesis.compliance, b"ledger change", self.heads[0][0] + entry.unsigned, entry.signature),
             "the change is not signed by the compliance key for this ledger")
        fields = {"catalogue": ["catalogue"], "upgrade": ["software"], "roster": ["corrupt", "enrolled"]}
        names = "cap_rho", "catalogue", "corrupt", "enrolled", "software", "survivors_min"
        given = [name for name in names if getattr(entry, name) is not None]
        policy = entry.what == "policy" and given and set(given) <= {"cap_rho", "survivors_min"}
        need(policy or given == fields.get(entry.what), "the fields are not those of this change")
        vars(genesis).update((name, getattr(entry, name)) for name in given)
        need(all(before[name] <= getattr(genesis, name) for name in ("enrolled", "corrupt", "survivors_min")),
             "a floor falls")
        caps = before["cap_rho"], genesis.cap_rho
        need(caps[0] == caps[1] or "unprotected" not in caps and caps[1] < caps[0], "the cap rises")
        self.cohort(genesis.survivors_min, genesis.survivors_min)
        self.serial, self.roster_is_old = entry.serial, self.roster_is_old or entry.what == "roster"

    def votes(self, held, roster, n, proof):
        cohort = self.slots(roster, proof.cohort, held.survivors_min)
        voters = self.slots(roster, proof.voters, roster.votes_min)
        need(len(voters) == len(proof.signatures), "there is not one signature for each voter")
        bitmap = n.to_bytes(2, "big") + sum(1 << slot for slot in cohort).to_bytes((n + 7) // 8, "little")
        numbers = held.epoch.to_bytes(8, "big"), held.round.to_bytes(8, "big")
        session = digest(b"chorale/1 session", *numbers, roster.graph_seed, proof.spec, bitmap)
        for slot, signature in zip(voters, proof.signatures):
            key, payload = roster.memberships[slot].identity, session + number(slot) + b"\x01"
            need(signed(key, b"survivor vote", payload, signature), f"{roster.agents[slot]} did not vote to abort")

def figures(ledger, predecessors):
    """What a ledger says, and the total over it and its predecessors as far as they were given."""
    genesis, noise = ledger.genesis, ledger.genesis.cap_rho != "unprotected"
    delta = float(genesis.delta - genesis.delta_reserved) * (1 - 1e-15)
    names = "federation", "coordinator", "compliance", "enrolled", "corrupt", "survivors_min", "delta", "cap_rho"
    shown = {name: getattr(genesis, name) for name in names} | ledger.ended | {"open": len(ledger.open)}
    shown |= {"rho_spent": ledger.spent if noise else "unprotected",
              "rho_reserved": ledger.held("rho") if noise else "unprotected"}
    shown["epsilon_zcdp"], shown["epsilon_gaussian"] = epsilons([ledger], delta)
    shown |= canary.figures(ledger, delta)
    seen, missing, wanted = {}, set(), list(genesis.predecessors)
    given = {predecessor.genesis.federation: predecessor for predecessor in predecessors}
    while wanted:
        named = wanted.pop()
        found = given.get(named.federation)
        if found is None:
            missing.add(named.federation)
        else:
            need(found.hashes[1:][named.seq:named.seq + 1] == [named.hash], f"{named.federation} has another history")
            wanted += found.genesis.predecessors if named.federation not in seen else []
            seen[named.federation] = found
    need(len(seen) == len(predecessors), "a ledger was given that is no predecessor's, or twice")
    if genesis.predecessors:
        zcdp, gaussian = epsilons([ledger, *seen.values()], delta)
        shown |= {"federations_in_all": 1 + len(seen), "epsilon_zcdp_in_all": zcdp,
                  "epsilon_gaussian_in_all": gaussian, "missing": " ".join(sorted(missing))}
    return {name: value.hex() if type(value) is bytes else f"{value.numerator}/{value.denominator}"
            if type(value) is Fraction else value for name, value in shown.items()}

def step(ledger, seq, previous, time_s, text):
    """Verifies one line and takes it over; its hash and time."""
    need(len(text) < 5 << 20, "the line is longer than any entry")
    kind, line, entry, content = parse(text)
    need(line.seq == seq, f"entry {line.seq} stands where entry {seq} belongs")
    need(line.previous == previous, "it does not follow the entry before it: the chain is broken")
    numbers = seq.to_bytes(8, "big"), line.time_s.to_bytes(8, "big")
    found = digest(b"chorale/1 ledger", previous, *numbers, content)
    need(line.hash == found, "the content does not have the hash that it carries")
    need(ledger.genesis or kind == "genesis", "a ledger begins with genesis")
    key = (ledger.genesis or entry).coordinator
    need(signed(key, b"ledger entry", found, line.signature), "not signed by the coordinator in genesis")
    need(line.time_s >= time_s, "dated before the entry that it follows")
    entry.time_s = line.time_s
    getattr(ledger, f"take_{kind}")(entry)
    ledger.heads.append((found, ledger.roster))
    return found, line.time_s

def verify(content, head=None, key=None):
    """The ledger, verified. Refused carries `entry`, the number of the first entry at fault."""
    ledger, hashes, time_s, seq, lines = Ledger(), [bytes(32)], 0, 0, content.split(b"\n")
    try:
        for seq, text in enumerate(lines[:-1]):
            found, time_s = step(ledger, seq, hashes[-1], time_s, text)
            hashes.append(found)
        last, seq = len(lines) - 2, len(lines) - 1
        need(not lines[-1], "the line is cut off in the middle")
        need(last >= 0, "the ledger is empty")
        seq = 0
        need(key in (None, ledger.genesis.coordinator), f"genesis names key {ledger.genesis.coordinator.hex()}")
        seq = last + 1
        need(not head or head[0] <= last, f"missing: a head names entry {head and head[0]}")
        seq = head[0] if head else last
        need(not head or hashes[seq + 1] == head[1], f"a fork: its hash is {hashes[seq + 1].hex()}, not the head's")
    except Refused as refused:
        refused.entry = seq
        raise
    ledger.hashes, ledger.complete_up_to = hashes, seq
    return ledger

def main():
    arguments = argparse.ArgumentParser(description="Verifies Chorale ledgers offline.")
    arguments.add_argument("files", nargs="+", metavar="FILE")
    arguments.add_argument("--head", metavar="SEQ:HASH", help="a head from an agent or an earlier look")
    arguments.add_argument("--key", metavar="KEY", help="the coordinator's key as the agents know it")
    arguments.add_argument("--predecessor", metavar="FILE", action="append", default=[],
                           help="the ledger of an earlier federation that genesis names")
    arguments.add_argument("--lanes", metavar="FOLDER", help="the lanes' totals that the coordinator keeps, to recount")
    arguments.add_argument("--json", action="store_true", help="one JSON object for each file")
    options, failed = arguments.parse_args(), False
    if not re.fullmatch("([0-9]{1,19}:[0-9a-f]{64})?/([0-9a-f]{64})?", f"{options.head or ''}/{options.key or ''}"):
        arguments.error("a head is written SEQ:HASH, a key and a hash in 64 hexadecimal digits")
    head = options.head and (int(options.head[:-65]), bytes.fromhex(options.head[-64:]))
    key = options.key and bytes.fromhex(options.key)
    for path in options.files:
        try:
            ledger = verify(Path(path).read_bytes(), head, key)
            shown = {"verified": True} | figures(ledger, [verify(Path(path).read_bytes()) for path in options.predecessor])
            shown |= {"rounds_recounted": canary.recounted(ledger, Path(options.lanes))} if options.lanes else {}
            shown |= {"head": f"{len(ledger.hashes) - 2}:{ledger.hashes[-1].hex()}",
                      "complete_up_to": ledger.complete_up_to, "cosigners": ledger.cosigners,
                      "cosigned_up_to": ledger.cosigned if ledger.cosigners else None}
        except Refused as reason:
            entry = getattr(reason, "entry", None)
            shown, failed = {"verified": False, "entry": entry, "reason": str(reason)}, True
        if options.json:
            print(json.dumps(shown).replace("Infinity", '"infinity"'))
        elif not shown["verified"]:
            print(f"{path}: REFUSED at entry {shown['entry']}: {shown['reason']}")
        else:
            print("\n".join(f"{name:17} {value}" for name, value in shown.items()))
            print("" if head else "complete only up to that entry: no head was supplied")
    return 1 if failed else 0

if __name__ == "__main__":
    sys.exit(main())
