"""Context: a device, its memory, streams and plans."""

from __future__ import annotations

import math
import operator
import re
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from . import _ptxops
from ._array import DeviceArray, dense_strides, span
from ._types import TYPES, type_name

PLANS = {
    "fp8_gemm": _ptxops.Fp8GemmPlan,
    "quantize_1x128": _ptxops.QuantizePlan,
    "swiglu_quantize_1x128": _ptxops.SwigluQuantizePlan,
    "gather_rows": _ptxops.GatherRowsPlan,
    "weighted_scatter": _ptxops.WeightedScatterPlan,
    "mla_append": _ptxops.MlaAppendPlan,
    "mla_decode": _ptxops.MlaDecodePlan,
    "mla_decode_fp8": _ptxops.MlaDecodeFp8Plan,
    "mla_decode_e4m3": _ptxops.MlaDecodeE4m3Plan,
}


def integer(name: str, value) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None


class PlanCacheInfo(NamedTuple):
    """Of a context's plans: how often one was found, how often made, how many there are and may be."""

    hits: int
    misses: int
    size: int
    capacity: int


class Context:
    """A device. Any thread may use it. `plan_capacity` plans are kept, the least recently used goes first."""

    def __init__(self, device: int = 0, *, plan_capacity: int = 256):
        if plan_capacity < 1:
            raise ValueError(f"plan_capacity: expected at least 1, got {plan_capacity}")
        if not 0 <= integer("device", device) < 2**31:
            raise ValueError(f"device: expected an ordinal of at least 0, got {device}")
        self._native = _ptxops.Context(device)
        self.info = self._native.info()
        self._capacity = plan_capacity
        self._plans: OrderedDict = OrderedDict()
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    def __repr__(self) -> str:
        return f"Context(device={self.info['device']}, name={self.info['name']!r})"

    # ---- memory

    def empty(self, shape, dtype) -> DeviceArray:
        """A DeviceArray of this shape (an integer or several) and dtype, uninitialised."""
        shape = tuple(integer("shape", n) for n in ((shape,) if np.ndim(shape) == 0 else shape))
        if any(n < 0 for n in shape):
            raise ValueError(f"shape: expected extents of at least 0, got {shape}")
        if math.prod(shape) >= 2**59:
            raise ValueError(f"shape: expected less than 2^59 elements, got {shape}")
        return self._strided(shape, dense_strides(shape), type_name(dtype))

    def array(self, source, dtype=None) -> DeviceArray:
        """A dense copy of a numpy array, or of anything with __dlpack__ in host memory.

        `dtype` names what raw bytes are: 'float8_e4m3fn' for uint8, 'bfloat16' for uint16.
        """
        from ._tensors import describe

        view = describe(self, "source", source)
        name = view.dtype if dtype is None else type_name(dtype)
        if name != view.dtype and TYPES[name].raw != view.dtype:
            raise ValueError(f"source: expected dtype {name}, got {view.dtype}")
        type_name(view.dtype, "source")
        out = self._strided(view.shape, dense_strides(view.shape), name)
        self._upload(out, view.host())
        return out

    def _strided(self, shape, strides, dtype: str) -> DeviceArray:
        # One byte at least, so that the array of no elements has an address too.
        buffer = _ptxops.Buffer(self._native, max(1, span(shape, strides) * TYPES[dtype].itemsize))
        return DeviceArray(self, buffer.address, shape, strides, dtype, buffer)

    def _upload(self, to: DeviceArray, values: np.ndarray, stream: int = 0) -> None:
        """`values` has the shape and the item size of `to`; what lies between the rows of `to` becomes zero."""
        raw = np.dtype(f"u{TYPES[to.dtype].itemsize}")
        values = np.ascontiguousarray(values).view(raw).reshape(to.shape)
        if to.strides != dense_strides(to.shape) and to.size:
            padded = np.zeros(span(to.shape, to.strides), raw)
            steps = tuple(s * raw.itemsize for s in to.strides)
            np.lib.stride_tricks.as_strided(padded, to.shape, steps)[...] = values
            values = padded
        self._native.copy_to_device(to.ptr, values, stream)

    # ---- streams

    def stream(self) -> "Stream":
        """A new stream."""
        return Stream(self)

    def timer(self) -> "Timer":
        """A new timer."""
        return Timer(self)

    def synchronize(self, stream=None) -> None:
        """Waits for the stream's work; raises the fault of an earlier kernel."""
        self._native.synchronize(stream_handle(stream))

    # ---- plans

    def plan(self, op: str, **descriptor) -> "Plan":
        """The prepared plan of an op; `descriptor` holds the fields of the C descriptor (see ptxops.h)."""
        if op not in PLANS:
            raise ValueError(f"op: expected one of {', '.join(PLANS)}, got {op!r}")
        key = (op, *sorted(descriptor.items()))
        with self._lock:  # held while preparing, so that threads asking for the same plan prepare it once
            plan = self._plans.get(key)
            if plan is not None:
                self._hits += 1
                self._plans.move_to_end(key)
                return plan
            self._misses += 1
            plan = Plan(self, op, descriptor)
            self._plans[key] = plan
            while len(self._plans) > self._capacity:
                self._plans.popitem(last=False)
            return plan

    def plan_cache_info(self) -> PlanCacheInfo:
        """Hits, misses, size and capacity of the cache of plans."""
        with self._lock:
            return PlanCacheInfo(self._hits, self._misses, len(self._plans), self._capacity)


