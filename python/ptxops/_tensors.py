"""Arguments of ops: what an object is, whether it fits, and where its bytes are on the device."""

from __future__ import annotations

import math

import numpy as np

from . import _ptxops
from ._array import DL_CPU, DL_CUDA, DL_CUDA_HOST, DL_CUDA_MANAGED, DeviceArray, dense_strides
from ._context import Context, default_context, stream_handle
from ._types import C_TYPES, TYPES, accepts, name_of_dlpack


class View:
    """dtype, shape and strides (in elements) of an argument; `ptr` is None in host memory."""

    def __init__(self, source, dtype, shape, strides, ptr, host=None, keep=None, read_only=False):
        self.source, self.dtype, self.ptr, self.keep = source, dtype, ptr, keep
        self.shape, self.strides = tuple(shape), tuple(strides)
        self.read_only = read_only
        self.type: str | None = None  # that an op takes it for: bfloat16 where dtype is uint16
        self._host = host

    def host(self) -> np.ndarray:
        """The values in host memory."""
        return self.source.numpy() if self._host is None else self._host


def is_device(source) -> bool:
    if isinstance(source, np.ndarray) or source is None:
        return False
    if isinstance(source, DeviceArray):
        return True
    if hasattr(source, "__dlpack_device__"):
        return source.__dlpack_device__()[0] in (DL_CUDA, DL_CUDA_MANAGED)
    return hasattr(source, "__cuda_array_interface__")


