import gc

import numpy as np
import pytest

import oracle
import ptxops


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "uint8", "uint16", "float16"])
def test_round_trip(ctx, rng, dtype):
    values = rng.integers(0, 200, (3, 5, 7)).astype(dtype)
    array = ctx.array(values)
    assert (array.shape, array.dtype, array.size, array.ndim) == ((3, 5, 7), dtype, 105, 3)
    np.testing.assert_array_equal(array.numpy(), values)
    np.testing.assert_array_equal(ctx.array(values.T).numpy(), values.T)  # a strided source


def test_extended_types(ctx, rng):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name, raw in (("float8_e4m3fn", np.uint8), ("bfloat16", np.uint16)):
        values = rng.standard_normal((4, 6)).astype(getattr(ml_dtypes, name))
        array = ctx.array(values)
        assert array.dtype == name and array.numpy().dtype == values.dtype
        assert np.array_equal(array.numpy().view(raw), values.view(raw))
        assert np.array_equal(ctx.array(values.view(raw), name).numpy().view(raw), values.view(raw))


def test_empty_and_zero_sized(ctx):
    assert ctx.empty(4, np.float32).shape == (4,)
    assert ctx.empty((0, 3), "int32").numpy().shape == (0, 3)


def test_info(ctx):
    assert set(ctx.info) == {
        "name", "device", "sm_count", "clock_khz", "is_virtual", "driver_version", "memory_bytes",
    }
    assert ctx.info["sm_count"] > 0 and ctx.info["memory_bytes"] > 2**30
    assert ptxops.version() == 100


class Exporter:
    """An object that offers nothing but DLPack, of the age given."""

    def __init__(self, array, old=False):
        self.array, self.old = array, old

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **arguments):
        if self.old and "max_version" in arguments:
            raise TypeError("unexpected keyword argument max_version")
        return self.array.__dlpack__(**arguments)


def test_numpy_reads_our_dlpack(ctx, rng):
    values = rng.standard_normal((6, 5)).astype(np.float32)
    read = np.from_dlpack(ctx.array(values))
    gc.collect()  # the exporting array is gone; its memory must not be
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "bfloat16", "float16", "float32", "int32", "int64"])
def test_dlpack_out_and_in(ctx, rng, dtype, old):
    raw = np.dtype(f"u{ctx.empty(1, dtype).numpy().itemsize}")
    values = rng.integers(0, 120, (3, 8)).astype(raw)
    array = ctx.array(values if dtype in ("float8_e4m3fn", "bfloat16") else values.view(dtype), dtype)
    back = ctx.array(Exporter(array, old))
    assert back.dtype == dtype and back.ptr != array.ptr
    assert np.array_equal(back.numpy().view(raw), values)


def test_dlpack_strided_source_and_op(rng):
    x = oracle.bf16(rng.standard_normal((128, 6))).T  # column-major
    index = np.array([5, 0, 2], np.int32)
    assert np.array_equal(ptxops.gather_rows(Exporter(x[:, ::2]), Exporter(index)).view(np.uint16), x[:, ::2][index])


def test_dlpack_capsules_used_or_not_free_their_owner(ctx):
    from ptxops import _ptxops

    owner = np.arange(4, dtype=np.int32)

    class Tracked:
        alive = 0

        def __init__(self):
            Tracked.alive += 1

        def __del__(self):
            Tracked.alive -= 1

    for versioned in (False, True):
        for use in (False, True):
            capsule = _ptxops.dlpack_export(
                Tracked(), owner.ctypes.data, (4,), (1,), 0, 32, 1, 0, versioned, False
            )
            assert Tracked.alive == 1
            taken = _ptxops.DlpackImport(capsule) if use else None
            if use:
                with pytest.raises(BufferError, match="unused capsule"):
                    _ptxops.DlpackImport(capsule)
            del capsule
            assert Tracked.alive == (1 if use else 0)
            del taken
            gc.collect()
            assert Tracked.alive == 0


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(strides=(-1,)), "strides of at least 0, got -1"),
        (dict(shape=(-4,)), "extents of at least 0, got -4"),
        (dict(shape=(2**62, 4), strides=(4, 1)), "a tensor of less than 2\\^63 bytes"),
        (dict(address=0), "an address, got NULL"),
        (dict(device_type=2), "the device type of __dlpack_device__, 1, got 2"),
    ],
)
def test_malformed_dlpack(ctx, change, message):
    from ptxops import _ptxops

    owner = np.arange(4, dtype=np.int32)
    fields = dict(
        owner=owner, address=owner.ctypes.data, shape=(4,), strides=(1,), code=0, bits=32, device_type=1, device_id=0,
        versioned=False, copied=False,
    )

    class Producer:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **_):
            return _ptxops.dlpack_export(**{**fields, **change})

    with pytest.raises(BufferError, match=f"source: .*expected .*{message}"):
        ctx.array(Producer())


def test_not_a_capsule(ctx):
    class Producer:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **_):
            return 5

    with pytest.raises(BufferError, match="source: DLPack: expected a capsule from __dlpack__, got int"):
        ctx.array(Producer())


def test_virtual_memory_is_offered_by_copy_only(ctx):
    array = ctx.array(np.ones(4, np.float32))
    if not ctx.info["is_virtual"]:
        assert array.__cuda_array_interface__["data"] == (array.ptr, False)
        return
    assert not hasattr(array, "__cuda_array_interface__") and array.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="copy: expected None or True.*got False"):
        array.__dlpack__(copy=False)


def test_cuda_memory_is_refused_by_the_virtual_device(ctx):
    if not ctx.info["is_virtual"]:
        pytest.skip("on a GPU CUDA memory is taken")

    class Cuda:
        __cuda_array_interface__ = {"version": 3, "shape": (8, 8), "typestr": "<u2", "data": (4096, False)}

    with pytest.raises(ValueError, match="x: expected host memory or a DeviceArray.*got CUDA memory"):
        ptxops.gather_rows(Cuda(), np.zeros(1, np.int32))


def test_torch_tensors(ctx, rng):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(rng.standard_normal((9, 64)).astype(np.float32)).bfloat16()
    index = torch.tensor([3, 8], dtype=torch.int32)
    if not ctx.info["is_virtual"]:
        x, index = x.cuda(), index.cuda()
    y = torch.from_dlpack(ptxops.gather_rows(ctx.array(x) if ctx.info["is_virtual"] else x, index))
    assert torch.equal(y.cpu(), x.cpu()[[3, 8]])
