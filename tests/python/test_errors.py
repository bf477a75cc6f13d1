"""Each bad input: the message names the argument, what was expected, and what it was."""

import numpy as np
import pytest

import ptxops


def gemm(**changes):
    tensors = dict(
        a=np.ones((4, 256), np.uint8), sfa=np.ones((2, 4), np.float32),
        b=np.ones((16, 256), np.uint8), sfb=np.ones((1, 2), np.float32),
    )
    tensors.update(changes)
    return ptxops.fp8_gemm(**tensors)


READ_ONLY = np.zeros((4, 16), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(a=np.ones((4, 256), np.float32)), r"a: expected dtype float8_e4m3fn \(or uint8\), got float32"),
        (dict(a=np.ones((4, 100), np.uint8)), r"a: expected k .* multiple of 128, got 100"),
        (dict(a=np.ones(256, np.uint8)), r"a: expected shape \(any, any\), got \(256,\)"),
        (dict(b=np.ones((16, 128), np.uint8)), r"b: expected shape \(any, 256\), got \(16, 128\)"),
        (dict(b=np.ones((12, 256), np.uint8)), r"b: expected n .* multiple of 8, got 12"),
        (dict(sfa=np.ones((4, 2), np.float32)), r"sfa: expected shape \(2, 4\), got \(4, 2\)"),
        (dict(sfa=np.ones((2, 4))), r"sfa: expected dtype float32, got float64"),
        (dict(sfb=np.ones((2, 2), np.float32)), r"sfb: expected shape \(1, 2\), got \(2, 2\)"),
        (dict(out=np.ones((4, 8), np.uint16)), r"out: expected shape \(4, 16\), got \(4, 8\)"),
        (dict(out=np.ones((4, 16), np.float32)), r"out: expected dtype bfloat16 \(or uint16\), got float32"),
        (dict(out=READ_ONLY, out_dtype="float32"), r"out: expected a writable array, got a read-only one"),
        (dict(out_dtype="float16"), r"out_dtype: expected one of bfloat16, float32, got 'float16'"),
    ],
)
def test_dense(changes, message):
    with pytest.raises(ValueError, match=message):
        gemm(**changes)


def test_what_numpy_allows_and_the_device_does_not():
    with pytest.raises(ValueError, match="sfa: expected native byte order, got dtype >f4"):
        gemm(sfa=np.ones((2, 4), ">f4"))
    with pytest.raises(ValueError, match="out: expected native byte order, got dtype >f4"):
        gemm(out=np.ones((4, 16), ">f4"), out_dtype="float32")
    with pytest.raises(TypeError, match="a: expected an array without a mask, got a MaskedArray"):
        gemm(a=np.ma.masked_equal(np.ones((4, 256), np.uint8), 1))


def test_two_outputs():
    x = np.zeros((4, 256), np.uint16)
    for out, got in ((np.zeros((4, 256), np.uint8), "ndarray"), ((x,), "1 of them"), ((1, 2, 3), "3 of them")):
        for op in (ptxops.quantize_1x128, ptxops.swiglu_quantize_1x128):
            with pytest.raises(TypeError, match=f"out: expected a tuple of two arrays, values and scales, got {got}"):
                op(x, out=out)


def test_numbers(ctx):
    with pytest.raises(TypeError, match=r"fp8_gemm: expected the fields form: int = 0, .*, got .* sm_count=2.5"):
        gemm(sm_count=2.5)
    with pytest.raises(TypeError, match=r"fp8_gemm: expected the fields .*, got m=4, colour=1$"):
        ctx.plan("fp8_gemm", m=4, colour=1)
    with pytest.raises(TypeError, match=r"fp8_gemm.run: expected the fields a: int, .*, got stream=0, a=1$"):
        ctx.plan("fp8_gemm", m=4, n=16, k=256).run(a=1)
    with pytest.raises(ValueError, match="stream: expected the address of a CUstream, at least 0, got -1"):
        gemm(stream=-1)
    assert gemm(stream=np.int64(0)).shape == (4, 16)
    with pytest.raises(TypeError, match="context: expected a Context or None, got str"):
        gemm(context="H800")
    with pytest.raises(TypeError, match="shape: expected an integer, got 2.5"):
        ctx.empty((2, 2.5), "float32")
    with pytest.raises(ValueError, match=r"shape: expected less than 2\^59 elements, got \(1099511627776, 1099511627776\)"):
        ctx.empty((2**40, 2**40), "float32")
    with pytest.raises(TypeError, match="device: expected an integer, got '0'"):
        ptxops.Context("0")
    with pytest.raises(ValueError, match="device: expected an ordinal of at least 0, got -1"):
        ptxops.Context(-1)


def test_host_helpers(ctx):
    with pytest.raises(ValueError, match=r"q: expected dtype float8_e4m3fn \(or uint8\), got float32"):
        ptxops.decode_e4m3(np.ones(4, np.float32))
    with pytest.raises(ValueError, match=r"q: expected shape \(\.\.\., rows, k\), got \(1,\)"):
        ptxops.dequantize([1], [2])
    with pytest.raises(ValueError, match="w: expected a floating dtype, or uint16 for raw bfloat16, got int64"):
        ptxops.quantize_128x128(np.ones((8, 128), np.int64))
    with pytest.raises(TypeError, match=r"DeviceArray: expected \.numpy\(\)"):
        np.asarray(ctx.array(np.ones(4, np.float32)))


