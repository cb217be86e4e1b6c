"""The numeric contract a second time, written from numerics.md alone: computes the golden values, which vectors/tiny.json has.

Usage: python3 docs/reference.py [--verbose]          (Python 3.11 or newer, and numpy)

Prints PASS or FAIL for each golden digest, and each part of one that fails; --verbose prints all parts. Exits with 1 if one
fails. It is plain and slow, shares nothing with the Rust code, and cites the rules by number. Arrays are binary32 unless it
is said otherwise; numpy does elementwise operations only, since its sums have other orders.
"""
import argparse, hashlib, json, math, pathlib, struct, sys
from types import SimpleNamespace

import numpy as np

F, U64 = np.float32, np.uint64

def f32(*bits):
    """The binary32 numbers with these bits."""
    return np.array(bits, np.uint32).view(F)

def bits(x):
    return np.asarray(x, F).view(np.uint32)

def f64(*bits):
    return np.array(bits, U64).view(np.float64)


# Order: N3 to N7
def lanes(terms, start, meet):
    """N3 to N5, along the last axis."""
    terms = np.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(0, -terms.shape[-1] % 16)], constant_values=start)
    a = np.full(terms.shape[:-1] + (16,), start, F)
    for i in range(0, terms.shape[-1], 16):
        a = meet(a, terms[..., i : i + 16])
    for n in (8, 4, 2, 1):
        a = meet(a[..., :n], a[..., n:])
    return a[..., 0]

def total(x):
    return lanes(x, F(0), np.add)

def maximum(x):
    return lanes(x, F(-np.inf), lambda a, b: np.where(a < b, b, a))

def dot(a, b):
    """Every row of a [..., m, k] with every row of b [..., n, k]: [..., m, n]."""
    return total(a[..., :, None, :] * b[..., None, :, :])

def accumulate(into, a, b):
    """N6: into [..., m, n] + Σ_k a [..., m, k] b [..., k, n]."""
    for k in range(a.shape[-1]):
        into = into + a[..., :, k, None] * b[..., k, None, :]
    return into

def in_blocks(into, a, b):
    """N6, in blocks."""
    for k in range(0, a.shape[-1], 64):
        into = into + accumulate(F(0), a[..., :, k : k + 64], b[..., k : k + 64, :])
    return into

def in_order(terms):
    """N6 for rows, or for numbers."""
    result = F(0)
    for term in terms:
        result = result + term
    return result


# Functions: N8
def exp(x):
    log2e, ln2_high, ln2_low, round_ = f32(0x3FB8AA3B, 0x3F317200, 0x35BFBE8E, 0x4B400000)
    q0, q1, q2, q3, q4 = f32(0x3EFFFFFE, 0x3E2AAA49, 0x3D2AAC58, 0x3C091CCE, 0x3AB52767)
    x = np.where(x < F(-104), F(-104), np.where(F(89) < x, F(89), x))
    n = (x * log2e + round_) - round_
    r = (x - n * ln2_high) - n * ln2_low
    q = (((q4 * r + q3) * r + q2) * r + q1) * r + q0
    p = ((q * r) * r + r) + F(1)
    h = (n * F(0.5) + round_) - round_
    return np.ldexp(np.ldexp(p, h.astype(int)), (n - h).astype(int))

def ln(x):
    """For what is positive and finite."""
    ln2_high, ln2_low, c0, c1, c2, c3 = f32(0x3F317180, 0x3717F7D1, 0x3F2AAAAA, 0x3ECCCE13, 0x3E91E9EE, 0x3E789E26)
    m, k = np.frexp(x)  # m from 1/2 to below 1
    low = m < f32(0x3F3504F3)
    m, k = np.where(low, m * F(2), m), np.where(low, k - 1, k).astype(F)
    f = m - F(1)
    s = f / (F(2) + f)
    z = s * s
    r = z * (c0 + z * (c1 + z * (c2 + z * c3)))
    h = (f * f) * F(0.5)
    return k * ln2_high - ((h - (s * (h + r) + k * ln2_low)) - f)

