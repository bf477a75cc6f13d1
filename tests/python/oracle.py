"""FP64 models of the ops, with the error that the device's arithmetic may have. Shares no code with the package."""

import numpy as np


def bf16(x):
    """uint16 bits of x rounded to bfloat16, ties to even (finite x)."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def f64(x):
    """Values of bfloat16 (or its bits), of e4m3 (or its bits), or of FP32 numbers."""
    x = np.asarray(x)
    if x.dtype.itemsize == 2:
        return (np.ascontiguousarray(x).view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if x.dtype.itemsize == 1:
        return _E4M3[np.ascontiguousarray(x).view(np.uint8)]
    return x.astype(np.float64)


def _decode(code):
    sign, exponent, mantissa = code >> 7, (code >> 3) & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return np.nan
    value = mantissa * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)
    return -value if sign else value


_E4M3 = np.array([_decode(c) for c in range(256)])


def random_fp8(rng, *shape):
    """Every e4m3 code but NaN, uint8."""
    code = rng.integers(0, 254, shape, np.uint8)
    return code + (code >= 0x7F)


def random_scales(rng, *shape):
    return np.exp2(rng.uniform(-6, 2, shape)).astype(np.float32)


def gemm(a, sfa, b, sfb, bfloat16_output):
    """(exact product, largest error) of one a [m, k], sfa [k/128, m], b [n, k], sfb [ceil(n/128), k/128].

    A step of the tensor core (32 of k) aligns its 33 terms to the largest exponent and drops what lies 13 bits below,
    and its sum keeps 13 fraction bits: at most 34 * 2^-13 of the largest term or sum. Four steps make a block; the
    factor 1.02 is for sums that already carry that error. Blocks add in FP32, twice rounded each, and the output
    rounds once more.
    """
    a, b, sfa, sfb = f64(a), f64(b), f64(sfa), f64(sfb)
    m, k = a.shape
    n = b.shape[0]
    exact, error, magnitude = np.zeros((m, n)), np.zeros((m, n)), np.zeros((m, n))
    for block in range(k // 128):
        scale = sfa[block][:, None] * np.repeat(sfb[:, block], 128)[:n][None, :]
        total, largest = np.zeros((m, n)), np.zeros((m, n))
        for step in range(4):
            part = slice(block * 128 + step * 32, block * 128 + (step + 1) * 32)
            total = total + a[:, part] @ b[:, part].T
            terms = np.abs(a[:, part]).max(axis=1)[:, None] * np.abs(b[:, part]).max(axis=1)[None, :]
            largest = np.maximum(largest, np.maximum(terms, np.abs(total)))
        exact += scale * total
        magnitude += scale * np.abs(total)
        error += scale * (4 * 34 * 2.0**-13 * 1.02 * largest)
    error += (2 * (k // 128) + 2) * 2.0**-24 * (magnitude + error)
    if bfloat16_output:
        error += 2.0**-8 * (np.abs(exact) + error) + 2.0**-134
    return exact, error


def expect_gemm(actual, a, sfa, b, sfb):
    """`actual` is the op's output, FP32 or BF16."""
    exact, bound = gemm(a, sfa, b, sfb, np.asarray(actual).dtype.itemsize == 2)
    difference = np.abs(f64(actual) - exact)
    assert np.all(difference <= bound), f"largest error over its bound: {np.nanmax(difference / bound)}"


def quantize(x):
    """x FP64 [rows, k] -> (scale FP64 [k/128, rows], the values that q must represent, FP64 [rows, k])."""
    blocks = x.reshape(x.shape[0], -1, 128)
    amax = np.maximum(np.abs(blocks).max(axis=2), np.float64(np.float32(1e-4)))
    scaled = blocks * (448.0 / amax)[:, :, None]
    return (amax / 448.0).T, scaled.reshape(x.shape)


def expect_quantized(q, sf, x, relative=0.0):
    """q, sf of x FP64 [rows, k]. `relative` is the error of x itself, as the device computes it.

    Scale: one rounded division. Value: a rounded division and a rounded product before rounding to e4m3, whose
    neighbours are at most 1/8 apart relatively (half of it: 1/16), and 2^-9 apart below 2^-6.
    """
    scale, scaled = quantize(x)
    np.testing.assert_allclose(f64(sf), scale, rtol=2.0**-23 + relative)
    got = f64(q)
    assert not np.isnan(got).any()
    bound = np.maximum(np.abs(scaled) / 16, 2.0**-10) * (1 + 2.0**-20) + np.abs(scaled) * (3 * 2.0**-24 + 3 * relative)
    assert np.all(np.abs(got - scaled) <= bound), np.max(np.abs(got - scaled) / bound)
