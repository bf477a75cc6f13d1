"""MLA: append and decode, each row against FP64. What no request sees is NaN, and unused table entries are garbage."""

import numpy as np
import pytest

import mla_oracle as mla
import oracle
import ptxops

LENGTHS = [70, 0, 33, 1]


def of_nan(shape, dtype):
    """A cache of NaN."""
    return np.full(shape, 0x7FC0, np.uint16) if dtype == "bfloat16" else np.full(shape, np.nan, np.float16)


class Problem:
    """Queries, and keys in pages; `rows` are their slots in the cache, flattened."""

    def __init__(self, rng, lengths=LENGTHS, s_q=1, h_q=3, page_size=16, dtype="bfloat16"):
        self.lengths = np.array(lengths, np.int32)
        self.table, self.pages = mla.pages_of(rng, lengths, page_size)
        self.rows = mla.slots_of(self.table, lengths, page_size)
        self.q = mla.encode(rng.standard_normal((len(lengths), s_q, h_q, mla.WIDTH)), dtype)
        self.cache = of_nan((self.pages, page_size, mla.WIDTH), dtype)
        self.tokens = mla.encode(rng.standard_normal((self.rows.size, mla.WIDTH)), dtype)
        self.cache.reshape(-1, mla.WIDTH)[self.rows] = self.tokens
        self.begin = np.cumsum([0, *lengths])

    def keys(self, b, _t=0):
        return mla.decode(self.tokens[self.begin[b] : self.begin[b + 1]])

    def inputs(self):
        return self.q, self.cache, self.table, self.lengths


@pytest.mark.parametrize(
    "dtype, s_q, page_size, options",
    [
        ("bfloat16", 1, 16, {}),
        ("float16", 2, 16, dict(causal=True, lse_base2=True, lse_empty_neg=True)),
        ("bfloat16", 2, 10, dict(causal=True, split_tokens=64, max_total_tokens=104)),  # of 10: no TMA
        ("bfloat16", 1, 64, dict(softmax_scale=0.02, sm_count=3, merge="fused")),
    ],
)
def test_decode(rng, dtype, s_q, page_size, options):
    p = Problem(rng, s_q=s_q, page_size=page_size, dtype=dtype)
    out, lse, flags = ptxops.mla_decode(*p.inputs(), **options)
    assert out.shape == (4, s_q, 3, 512) and lse.shape == (4, 3, s_q) and lse.dtype == np.float32
    assert (out.dtype == np.float16) == (dtype == "float16") and np.array_equal(flags, [0, 0, 0, 0])
    mla.expect_rows(
        out, lse, mla.decode(p.q), p.keys, mla.causal_visible(p.lengths, s_q, options.get("causal")),
        scale=options.get("softmax_scale", 576**-0.5), dtype=dtype, base2=options.get("lse_base2", False),
        empty=-np.inf if options.get("lse_empty_neg") else np.inf,
    )


def test_decode_with_rope_apart(rng):
    p = Problem(rng)
    together = ptxops.mla_decode(*p.inputs())
    q, q_rope = np.split(p.q, [512], axis=-1)  # not contiguous
    cache, cache_rope = np.split(p.cache, [512], axis=-1)
    apart = ptxops.mla_decode(q, cache, p.table, p.lengths, q_rope=q_rope, cache_rope=cache_rope)
    for a, b in zip(together, apart):
        assert a.tobytes() == b.tobytes()


def test_split_tokens_make_a_request_independent_of_the_others(rng):
    p = Problem(rng, lengths=[200, 140])
    options = dict(split_tokens=64)
    both = ptxops.mla_decode(*p.inputs(), **options)
    second = ptxops.mla_decode(p.q[1:], p.cache, p.table[1:], p.lengths[1:], sm_count=2, **options)
    for a, b in zip(both, second):
        assert a[1:].tobytes() == b.tobytes()
    mla.expect_rows(both[0], both[1], mla.decode(p.q), p.keys, mla.causal_visible(p.lengths, 1, False))


