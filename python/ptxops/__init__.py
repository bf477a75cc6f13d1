"""ptxops: hand-written PTX kernels for Hopper, on a GPU or on the virtual H800.

Here are the ops of an expert layer, MLA decode and the append to its cache: those of the C interface, ptxops.h.

Tensors are numpy arrays (uploaded; the results are numpy arrays), DeviceArrays, or anything with __dlpack__ or
__cuda_array_interface__. With one tensor on the device the results are DeviceArrays, not synchronised. FP8 may be given as
uint8 and bfloat16 as uint16, bit for bit. Scales of rows have shape (k / 128, rows), rows contiguous: what quantize_1x128
returns.

What ops have in common:
  out             the result, written in place and returned; for several results a tuple of them. Rows that an op skips are zero
                  in a new result and untouched in `out`.
  out_dtype       'bfloat16' or 'float32' (for MLA: 'float16'), also the dtype of `out`.
  sm_count        SMs to use, an even number (for MLA: any); 0 = all of the device.
  weights_static  the weights and group tables were not written by the stream's previous kernel; their loading may then
                  overlap its end.
  stream          None (the default stream), a Stream, a torch.cuda.Stream, or a CUstream as an integer.
  context         a Context; by default that of the tensors on the device, else of device 0.

Nothing of a driver is loaded before the first Context. Errors are ValueError or TypeError where an argument cannot be
right, BufferError where a DLPack producer breaks its protocol, and Error where the library or the driver refuses.
"""

from ._array import DeviceArray
from ._context import Context, Plan, PlanCacheInfo, Stream, Timer, default_context
from ._host import decode_e4m3, dequantize, encode_e4m3, quantize_128x128
from ._mla import mla_append, mla_decode, mla_decode_e4m3, mla_decode_fp8
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
    "encode_e4m3", "fp8_gemm", "gather_rows", "grouped_fp8_gemm", "masked_fp8_gemm", "mla_append", "mla_decode",
    "mla_decode_e4m3", "mla_decode_fp8", "quantize_128x128", "quantize_1x128", "swiglu_quantize_1x128", "version",
    "weighted_scatter",
]
