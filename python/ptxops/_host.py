"""Helpers in numpy: quantising weights once, before serving, and looking at what is quantised."""

from __future__ import annotations

import numpy as np

from ._array import DeviceArray
from ._types import TYPES, accepts

FP8_MAX = 448.0
_AMAX_FLOOR = 1e-4  # as the device's quantiser


def _e4m3_values() -> np.ndarray:
    """The value of each of the 256 codes; NaN for 0x7f and 0xff."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    value = np.where(exponent == 0, np.ldexp(mantissa / 8.0, -6), np.ldexp(1 + mantissa / 8.0, exponent - 7))
    value = np.where(code & 0x7F == 0x7F, np.nan, value)
    return np.where(code & 0x80, -value, value).astype(np.float32)


_VALUES = _e4m3_values()
_MIDPOINTS = (_VALUES[:126].astype(np.float64) + _VALUES[1:127]) / 2


def encode_e4m3(x: np.ndarray) -> np.ndarray:
    """To the nearest e4m3 value, ties to the even code, saturating at +-448; NaN stays NaN. dtype float8_e4m3fn."""
    x = np.asarray(x)
    magnitude = np.abs(x)
    code = np.searchsorted(_MIDPOINTS, magnitude, side="left")
    tie = (code < 126) & (_MIDPOINTS[np.minimum(code, 125)] == magnitude)
    code = code + (tie & (code % 2 == 1))
    code = np.where(np.isnan(x), 0x7F, code) | np.where(np.signbit(x), 0x80, 0)
    return code.astype(np.uint8).view(TYPES["float8_e4m3fn"].numpy)


def decode_e4m3(q: np.ndarray) -> np.ndarray:
    """float32 values of e4m3 codes (float8_e4m3fn or uint8)."""
    codes = q if isinstance(q, (np.ndarray, np.generic)) else np.asarray(q)
    if not accepts("float8_e4m3fn", codes.dtype.name):
        raise ValueError(f"q: expected dtype float8_e4m3fn (or uint8), got {codes.dtype.name}")
    return _VALUES[np.ascontiguousarray(codes).view(np.uint8)].reshape(np.shape(codes))


def quantize_128x128(w) -> tuple[np.ndarray, np.ndarray]:
    """w [(groups,) n, k], k a multiple of 128 -> (q float8_e4m3fn of w's shape, sf float32 [(groups,) ceil(n/128), k/128]).

    w is floating; uint16 is raw bfloat16. Each 128 x 128 block is scaled so that its largest magnitude becomes 448.
    """
    w = w.numpy() if isinstance(w, DeviceArray) else np.asarray(w)
    if w.dtype == np.uint16:
        w = (w.astype(np.uint32) << 16).view(np.float32)
    if not (np.issubdtype(w.dtype, np.floating) or w.dtype.name == "bfloat16"):
        raise ValueError(f"w: expected a floating dtype, or uint16 for raw bfloat16, got {w.dtype.name}")
    w = w.astype(np.float32)
    if w.ndim < 2 or w.shape[-1] % 128:
        raise ValueError(f"w: expected shape (..., n, k) with k a multiple of 128, got {w.shape}")
    *lead, n, k = w.shape
    blocks = -(-n // 128)
    padded = np.zeros((*lead, blocks * 128, k), np.float32)
    padded[..., :n, :] = w
    tiles = padded.reshape(*lead, blocks, 128, k // 128, 128)
    sf = np.maximum(np.abs(tiles).max(axis=(-3, -1)), np.float32(_AMAX_FLOOR)) / np.float32(FP8_MAX)
    q = encode_e4m3(tiles / sf[..., :, None, :, None]).reshape(padded.shape)[..., :n, :]
    return np.ascontiguousarray(q), sf


def dequantize(q, sf) -> np.ndarray:
    """float32 values of q [..., rows, k] with scales of 1 x 128 (sf [..., k/128, rows]) or of 128 x 128
    (sf [..., ceil(rows/128), k/128]). Takes numpy arrays and DeviceArrays."""
    q, sf = (t.numpy() if isinstance(t, DeviceArray) else np.asarray(t) for t in (q, sf))
    if q.ndim < 2:
        raise ValueError(f"q: expected shape (..., rows, k), got {q.shape}")
    *lead, rows, k = q.shape
    by_row, by_block = (*lead, k // 128, rows), (*lead, -(-rows // 128), k // 128)
    if sf.shape == by_row:
        scale = np.repeat(np.swapaxes(sf, -1, -2), 128, axis=-1)
    elif sf.shape == by_block:
        scale = np.repeat(np.repeat(sf, 128, axis=-2)[..., :rows, :], 128, axis=-1)
    else:
        raise ValueError(f"sf: expected shape {by_row} (1 x 128) or {by_block} (128 x 128), got {sf.shape}")
    return decode_e4m3(q) * scale