def describe(context: Context, name: str, source, stream: int = 0) -> View:
    """What `source` is; copies nothing. Device memory that another stream still writes is waited for."""
    if isinstance(source, DeviceArray):
        if source.context.info["device"] != context.info["device"]:
            raise ValueError(
                f"{name}: expected memory of device {context.info['device']}, got device {source.context.info['device']}"
            )
        if source.stream != stream:
            source.context.synchronize(source.stream)
        return View(source, source.dtype, source.shape, source.strides, source.ptr)
    if isinstance(source, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, got a MaskedArray")
    if isinstance(source, np.ndarray):
        if not source.dtype.isnative:
            raise ValueError(f"{name}: expected native byte order, got dtype {source.dtype.str}")
        strides = tuple(s // max(1, source.itemsize) for s in source.strides)
        return View(source, source.dtype.name, source.shape, strides, None, source, read_only=not source.flags.writeable)
    if hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__"):
        return _describe_dlpack(context, name, source, stream)
    if hasattr(source, "__cuda_array_interface__"):
        return _describe_cuda(context, name, source, stream)
    raise TypeError(
        f"{name}: expected a numpy array, a DeviceArray, or an object with __dlpack__ or __cuda_array_interface__, "
        f"got {type(source).__name__}"
    )


def _expect_gpu(context: Context, name: str, device: int) -> None:
    if context.info["is_virtual"]:
        raise ValueError(f"{name}: expected host memory or a DeviceArray on the virtual device, got CUDA memory")
    if device != context.info["device"]:
        raise ValueError(f"{name}: expected memory of device {context.info['device']}, got device {device}")


def _describe_dlpack(context: Context, name: str, source, stream: int) -> View:
    kind, device = source.__dlpack_device__()
    arguments = {}
    if kind in (DL_CUDA, DL_CUDA_MANAGED):
        _expect_gpu(context, name, device)
        arguments["stream"] = stream or 1  # 1: the legacy default stream
    elif kind not in (DL_CPU, DL_CUDA_HOST):
        raise ValueError(f"{name}: expected a DLPack tensor of a CPU or a CUDA device, got device type {kind}")
    try:
        capsule = source.__dlpack__(max_version=(1, 0), **arguments)
    except TypeError:  # a producer older than DLPack 1.0 does not know max_version
        capsule = source.__dlpack__(**arguments)
    try:
        t = _ptxops.DlpackImport(capsule)
    except BufferError as error:
        raise BufferError(f"{name}: {error}") from None
    if (t.device_type in (DL_CPU, DL_CUDA_HOST)) != (kind in (DL_CPU, DL_CUDA_HOST)):
        raise BufferError(f"{name}: expected a tensor of the device type of __dlpack_device__, {kind}, got {t.device_type}")
    dtype = name_of_dlpack(t.code, t.bits, t.lanes)
    if kind in (DL_CUDA, DL_CUDA_MANAGED):
        return View(source, dtype, t.shape, t.strides, t.address, keep=t, read_only=t.read_only)
    host = None
    if dtype in TYPES:
        numpy = TYPES[dtype].numpy
        steps = tuple(s * numpy.itemsize for s in t.strides)
        host = np.ndarray(tuple(t.shape), numpy, memoryview(t), strides=steps)
    return View(source, dtype, t.shape, t.strides, None, host, keep=t, read_only=True)


def _describe_cuda(context: Context, name: str, source, stream: int) -> View:
    _expect_gpu(context, name, context.info["device"])
    interface = source.__cuda_array_interface__
    numpy = np.dtype(interface["typestr"])
    shape = tuple(interface["shape"])
    steps = interface.get("strides")
    strides = dense_strides(shape) if steps is None else tuple(s // numpy.itemsize for s in steps)
    producer = interface.get("stream")
    if producer is not None and producer != (stream or 1):
        context.synchronize(0 if producer == 1 else producer)
    ptr, read_only = interface["data"]
    return View(source, numpy.name, shape, strides, ptr, keep=source, read_only=read_only)


def padded(extent: int, to: int) -> int:
    return max(to, -(-extent // to) * to)


def row_stride(view: View, rows_of: int) -> int:
    """Of a tensor of one row, whose stride nobody reads, the smallest that the library takes."""
    return view.strides[-2] if math.prod(view.shape[:-1]) > 1 else padded(view.shape[-1], rows_of)


class Argument:
    """A checked tensor on the device. ld: elements from row to row; strides: with dense ones where an extent of 0 or 1
    leaves them unused."""

    def __init__(self, array: DeviceArray, ld: int, view: View):
        self.ptr, self.shape, self.ld = array.ptr, array.shape, ld
        self.array, self.view = array, view
        strides, step = [], 1
        for extent, stride in zip(reversed(array.shape), reversed(array.strides)):
            strides.append(stride if extent > 1 else step)
            step = strides[-1] * max(1, extent)
        self.strides = tuple(reversed(strides))


class Call:
    """One op: its context and stream, its arguments by name, its outputs."""

    def __init__(self, context, stream, *sources):
        on_device = [s for s in sources if is_device(s)]
        if context is not None and not isinstance(context, Context):
            raise TypeError(f"context: expected a Context or None, got {type(context).__name__}")
        self.context = context or _context_of(on_device)
        self.stream = stream_handle(stream)
        self._stream_owner = stream
        self.returns_host = not on_device
        self._temporaries: list = []
        self._results: list = []

    def view(self, name, source, dtype, *shape, rows_of: int | None = None, free: int = 0) -> View:
        """Checks dtype (one, or one of several; `view.type` is which), shape and layout. None in `shape` is any extent;
        the first `free` axes may lie in any order and have gaps between them."""
        view = describe(self.context, name, source, self.stream)
        offered = (dtype,) if isinstance(dtype, str) else dtype
        view.type = next((t for t in offered if accepts(t, view.dtype)), None)
        if view.type is None:
            expected = " or ".join(t + (f" (or {TYPES[t].raw})" if TYPES[t].raw else "") for t in offered)
            raise ValueError(f"{name}: expected dtype {expected}, got {view.dtype}")
        self.expect_shape(name, view, *shape)
        if view.ptr is not None:
            self._check_layout(name, view, rows_of, free)
        return view

    @staticmethod
    def expect_shape(name: str, view: View, *shape) -> None:
        if len(view.shape) != len(shape) or any(e is not None and e != n for e, n in zip(shape, view.shape)):
            expected = ", ".join("any" if e is None else str(e) for e in shape)
            raise ValueError(f"{name}: expected shape ({expected}), got {view.shape}")

    @staticmethod
    def _check_layout(name: str, view: View, rows_of: int | None, free: int) -> None:
        shape, strides = view.shape, view.strides
        if any(n > 1 and s < 1 for n, s in zip(shape[:free], strides)):
            raise ValueError(f"{name}: expected strides of at least 1, got {strides}")
        expected = list(strides[:free] + dense_strides(shape[free:]))
        if rows_of is not None and len(shape) > 1:
            ld = row_stride(view, rows_of)
            if ld % rows_of or ld < shape[-1]:
                raise ValueError(
                    f"{name}: expected a row stride of at least {shape[-1]}, a multiple of {rows_of}, got {ld} elements"
                )
            for i in range(len(shape) - 1):
                expected[i] = expected[i] // max(1, shape[-1]) * ld
        # The stride of an extent of 0 or 1 is never used.
        if any(n > 1 and s != e for n, s, e in zip(shape, strides, expected)):
            raise ValueError(f"{name}: expected strides {tuple(expected)}, got {strides}")

    def device(self, view: View, dtype: str, rows_of: int | None = None) -> Argument:
        """The tensor on the device; host memory is uploaded, its rows padded to a multiple of `rows_of`."""
        shape = view.shape
        if view.ptr is not None:
            array = DeviceArray(self.context, view.ptr, shape, view.strides, dtype, view)
            ld = row_stride(view, rows_of) if rows_of is not None and len(shape) > 1 else shape[-1]
            return Argument(array, ld, view)
        array, ld = self._new(shape, dtype, rows_of)
        self.context._upload(array, view.host(), self.stream)
        self._temporaries.append(array)
        return Argument(array, ld, view)

    def take(self, name, source, dtype, *shape, free: int = 0) -> Argument:
        view = self.view(name, source, dtype, *shape, free=free)
        return self.device(view, view.type)

    def _new(self, shape, dtype, rows_of):
        if rows_of is None or len(shape) < 2:
            return self.context._strided(shape, dense_strides(shape), dtype), shape[-1]
        ld = padded(shape[-1], rows_of)
        strides = [1, ld]
        for extent in reversed(shape[1:-1]):
            strides.append(strides[-1] * extent)
        return self.context._strided(shape, tuple(reversed(strides)), dtype), ld

    def result(
        self, name, source, dtype: str, shape, rows_of: int | None = None, partial: bool = False, free: int = 0
    ) -> Argument:
        """An output: `source` itself, or a new one; `partial` says that the op may skip rows, which become zero."""
        if source is None:
            array, ld = self._new(tuple(shape), dtype, rows_of)
            if partial:
                self.context._native.memset(array.ptr, 0, max(1, array._owner.size), self.stream)
            argument = Argument(array, ld, None)
            self._results.append((source, argument))
            return argument
        return self.update(name, source, self.view(name, source, dtype, *shape, rows_of=rows_of, free=free), rows_of)

    def update(self, name, source, view: View, rows_of: int | None = None) -> Argument:
        """An output in place of what is there: uploaded too, since what the op skips keeps its values."""
        if view.read_only:
            raise ValueError(f"{name}: expected a writable array, got a read-only one")
        argument = self.device(view, view.type, rows_of)
        self._results.append((source, argument))
        return argument

    def finish(self):
        """The results, as the caller gave or wants them."""
        values = []
        for source, argument in self._results:
            argument.array._ordered_by(self.stream, self._stream_owner)
            if source is None:
                values.append(argument.array.numpy() if self.returns_host else argument.array)
                continue
            if argument.view.ptr is None:
                raw = np.dtype(f"u{source.itemsize}")
                np.copyto(source.view(raw), argument.array.numpy().view(raw))
            elif isinstance(source, DeviceArray):
                source._ordered_by(self.stream, self._stream_owner)
            values.append(source)
        if self._temporaries:  # their memory goes with this call
            self.context.synchronize(self.stream)
        return values[0] if len(values) == 1 else tuple(values)


def _context_of(on_device: list) -> Context:
    for source in on_device:
        if isinstance(source, DeviceArray):
            return source.context
    for source in on_device:
        if hasattr(source, "__dlpack_device__"):
            return default_context(source.__dlpack_device__()[1])
    return default_context()


def expect_outputs(out, count: str, *names: str) -> tuple:
    """`out` of an op with several results: `count`, in words, of these names."""
    if out is None:
        return (None,) * len(names)
    if not isinstance(out, (tuple, list)) or len(out) != len(names):
        got = f"{len(out)} of them" if isinstance(out, (tuple, list)) else type(out).__name__
        wanted = f"{', '.join(names[:-1])} and {names[-1]}"
        raise TypeError(f"out: expected a tuple of {count} arrays, {wanted}, got {got}")
    return tuple(out)


def expect_multiple(name: str, what: str, value: int, of: int) -> None:
    if value == 0 or value % of:
        raise ValueError(f"{name}: expected {what} to be a positive multiple of {of}, got {value}")


def output_type(dtype, offered=("bfloat16", "float32")) -> tuple[str, int]:
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in offered:
        raise ValueError(f"out_dtype: expected one of {', '.join(offered)}, got {name!r}")
    return name, C_TYPES[name]