class Stream:
    """A stream of its own, not synchronised with the default stream."""

    def __init__(self, context: Context):
        self._native = _ptxops.Stream(context._native)
        self.context = context

    @property
    def handle(self) -> int:
        """The CUstream, as an integer."""
        return self._native.handle

    def synchronize(self) -> None:
        """Waits for the stream's work; raises the fault of an earlier kernel."""
        self.context.synchronize(self)


class Timer:
    """Seconds between two points of a stream: measured on a GPU, modelled on the virtual H800."""

    def __init__(self, context: Context):
        self._native = _ptxops.Timer(context._native)

    def start(self, stream=None) -> None:
        """Marks the start."""
        self._native.start(stream_handle(stream))

    def stop(self, stream=None) -> float:
        """Marks the end, waits for it, and returns the seconds since the start."""
        return self._native.stop(stream_handle(stream))


def stream_handle(stream) -> int:
    """Of None (the default stream), a CUstream as an integer, a Stream, or a torch.cuda.Stream."""
    if stream is None:
        return 0
    if isinstance(stream, (int, np.integer)):
        if stream < 0:
            raise ValueError(f"stream: expected the address of a CUstream, at least 0, got {stream}")
        return int(stream)
    for attribute in ("handle", "cuda_stream"):
        if hasattr(stream, attribute):
            return getattr(stream, attribute)
    raise TypeError(f"stream: expected None, an integer or a stream, got {type(stream).__name__}")


class Plan:
    """A prepared plan: `run` launches on device addresses, with the fields of the C argument struct as keywords."""

    def __init__(self, context: Context, op: str, descriptor: dict):
        self.context = context
        self.op = op
        self.descriptor = dict(descriptor)
        self._native = with_fields(op, PLANS[op].__init__, PLANS[op], context._native, **descriptor)
        self._native.prepare()
        self.workspace_size: int = self._native.workspace_size
        self._workspaces: dict[int, DeviceArray] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Plan({self.op!r}, {', '.join(f'{k}={v}' for k, v in self.descriptor.items())})"

    def explain(self) -> str:
        """The choice, its modelled cost, and the runners-up."""
        return self._native.explain()

    def run(self, *, stream=None, **arguments) -> None:
        """Launches. A workspace that is not passed is the plan's own, one for each stream."""
        handle = stream_handle(stream)
        if self.workspace_size == 0 or "workspace" in arguments:
            self._run(stream=handle, **arguments)
            return
        # A run with a workspace is several launches: of two threads on one stream, one goes first as a whole.
        with self._lock:
            workspace = self._workspaces.get(handle)
            if workspace is None:
                workspace = self._workspaces[handle] = self.context.empty(self.workspace_size, "uint8")
            self._run(
                stream=handle, workspace=workspace.ptr, workspace_bytes=self.workspace_size, **arguments
            )

    def _run(self, **arguments) -> None:
        with_fields(f"{self.op}.run", self._native.run, self._native.run, **arguments)


def with_fields(name: str, documented, function, *positional, **fields):
    """function(...); where the fields do not fit, a text that names those there are and those that were given."""
    try:
        return function(*positional, **fields)
    except TypeError:
        known = re.search(r"\*, ([^)]*)\)", documented.__doc__)
        given = ", ".join(f"{k}={v!r}" for k, v in fields.items())
        raise TypeError(f"{name}: expected the fields {known[1]}, got {given}") from None


_defaults: dict[int, Context] = {}
_defaults_lock = threading.Lock()


def default_context(device: int = 0) -> Context:
    """The context that ops use when no argument brings one; made once for each device."""
    with _defaults_lock:
        if device not in _defaults:
            _defaults[device] = Context(device)
        return _defaults[device]
