"""What a verified ledger comes to: epsilon, in floats that are rounded up (docs/privacy.md, sections 5 and 6), the
total over predecessors, and what canary lanes measured (docs/ledger.md, rule 7 and the figures)."""
import hashlib, math, re
from fractions import Fraction
from pathlib import Path

from lines import digest, need

def epsilon_zcdp(rho, delta):
    """inf over a > 1 of rho*a + ln(1/(a*delta))/(a-1) + ln(1-1/a): any a gives a bound that holds."""
    log_a = lambda x: math.log1p(math.exp(x))
    bound = lambda x: rho * (1 + math.exp(x)) - (log_a(x) + math.log(delta)) / math.exp(x) + x - log_a(x)
    best = math.log(-math.log(delta) / rho) / 2
    for bits in 4, 13, 24:  # ever finer steps around the best so far
        best = min((best + step / 2**bits for step in range(-1024, 1025)), key=bound)
    return max(0.0, bound(best) * (1 + 1e-12))

def epsilon_gaussian(rounds, delta):
    """The exact curve of the Gaussian at mu^2 = sum Delta^2/(sigma^2 - 4), and the bridge's toll: d*(2^-111 + tau)."""
    mu = math.sqrt(sum(held.delta**2 / (held.sigma_squared - 4) for held in rounds)) * (1 + 1e-14)
    tau = sum(held.rho - held.delta**2 / (2 * held.sigma_squared) for held in rounds)
    toll = float(tau + Fraction(sum(held.coordinates for held in rounds), 2**111))
    target = delta * max(0.0, 1 - toll) * (1 - 1e-14)
    low, high = 0.0, mu * mu / 2 + mu * math.sqrt(-2 * math.log(target)) if target else math.inf
    for _ in range(100 if target else 0):
        middle = (low + high) / 2
        a, b = (middle / mu - mu / 2) / math.sqrt(2), (middle / mu + mu / 2) / math.sqrt(2)
        tail = math.exp(middle) * math.erfc(b) if middle < 700 else 0.0  # without it the figure is larger
        low, high = (middle, high) if (math.erfc(a) - tail * (1 - 1e-12)) / 2 > target else (low, middle)
    return high * (1 + 1e-12) + 2 * toll

def epsilons(ledgers, delta):
    """Epsilon by zCDP and by the exact Gaussian, of all rounds that are charged or open."""
    if any(ledger.genesis.cap_rho == "unprotected" for ledger in ledgers):
        return math.inf, math.inf
    rounds = [held for ledger in ledgers for held in [*charged(ledger), *ledger.open.values()]]
    total = float(sum(held.rho for held in rounds)) * (1 + 1e-15)
    return (epsilon_zcdp(total, delta), epsilon_gaussian(rounds, delta)) if rounds else (0.0, 0.0)

def charged(ledger):
    return [held for held, charge, _ in ledger.ended if charge]

def lineage(ledger, given):
    """The ledgers of predecessors, and theirs, each up to the head that its successor names; and who is missing."""
    seen, missing, wanted = {}, set(), list(ledger.genesis.predecessors)
    given_by_name = {predecessor.genesis.federation: predecessor for predecessor in given}
    while wanted:
        named = wanted.pop()
        if found := given_by_name.get(named.federation):
            need([hash for hash, _ in found.heads[named.seq:named.seq + 1]] == [named.hash],
                 f"{named.federation} has another history")
            wanted += found.genesis.predecessors if named.federation not in seen else []
            seen[named.federation] = found
        else:
            missing.add(named.federation)
    need(len(seen) == len(given), "a ledger was given that is no predecessor's, or twice")
    return list(seen.values()), sorted(missing)

# Canary lanes: coordinates that hold noise and no data.

def short(held):
    """Whether a round's survivors added less noise than they owe, at a false-alarm rate below 5e-4: exact."""
    lanes, least, there = held.canaries.lanes, held.survivors_min, held.survivors
    def less(squares, level):
        owed = there * held.sigma_squared / (level - held.corrupt)
        gap = lanes * owed - squares
        return gap > 0 and gap**2 * 1000 > 4 * 7601 * lanes * owed**2  # Laurent and Massart 2000, Lemma 1
    after, before = held.opened.sum_of_squares, held.opened.sum_before_removal
    reached = next(level for level in held.noise_levels or [least] if there >= level)
    return less(after, reached) or before is not None and less(before, least)

