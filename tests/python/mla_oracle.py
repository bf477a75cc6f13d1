"""MLA in FP64, from the definition, and caches laid out with traps. Shares no code with the package."""

import numpy as np

import oracle

LATENT, ROPE, WIDTH = 512, 64, 576
NAN8 = 0x7F
FLAG_NEGATIVE, FLAG_TOO_LONG, FLAG_PAGE = 1, 2, 4
# Half a unit in the last place, relative to the value at most.
HALF_ULP = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


def encode(x, dtype):
    """x as bfloat16 bits or float16."""
    return oracle.bf16(x) if dtype == "bfloat16" else np.asarray(x).astype(np.float16)


def decode(x):
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype == np.float16 else oracle.f64(x)


def pages_of(rng, lengths, page_size, spare=3):
    """(table int32 [batch, max_pages], pages): each request its own pages, in random order; what is unused is garbage."""
    needed = [-(-n // page_size) for n in lengths]
    pages, columns = sum(needed) + spare, max(needed) + 1
    order = rng.permutation(pages)[: sum(needed)]
    garbage = np.array([-1, -(2**31), 2**31 - 1, pages, 7 * pages])
    table = rng.choice(garbage, (len(lengths), columns))
    at = 0
    for b, n in enumerate(needed):
        table[b, :n] = order[at : at + n]
        at += n
    return table.astype(np.int32), pages


def slots_of(table, lengths, page_size):
    """The slot of each key, requests one after another."""
    keys = [(b, k) for b, n in enumerate(lengths) for k in range(n)]
    return np.array([table[b, k // page_size] * page_size + k % page_size for b, k in keys], np.int64)


def attend(q, keys, visible, scale):
    """One row: q [576], keys [n, 576], of which `visible` are seen -> (out, lse, weights); lse +inf without keys."""
    if not visible:
        return np.zeros(LATENT), np.inf, np.zeros(0)
    scores = keys[:visible] @ q * scale
    top = scores.max()
    weights = np.exp(scores - top)
    total = weights.sum()
    return weights @ keys[:visible, :LATENT] / total, top + np.log(total), weights / total


def expect_lse(actual, exact, extra=0.0):
    """FP32 sums, ex2.approx (2^-22), and scores of 576 products that the tensor core adds with some bits less than FP32."""
    if np.isinf(exact):
        assert actual == exact, (actual, exact)
    else:
        assert abs(float(actual) - exact) <= 4e-6 * max(1.0, abs(exact)) + extra, (actual, exact)


def expect_rows(
    out, lse, q, keys_of, visible, scale=WIDTH**-0.5, dtype="bfloat16", base2=False, empty=np.inf, sink=None, flips=False,
):
    """Every row of out [batch, s_q, h_q, 512] and lse [batch, h_q, s_q]. keys_of(b, t) -> FP64 [n, 576].

    Each weight is rounded once to the input's type (half an ulp of it), and so is the result; a tenth more for FP32 sums
    with the tensor core's truncation. flips: latents are products with scales that are no powers of two, off by up to
    2^-17 before they are rounded to BF16. So one in 256 may be off by a step, 2^-7 of it: 2^-11 in the mean square. Five
    standard deviations of that, in a score and in a sum of values.
    """
    values = decode(out)
    for b, t, h in np.ndindex(values.shape[:3]):
        keys, seen = keys_of(b, t), visible(b, t)
        exact, exact_lse, weights = attend(q[b, t, h], keys, seen, scale)
        v, score, flipped = keys[:seen, :LATENT], 0.0, 0.0
        bound = weights @ np.abs(v)
        if flips and seen:
            score = 5 * 2.0**-11 * scale * np.sqrt((q[b, t, h, :LATENT] ** 2 * v**2).sum(axis=1)).max()
            # a sum that one value rules is off by that value's step
            flipped = 5 * 2.0**-11 * np.sqrt(weights**2 @ v**2) + 2.0**-7 * (weights[:, None] * np.abs(v)).max(axis=0)
            flipped = flipped + 2 * score * bound
        if sink is not None and seen:
            factor = 1 / (1 + np.exp(sink[h] - exact_lse))
            exact, bound, flipped = exact * factor, bound * factor, (flipped + score * np.abs(exact)) * factor
        bound = 1.1 * HALF_ULP[dtype] * (bound + np.abs(exact)) + flipped + 1e-7
        difference = np.abs(values[b, t, h] - exact)
        assert np.all(difference <= bound), f"row {b, t, h}: error over its bound: {np.nanmax(difference / bound)}"
        expect_lse(lse[b, h, t], empty if not seen else exact_lse * (np.log2(np.e) if base2 else 1.0), score)


def causal_visible(lengths, s_q, causal):
    return lambda b, t: max(0, lengths[b] - (s_q - 1 - t if causal else 0))


def fp8_tokens(cache):
    """Values FP64 of 656-byte tokens [..., 656]: BF16(code * scale), rounded once, and the rope."""
    codes = oracle.f64(cache[..., :LATENT])
    scales = np.ascontiguousarray(cache[..., LATENT : LATENT + 16]).view(np.float32).astype(np.float64)
    latent = oracle.f64(oracle.bf16((codes * np.repeat(scales, 128, axis=-1)).astype(np.float32)))
    rope = oracle.f64(np.ascontiguousarray(cache[..., LATENT + 16 :]).view(np.uint16))
    return np.concatenate([latent, rope], axis=-1)
