from typing import Any, Literal, NamedTuple, Protocol, TypedDict, Union

import numpy as np
from numpy.typing import NDArray

class _Dlpack(Protocol):
    def __dlpack__(self, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

class _Cuda(Protocol):
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...

Tensor = Union[NDArray[Any], "DeviceArray", _Dlpack, _Cuda]
# numpy arrays where every tensor argument is in host memory, DeviceArrays otherwise; `out` itself where it is given.
Result = Any
_MlaOut = Union[tuple[Union[Tensor, None], Union[Tensor, None], Union[Tensor, None]], None]  # out, lse, flags
StreamLike = Union["Stream", int, None]  # an integer is a CUstream; a torch.cuda.Stream is taken too

class Error(RuntimeError):
    status: str  # "PTXOPS_INVALID_ARGUMENT" and so on

class DeviceInfo(TypedDict):
    name: str
    device: int
    sm_count: int
    clock_khz: int
    is_virtual: bool  # every time it reports is modelled
    driver_version: int
    memory_bytes: int

class PlanCacheInfo(NamedTuple):
    hits: int
    misses: int
    size: int
    capacity: int

class DeviceArray:
    context: Context
    ptr: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements
    dtype: str  # "float8_e4m3fn", "bfloat16", "float16", "float32", "int32", "int64", "uint8", "uint16"
    stream: int  # of the last op that wrote it
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    def numpy(self) -> NDArray[Any]: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = ...,
        max_version: tuple[int, int] | None = ...,
        dl_device: tuple[int, int] | None = ...,
        copy: bool | None = ...,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...  # AttributeError on the virtual device

class Stream:
    context: Context
    def __init__(self, context: Context) -> None: ...
    @property
    def handle(self) -> int: ...
    def synchronize(self) -> None: ...

class Timer:
    def __init__(self, context: Context) -> None: ...
    def start(self, stream: StreamLike = ...) -> None: ...
    def stop(self, stream: StreamLike = ...) -> float: ...

class Plan:
    context: Context
    op: str
    descriptor: dict[str, int | bool | float]
    workspace_size: int
    def explain(self) -> str: ...
    def run(self, *, stream: StreamLike = ..., **arguments: int) -> None: ...

class Context:
    info: DeviceInfo
    def __init__(self, device: int = ..., *, plan_capacity: int = ...) -> None: ...
    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> DeviceArray: ...
    def array(self, source: NDArray[Any] | _Dlpack, dtype: Any = ...) -> DeviceArray: ...
    def stream(self) -> Stream: ...
    def timer(self) -> Timer: ...
    def synchronize(self, stream: StreamLike = ...) -> None: ...
    def plan(self, op: str, **descriptor: int | bool | float) -> Plan: ...
    def plan_cache_info(self) -> PlanCacheInfo: ...

def version() -> int: ...
def default_context(device: int = ...) -> Context: ...
def fp8_gemm(
    a: Tensor, sfa: Tensor, b: Tensor, sfb: Tensor, out: Tensor | None = ..., out_dtype: Any = ..., *,
    sm_count: int = ..., weights_static: bool = ..., stream: StreamLike = ..., context: Context | None = ...,
) -> Result: ...
def grouped_fp8_gemm(
    a: Tensor, sfa: Tensor, b: Tensor, sfb: Tensor, *, offsets: Tensor | None = ..., row_map: Tensor | None = ...,
    out: Tensor | None = ..., out_dtype: Any = ..., expected_m: int = ..., sm_count: int = ...,
    weights_static: bool = ..., stream: StreamLike = ..., context: Context | None = ...,
) -> Result: ...
def masked_fp8_gemm(
    a: Tensor, sfa: Tensor, b: Tensor, sfb: Tensor, counts: Tensor, expected_m: int = ..., *,
    out: Tensor | None = ..., out_dtype: Any = ..., sm_count: int = ..., weights_static: bool = ...,
    stream: StreamLike = ..., context: Context | None = ...,
) -> Result: ...
def quantize_1x128(
    x: Tensor, row_index: Tensor | None = ..., counts: Tensor | None = ..., *,
    out: tuple[Tensor, Tensor] | None = ..., stream: StreamLike = ..., context: Context | None = ...,
) -> tuple[Result, Result]: ...
def swiglu_quantize_1x128(
    x: Tensor, counts: Tensor | None = ..., *, out: tuple[Tensor, Tensor] | None = ..., stream: StreamLike = ...,
    context: Context | None = ...,
) -> tuple[Result, Result]: ...
def gather_rows(
    x: Tensor, row_index: Tensor, *, out: Tensor | None = ..., stream: StreamLike = ..., context: Context | None = ...,
) -> Result: ...
def weighted_scatter(
    y: Tensor, row: Tensor, weight: Tensor, out: Tensor | None = ..., out_dtype: Any = ..., *,
    stream: StreamLike = ..., context: Context | None = ...,
) -> Result: ...
def mla_append(
    latent: Tensor, rope: Tensor, slot: Tensor, cache: Tensor, *, rope_cache: Tensor | None = ..., power_of_two: bool = ...,
    stream: StreamLike = ..., context: Context | None = ...,
) -> Result: ...
def mla_decode(
    q: Tensor, cache: Tensor, page_table: Tensor, lengths: Tensor, *, q_rope: Tensor | None = ...,
    cache_rope: Tensor | None = ..., softmax_scale: float | None = ..., causal: bool = ..., lse_base2: bool = ...,
    lse_empty_neg: bool = ..., sm_count: int = ..., split_tokens: int = ..., max_total_tokens: int = ...,
    merge: Literal["auto", "separate", "fused"] = ..., out: _MlaOut = ..., stream: StreamLike = ...,
    context: Context | None = ...,
) -> tuple[Result, Result, Result]: ...
def mla_decode_fp8(
    q: Tensor, cache: Tensor, page_table: Tensor | None = ..., lengths: Tensor | None = ..., *,
    indices: Tensor | None = ..., sink: Tensor | None = ..., softmax_scale: float | None = ..., causal: bool = ...,
    lse_base2: bool = ..., lse_empty_neg: bool = ..., sm_count: int = ..., split_tokens: int = ...,
    max_total_tokens: int = ..., out: _MlaOut = ..., stream: StreamLike = ..., context: Context | None = ...,
) -> tuple[Result, Result, Result]: ...
def mla_decode_e4m3(
    q: Tensor, cache: Tensor, page_table: Tensor, lengths: Tensor, *, descale_q: float | Tensor = ...,
    descale_k: float | Tensor = ..., out_dtype: Any = ..., softmax_scale: float | None = ..., causal: bool = ...,
    lse_base2: bool = ..., lse_empty_neg: bool = ..., sm_count: int = ..., split_tokens: int = ...,
    max_total_tokens: int = ..., out: _MlaOut = ..., stream: StreamLike = ..., context: Context | None = ...,
) -> tuple[Result, Result, Result]: ...
def quantize_128x128(w: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]: ...
def dequantize(q: NDArray[Any] | DeviceArray, sf: NDArray[Any] | DeviceArray) -> NDArray[np.float32]: ...
def encode_e4m3(x: NDArray[Any]) -> NDArray[Any]: ...
def decode_e4m3(q: NDArray[Any]) -> NDArray[np.float32]: ...