def test_not_a_tensor():
    with pytest.raises(TypeError, match=r"a: expected a numpy array.*got list"):
        gemm(a=[1, 2])
    with pytest.raises(TypeError, match=r"stream: expected None.*got str"):
        gemm(stream="now")


def grouped(**tables):
    return ptxops.grouped_fp8_gemm(
        np.ones((6, 128), np.uint8), np.ones((1, 6), np.float32), np.ones((2, 8, 128), np.uint8),
        np.ones((2, 1, 1), np.float32), **tables,
    )


def i32(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    "tables, kind, message",
    [
        ({}, ValueError, "offsets, row_map: expected exactly one of them, got neither"),
        (dict(offsets=i32(0, 1, 6), row_map=i32(0, 0, 0, 1, 1, 1)), ValueError, "exactly one of them, got both"),
        (dict(offsets=i32(0, 6)), ValueError, r"offsets: expected shape \(3\), got \(2,\)"),
        (dict(offsets=np.array([0, 1, 6])), ValueError, "offsets: expected dtype int32, got int64"),
        (dict(offsets=i32(0, 4, 3)), ptxops.Error, r"offsets\[2\]: expected at least offsets\[1\] = 4, got 3"),
        (dict(offsets=i32(0, 4, 7)), ptxops.Error, r"offsets\[2\]: expected at most desc.m = 6, got 7"),
        (dict(row_map=i32(0, 0, 0, 1, 1, 2)), ValueError, r"row_map\[5\]: expected -1 .. 1, got 2"),
        (dict(row_map=i32(0, 0, 1, 1, 0, 1)), ValueError, r"row_map\[4\]: expected the rows of group 0 to be adjacent"),
    ],
)
def test_group_tables(tables, kind, message):
    with pytest.raises(kind, match=message):
        grouped(**tables)


def test_masked_counts():
    with pytest.raises(ptxops.Error, match=r"counts\[1\]: expected 0 .. desc.m = 4, got 5"):
        ptxops.masked_fp8_gemm(
            np.ones((2, 4, 128), np.uint8), np.ones((2, 1, 4), np.float32), np.ones((2, 8, 128), np.uint8),
            np.ones((2, 1, 1), np.float32), i32(4, 5),
        )


def test_rows():
    x = np.zeros((4, 256), np.uint16)
    with pytest.raises(ValueError, match=r"counts\[0\]: expected 0 .. 4, got 5"):
        ptxops.quantize_1x128(x, counts=i32(5))
    with pytest.raises(ValueError, match=r"x: expected shape \(rows, k\) with a row_index, got \(1, 4, 256\)"):
        ptxops.quantize_1x128(x[None], row_index=i32(1))
    with pytest.raises(ValueError, match=r"x: expected 2 \* width .* multiple of 256, got 128"):
        ptxops.swiglu_quantize_1x128(x[:, :128])
    with pytest.raises(ValueError, match=r"x: expected hidden .* multiple of 8, got 4"):
        ptxops.gather_rows(x[:, :4], i32(1))
    with pytest.raises(ValueError, match=r"row\[0, 1\]: expected less than 4, the rows of y, got 4"):
        ptxops.weighted_scatter(x, i32([0, 4]), np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match=r"weight: expected shape \(1, 2\), got \(2, 1\)"):
        ptxops.weighted_scatter(x, i32([0, 1]), np.ones((2, 1), np.float32))
    with pytest.raises(ValueError, match=r"top_k .* 1 .. 32, got 33"):
        ptxops.weighted_scatter(x, np.zeros((1, 33), np.int32), np.ones((1, 33), np.float32))


def test_library_errors_carry_their_status(ctx):
    with pytest.raises(ptxops.Error, match=r"^PTXOPS_INVALID_ARGUMENT: desc.sm_count: expected .*, got 3") as caught:
        gemm(sm_count=3)
    assert caught.value.status == "PTXOPS_INVALID_ARGUMENT"
    with pytest.raises(ptxops.Error, match="device: expected .*, got 99") as caught:
        ptxops.Context(99)
    assert caught.value.status == "PTXOPS_INVALID_ARGUMENT"


def test_context(ctx):
    with pytest.raises(ValueError, match=r"dtype: expected one of .*, got 'float64'"):
        ctx.empty((2, 2), np.float64)
    with pytest.raises(ValueError, match=r"shape: expected extents of at least 0, got \(2, -1\)"):
        ctx.empty((2, -1), "float32")
    with pytest.raises(ValueError, match=r"op: expected one of fp8_gemm.*, got 'gemm'"):
        ctx.plan("gemm", m=1)
    with pytest.raises(ValueError, match=r"source: expected dtype bfloat16, got uint8"):
        ctx.array(np.zeros(2, np.uint8), "bfloat16")
    with pytest.raises(ValueError, match=r"source: expected one of .*, got 'complex64'"):
        ctx.array(np.zeros(2, np.complex64))
    with pytest.raises(ValueError, match="plan_capacity: expected at least 1, got 0"):
        ptxops.Context(plan_capacity=0)
