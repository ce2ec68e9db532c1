"""From what was spent to epsilon, in floats that are rounded up (docs/privacy.md, sections 5 and 6)."""
import math
from fractions import Fraction

def tau(shares, variance):
    e = math.floor(14 * variance)
    return Fraction(1, 2**256) if e >= 292 and shares > 1 else Fraction(10 * (shares - 1), 2**min(e, 292))

def epsilon_zcdp(rho, delta):
    """inf over a > 1 of rho*a + ln(1/(a*delta))/(a-1) + ln(1-1/a): any a gives a bound that holds."""
    log_a = lambda x: math.log1p(math.exp(x))
    bound = lambda x: rho * (1 + math.exp(x)) - (log_a(x) + math.log(delta)) / math.exp(x) + x - log_a(x)
    best = math.log(-math.log(delta) / rho) / 2
    for bits in 4, 13, 24:  # ever finer steps around the best so far
        best = min((best + step / 2**bits for step in range(-1024, 1025)), key=bound)
    return max(0.0, bound(best) * (1 + 1e-12))

def epsilon_gaussian(rounds, delta):
    """The exact curve of the Gaussian at mu^2 = sum Delta^2/(sigma^2 - 4), and the bridge's toll."""
    shares = [(entry, entry.survivors_min - entry.corrupt) for entry in rounds]
    mu = math.sqrt(sum(entry.delta**2 / (entry.sigma_squared - 4) for entry in rounds)) * (1 + 1e-14)
    toll = float(sum(e.coordinates * (Fraction(1, 2**111) + tau(h, e.sigma_squared / h)) for e, h in shares))
    target = delta * max(0.0, 1 - toll) * (1 - 1e-14)
    low, high = 0.0, mu * mu / 2 + mu * math.sqrt(-2 * math.log(target)) if target else math.inf
    for _ in range(100 if target else 0):
        middle = (low + high) / 2
        a, b = (middle / mu - mu / 2) / math.sqrt(2), (middle / mu + mu / 2) / math.sqrt(2)
        tail = math.exp(middle) * math.erfc(b) if middle < 700 else 0.0  # without it the figure is larger
        low, high = (middle, high) if (math.erfc(a) - tail * (1 - 1e-12)) / 2 > target else (low, middle)
    return high * (1 + 1e-12) + 2 * toll

def rho_of(ledger):
    return "unprotected" if ledger.genesis.cap_rho == "unprotected" else ledger.spent + ledger.held("rho")

def epsilons(ledgers, delta):
    """Epsilon by zCDP and by the exact Gaussian, of all rounds that are charged or open."""
    rounds = [entry for ledger in ledgers for entry in ledger.counted + list(ledger.open.values())]
    if any(rho_of(ledger) == "unprotected" for ledger in ledgers):
        return math.inf, math.inf
    total = float(sum(map(rho_of, ledgers), Fraction(0))) * (1 + 1e-15)
    return (epsilon_zcdp(total, delta), epsilon_gaussian(rounds, delta)) if rounds else (0.0, 0.0)
