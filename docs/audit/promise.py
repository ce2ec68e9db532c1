"""What genesis may promise, and its caps over windows and families of tasks (docs/ledger.md, rules 3 and 6)."""
from fractions import Fraction

from lines import need

def rises(items):
    return all(a < b for a, b in zip(items, items[1:]))

def check(genesis):
    """Refuses a genesis entry whose fields do not go together."""
    need(0 < genesis.delta < 1 and genesis.delta_reserved < genesis.delta, "delta promises nothing")
    need((genesis.unit, genesis.identity_method) != ("person", "per-agent"), "persons are not told apart")
    divided = genesis.identity_method == "uniform-share"
    need(divided == (genesis.stores_max is not None), "stores_max and identity_method do not go together")
    need(not divided or 2 <= genesis.stores_max <= genesis.enrolled, "stores_max is out of its range")
    names = [predecessor.federation for predecessor in genesis.predecessors]
    need(len(names) <= 64 and rises(names) and genesis.federation not in names, "predecessors are not in order")
    caps = genesis.caps
    need(caps is None or genesis.cap_rho != "unprotected" and 1 <= len(caps) <= 32, "too many caps, or none can be")
    need(rises([cap.name for cap in caps or []]), "caps do not ascend by name")
    for cap in caps or []:
        need(cap.tasks is not None or cap.days is not None, f"cap {cap.name} covers all tasks for ever")
        tasks = [task.encode() for task in cap.tasks or ["any"]]
        need(1 <= len(tasks) <= 64 and rises(tasks), f"the tasks of cap {cap.name} are not in order")
        need(cap.days is None or 1 <= cap.days <= 3660, f"the window of cap {cap.name} is out of its range")

def fits(genesis, entry, held, ended):
    """Refuses a reservation that exceeds a cap: `held` are the open ones, `ended` task, charge and time of the
    others."""
    for cap in genesis.caps or []:
        covers = lambda task: cap.tasks is None or task in cap.tasks
        recent = lambda time_s: cap.days is None or entry.time_s < time_s + cap.days * 86400
        counts = [other.rho for other in held if covers(other.task)]
        counts += [charge for task, charge, time_s in ended if covers(task) and recent(time_s)]
        need(not covers(entry.task) or sum(counts, Fraction(entry.rho)) <= cap.rho, f"the round does not fit cap {cap.name}")