def sin_cos(x):
    """For what is positive or 0, in binary64."""
    inv, p, p_high, p_low = f64(0x3FE45F306DC9C883, 0x3FF921FB54442D18, 0x3FF921FB50000000, 0x3E5110B4611A6263)
    s0, s1, s2, s3 = f64(0xBFC5555554CBAC77, 0x3F811110896EFBB2, 0xBF2A00F9E2CAE774, 0x3EC6CD878C3B46A7)
    c0, c1, c2, c3 = f64(0xBFDFFFFFFD0C5E81, 0x3FA55553E1053A42, 0xBF56C087E80F1E27, 0x3EF99342E0EE5069)
    x = x.astype(np.float64)
    n = np.rint(x * inv)
    r = np.where(n <= 4, x - n * p, (x - n * p_high) - n * p_low)
    z = r * r
    w, v = z * z, z * r
    sine = ((r + v * (s0 + z * s1)) + (v * w) * (s2 + z * s3)).astype(F)
    cosine = (((1 + z * c0) + w * c1) + (w * z) * (c2 + z * c3)).astype(F)
    quarter = n.astype(int) % 4
    return np.choose(quarter, [sine, cosine, -sine, -cosine]), np.choose(quarter, [cosine, -sine, -cosine, sine])

def cut(x, kept):
    """The first significant bits of an exact number."""
    fraction, exponent = math.frexp(x)
    return F(math.ldexp(math.trunc(math.ldexp(fraction, kept)), exponent - kept))

def power(x, y):
    """For one normal, positive x and one y from 0 to below 1."""
    l1, l2, l3, l4, l5, l6 = f32(0x3F19999A, 0x3EDB6DB7, 0x3EAAAAAB, 0x3E8BA305, 0x3E6C3255, 0x3E53F142)
    p1, p2, p3, p4, p5 = f32(0x3E2AAAAB, 0xBB360B61, 0x388AB355, 0xB5DDEA0E, 0x3331BB4C)
    cp, cp_high, cp_low, d_high, d_low = f32(0x3F76384F, 0x3F764000, 0xB8F623C6, 0x3F15C000, 0x35D1CFDC)
    ln2, ln2_high, ln2_low, smallest, middle = f32(0x3F317218, 0x3F317200, 0x35BFBE8C, 0x3F5DB3D7, 0x3F9CC471)
    if y in (0, 0.5) or x == 1:
        return np.sqrt(x) if y else F(1)
    a, n = np.frexp(x)
    a, n = (a, F(n)) if a >= smallest else (a * F(2), F(n - 1))
    b, d_high, d_low = (F(1), F(0), F(0)) if a <= middle else (F(1.5), d_high, d_low)
    u, v = a - b, F(1) / (a + b)
    s = u * v
    sh, th = cut(s, 12), cut(float(a) + float(b), 12)
    tl = a - (th - b)
    sl = v * ((u - sh * th) - sh * tl)
    q = s * s
    r = (q * q) * (l1 + q * (l2 + q * (l3 + q * (l4 + q * (l5 + q * l6))))) + sl * (sh + s)
    q = sh * sh
    th = cut((F(3) + q) + r, 12)
    tl = r - ((th - F(3)) - q)
    u, v = sh * th, sl * th + tl * s
    ph = cut(u + v, 12)
    pl = v - (ph - u)
    zh, zl = cp_high * ph, (cp_low * ph + pl * cp) + d_low
    th = cut(((zh + zl) + d_high) + n, 12)
    tl = zl - (((th - n) - d_high) - zh)
    yh = cut(y, 12)
    ph, pl = yh * th, (y - yh) * th + y * tl
    z = pl + ph
    n = np.copysign(np.floor(abs(z) + F(0.5)), z) if abs(z) > 0.5 else F(0)
    ph = ph - n
    t = cut(pl + ph, 9)
    u, v = t * ln2_high, (pl - (t - ph)) * ln2 + t * ln2_low
    z = u + v
    w = v - (z - u)
    q = z * z
    r = z - q * (p1 + q * (p2 + q * (p3 + q * (p4 + q * p5))))
    return np.ldexp(F(1) - (((z * r) / (r - F(2)) - (w + z * w)) - z), int(n))


# Random numbers and the golden models
def philox(key, purpose, stream, index):
    """The four words for each index below 2^32."""
    c = [U64(purpose), U64(stream), np.asarray(index, U64), U64(0)]
    for i in range(10):
        k0, k1 = U64((key + i * 0x9E3779B9) % 2**32), U64(((key >> 32) + i * 0xBB67AE85) % 2**32)
        a, b = U64(0xD2511F53) * c[0], U64(0xCD9E8D57) * c[2]
        c = [b >> U64(32) ^ c[1] ^ k0, b & U64(0xFFFFFFFF), a >> U64(32) ^ c[3] ^ k1, a & U64(0xFFFFFFFF)]
    return c

SIZES = {"vocab": 61, "dim": 36, "hidden": 53, "layers": 2, "head_dim": 10, "theta": F(10000), "eps": F(1e-5)}
TIED = SimpleNamespace(**SIZES, seed=1, heads=6, group=3, tied=True)  # group: query heads for each key/value head
UNTIED = SimpleNamespace(**SIZES, seed=2, heads=3, group=1, tied=False)
SCALE = F(1) / np.sqrt(F(SIZES["head_dim"]))

