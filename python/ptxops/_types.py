"""Element types: one table of names, DLPack codes and numpy dtypes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

try:
    import ml_dtypes
except ImportError:  # optional: without it FP8 and bfloat16 arrays are uint8 and uint16
    ml_dtypes = None


class ElementType(NamedTuple):
    name: str
    itemsize: int
    dlpack: tuple[int, int]  # DLPack code, bits
    numpy: np.dtype  # what .numpy() returns
    raw: str | None  # same-sized numpy integers that stand for it


def _extended(name: str, raw: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name)) if ml_dtypes else np.dtype(raw)


TYPES = {
    t.name: t
    for t in (
        ElementType("float8_e4m3fn", 1, (10, 8), _extended("float8_e4m3fn", "uint8"), "uint8"),
        ElementType("bfloat16", 2, (4, 16), _extended("bfloat16", "uint16"), "uint16"),
        ElementType("float16", 2, (2, 16), np.dtype("float16"), None),
        ElementType("float32", 4, (2, 32), np.dtype("float32"), None),
        ElementType("int32", 4, (0, 32), np.dtype("int32"), None),
        ElementType("int64", 8, (0, 64), np.dtype("int64"), None),
        ElementType("uint8", 1, (1, 8), np.dtype("uint8"), None),
        ElementType("uint16", 2, (1, 16), np.dtype("uint16"), None),
    )
}
_BY_DLPACK = {t.dlpack: t.name for t in TYPES.values()}
C_TYPES = {"bfloat16": 0, "float32": 1, "float16": 2}  # ptxopsType_t


def name_of_dlpack(code: int, bits: int, lanes: int) -> str:
    """The type's name; a name that no op accepts where it is not one of ours."""
    name = _BY_DLPACK.get((code, bits)) if lanes == 1 else None
    return name or f"DLPack type code {code}, {bits} bits, {lanes} lanes"


def type_name(dtype: object, argument: str = "dtype") -> str:
    """'float32' of 'float32', numpy.float32, numpy.dtype('float32'), ml_dtypes.bfloat16 and so on."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in TYPES:
        raise ValueError(f"{argument}: expected one of {', '.join(TYPES)}, got {name!r}")
    return name


def accepts(expected: str, actual: str) -> bool:
    return actual in (expected, TYPES[expected].raw)
