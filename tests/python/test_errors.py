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


def bf16(*shape):
    return np.zeros(shape, np.uint16)


def mla(op, **changes):
    width, kind = {"mla_decode": (576, np.uint16), "mla_decode_fp8": (656, np.uint8), "mla_decode_e4m3": (576, np.uint8)}[op]
    q = np.zeros((2, 1, 4, 576), np.uint8 if op == "mla_decode_e4m3" else np.uint16)
    arguments = dict(q=q, cache=np.zeros((3, 16, width), kind), page_table=np.zeros((2, 2), np.int32), lengths=i32(1, 1))
    return getattr(ptxops, op)(**arguments | changes)


@pytest.mark.parametrize(
    "op, changes, kind, message",
    [
        ("mla_decode", dict(q=bf16(2, 4, 576)), ValueError, r"q: expected shape \(any, any, any, 576\), got \(2, 4, 576\)"),
        ("mla_decode", dict(q=np.zeros((2, 1, 4, 576))), ValueError,
         r"q: expected dtype bfloat16 \(or uint16\) or float16, got float64"),
        ("mla_decode", dict(cache=np.zeros((3, 16, 576), np.float16)), ValueError,
         r"cache: expected dtype bfloat16 \(or uint16\), got float16"),
        ("mla_decode", dict(page_table=i32(1, 2)), ValueError, r"page_table: expected shape \(2, any\), got \(2,\)"),
        ("mla_decode", dict(lengths=np.array([1, 1])), ValueError, "lengths: expected dtype int32, got int64"),
        ("mla_decode", dict(q_rope=bf16(2, 1, 4, 64)), ValueError,
         "q_rope, cache_rope: expected both or neither, got q_rope without cache_rope"),
        ("mla_decode", dict(merge="now"), ValueError, "merge: expected one of auto, separate, fused, got 'now'"),
        ("mla_decode", dict(softmax_scale=0), ValueError, "softmax_scale: expected a finite number above 0 in FP32, got 0"),
        ("mla_decode", dict(softmax_scale="one"), TypeError, "softmax_scale: expected a number, got 'one'"),
        ("mla_decode", dict(sm_count=2.5), TypeError, "sm_count: expected an integer, got 2.5"),
        ("mla_decode", dict(split_tokens=100), ptxops.Error, "desc.split_tokens: expected .*64, got 100"),
        ("mla_decode", dict(q=bf16(2, 1, 129, 576)), ptxops.Error, r"desc.h_q: expected 1 .. 128, got 129"),
        ("mla_decode", dict(out=(None, None)), TypeError,
         "out: expected a tuple of three arrays, out, lse and flags, got 2 of them"),
        ("mla_decode", dict(out=(bf16(2, 1, 4, 576), None, None)), ValueError,
         r"out\[0\]: expected shape \(2, 1, 4, 512\), got \(2, 1, 4, 576\)"),
        ("mla_decode_fp8", dict(cache=np.zeros((3, 16, 576), np.uint8)), ValueError,
         r"cache: expected shape \(any, any, 656\), got \(3, 16, 576\)"),
        ("mla_decode_fp8", dict(indices=np.zeros((2, 1, 8), np.int32)), ValueError,
         "page_table, indices: expected exactly one of them, got both"),
        ("mla_decode_fp8", dict(page_table=None), ValueError, "page_table, indices: .* got neither"),
        ("mla_decode_fp8", dict(lengths=None), ValueError, r"lengths: expected int32 \[batch\] with a page_table, got None"),
        ("mla_decode_fp8", dict(page_table=None, indices=np.zeros((2, 1, 8), np.int32), causal=True), ValueError,
         "causal: expected False with indices, got True"),
        ("mla_decode_fp8", dict(sink=np.zeros(3, np.float32)), ValueError, r"sink: expected shape \(4\), got \(3,\)"),
        ("mla_decode_e4m3", dict(cache=np.zeros((3, 16, 576), np.uint16)), ValueError,
         r"cache: expected dtype float8_e4m3fn \(or uint8\), got uint16"),
        ("mla_decode_e4m3", dict(cache=np.zeros((3, 8, 576), np.uint8)), ptxops.Error,
         "desc.page_size: offered are 16, 32, 64 and 128 tokens, got 8"),
        ("mla_decode_e4m3", dict(descale_k=-1), ValueError, "descale_k: expected a finite number above 0 in FP32, got -1"),
        ("mla_decode_e4m3", dict(descale_q=np.ones(2, np.float32)), ValueError,
         r"descale_q: expected shape \(1\), got \(2,\)"),
        ("mla_decode_e4m3", dict(out_dtype="float32"), ValueError,
         "out_dtype: expected one of bfloat16, float16, got 'float32'"),
    ],
)
def test_mla_decode(op, changes, kind, message):
    with pytest.raises(kind, match=message):
        mla(op, **changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(cache=bf16(2, 16, 512)), r"cache: expected shape \(any, any, 576\), got \(2, 16, 512\)"),
        (dict(cache=np.zeros((2, 16, 576), np.float32)), r"cache: expected dtype bfloat16 .* float16 or float8.*, got float32"),
        (dict(cache=np.zeros((2, 16, 656), np.uint8), rope_cache=bf16(2, 16, 64)),
         "rope_cache: expected None with a cache of dtype uint8"),
        (dict(power_of_two=True), "power_of_two: expected False with a cache of dtype uint16, .* got True"),
        (dict(rope=bf16(4, 64)), r"rope: expected shape \(3, 64\), got \(4, 64\)"),
        (dict(slot=np.zeros(3, np.uint8)), "slot: expected dtype int32 or int64, got uint8"),
    ],
)
def test_mla_append(changes, message):
    arguments = dict(latent=bf16(3, 512), rope=bf16(3, 64), slot=i32(0, 1, 2), cache=bf16(2, 16, 576))
    with pytest.raises(ValueError, match=message):
        ptxops.mla_append(**arguments | changes)


def test_strides_on_the_device(ctx):
    memory = ctx.empty((2, 4, 3, 576), "bfloat16")
    def view(strides):
        return ptxops.DeviceArray(ctx, memory.ptr, (2, 1, 4, 576), strides, "bfloat16", memory)
    with pytest.raises(ValueError, match=r"q: expected strides \(6912, 2304, 576, 1\), got \(6912, 2304, 576, 2\)"):
        mla("mla_decode", q=view((6912, 2304, 576, 2)))
    with pytest.raises(ValueError, match=r"q: expected strides of at least 1, got \(0, 2304, 576, 1\)"):
        mla("mla_decode", q=view((0, 2304, 576, 1)))
    with pytest.raises(ptxops.Error, match="desc.q_head: expected a multiple of 8, got 580"):
        mla("mla_decode", q=view((6912, 2304, 580, 1)))
