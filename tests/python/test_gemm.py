import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import ptxops

POISON = np.float32(-12345.0)


def operands(rng, m, n, k, groups=None, slabs=None):
    lead = () if groups is None else (groups,)
    rows = () if slabs is None else (slabs,)
    return (
        oracle.random_fp8(rng, *rows, m, k),
        oracle.random_scales(rng, *rows, k // 128, m),
        oracle.random_fp8(rng, *lead, n, k),
        oracle.random_scales(rng, *lead, -(-n // 128), k // 128),
    )


@pytest.mark.parametrize("m, n, k", [(1, 8, 128), (64, 128, 256), (70, 200, 384), (129, 264, 128)])
@pytest.mark.parametrize("out_dtype", ["bfloat16", "float32"])
def test_dense(rng, m, n, k, out_dtype):
    tensors = operands(rng, m, n, k)
    d = ptxops.fp8_gemm(*tensors, out_dtype=out_dtype)
    assert isinstance(d, np.ndarray) and d.shape == (m, n)
    oracle.expect_gemm(d, *tensors)


def test_dense_into_rows_of_a_wider_array(rng):
    tensors = operands(rng, 33, 40, 128)
    wide = np.full((33, 64), POISON)
    d = ptxops.fp8_gemm(*tensors, out=wide[:, :40], out_dtype=np.float32)
    oracle.expect_gemm(d, *tensors)
    assert np.all(wide[:, 40:] == POISON)


def test_out_on_the_device(ctx, rng):
    tensors = operands(rng, 20, 32, 128)
    out = ctx.array(np.full((20, 32), POISON))
    assert ptxops.fp8_gemm(*tensors, out=out, out_dtype="float32") is out
    oracle.expect_gemm(out.numpy(), *tensors)


def test_no_rows():
    d = ptxops.fp8_gemm(*operands(np.random.default_rng(0), 0, 16, 128))
    assert d.shape == (0, 16)


def test_sm_count_does_not_change_a_bit(rng):
    tensors = operands(rng, 64, 256, 256)
    all_of_them, two = (ptxops.fp8_gemm(*tensors, sm_count=s) for s in (0, 2))
    assert np.array_equal(all_of_them.view(np.uint16), two.view(np.uint16))


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5), tail=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_offsets(sizes, tail, seed):
    rng = np.random.default_rng(seed)
    m, n, groups = sum(sizes) + tail, 136, len(sizes)
    a, sfa, b, sfb = operands(rng, m, n, 128, groups)
    offsets = np.cumsum([0, *sizes]).astype(np.int32)
    out = np.full((m, n), POISON)
    ptxops.grouped_fp8_gemm(a, sfa, b, sfb, offsets=offsets, out=out, out_dtype="float32")
    for g in range(groups):
        rows = slice(offsets[g], offsets[g + 1])
        oracle.expect_gemm(out[rows], a[rows], sfa[:, rows], b[g], sfb[g])
    assert np.all(out[offsets[-1] :] == POISON)
    new = ptxops.grouped_fp8_gemm(a, sfa, b, sfb, offsets=offsets, out_dtype="float32")
    assert np.array_equal(new[: offsets[-1]], out[: offsets[-1]]) and np.all(new[offsets[-1] :] == 0)


def test_row_map_with_skipped_rows(rng):
    row_map = np.array([2] * 17 + [-1] * 3 + [0] * 30 + [-1] + [3] * 5, np.int32)
    m = row_map.size
    a, sfa, b, sfb = operands(rng, m, 72, 256, groups=4)
    out = np.full((m, 72), POISON)
    ptxops.grouped_fp8_gemm(a, sfa, b, sfb, row_map=row_map, out=out, out_dtype="float32")
    for g in range(4):
        rows = row_map == g
        oracle.expect_gemm(out[rows], a[rows], sfa[:, rows], b[g], sfb[g])
    assert np.all(out[row_map == -1] == POISON)


@pytest.mark.parametrize("expected_m", [0, 4])
def test_masked(rng, expected_m):
    counts = np.array([0, 70, 5], np.int32)
    a, sfa, b, sfb = operands(rng, 70, 64, 128, groups=3, slabs=3)
    out = np.full((3, 70, 64), POISON)
    ptxops.masked_fp8_gemm(a, sfa, b, sfb, counts, expected_m=expected_m, out=out, out_dtype="float32")
    for g, count in enumerate(counts):
        oracle.expect_gemm(out[g, :count], a[g, :count], sfa[g][:, :count], b[g], sfb[g])
        assert np.all(out[g, count:] == POISON)


def test_whole_expert_layer_stays_on_the_device(ctx, rng):
    """quantise with gather, grouped GEMM, SwiGLU, grouped GEMM, combine: only the last result is copied."""
    tokens, hidden, width, experts, top_k = 24, 256, 128, 3, 2
    x = oracle.bf16(rng.standard_normal((tokens, hidden)))
    chosen = np.argsort(rng.random((tokens, experts)), axis=1)[:, :top_k]
    order = np.argsort(chosen.ravel(), kind="stable")
    row = np.empty(tokens * top_k, np.int32)
    row[order] = np.arange(order.size)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(chosen.ravel(), minlength=experts))]).astype(np.int32)
    weight = rng.random((tokens, top_k), np.float32)
    up = ptxops.quantize_128x128(rng.standard_normal((experts, 2 * width, hidden)) / 16)
    down = ptxops.quantize_128x128(rng.standard_normal((experts, hidden, width)) / 11)

    device = ctx.array(offsets)
    q, sf = ptxops.quantize_1x128(ctx.array(x, "bfloat16"), row_index=(order // top_k).astype(np.int32))
    h = ptxops.grouped_fp8_gemm(q, sf, *up, offsets=device)
    q2, sf2 = ptxops.swiglu_quantize_1x128(h)
    y = ptxops.grouped_fp8_gemm(q2, sf2, *down, offsets=device)
    out = ptxops.weighted_scatter(y, row.reshape(tokens, top_k), weight, out_dtype="float32")
    assert isinstance(out, ptxops.DeviceArray)

    expected = np.zeros((tokens, hidden))
    wu, wd = (ptxops.dequantize(*w).astype(np.float64) for w in (up, down))
    for t in range(tokens):
        for j in range(top_k):
            gate, value = np.split(wu[chosen[t, j]] @ oracle.f64(x[t]), 2)
            expected[t] += weight[t, j] * (wd[chosen[t, j]] @ (gate / (1 + np.exp(-gate)) * value))
    # Two e4m3 roundings of at most 1/16 each, random in sign over sums of 128 terms and more: a few per cent of the
    # RMS. The exact bounds are those of the ops' own tests; a wrong row or expert gives an error of about 1.4.
    error = np.sqrt(np.mean((out.numpy() - expected) ** 2) / np.mean(expected**2))
    assert error < 0.1, error
