import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import oracle
import ptxops
from test_gemm import operands

EXAMPLES = pathlib.Path(__file__).parents[2] / "python" / "examples"


def test_least_recently_used_plan_goes_first():
    ctx = ptxops.Context(plan_capacity=2)
    shapes = [dict(m=m, source_rows=4, hidden=64) for m in (1, 2, 3)]
    first = ctx.plan("gather_rows", **shapes[0])
    second = ctx.plan("gather_rows", **shapes[1])
    assert ctx.plan("gather_rows", **shapes[0]) is first
    ctx.plan("gather_rows", **shapes[2])  # the second goes
    assert ctx.plan_cache_info() == (1, 3, 2, 2)
    assert ctx.plan("gather_rows", **shapes[0]) is first
    assert ctx.plan("gather_rows", **shapes[1]) is not second


def test_ops_take_plans_from_the_cache(rng):
    ctx = ptxops.Context()
    x = oracle.bf16(rng.standard_normal((4, 128)))
    for _ in range(3):
        ptxops.quantize_1x128(x, context=ctx)
    assert ctx.plan_cache_info()[:3] == (2, 1, 1)


def test_explain_and_workspace(ctx):
    plan = ctx.plan("fp8_gemm", m=64, n=256, k=512)
    assert "modelled" in plan.explain() and "k 512" in plan.explain()
    assert plan.workspace_size == 0
    mapped = ctx.plan("fp8_gemm", form=1, group_layout=1, m=64, n=256, k=512, groups=3)
    assert mapped.workspace_size == 256


def test_plan_runs_on_addresses(ctx, rng):
    x = ctx.array(oracle.bf16(rng.standard_normal((6, 32))), "bfloat16")
    index = ctx.array(np.array([5, 1], np.int32))
    y = ctx.empty((2, 32), "bfloat16")
    ctx.plan("gather_rows", m=2, source_rows=6, hidden=32).run(x=x.ptr, row_index=index.ptr, y=y.ptr)
    assert np.array_equal(y.numpy().view(np.uint16), x.numpy().view(np.uint16)[[5, 1]])
    with pytest.raises(ptxops.Error, match="args.y: expected a device address, got NULL"):
        ctx.plan("gather_rows", m=2, source_rows=6, hidden=32).run(x=x.ptr, row_index=index.ptr, y=0)


def test_streams(ctx, rng):
    """Written on one stream, read on another: the second op waits for the first."""
    x = ctx.array(oracle.bf16(rng.standard_normal((50, 256))), "bfloat16")
    first, second = ctx.stream(), ctx.stream()
    q, sf = ptxops.quantize_1x128(x, stream=first)
    assert q.stream == first.handle
    b, sfb = ptxops.quantize_128x128(rng.standard_normal((64, 256)))
    d = ptxops.fp8_gemm(q, sf, ctx.array(b), ctx.array(sfb), stream=second, out_dtype="float32")
    del first, second  # the arrays keep the streams that they need
    oracle.expect_gemm(d.numpy(), q.numpy(), sf.numpy(), b, sfb)


def test_timer_orders_small_and_large(ctx, rng):
    seconds = []
    for m in (64, 2048):
        x = ctx.array(oracle.bf16(rng.standard_normal((m, 1024))), "bfloat16")
        ptxops.quantize_1x128(x)  # prepared
        timer = ctx.timer()
        timer.start()
        ptxops.quantize_1x128(x)
        seconds.append(timer.stop())
    assert 0 < seconds[0] < seconds[1]


def test_stub_names_what_the_package_has():
    stub = (pathlib.Path(ptxops.__file__).parent / "__init__.pyi").read_text()
    assert [name for name in ptxops.__all__ if f"def {name}(" not in stub and f"class {name}" not in stub] == []


def test_threads_share_plans_and_streams(ctx, rng):
    row_map = np.repeat(np.array([1, 0, -1], np.int32), [20, 11, 2])
    work = [operands(rng, 33, 64, 128, groups=2) for _ in range(4)]
    alone = [ptxops.grouped_fp8_gemm(*t, row_map=row_map, out_dtype="float32") for t in work]
    oracle.expect_gemm(alone[0][:20], work[0][0][:20], work[0][1][:, :20], work[0][2][1], work[0][3][1])
    failures = []

    def run(i):
        try:
            for _ in range(3):
                again = ptxops.grouped_fp8_gemm(*work[i], row_map=row_map, out_dtype="float32")
                np.testing.assert_array_equal(again, alone[i])
                with pytest.raises(ptxops.Error, match=f"got {2 * i + 1}$"):  # each thread its own last error
                    ptxops.fp8_gemm(*operands(np.random.default_rng(i), 4, 8, 128), sm_count=2 * i + 1)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures


def test_threads_make_and_drop_objects(ctx):
    """The library is called without the GIL; what pybind11 keeps of its objects may only be touched with it."""
    interval = sys.getswitchinterval()
    failures = []

    def run(i):
        try:
            for n in range(4000):
                kept = [ctx.empty((1 + i,), "int32"), ctx.stream(), ctx.timer()]
                kept += [own.plan("gather_rows", m=1 + n % 7, source_rows=4, hidden=64)]
        except BaseException as e:
            failures.append(e)

    own = ptxops.Context(plan_capacity=2)  # plans come and go too
    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures, failures


def test_a_running_kernel_leaves_the_interpreter_free(ctx, rng):
    """The GIL is released while the library works: another thread gets far during one long call."""
    tensors = operands(rng, 256, 512, 1024)
    beats, done = [0], threading.Event()

    def beat():
        while not done.wait(0.001):
            beats[0] += 1

    other = threading.Thread(target=beat)
    other.start()
    ptxops.fp8_gemm(*tensors, context=ctx)
    done.set()
    other.join()
    assert beats[0] > 3


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_examples(example):
    run = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "largest error" in run.stdout