def epsilon_lower(right, made, lanes, delta):
    """The least epsilon at which so many right guesses are no surprise, at confidence 0.95; rounded down."""
    mean, granted = lanes * delta, math.floor(lanes * delta)  # more exceptions have a probability below 0.001
    rare = lambda k: k > mean and mean - k + k * math.log(k / mean) >= 6.908
    while mean > 0 and not rare(granted + 1):
        granted += 1
    right, made = right - granted, made - granted
    if right < 0 or made <= 0 or right > made or 2 * right <= made:
        return 0.0
    part = lambda a, b: a * math.log(a / b) if a > 0 else 0.0
    share = right / made
    surprising = lambda p: made * (part(share, p) + part(1 - share, 1 - p)) >= 3.02
    low, high = 0.5, share
    for _ in range(100 if surprising(low) else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if surprising(middle) else (low, middle)
    return max(0.0, math.log(low / (1 - low)) * (1 - 1e-9))

def coins(seed, lanes):
    blocks = [digest(b"chorale/1 canary coins", seed, block.to_bytes(8, "big")) for block in range(-(-lanes // 256))]
    return [blocks[lane // 256][lane % 256 // 8] >> lane % 8 & 1 for lane in range(lanes)]

def recount(held, path):
    """Refuses lanes' totals that are not what the round's release says of them."""
    text, lanes, each = path.read_bytes(), held.canaries.lanes, held.canaries.lanes // 40
    need(hashlib.sha256(text).digest() == held.opened.totals, f"{path} is not what the release names")
    need(re.fullmatch(rb"(-?[0-9]{1,20}\n)*", text), f"{path} is no list of whole numbers")
    noise, tossed, wanted = list(map(int, text.split())), coins(held.opened.seed, lanes), held.opened.sum_before_removal
    need(len(noise) == (lanes if wanted is None else 2 * lanes), f"{path} has not one total for each lane")
    sums = sum(x * x for x in noise[:lanes]), sum(x * x for x in noise[lanes:])
    need(sums == (held.opened.sum_of_squares, wanted or 0), f"the squares in {path} have another sum")
    order = sorted(range(lanes), key=lambda lane: (noise[lane] + tossed[lane] * held.delta, lane))
    right = sum(1 - tossed[lane] for lane in order[:each]) + sum(tossed[lane] for lane in order[lanes - each:])
    need(right == held.opened.right, f"by {path}, {right} guesses of round {held.round} are right")

def figures(ledger, earlier, folder):
    """All of it by name; `folder` holds lanes' totals as ROUND.lanes."""
    delta = float(ledger.genesis.delta - ledger.genesis.delta_reserved) * (1 - 1e-15)
    measured = [held for held in charged(ledger) if held.opened]
    shown = dict(zip(("epsilon_zcdp", "epsilon_gaussian"), epsilons([ledger], delta)))
    if measured:
        lanes, right = [held.canaries.lanes for held in measured], sum(held.opened.right for held in measured)
        shown |= {"rounds_measured": len(measured),
                  "noise_short": " ".join(str(held.round) for held in measured if short(held)),
                  "epsilon_measured": epsilon_lower(right, sum(2 * (each // 40) for each in lanes), sum(lanes), delta),
                  "epsilon_of_a_round": max(epsilon_gaussian([held], delta) for held in measured)}
    seen, missing = lineage(ledger, earlier)
    if ledger.genesis.predecessors:
        names = "epsilon_zcdp_in_all", "epsilon_gaussian_in_all"
        shown |= dict(zip(names, epsilons([ledger, *seen], delta)))
        shown |= {"federations_in_all": 1 + len(seen), "missing": " ".join(missing)}
    if folder:
        kept = [(held, path) for held in measured if (path := Path(folder) / f"{held.round}.lanes").is_file()]
        for held, path in kept:
            recount(held, path)
        shown["rounds_recounted"] = len(kept)
    return shown