def test_flags(rng):
    """Wrong lengths and pages: flagged, clamped, and keys of a page that does not exist are zero vectors."""
    p = Problem(rng, lengths=[20, 20, 20, 20])
    lengths = np.array([20, -5, 1000, 20], np.int32)
    p.table[0, 1] = p.pages  # keys 16 .. 19
    out, lse, flags = ptxops.mla_decode(p.q, p.cache, p.table, lengths)
    assert flags[0] == mla.FLAG_PAGE and flags[1] == mla.FLAG_NEGATIVE and flags[3] == 0
    assert flags[2] & mla.FLAG_TOO_LONG
    zeroed = p.keys(0).copy()
    zeroed[16:] = 0
    seen = {0: (zeroed, 20), 1: (np.zeros((0, 576)), 0), 3: (p.keys(3), 20)}
    for b, (keys, count) in seen.items():
        mla.expect_rows(out[b : b + 1], lse[b : b + 1], mla.decode(p.q[b : b + 1]), lambda *_: keys, lambda *_: count)


def strided(ctx, values, gap, name):
    """A DeviceArray of these values, with `gap` elements after each row and a row after each axis of rows."""
    *lead, rows, columns = values.shape
    wide = np.full((*lead, rows + 1, columns + gap), 0xFF, values.dtype)  # 0xFFFF and so on: NaN, or a far page
    wide[..., :rows, :columns] = values
    whole = ctx.array(wide, name)
    array = ptxops.DeviceArray(ctx, whole.ptr, values.shape, whole.strides, whole.dtype, whole)
    assert array.numpy().tobytes() == values.tobytes()
    return array


def test_on_the_device_with_strides(ctx, rng):
    p = Problem(rng, s_q=2)
    dense = ptxops.mla_decode(*p.inputs())
    q, cache = strided(ctx, p.q, 8, "bfloat16"), strided(ctx, p.cache, 8, "bfloat16")
    table = strided(ctx, p.table, 3, "int32")
    out = strided(ctx, np.zeros_like(p.q[..., :512]), 16, "bfloat16")
    # LSE [batch, h_q, s_q] in memory of [s_q, batch, h_q]
    lse_memory = ctx.array(np.full((2, 4, 3), -7, np.float32))
    lse = ptxops.DeviceArray(ctx, lse_memory.ptr, (4, 3, 2), (3, 1, 12), "float32", lse_memory)
    results = ptxops.mla_decode(q, cache, table, p.lengths, out=(out, lse, None))
    assert results[0] is out and results[1] is lse and isinstance(results[2], ptxops.DeviceArray)
    for a, b in zip(dense, results):
        assert a.tobytes() == b.numpy().tobytes()


