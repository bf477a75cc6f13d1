import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import ptxops


def random_bf16(rng, *shape):
    """Magnitudes over many binades."""
    return oracle.bf16(rng.standard_normal(shape) * np.exp2(rng.uniform(-12, 12, shape)))


@given(m=st.integers(1, 40), blocks=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_quantize(m, blocks, seed):
    x = random_bf16(np.random.default_rng(seed), m, blocks * 128)
    q, sf = ptxops.quantize_1x128(x)
    assert q.shape == x.shape and sf.shape == (blocks, m)
    oracle.expect_quantized(q, sf, oracle.f64(x))


def test_quantize_zeros_takes_the_floor():
    q, sf = ptxops.quantize_1x128(np.zeros((3, 128), np.uint16))
    assert np.all(q.view(np.uint8) == 0)
    np.testing.assert_allclose(sf, 1e-4 / 448, rtol=2**-22)


def test_quantize_gathers_rows(rng):
    x = random_bf16(rng, 9, 256)
    index = np.array([4, -1, 8, 0, 4, 9], np.int32)  # -1 and 9 are outside
    q, sf = np.full((6, 256), 0x5A, np.uint8), np.full((2, 6), -7, np.float32)
    ptxops.quantize_1x128(x, row_index=index, out=(q, sf))
    done = (index >= 0) & (index < 9)
    oracle.expect_quantized(q[done], sf[:, done], oracle.f64(x[index[done]]))
    assert np.all(q[~done] == 0x5A) and np.all(sf[:, ~done] == -7)


def test_quantize_counts(rng):
    x = random_bf16(rng, 3, 10, 128)
    counts = np.array([10, 0, 3], np.int32)
    q, sf = np.full(x.shape, 0x5A, np.uint8), np.full((3, 1, 10), -7, np.float32)
    ptxops.quantize_1x128(x, counts=counts, out=(q, sf))
    for g, count in enumerate(counts):
        if count:
            oracle.expect_quantized(q[g, :count], sf[g, :, :count], oracle.f64(x[g, :count]))
        assert np.all(q[g, count:] == 0x5A) and np.all(sf[g, :, count:] == -7)


@pytest.mark.parametrize("shape", [(5, 512), (2, 7, 256)])
def test_swiglu_quantize(rng, shape):
    x = oracle.bf16(rng.standard_normal(shape) * 3)
    q, sf = ptxops.swiglu_quantize_1x128(x)
    gate, up = np.split(oracle.f64(x), 2, axis=-1)
    h = gate / (1 + np.exp(-gate)) * up
    width = shape[-1] // 2
    if len(shape) == 2:
        h, q, sf = h[None], q[None], sf[None]
    for g in range(h.shape[0]):
        # |gate| < 20 here: exp2 of gate * log2(e) in FP32 loses up to 2^-23 * 20 * 1.45 = 2^-18.1, the approximate
        # division and exp2 add 2^-21.
        oracle.expect_quantized(q[g].reshape(-1, width), sf[g], h[g], relative=2.0**-18)


def test_gather_rows(rng):
    x = random_bf16(rng, 11, 40)
    index = np.array([10, 3, -1, 3, 0], np.int32)
    y = ptxops.gather_rows(x, index).view(np.uint16)
    assert np.array_equal(y[index >= 0], x[index[index >= 0]])
    assert np.all(y[2] == 0)
    kept = np.full((5, 40), 0xABCD, np.uint16)
    ptxops.gather_rows(x, index, out=kept)
    assert np.array_equal(kept[[0, 1, 3, 4]], x[[10, 3, 3, 0]]) and np.all(kept[2] == 0xABCD)


@pytest.mark.parametrize("out_dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("top_k", [1, 8])
def test_weighted_scatter(rng, top_k, out_dtype):
    y = oracle.bf16(rng.standard_normal((30, 72)))
    row = rng.integers(-1, 30, (13, top_k)).astype(np.int32)
    weight = rng.random((13, top_k), np.float32)
    out = ptxops.weighted_scatter(y, row, weight, out_dtype=out_dtype)
    local = weight * (row >= 0)
    terms = oracle.f64(local)[:, :, None] * oracle.f64(y)[row]
    exact, magnitude = terms.sum(axis=1), np.abs(terms).sum(axis=1)
    # top_k products and sums in FP32, each rounded; then the output's rounding.
    bound = 2 * top_k * 2.0**-24 * magnitude * 1.01
    if out_dtype == "bfloat16":
        bound = bound + 2.0**-8 * (np.abs(exact) + bound)
    assert np.all(np.abs(oracle.f64(out) - exact) <= bound)
