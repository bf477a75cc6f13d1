"""ptxops: hand-written PTX kernels for Hopper, on a GPU or on the virtual H800."""

from ._array import DeviceArray
from ._context import Context, Plan, PlanCacheInfo, Stream, Timer, default_context
from ._host import decode_e4m3, dequantize, encode_e4m3, quantize_128x128
from ._ops import (
    fp8_gemm,
    gather_rows,
    grouped_fp8_gemm,
    masked_fp8_gemm,
    quantize_1x128,
    swiglu_quantize_1x128,
    weighted_scatter,
)
from ._ptxops import Error, version

__all__ = [
    "Context", "DeviceArray", "Error", "Plan", "PlanCacheInfo", "Stream", "Timer", "decode_e4m3", "default_context", "dequantize",
    "encode_e4m3", "fp8_gemm", "gather_rows", "grouped_fp8_gemm", "masked_fp8_gemm", "quantize_128x128",
    "quantize_1x128", "swiglu_quantize_1x128", "version", "weighted_scatter",
]
