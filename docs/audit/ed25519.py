"""Ed25519 signatures (RFC 8032) in plain Python, verified strictly: canonical encodings, no key and no nonce of small
order. For auditing public data only: it takes its time, and not in secret. Points are (X, Y, Z, XY/Z)."""
import hashlib
from functools import lru_cache

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * D * p[3] * q[3], 2 * p[2] * q[2]
    e, f, g, h = (b - a) % P, (d - c) % P, (d + c) % P, (b + a) % P
    return e * f % P, g * h % P, f * g % P, e * h % P

def times(scalar, p):
    total = (0, 1, 1, 0)
    while scalar:
        total, p, scalar = add(total, p) if scalar & 1 else total, add(p, p), scalar >> 1
    return total

@lru_cache(maxsize=1 << 14)
def point(encoded):
    sign, y = divmod(int.from_bytes(encoded, "little"), 2**255)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    x = x if v * x * x % P == u else x * pow(2, (P - 1) // 4, P) % P
    found = (x, y, 1, x * y % P) if x % 2 == sign else (P - x, y, 1, -x * y % P)
    x, y, z, _ = times(8, found)
    return found if found[1] < P and v * found[0]**2 % P == u and (x, y) != (0, z) else None

@lru_cache(maxsize=1 << 16)
def signed(key, context, payload, signature):
    """Whether the signature is that of `key` over the payload under Chorale's context."""
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    message = b"chorale/1\0" + len(context).to_bytes(2, "big") + context.encode() + payload
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    if a is None or r is None or s >= L:
        return False
    p, q = times(s, point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))), add(r, times(h, a))
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 == (p[1] * q[2] - q[1] * p[2]) % P
