"""Canary lanes: coordinates that hold noise and no data (docs/ledger.md, rule 7 and the figures)."""
import hashlib, math, re
from fractions import Fraction

from epsilon import epsilon_gaussian
from lines import digest, need

def guesses(lanes):
    return 2 * (lanes // 40)

def committed(entry):
    """Refuses a reservation whose lanes cannot be meant."""
    lanes = entry.canaries.lanes if entry.canaries else 256
    need(entry.canaries is None or entry.mechanism == "discrete-gaussian", "lanes in a round without noise")
    need(256 <= lanes <= 2**20 and (entry.canaries is None or entry.coordinates + lanes <= 2**24), "lanes are out of range")

def opened(held, entry):
    """Refuses a release that does not open what its reservation committed to."""
    need((held.canaries is None) == (entry.canaries is None), "canaries are not opened, or were never committed")
    if entry.canaries:
        found = digest(b"chorale/1 canary commitment", entry.canaries.seed, held.round.to_bytes(8, "big"))
        need(found == held.canaries.commitment, "the seed of the canaries is not the committed one")
        need(entry.canaries.right <= guesses(held.canaries.lanes), "more guesses are right than were made")
        sums = entry.canaries.sum_of_squares, entry.canaries.sum_before_removal
        need((sums[1] is None) == (held.noise_levels is None), "there is not a sum before removal exactly where noise has layers")
        need(all(squares.denominator == 1 for squares in sums if squares is not None), "a sum of squares is a whole number")
        held.opened, held.survivors = entry.canaries, len(entry.survivors)

def less(squares, lanes, variance):
    """Less noise than the variance, at a false-alarm rate below 5e-4: exact (Laurent and Massart 2000, Lemma 1)."""
    gap = lanes * variance - squares
    return gap > 0 and gap**2 * 1000 > 4 * 7601 * lanes * variance**2

def owed(held, levels):
    """Variance of each coordinate of a total whose survivors all added their noise, down to the level they reach."""
    level = next(u for u in levels if held.survivors >= u)
    return held.survivors * held.sigma_squared / (level - held.corrupt)

def short(held):
    """Whether the survivors of a round added less than they owe, before or after surplus came off."""
    lanes, whole = held.canaries.lanes, [held.survivors_min]
    before = held.opened.sum_before_removal
    return less(held.opened.sum_of_squares, lanes, owed(held, held.noise_levels or whole)) or (
        before is not None and less(before, lanes, owed(held, whole)))

def exceptions(mean):
    """Fewest f such that more than f of exceptions with this mean have probability below 0.001."""
    count = math.floor(mean)
    while mean > 0 and not (count + 1 > mean and mean - count - 1 + (count + 1) * math.log((count + 1) / mean) >= 6.908):
        count += 1
    return count

def epsilon_lower(right, made, lanes, delta):
    """The least epsilon at which so many right guesses are no surprise, at confidence 0.95; rounded down."""
    granted = exceptions(lanes * delta)
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

def figures(ledger, delta):
    """What all measured rounds show, beside the largest epsilon that is proven for one of them."""
    measured = [held for held in ledger.counted if getattr(held, "opened", None)]
    if not measured:
        return {}
    lanes = [held.canaries.lanes for held in measured]
    right = sum(held.opened.right for held in measured)
    flagged = [held for held in measured if short(held)]
    return {"rounds_measured": len(measured), "noise_short": " ".join(str(held.round) for held in flagged),
            "epsilon_measured": epsilon_lower(right, sum(map(guesses, lanes)), sum(lanes), delta),
            "epsilon_of_a_round": max(epsilon_gaussian([held], delta) for held in measured)}

def coins(seed, lanes):
    blocks = [digest(b"chorale/1 canary coins", seed, block.to_bytes(8, "big")) for block in range(-(-lanes // 256))]
    return [blocks[lane // 256][lane % 256 // 8] >> lane % 8 & 1 for lane in range(lanes)]

def recounted(ledger, folder):
    """Recounts every measured round whose lanes' totals lie in the folder as ROUND.lanes; how many there were."""
    found = 0
    for held in (held for held in ledger.counted if getattr(held, "opened", None)):
        path = folder / f"{held.round}.lanes"
        if path.is_file():
            text, lanes, each = path.read_bytes(), held.canaries.lanes, held.canaries.lanes // 40
            need(hashlib.sha256(text).digest() == held.opened.totals, f"{path} is not what the release of round {held.round} names")
            need(re.fullmatch(rb"(-?[0-9]{1,20}\n)*", text), f"{path} is no list of whole numbers")
            noise, tossed = [int(line) for line in text.split()], coins(held.opened.seed, lanes)
            before, wanted = noise[lanes:], held.opened.sum_before_removal
            need(len(noise) == (lanes if wanted is None else 2 * lanes), f"{path} has not one total for each lane")
            sums = sum(x * x for x in noise[:lanes]), sum(x * x for x in before)
            need(sums == (held.opened.sum_of_squares, wanted or 0), f"the squares in {path} have another sum")
            order = sorted(range(lanes), key=lambda lane: (noise[lane] + tossed[lane] * held.delta, lane))
            right = sum(1 - tossed[lane] for lane in order[:each]) + sum(tossed[lane] for lane in order[lanes - each:])
            need(right == held.opened.right, f"by {path}, {right} guesses of round {held.round} are right")
            found += 1
    return found