def test_into_host_arrays(rng):
    p = Problem(rng)
    expected = ptxops.mla_decode(*p.inputs())
    wide = np.zeros((4, 1, 3, 600), np.uint16)
    out, lse, flags = wide[..., :512], np.zeros((4, 3, 1), np.float32), np.full(4, -1, np.int32)
    results = ptxops.mla_decode(*p.inputs(), out=(out, lse, flags))
    assert results[0] is out and results[1] is lse and results[2] is flags
    for a, b in zip(expected, results):
        assert a.tobytes() == b.tobytes()
    assert np.all(wide[..., 512:] == 0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("apart", [False, True])
def test_append_copies(rng, dtype, apart):
    tokens = mla.encode(rng.standard_normal((7, 576)), dtype)
    slot = np.array([3, -1, 29, 0, 30, -2, 14], np.int32 if apart else np.int64)  # 30 and -2 are outside
    cache = mla.encode(np.full((3, 10, 512 if apart else 576), 5.0), dtype)
    rope_cache = mla.encode(np.full((3, 10, 64), 5.0), dtype) if apart else None
    expected = mla.encode(np.full((30, 576), 5.0), dtype)
    good = (slot >= 0) & (slot < 30)
    expected[slot[good]] = tokens[good]
    bad = ptxops.mla_append(tokens[:, :512], tokens[:, 512:], slot, cache, rope_cache=rope_cache)
    assert bad.dtype == np.int32 and bad.tolist() == [2]
    got = np.concatenate([cache, rope_cache], axis=-1) if apart else cache
    assert np.array_equal(got.reshape(30, 576), expected)


@pytest.mark.parametrize("power_of_two", [False, True])
def test_append_quantises(ctx, rng, power_of_two):
    latent = oracle.bf16(rng.standard_normal((9, 512)) * np.exp2(rng.uniform(-8, 6, (9, 1))))
    latent[4, :128] = 0  # takes the floor of 1e-4
    rope = oracle.bf16(rng.standard_normal((9, 64)))
    slot = rng.permutation(32)[:9].astype(np.int64)
    cache = ctx.array(np.full((2, 16, 656), 0xEE, np.uint8))
    bad = ptxops.mla_append(latent, rope, slot, cache, power_of_two=power_of_two)
    assert isinstance(bad, ptxops.DeviceArray) and bad.numpy().tolist() == [0]
    rows = cache.numpy().reshape(32, 656)
    assert np.all(np.delete(rows, slot, axis=0) == 0xEE)
    token = rows[slot]
    assert np.array_equal(np.ascontiguousarray(token[:, 528:]).view(np.uint16), rope)
    scale = np.ascontiguousarray(token[:, 512:528]).view(np.float32)
    if not power_of_two:
        oracle.expect_quantized(token[:, :512], scale.T, oracle.f64(latent))
        return
    blocks = oracle.f64(latent).reshape(9, 4, 128)
    amax = np.maximum(np.abs(blocks).max(axis=2), 1e-4)
    assert np.array_equal(scale, np.exp2(np.ceil(np.log2(amax / 448))).astype(np.float32))
    exact = blocks / scale.astype(np.float64)[..., None]
    # Division by a power of two is exact: only e4m3's rounding is left.
    error = np.abs(oracle.f64(token[:, :512]).reshape(9, 4, 128) - exact)
    assert np.all(error <= np.maximum(np.abs(exact) / 16, 2.0**-10))


class Fp8Problem(Problem):
    """656-byte tokens, in a cache whose other bytes are NaN codes, scales and ropes."""

    def __init__(self, rng, power_of_two=False, **shape):
        super().__init__(rng, **shape)
        count, page_size = self.rows.size, self.cache.shape[1]
        codes = oracle.random_fp8(rng, count, 512)
        scales = np.exp2(rng.integers(-8, -5, (count, 4)) if power_of_two else rng.uniform(-8, -6, (count, 4)))
        scales = scales.astype(np.float32)
        rope = oracle.bf16(rng.standard_normal((count, 64)))
        self.tokens = np.concatenate([codes, scales.view(np.uint8), rope.view(np.uint8)], axis=-1)
        self.cache = np.full((self.pages, page_size, 656), 0x7F, np.uint8)
        self.cache[..., 512:528] = np.frombuffer(np.float32([np.nan] * 4).tobytes(), np.uint8)
        self.cache.reshape(-1, 656)[self.rows] = self.tokens

    def keys(self, b, _t=0):
        return mla.fp8_tokens(self.tokens[self.begin[b] : self.begin[b + 1]])


@pytest.mark.parametrize("options", [{}, dict(causal=True, split_tokens=64, lse_empty_neg=True)])
def test_decode_fp8_dense(rng, options):
    p = Fp8Problem(rng, s_q=2, page_size=16, power_of_two=not options)
    sink = rng.standard_normal(3).astype(np.float32) * 3 if not options else None
    out, lse, flags = ptxops.mla_decode_fp8(*p.inputs(), sink=sink, **options)
    assert np.array_equal(flags, [0, 0, 0, 0])
    mla.expect_rows(
        out, lse, mla.decode(p.q), p.keys, mla.causal_visible(p.lengths, 2, options.get("causal")), sink=sink,
        flips=bool(options), empty=-np.inf if options.get("lse_empty_neg") else np.inf,
    )


@pytest.mark.parametrize("per_token", [None, False, True])
def test_decode_fp8_sparse(rng, per_token):
    p = Fp8Problem(rng, s_q=2, lengths=[40, 25], page_size=9)
    top_k, slots = 70, p.cache.shape[0] * 9
    indices = rng.choice(p.rows, (2, 2, top_k)).astype(np.int32)  # some twice
    indices[rng.random(indices.shape) < 0.3] = -1
    indices[1, 0, 5], indices[1, 1, 3] = slots, -2
    lengths = {None: None, False: np.array([66, 10], np.int32), True: np.array([[70, 0], [64, 1]], np.int32)}[per_token]
    counts = np.broadcast_to(top_k if lengths is None else lengths if per_token else lengths[:, None], (2, 2))
    for b, t in np.ndindex(2, 2):
        indices[b, t, counts[b, t] :] = 2**30 + 7  # not read
    sink = np.array([0.5, -np.inf, 4.0], np.float32)
    out, lse, flags = ptxops.mla_decode_fp8(p.q, p.cache, lengths=lengths, indices=indices, sink=sink)

    def keys(b, t):
        seen = indices[b, t, : counts[b, t]]
        return mla.fp8_tokens(p.cache.reshape(-1, 656)[seen[(seen >= 0) & (seen < slots)]])

    assert flags.shape == (2, 2)
    assert flags.tolist() == [[0, 0], [4 * (counts[1, 0] > 5), 4 * (counts[1, 1] > 3)]]
    mla.expect_rows(out, lse, mla.decode(p.q), keys, lambda b, t: len(keys(b, t)), sink=sink, flips=True)


@pytest.mark.parametrize("on_device", [False, True])
def test_decode_e4m3(ctx, rng, on_device):
    p = Problem(rng, s_q=2, page_size=32)
    unit = 12  # codes of this deviation are near the middle of e4m3's range
    q = ptxops.encode_e4m3(rng.standard_normal(p.q.shape) * unit)
    tokens = ptxops.encode_e4m3(rng.standard_normal(p.tokens.shape) * unit)
    cache = np.full(p.cache.shape, mla.NAN8, np.uint8)
    cache.reshape(-1, 576)[p.rows] = tokens.view(np.uint8)
    dq, dk = np.float32(1.25 / unit), np.float32(1 / unit)
    scales = dict(descale_q=ctx.array(dq[None]), descale_k=dk[None]) if on_device else dict(descale_q=dq, descale_k=float(dk))
    dtype = "float16" if on_device else "bfloat16"
    results = ptxops.mla_decode_e4m3(q, cache, p.table, p.lengths, causal=True, out_dtype=dtype, **scales)
    out, lse, flags = (r.numpy() if on_device else r for r in results)
    assert (out.dtype == np.float16) == (dtype == "float16") and np.array_equal(flags, [0, 0, 0, 0])
    visible = mla.causal_visible(p.lengths, 2, True)
    for b, t, h in np.ndindex(4, 2, 3):
        keys, row = oracle.f64(tokens[p.begin[b] : p.begin[b + 1]]) * float(dk), oracle.f64(q[b, t, h]) * float(dq)
        exact, exact_lse, w = mla.attend(row, keys, visible(b, t), 576**-0.5)
        if not len(w):
            assert np.all(out[b, t, h] == 0) and lse[b, h, t] == np.inf
            continue
        keys, v = keys[: len(w)], keys[: len(w), :512]
        # A score: 18 steps add 33 terms each, cut off at 2^-13 of the power of two below the largest: 594 errors, even
        # and of either sign. Five standard deviations of their sum.
        products = row * keys
        largest = np.maximum(np.abs(products).max(axis=1), np.abs(np.cumsum(products, axis=1)).max(axis=1))
        error = 5 * np.sqrt(594 / 3) * 2.0**-13 * largest * 576**-0.5
        mean = w @ error
        mla.expect_lse(lse[b, h, t], exact_lse, mean)
        # A weight is off by half a step of e4m3 (1/16; 2^-18 of the largest below its normal numbers) and by its score's
        # error; what moves the result is how far a value lies from it. Sums of 64 products keep 14 bits.
        off = w * (1 / 16 + error + mean) + 2.0**-18 * w.max()
        bound = 1.1 * off @ np.abs(v - exact) + 2.0**-9 * w @ np.abs(v)
        bound = bound + 1.1 * mla.HALF_ULP[dtype] * np.abs(exact) + 1e-7
        difference = np.abs(mla.decode(out[b, t, h]) - exact)
        assert np.all(difference <= bound), np.max(difference / bound)


def test_append_then_decode_stays_on_the_device(ctx, rng):
    """What a server does: append to a cache on the device, attend to it; nothing is copied but the last result."""
    p = Problem(rng, lengths=[20, 3])
    cache = ctx.array(p.cache, "bfloat16")
    new = mla.encode(rng.standard_normal((2, 576)), "bfloat16")
    last = p.begin[1:] - 1
    p.tokens[last] = new
    ptxops.mla_append(new[:, :512], new[:, 512:], p.rows[last], cache)
    out, lse, flags = ptxops.mla_decode(ctx.array(p.q, "bfloat16"), cache, p.table, p.lengths)
    assert isinstance(out, ptxops.DeviceArray) and out.dtype == "bfloat16" and not flags.numpy().any()
    mla.expect_rows(out.numpy(), lse.numpy(), mla.decode(p.q), p.keys, mla.causal_visible(p.lengths, 1, False))
