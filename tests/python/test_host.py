import numpy as np
import pytest

import oracle
import ptxops


def test_e4m3_codes_decode_and_encode():
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(ptxops.decode_e4m3(codes), oracle.f64(codes))
    np.testing.assert_array_equal(ptxops.encode_e4m3(ptxops.decode_e4m3(codes)).view(np.uint8) & 0x7F, codes & 0x7F)


def test_encode_agrees_with_ml_dtypes(rng):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = oracle.f64(np.arange(127, dtype=np.uint8))
    ties = (values[1:] + values[:-1]) / 2
    x = np.concatenate([ties, -ties, rng.uniform(-448, 448, 20000), rng.standard_normal(20000) * 2.0**-8])
    x = x.astype(np.float32)
    np.testing.assert_array_equal(
        ptxops.encode_e4m3(x).view(np.uint8), x.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    )


@pytest.mark.parametrize("shape", [(100, 256), (2, 130, 128)])
def test_weights_come_back(rng, shape):
    w = rng.standard_normal(shape).astype(np.float32)
    q, sf = ptxops.quantize_128x128(w)
    assert sf.shape == (*shape[:-2], -(-shape[-2] // 128), shape[-1] // 128)
    back = ptxops.dequantize(q, sf)
    # Half a step of e4m3: 1/16 of the value, 2^-10 of the scale below the normal range.
    assert np.all(np.abs(back - w) <= np.maximum(np.abs(w) / 16, sf.max() * 2.0**-10) * 1.0001)
    assert np.abs(oracle.f64(q)).max() == 448


def test_raw_bfloat16_weights(ctx, rng):
    raw = oracle.bf16(rng.standard_normal((16, 256)))
    expected = ptxops.quantize_128x128((raw.astype(np.uint32) << 16).view(np.float32))
    for w in (raw, ctx.array(raw, "bfloat16")):
        for got, want in zip(ptxops.quantize_128x128(w), expected):
            assert np.array_equal(got.view(np.uint8), want.view(np.uint8))


def test_row_scales_come_back(rng):
    x = oracle.bf16(rng.standard_normal((7, 256)))
    q, sf = ptxops.quantize_1x128(x)
    back = ptxops.dequantize(q, sf)
    assert np.all(np.abs(back - oracle.f64(x)) <= np.maximum(np.abs(oracle.f64(x)) / 16, sf.max() * 2.0**-10) * 1.0001)
    with pytest.raises(ValueError, match=r"sf: expected shape \(2, 7\).*got \(7, 2\)"):
        ptxops.dequantize(q, sf.T)
