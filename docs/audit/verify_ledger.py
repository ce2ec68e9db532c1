#!/usr/bin/env python3
"""Verifies Chorale ledgers as docs/ledger.md specifies them, with Python's standard library alone.

It shares no code with Chorale, so that an auditor need not trust Chorale's own verifier. All rules are here, in exact
fractions; lines.py reads a line, ed25519.py is RFC 8032. figures.py may be left out: it turns what was spent into
epsilon, adds up predecessors and counts canary lanes again. Exit codes: 0 every file holds, 1 one does not (the first
entry at fault is named), 2 wrong usage."""
import argparse, hashlib, json, math, re, sys
from fractions import Fraction
from pathlib import Path

from ed25519 import signed
from lines import Fields, digest, need, parse

def rises(items):
    return all(a < b for a, b in zip(items, items[1:]))

def number(value):
    tag, size = next(pair for pair in ((0xFB, 2), (0xFC, 4), (0xFD, 8)) if value < 256**pair[1])
    return bytes([value]) if value <= 250 else bytes([tag]) + value.to_bytes(size, "big")

class Ledger:
    """Where a ledger stands after some entries: the rules."""
    def __init__(self):
        self.genesis = self.roster = None
        self.open, self.ended, self.sessions = {}, [], set()  # reserved rounds; those that ended, with charge and end
        self.last_round, self.spent, self.delta_used, self.graphs = 0, Fraction(0), Fraction(0), Fraction(0)
        self.serial, self.roster_is_old, self.cosigned, self.cosigners = 0, False, None, 0
        self.at, self.time_s, self.heads = 0, 0, []  # each entry's hash, and the roster after it

    def reserved(self):
        return sum((held.rho for held in self.open.values()), Fraction(0))

    def delta_left(self):
        return self.genesis.delta_reserved - self.graphs - self.delta_used

    def cohort(self, t_min, n):
        N, A, T = self.genesis.enrolled, self.genesis.corrupt, (n + self.genesis.corrupt) // 2 + 1
        floors = A + 3, T, n - n // 3, 10 if N >= 10 else 0, max(A + 2, T) if n <= 128 else 0
        need(1 <= A <= N <= 10000 and N >= 4 <= n and max(floors) <= t_min <= min(n, N), f"T_min is wrong for {n}")
        return T

    def slots(self, roster, agents, floor):
        slots = [roster.slots.get(agent, -1) for agent in agents]
        need(rises([-1] + slots), "survivors, cohort or voters are not agents of the roster, each once, in order")
        need(len(slots) >= floor, f"{len(slots)} survivors or voters, or a cohort of so many, are too few")
        return slots

    def votes(self, roster, entry, context, payload):
        slots = self.slots(roster, entry.voters, roster.votes_min)
        need(len(slots) == len(entry.signatures), "there is not one signature for each voter")
        for slot, signature in zip(slots, map(bytes.fromhex, entry.signatures)):
            good = signed(roster.memberships[slot].identity, context, payload(slot), signature)
            need(good, f"{roster.agents[slot]} did not sign this {context}")

    def genesis_entry(self, entry):
        caps, names, stores = entry.caps or [], [each.federation for each in entry.predecessors], entry.stores_max
        need(entry.delta_reserved < entry.delta < 1, "delta promises nothing")
        need((entry.unit, entry.identity_method) != ("person", "per-agent"), "persons are not told apart")
        need((stores is None) == (entry.identity_method != "uniform-share"), "stores_max and identity_method differ")
        need(stores is None or 2 <= stores <= entry.enrolled, "stores_max is out of its range")
        need(len(names) <= 64 and rises(names) and entry.federation not in names, "predecessors are not in order")
        need(entry.caps is None or entry.cap_rho != "unprotected" and 1 <= len(caps) <= 32, "caps cannot be so many")
        need(rises([cap.name for cap in caps]), "caps do not ascend by name")
        for cap in caps:
            need(cap.tasks or cap.days and cap.tasks is None, f"cap {cap.name} covers nothing, or all tasks for ever")
            need(cap.days is None or 1 <= cap.days <= 3660, f"the window of cap {cap.name} is out of its range")
            tasks = [task.encode() for task in cap.tasks or []]
            need(len(tasks) <= 64 and rises(tasks) and all(len(task) <= 128 for task in tasks), f"tasks of {cap.name}")
        self.genesis = entry
        self.cohort(entry.survivors_min, entry.survivors_min)

    def roster_entry(self, entry):
        n, members = len(entry.agents), entry.memberships
        need(entry.epoch > (self.roster.epoch if self.roster else 0), "epochs only ascend, from 1")
        need(n <= self.genesis.enrolled and rises(entry.agents), "agents are too many or do not ascend")
        self.graphs = Fraction(entry.epoch, 2**40) if n > 128 else self.graphs
        need(n <= 128 or entry.epoch <= 1024 and self.delta_left() >= 0, "no delta is left")
        entry.votes_min, entry.slots = self.cohort(self.genesis.survivors_min, n), dict(zip(entry.agents, range(n)))
        need(len(members) == n == len({member.identity for member in members}), "an identity is missing or twice")
        for agent, member in zip(entry.agents, members):
            payload = number(len(agent)) + agent.encode() + member.identity + member.tls_key + member.administrator
            payload += number(member.not_before_s) + number(member.not_after_s) + number(member.enrolled)
            good = member.enrolled < 2**32 and signed(self.genesis.authority, "membership", payload, member.signature)
            need(good, f"the membership of {agent} is not signed by the authority")
        self.roster, self.roster_is_old = entry, False

    def reserve_entry(self, entry):
        genesis, roster, stores = self.genesis, self.roster, self.genesis.stores_max
        noise, lanes = (entry.sigma_squared, entry.share_variance, entry.sampler_distance), entry.canaries
        need(entry.round > self.last_round, "rounds only ascend, from 1")
        need(roster and roster.epoch == entry.epoch and not self.roster_is_old, "not the epoch of the latest roster")
        need(1 <= entry.coordinates <= 2**24 and entry.scale_bits <= 40 and entry.delta >= 1
             and 2 <= entry.modulus_bits <= 62, "a number is out of its range")
        need(not lanes or 256 <= lanes.lanes <= min(2**20, 2**24 - entry.coordinates), "lanes are out of range")
        payload = number(len(genesis.federation)) + genesis.federation.encode() + entry.plan_digest
        need(signed(genesis.compliance, "plan sign-off", payload, entry.sign_off), "the plan is not signed off")
        need(entry.corrupt == genesis.corrupt and entry.survivors_min >= genesis.survivors_min
             and entry.clip_share_rule == genesis.identity_method, "a field differs from genesis")
        need(entry.clip_share == (stores and Fraction(1, stores)), "clip_share is not 1/stores_max")
        self.cohort(entry.survivors_min, len(roster.agents))
        entry.roster, entry.samplers, self.last_round = roster, Fraction(0), entry.round
        if genesis.cap_rho == "unprotected":
            need(entry.mechanism == entry.rho == "unprotected", "a federation without noise has a round with noise")
            need((*noise, lanes, entry.noise_levels) == (None,) * 5, "a round without noise has some, or lanes")
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
        e = math.floor(14 * share)
        tau = Fraction(1, 2**256) if e >= 292 and h > 1 else Fraction(10 * (h - 1), 2**min(e, 292))
        rho = entry.delta**2 / (2 * sigma_squared) + entry.coordinates * tau
        need(entry.rho == rho, f"rho is {entry.rho}, but the entry's own numbers give {rho}")
        need(self.spent + self.reserved() + rho <= genesis.cap_rho, "the round does not fit the cap")
        for cap in genesis.caps or []:
            covers = lambda held: cap.tasks is None or held.task in cap.tasks
            recent = lambda end: cap.days is None or entry.time_s < end.time_s + cap.days * 86400
            counts = [held.rho for held in self.open.values() if covers(held)]
            counts += [charge for held, charge, end in self.ended if covers(held) and recent(end)]
            need(not covers(entry) or sum(counts, rho) <= cap.rho, f"the round does not fit cap {cap.name}")
        a, odds = genesis.cap_rho * Fraction(14427, 10000), 1 / (genesis.delta - genesis.delta_reserved)
        square = math.ceil(4 * a * (math.ceil(odds) - 1).bit_length())
        g = math.ceil(a) + math.isqrt(square) + (math.isqrt(square)**2 < square) + 1
        entry.samplers = min(Fraction(1), n * entry.coordinates * distance * (1 + 2**g)) if g <= 256 else Fraction(1)
        self.delta_used += entry.samplers
        need(distance < 1 and self.delta_left() >= 0, "no delta is left for samplers")

    def end(self, entry, held, charge):
        refusals, name = entry.refusals or [], self.genesis.federation.encode()
        agents = [refusal.agent for refusal in refusals]
        need(entry.refusals != [] and not set(agents) & set(entry.survivors or []), "nobody refused, or a survivor did")
        for slot, refusal in zip(self.slots(held.roster, agents, 0), refusals):
            code = ("policy", "budget", None, "stopped", "sign-off").index(refusal.why)
            payload = b"".join(map(number, (held.epoch, held.round, slot))) + held.plan_digest + number(code)
            payload = number(len(name)) + name + payload
            good = signed(held.roster.memberships[slot].identity, "refusal", payload, refusal.signature)
            need(good, f"{refusal.agent} did not sign this refusal of the round's plan")
        noise, _ = self.genesis.cap_rho != "unprotected", self.open.pop(entry.round)
        self.ended.append((held, charge, entry))
        self.spent += charge if noise else 0
        self.delta_used -= 0 if charge else held.samplers
        need(entry.spent == (self.spent if noise else "unprotected"), f"the charges give {self.spent}")

    def release_entry(self, entry):
        need(held := self.open.get(entry.round), "the round holds no reservation")
        opened, lanes = entry.canaries, held.canaries
        held.opened, held.survivors = opened, len(entry.survivors)
        self.slots(held.roster, entry.survivors, held.survivors_min)
        need(len(entry.vectors) == len(entry.survivors), "there is not one vector for each survivor")
        need(entry.session not in self.sessions, "the session stands in an earlier entry")
        need(entry.rho == held.rho and (lanes is None) == (opened is None), "not the rho, or no lanes, as reserved")
        if lanes:
            found = digest(b"chorale/1 canary commitment", opened.seed, held.round.to_bytes(8, "big"))
            after, before = opened.sum_of_squares, opened.sum_before_removal
            need(found == lanes.commitment, "the seed of the canaries is not the committed one")
            need(opened.right <= 2 * (lanes.lanes // 40), "more guesses are right than were made")
            need((before is None) == (held.noise_levels is None), "a sum before removal goes with layers")
            need(after.denominator == (before or after).denominator == 1, "a sum of squares is a whole number")
        self.sessions.add(entry.session)
        self.end(entry, held, entry.rho)

    def abort_entry(self, entry):
        need(held := self.open.get(entry.round), "the round holds no reservation")
        nothing, proof = "unprotected" if self.genesis.cap_rho == "unprotected" else 0, entry.certificate
        need(entry.committed or not entry.unmask_started, "unmasked, and never committed")
        need(entry.rho_charged in (held.rho, nothing), "rho_charged is neither all nor nothing")
        need(proof or not entry.committed or entry.rho_charged == held.rho, "the charge is given back without votes")
        if proof:
            need(entry.committed and not entry.unmask_started and entry.rho_charged == nothing, "no votes can be here")
            cohort, n = self.slots(held.roster, proof.cohort, held.survivors_min), len(held.roster.agents)
            bitmap = n.to_bytes(2, "big") + sum(1 << slot for slot in cohort).to_bytes((n + 7) // 8, "little")
            numbers = held.epoch.to_bytes(8, "big"), held.round.to_bytes(8, "big")
            session = digest(b"chorale/1 session", *numbers, held.roster.graph_seed, proof.spec, bitmap)
            self.votes(held.roster, proof, "survivor vote", lambda slot: session + number(slot) + b"\x01")
        self.end(entry, held, entry.rho_charged)

    def cosigned_entry(self, entry):
        need((self.cosigned or 0) < entry.seq < len(self.heads), "there is no such head, or a later one is cosigned")
        hash, roster = self.heads[entry.seq]
        need(hash == entry.hash and roster, "the cosigned hash is another, or there was no roster yet")
        self.votes(roster, entry, "ledger head", lambda _: number(entry.seq) + hash)
        self.cosigned, self.cosigners = entry.seq, len(entry.voters)

    def change_entry(self, entry):
        genesis, before = self.genesis, Fields(**vars(self.genesis))
        unsigned = re.sub(',"signature":"[0-9a-f]*"', "", entry.text)
        payload = self.heads[0][0] + hashlib.sha256(unsigned.encode()).digest()
        need(entry.serial == self.serial + 1 and not self.open, "the serial number is wrong, or a round is open")
        need(signed(genesis.compliance, "ledger change", payload, entry.signature), "not signed off for this ledger")
        names = {"catalogue", "software", "cap_rho", "survivors_min", "corrupt", "enrolled"} & vars(entry).keys()
        fields = {"catalogue": {"catalogue"}, "upgrade": {"software"}, "roster": {"corrupt", "enrolled"}}
        policy = entry.what == "policy" and names and names <= {"cap_rho", "survivors_min"}
        need(policy or names == fields.get(entry.what), "the fields are not those of this change")
        vars(genesis).update((name, getattr(entry, name)) for name in names)
        floors, caps = ("enrolled", "corrupt", "survivors_min"), (before.cap_rho, genesis.cap_rho)
        need(all(getattr(before, name) <= getattr(genesis, name) for name in floors), "a floor falls")
        need(caps[0] == caps[1] or "unprotected" not in caps and caps[1] < caps[0], "the cap rises")
        self.cohort(genesis.survivors_min, genesis.survivors_min)
        self.serial, self.roster_is_old = entry.serial, self.roster_is_old or entry.what == "roster"

    def take(self, text):
        """Verifies the next line and takes it over."""
        line = parse(text)
        entry, previous = line.entry, self.heads[-1][0] if self.heads else bytes(32)
        numbers, content = line.seq.to_bytes(8, "big") + line.time_s.to_bytes(8, "big"), entry.text.encode()
        need(line.seq == self.at, f"entry {line.seq} stands where entry {self.at} belongs")
        need(line.previous == previous, "it does not follow the entry before it: the chain is broken")
        hash = digest(b"chorale/1 ledger", previous, numbers[:8], numbers[8:], hashlib.sha256(content).digest())
        need(line.hash == hash, "the content does not have the hash that it carries")
        need((entry.kind == "genesis") == (self.genesis is None), "a ledger begins with genesis and has no other")
        key = (self.genesis or entry).coordinator
        need(signed(key, "ledger entry", hash, line.signature), "not signed by the coordinator in genesis")
        need(line.time_s >= self.time_s, "dated before the entry that it follows")
        getattr(self, f"{entry.kind}_entry")(entry)
        self.heads.append((hash, self.roster))
        self.time_s = line.time_s

    def verify(self, content, head=None, key=None):
        """Raises ValueError where the file does not hold; `at` is then the first entry at fault."""
        *lines, rest = content.split(b"\n")
        for self.at, text in enumerate(lines):
            self.take(text)
        self.at = len(lines)
        need(lines and not rest, "the ledger is empty, or cut off in the middle of a line")
        self.at = 0
        need(key in (None, self.genesis.coordinator), f"genesis names key {self.genesis.coordinator.hex()}")
        self.at = len(lines)
        need(not head or head[0] < len(lines), f"missing: a head names entry {head and head[0]}")
        self.at = head[0] if head else len(lines) - 1
        need(not head or self.heads[self.at][0] == head[1], f"a fork: its hash is {self.heads[self.at][0].hex()}")
        return self

    def summary(self):
        names = "federation", "coordinator", "compliance", "enrolled", "corrupt", "survivors_min", "delta", "cap_rho"
        ends = [end.kind for _, _, end in self.ended]
        refused = [f"{end.round}:{each.agent}:{each.why}" for _, _, end in self.ended for each in end.refusals or []]
        noise, last = self.genesis.cap_rho != "unprotected", len(self.heads) - 1
        return {name: getattr(self.genesis, name) for name in names} | {
            "release": ends.count("release"), "abort": ends.count("abort"), "open": len(self.open),
            "refused": " ".join(refused),
            "rho_spent": self.spent if noise else "unprotected",
            "rho_reserved": self.reserved() if noise else "unprotected",
            "head": f"{last}:{self.heads[last][0].hex()}", "complete_up_to": self.at,
            "cosigners": self.cosigners, "cosigned_up_to": self.cosigned}

def shown(value):
    ratio = isinstance(value, Fraction)
    return f"{value.numerator}/{value.denominator}" if ratio else value.hex() if type(value) is bytes else value

def main():
    arguments = argparse.ArgumentParser(description="Verifies Chorale ledgers offline.")
    arguments.add_argument("files", nargs="+", metavar="FILE")
    arguments.add_argument("--head", metavar="SEQ:HASH", help="a head from an agent or an earlier look")
    arguments.add_argument("--key", metavar="KEY", help="the coordinator's key as the agents know it")
    arguments.add_argument("--predecessor", metavar="FILE", action="append", default=[], help="one that genesis names")
    arguments.add_argument("--lanes", metavar="FOLDER", help="the lanes' totals that the coordinator keeps, to recount")
    arguments.add_argument("--json", action="store_true", help="one JSON object for each file")
    options, failed = arguments.parse_args(), False
    if not re.fullmatch("([0-9]{1,19}:[0-9a-f]{64})?/([0-9a-f]{64})?", f"{options.head or ''}/{options.key or ''}"):
        arguments.error("a head is written SEQ:HASH, a key and a hash in 64 hexadecimal digits")
    head = options.head and (int(options.head[:-65]), bytes.fromhex(options.head[-64:]))
    figures = Path(__file__).with_name("figures.py").exists() and __import__("figures")
    if not figures and (options.predecessor or options.lanes):
        arguments.error("this needs figures.py")
    for path in options.files:
        ledger = Ledger()
        try:
            ledger.verify(Path(path).read_bytes(), head, options.key and bytes.fromhex(options.key))
            said = {"verified": True} | ledger.summary()
            earlier = [Ledger().verify(Path(path).read_bytes()) for path in options.predecessor]
            said |= figures.figures(ledger, earlier, options.lanes) if figures else {}
        except ValueError as reason:
            said, failed = {"verified": False, "entry": ledger.at, "reason": str(reason)}, True
        said = {name: shown(value) for name, value in said.items()}
        if options.json:
            print(json.dumps(said).replace("Infinity", '"infinity"'))
        elif not said["verified"]:
            print(f"{path}: REFUSED at entry {said['entry']}: {said['reason']}")
        else:
            print("\n".join(f"{name:17} {value}" for name, value in said.items()))
            print("" if head else "complete only up to that entry: no head was supplied")
    return 1 if failed else 0

if __name__ == "__main__":
    sys.exit(main())