def golden_model(c):
    """The weights by name, in the order of the table. The untied model has biases, the tied one bfloat16 weights."""
    q, kv = c.heads * c.head_dim, c.heads // c.group * c.head_dim
    linear = {"q": (q, c.dim), "k": (kv, c.dim), "v": (kv, c.dim), "o": (c.dim, q)}
    linear |= {"gate": (c.hidden, c.dim), "up": (c.hidden, c.dim), "down": (c.dim, c.hidden)}
    shapes = {"embedding": (c.vocab, c.dim)}
    for i in range(c.layers):
        for name, shape in linear.items():
            shapes |= {f"{i} {name}": shape} | ({} if c.tied else {f"{i} {name} bias": shape[:1]})
        shapes |= {f"{i} input norm": (c.dim,), f"{i} post-attention norm": (c.dim,)}
    shapes |= {"final norm": (c.dim,)} | ({} if c.tied else {"head": (c.vocab, c.dim)})
    weights = {}
    for stream, (name, shape) in enumerate(shapes.items()):
        u = philox(c.seed, 1, stream, np.arange(math.prod(shape)))[0]
        w = (u >> U64(8)).astype(F) * F(2**-24) + F(0.5 if name.endswith("norm") else -0.5)
        weights[name] = ((bits(w) & np.uint32(0xFFFF0000)).view(F) if c.tied else w).reshape(shape)
    return weights


# Operators: N12. Gradients of parameters are added to grads; dx is returned with what it receives
def linear(w, name, x):
    y = dot(x, w[name])
    return y + w[name + " bias"] if name + " bias" in w else y

def linear_backward(w, grads, name, dx, dy, x):
    grads[name] = accumulate(grads[name], dy.T, x)
    if name + " bias" in w:
        grads[name + " bias"] = in_order([grads[name + " bias"], *dy])
    return in_blocks(dx, dy, w[name])

def rmsnorm(c, x, w):
    r = F(1) / np.sqrt(total(x * x) / F(c.dim) + c.eps)[:, None]
    return (x * r) * w, x * r, r

def rmsnorm_backward(c, w, grads, name, dx, dy, n, r):
    grads[name] = in_order([grads[name], *(dy * n)])
    g = dy * w[name]
    return dx + r * (g - n * (total(g * n) / F(c.dim))[:, None])

def angles(c, tokens):
    inverse = np.array([F(1) / power(c.theta, F(i) / F(c.head_dim)) for i in range(0, c.head_dim, 2)])
    return sin_cos(np.arange(tokens, dtype=F)[:, None] * inverse)

def rope(x, sines, cosines):
    """x: [heads, tokens, head_dim]. With the sines negated it is its own gradient."""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cosines - b * sines, b * cosines + a * sines], axis=-1)

def by_head(c, x):
    return x.reshape(len(x), -1, c.head_dim).swapaxes(0, 1)

def by_token(x):
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)

def forward(c, w, ids):
    """The logits of all positions, what the gradients need of each layer, and of the end.

    A masked score is -inf, its p therefore +0, which changes no bit of a sum that begins at +0 (N4)."""
    sines, cosines = angles(c, len(ids))
    masked = np.triu(np.ones((len(ids), len(ids)), bool), 1)
    x, saved = w["embedding"][ids], []
    for i in range(c.layers):
        y1, n1, r1 = rmsnorm(c, x, w[f"{i} input norm"])
        q, k, v = (by_head(c, linear(w, f"{i} {name}", y1)) for name in "qkv")
        q, k = rope(q, sines, cosines), rope(k, sines, cosines).repeat(c.group, axis=0)
        v = v.repeat(c.group, axis=0)
        s = np.where(masked, F(-np.inf), dot(q, k) * SCALE)
        e = exp(s - maximum(s)[..., None])
        p = e / total(e)[..., None]
        o = by_token(accumulate(F(0), p, v))
        x = x + linear(w, f"{i} o", o)
        y2, n2, r2 = rmsnorm(c, x, w[f"{i} post-attention norm"])
        g, u = linear(w, f"{i} gate", y2), linear(w, f"{i} up", y2)
        z = F(1) / (F(1) + exp(-g))
        x = x + linear(w, f"{i} down", (g * z) * u)
        saved.append((y1, n1, r1, q, k, v, p, o, y2, n2, r2, g, u, z))
    y, n, r = rmsnorm(c, x, w["final norm"])
    return dot(y, w["embedding" if c.tied else "head"]), saved, (y, n, r)

def backward(c, w, ids, count, grads, lookup):
    """Adds the gradients of a text to grads, those of the embedding's rows to lookup, and returns its losses."""
    ids, targets, at = ids[:-1], ids[1:], np.arange(len(ids) - 1)
    logits, saved, (y, n, r) = forward(c, w, ids)
    shifted = logits - maximum(logits)[:, None]
    e = exp(shifted)
    z = total(e)
    dlogits = (e / z[:, None] - np.eye(c.vocab, dtype=F)[targets]) / F(count)
    losses = ln(z) - shifted[at, targets]

    dy = linear_backward(w, grads, "embedding" if c.tied else "head", F(0), dlogits, y)
    dx = rmsnorm_backward(c, w, grads, "final norm", F(0), dy, n, r)
    sines, cosines = angles(c, len(ids))
    for i in reversed(range(c.layers)):
        y1, n1, r1, q, k, v, p, o, y2, n2, r2, g, u, z = saved[i]
        a = g * z
        dh = linear_backward(w, grads, f"{i} down", F(0), dx, a * u)
        du, dg = dh * a, (dh * u) * (z * (F(1) + g * (F(1) - z)))
        dy = linear_backward(w, grads, f"{i} gate", F(0), dg, y2)
        dy = linear_backward(w, grads, f"{i} up", dy, du, y2)
        dx = rmsnorm_backward(c, w, grads, f"{i} post-attention norm", dx, dy, n2, r2)
        do = by_head(c, linear_backward(w, grads, f"{i} o", F(0), dx, o))
        dp = dot(do, v)
        ds = (p * (dp - total(p * dp)[..., None])) * SCALE
        dq, dk, dv = accumulate(F(0), ds, k), F(0), F(0)
        for head in range(c.group):  # of every group at once
            dk = accumulate(dk, ds[head::c.group].swapaxes(1, 2), q[head::c.group])
            dv = accumulate(dv, p[head::c.group].swapaxes(1, 2), do[head::c.group])
        dy = F(0)
        for name, d in (("q", rope(dq, -sines, cosines)), ("k", rope(dk, -sines, cosines)), ("v", dv)):
            dy = linear_backward(w, grads, f"{i} {name}", dy, by_token(d), y1)
        dx = rmsnorm_backward(c, w, grads, f"{i} input norm", dx, dy, n1, r1)
    for token, row in zip(ids, dx):
        lookup[token] = lookup[token] + row
    return losses


# Training
def sgd(w, g, memory, rate, _step):
    memory["v"] = F(0.9) * memory["v"] + g
    return w - F(rate) * memory["v"]

def adamw(w, g, memory, rate, step):
    b1, b2 = 0.9, 0.999
    m = memory["m"] = F(b1) * memory["m"] + F(1 - b1) * g
    v = memory["v"] = F(b2) * memory["v"] + F(1 - b2) * (g * g)
    change = F(rate / (1 - b1**step)) * (m / (np.sqrt(v) / F(math.sqrt(1 - b2**step)) + F(1e-8)))
    return w * F(1 - rate * 0.1) - change

def train(c, optimizer, clip):
    """Of each step the digest, also with the bits of loss and norm, and the trained weights."""
    w = golden_model(c)
    memory = {name: {"m": np.zeros_like(v), "v": np.zeros_like(v)} for name, v in w.items()}
    batch = [np.arange(n) ** 2 % c.vocab for n in (40, 23)]
    count = sum(len(ids) - 1 for ids in batch)
    steps, h = [], bytes(32)
    for step in (1, 2, 3):
        rate = 0.01 * (step / 2) if step <= 2 else 0.01 * (0.5 * (1 + math.cos(math.pi * ((step - 2) / (10 - 2)))))
        grads, lookup = {name: np.zeros_like(v) for name, v in w.items()}, np.zeros_like(w["embedding"])
        loss = in_order(np.concatenate([backward(c, w, ids, count, grads, lookup) for ids in batch])) / F(count)
        grads["embedding"] = grads["embedding"] + lookup
        norm = np.sqrt(in_order(in_order(np.atleast_1d(total(g * g))) for g in grads.values()))
        if norm > F(clip):
            grads = {name: g * (F(clip) / norm) for name, g in grads.items()}
        w = {name: optimizer(w[name], grads[name], memory[name], rate, step) for name in w}
        fields = (h, struct.pack("<Q", step), *map(words, batch), floats(loss), floats(norm), floats(rate))
        h = sha256(*map(field, fields))
        steps.append((h, f"{h.hex()} loss {bits(loss):08x} norm {bits(norm):08x}"))
    return steps, w


# Digests, sampling and generation
def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def field(data):
    return struct.pack("<Q", len(data)) + data

def words(ids):
    return np.asarray(ids, "<u4").tobytes()

def floats(x):
    """Of finite numbers: N9 has nothing to replace."""
    return np.asarray(x, "<f4").tobytes()

PROMPT = np.arange(70) * 7 % SIZES["vocab"]
GREEDY = {"temperature": F(0), "top_k": 0, "top_p": F(1), "min_p": F(0), "penalty": F(1), "seed": 0}
DRAWN = GREEDY | {"temperature": F(1.5), "seed": 1}
NARROWED = DRAWN | {"top_k": 20, "top_p": F(0.9), "min_p": F(0.01), "penalty": F(1.25), "seed": 2}

def choose(s, logits, ids, step):
    if s.penalty != 1:
        seen = np.isin(np.arange(len(logits)), ids)
        logits = np.where(seen, np.where(logits < 0, logits * s.penalty, logits / s.penalty), logits)
    if s.temperature == 0:
        return int(np.argmax(logits))  # the first among equals, like N7
    e = exp((logits - maximum(logits)) / s.temperature)
    weight = [int(float(v) * 2**40) for v in e]
    kept = sorted(range(len(e)), key=lambda token: (-e[token], token))[: s.top_k or len(e)]
    enough = int(float(s.top_p) * 2**32) * sum(weight[token] for token in kept)
    first = next(n for n in range(1, len(kept) + 1) if sum(weight[token] for token in kept[:n]) << 32 >= enough)
    kept = sorted(token for token in kept[:first] if e[token] >= s.min_p)
    low, high = (int(word) for word in philox(s.seed, 4, 0, step)[:2])
    drawn = (high << 32 | low) * sum(weight[token] for token in kept) >> 64
    return next(token for n, token in enumerate(kept, 1) if sum(weight[token] for token in kept[:n]) > drawn)

def generate(c, s):
    """The transcript."""
    w, ids = golden_model(c), PROMPT.tolist()
    text = f"temperature={bits(s.temperature):08x} top_k={s.top_k} top_p={bits(s.top_p):08x} min_p={bits(s.min_p):08x} "
    text += f"repetition_penalty={bits(s.penalty):08x} seed={s.seed}"
    h = sha256(*map(field, (b"lockstep/1", bytes(32), b"", bytes(32), words(ids), text.encode())))
    for step in range(1, 41):
        logits = forward(c, w, np.array(ids))[0][-1]
        digest = sha256(floats(logits))
        ids.append(choose(s, logits, ids, step))
        h = sha256(*map(field, (h, words(ids[-1:]), digest)))
    return h


# The golden values
def golden_values():
    for c in (TIED, UNTIED):
        yield f"logits {c.seed}", sha256(floats(forward(c, golden_model(c), PROMPT)[0][-1])).hex()
    for name, samplers in (("generation", (GREEDY, GREEDY)), ("sampling", (NARROWED, DRAWN))):
        transcripts = [generate(c, SimpleNamespace(**s)) for c, s in zip((TIED, UNTIED), samplers)]
        yield from ((f"{name} {i}", h.hex()) for i, h in enumerate(transcripts, 1))
        yield name, sha256(*transcripts).hex()
    parts = []
    for c, optimizer, clip in ((TIED, sgd, np.inf), (UNTIED, adamw, 0.5)):
        steps, w = train(c, optimizer, clip)
        for step, (_, report) in enumerate(steps, 1):
            yield f"training {c.seed}, step {step}", report
        parts += [h for h, _ in steps] + [sha256(floats(v)) for v in w.values()]
    yield "training", sha256(*parts).hex()

def main():
    parser = argparse.ArgumentParser(description="Computes the golden values of numerics.md.")
    parser.add_argument("--verbose", action="store_true", help="print every golden value")
    verbose = parser.parse_args().verbose
    vectors = pathlib.Path(__file__).parent / "vectors" / "tiny.json"
    expected, failed = json.loads(vectors.read_text("utf-8"))["values"], 0
    for name, found in golden_values():
        wanted = expected.pop(name, "not there")
        failed += found != wanted
        if verbose or found != wanted or name.isalpha():
            print("PASS" if found == wanted else f"FAIL (it should be {wanted})", name, found, flush=True)
    for name in expected:
        print("FAIL (not computed)", name)
    sys.exit(1 if failed or expected else 0)

if __name__ == "__main__":
    main()
