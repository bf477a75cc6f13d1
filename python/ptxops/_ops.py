"""The ops. What they have in common stands in the package's docstring."""

from __future__ import annotations

import numpy as np

from ._tensors import Call, expect_multiple, expect_outputs, output_type

_DENSE, _GROUPED, _MASKED = 0, 1, 2  # ptxopsGemmForm_t
_OFFSETS, _ROW_MAP = 0, 1  # ptxopsGroupLayout_t
_FP8, _BF16, _F32, _I32 = "float8_e4m3fn", "bfloat16", "float32", "int32"


def _blocks(extent: int) -> int:
    return -(-extent // 128)


def _gemm(call: Call, form: int, a, sfa, b, sfb, out, out_dtype, table=None, check_table=None, **descriptor):
    """The part that all forms share; `table` is (name, source, shape) of the group table, given groups and m."""
    out_name, out_type = output_type(out_dtype)
    slabs = (None,) if form == _MASKED else ()
    weights = () if form == _DENSE else (None,)
    view_a = call.view("a", a, _FP8, *slabs, None, None)
    m, k = view_a.shape[-2:]
    expect_multiple("a", "k (its last extent)", k, 128)
    if form == _MASKED:
        weights = slabs = view_a.shape[:1]
    view_b = call.view("b", b, _FP8, *weights, None, k)
    n = view_b.shape[-2]
    expect_multiple("b", "n (its extent before the last)", n, 8)
    groups = 1 if form == _DENSE else view_b.shape[0]
    if groups < 1:
        raise ValueError(f"b: expected at least one group, got shape {view_b.shape}")
    weights = view_b.shape[:-2]
    view_sfa = call.view("sfa", sfa, _F32, *slabs, k // 128, m, rows_of=4)
    view_sfb = call.view("sfb", sfb, _F32, *weights, _blocks(n), k // 128)
    group_table = None
    if table:
        name, source = table
        shape = {"offsets": groups + 1, "row_map": m, "counts": groups}[name]
        group_table = call.view(name, source, _I32, shape)
    d = call.result("out", out, out_name, (*slabs, m, n), rows_of=16 // (4 if out_type else 2), partial=form != _DENSE)
    arg_sfa = call.device(view_sfa, _F32, 4)
    plan = call.context.plan(
        "fp8_gemm", form=form, m=m, n=n, k=k, groups=groups, ld_sfa=arg_sfa.ld, ldd=d.ld, out_type=out_type, **descriptor
    )
    if group_table is not None and group_table.ptr is None:  # a table on the device is clamped by the kernel
        check_table(plan._native, np.ascontiguousarray(group_table.host()), groups)
    plan.run(
        stream=call.stream,
        a=call.device(view_a, _FP8).ptr,
        sfa=arg_sfa.ptr,
        b=call.device(view_b, _FP8).ptr,
        sfb=call.device(view_sfb, _F32).ptr,
        d=d.ptr,
        groups=call.device(group_table, _I32).ptr if group_table is not None else 0,
    )
    return call.finish()


def fp8_gemm(a, sfa, b, sfb, out=None, out_dtype="bfloat16", *, sm_count=0, weights_static=False, stream=None, context=None):
    """out[m, n] = a [m, k] scaled by sfa [k/128, m], times the transpose of b [n, k] scaled by sfb [ceil(n/128), k/128].

    a and b are float8_e4m3fn, the scales float32; k is a multiple of 128, n of 8. More: help(ptxops).
    """
    call = Call(context, stream, a, sfa, b, sfb, out)
    return _gemm(
        call, _DENSE, a, sfa, b, sfb, out, out_dtype, sm_count=sm_count, weights_static=bool(weights_static)
    )


def _check_row_map(_, row_map: np.ndarray, groups: int) -> None:
    bad = np.flatnonzero((row_map < -1) | (row_map >= groups))
    if bad.size:
        raise ValueError(f"row_map[{bad[0]}]: expected -1 .. {groups - 1}, got {row_map[bad[0]]}")
    starts = np.flatnonzero(np.diff(row_map, prepend=-2))
    runs = row_map[starts]
    seen, counts = np.unique(runs[runs >= 0], return_counts=True)
    if (counts > 1).any():
        group = seen[counts > 1][0]
        row = starts[runs == group][1]
        raise ValueError(f"row_map[{row}]: expected the rows of group {group} to be adjacent, got a second run of them")


def grouped_fp8_gemm(
    a, sfa, b, sfb, *, offsets=None, row_map=None, out=None, out_dtype="bfloat16", expected_m=0, sm_count=0,
    weights_static=False, stream=None, context=None,
):
    """Each row of a [m, k] times the weights b [groups, n, k] of its group; sfa [k/128, m], sfb [groups, ceil(n/128), k/128].

    Either offsets, int32 [groups + 1]: group g has rows offsets[g] .. offsets[g + 1] - 1; or row_map, int32 [m]: the
    group of each row, rows of a group adjacent, -1 skips the row. expected_m is how many rows of a group to expect: a hint.
    Tables in host memory are checked, tables on the device clamped by the kernel.
    """
    if (offsets is None) == (row_map is None):
        raise ValueError(
            f"offsets, row_map: expected exactly one of them, got {'neither' if offsets is None else 'both'}"
        )
    by_map = offsets is None
    call = Call(context, stream, a, sfa, b, sfb, out, offsets, row_map)
    return _gemm(
        call, _GROUPED, a, sfa, b, sfb, out, out_dtype,
        table=("row_map", row_map) if by_map else ("offsets", offsets),
        check_table=_check_row_map if by_map else lambda plan, values, _: plan.check_offsets(values),
        group_layout=_ROW_MAP if by_map else _OFFSETS,
        expected_m=expected_m, sm_count=sm_count, weights_static=bool(weights_static),
    )


def masked_fp8_gemm(
    a, sfa, b, sfb, counts, expected_m=0, *, out=None, out_dtype="bfloat16", sm_count=0, weights_static=False,
    stream=None, context=None,
):
    """The first counts[g] (int32 [groups]) rows of each slab of a [groups, m, k], sfa [groups, k/128, m], times
    b [groups, n, k], sfb [groups, ceil(n/128), k/128]. expected_m is how many rows of a slab to expect: a hint. Counts in
    host memory are checked, counts on the device clamped by the kernel."""
    call = Call(context, stream, a, sfa, b, sfb, counts, out)
    return _gemm(
        call, _MASKED, a, sfa, b, sfb, out, out_dtype,
        table=("counts", counts), check_table=lambda plan, values, _: plan.check_counts(values),
        expected_m=expected_m, sm_count=sm_count, weights_static=bool(weights_static),
    )


def _quantized(call: Call, out, lead: tuple, m: int, k: int, partial: bool):
    """The outputs q [lead, m, k] and sf [lead, k/128, m]."""
    q_out, sf_out = out
    q = call.result("out[0]", q_out, _FP8, (*lead, m, k), partial=partial)
    sf = call.result("out[1]", sf_out, _F32, (*lead, k // 128, m), rows_of=4, partial=partial)
    return q, sf


def _counts(call: Call, counts, groups: int, m: int):
    if counts is None:
        return 0
    view = call.view("counts", counts, _I32, groups)
    if view.ptr is None:
        bad = np.flatnonzero((view.host() < 0) | (view.host() > m))
        if bad.size:
            raise ValueError(f"counts[{bad[0]}]: expected 0 .. {m}, got {view.host()[bad[0]]}")
    return call.device(view, _I32).ptr


def _rows_view(call: Call, name: str, source):
    """BF16 [rows, columns] or [groups, rows, columns]."""
    shape = np.shape(source) if isinstance(source, np.ndarray) else tuple(source.shape) if hasattr(source, "shape") else ()
    return call.view(name, source, _BF16, *([None] * (3 if len(shape) == 3 else 2)), rows_of=8)


def quantize_1x128(x, row_index=None, counts=None, *, out=None, stream=None, context=None):
    """x, bfloat16 [m, k] or [groups, m, k] -> (q float8_e4m3fn of the same shape, sf float32 [(groups,) k/128, m]).

    row_index, int32 [m] or [groups, m]: row r of q comes from row row_index[r] of x [rows, k]; -1 skips it. counts,
    int32 [groups]: only the first counts[g] rows of a group.
    """
    out = expect_outputs(out, "two", "values", "scales")
    call = Call(context, stream, x, row_index, counts, *out)
    view = _rows_view(call, "x", x)
    k = view.shape[-1]
    expect_multiple("x", "k (its last extent)", k, 128)
    lead, m = view.shape[:-2], view.shape[-2]
    index = 0
    source_rows = 0
    if row_index is not None:
        if len(view.shape) != 2:
            raise ValueError(f"x: expected shape (rows, k) with a row_index, got {view.shape}")
        if view.shape[0] == 0:
            raise ValueError(f"x: expected at least one row with a row_index, got shape {view.shape}")
        source_rows = view.shape[0]
        two = len(getattr(row_index, "shape", ())) == 2
        index_view = call.view("row_index", row_index, _I32, *([None] * (2 if two else 1)))
        lead, m = index_view.shape[:-1], index_view.shape[-1]
        index = call.device(index_view, _I32).ptr
    groups = lead[0] if lead else 1
    count = _counts(call, counts, groups, m)
    q, sf = _quantized(call, out, lead, m, k, bool(index or count))
    arg_x = call.device(view, _BF16, 8)
    plan = call.context.plan(
        "quantize_1x128", m=m, k=k, groups=groups, source_rows=source_rows, ldx=arg_x.ld, ld_sf=sf.ld
    )
    plan.run(stream=call.stream, x=arg_x.ptr, q=q.ptr, sf=sf.ptr, row_index=index, counts=count)
    return call.finish()


def swiglu_quantize_1x128(x, counts=None, *, out=None, stream=None, context=None):
    """silu(gate) * up, quantised: x, bfloat16 [(groups,) m, 2 * width], gate then up -> (q float8_e4m3fn [(groups,) m,
    width], sf float32 [(groups,) width/128, m]). counts as in quantize_1x128."""
    out = expect_outputs(out, "two", "values", "scales")
    call = Call(context, stream, x, counts, *out)
    view = _rows_view(call, "x", x)
    expect_multiple("x", "2 * width (its last extent)", view.shape[-1], 256)
    lead, m, width = view.shape[:-2], view.shape[-2], view.shape[-1] // 2
    groups = lead[0] if lead else 1
    count = _counts(call, counts, groups, m)
    q, sf = _quantized(call, out, lead, m, width, bool(count))
    arg_x = call.device(view, _BF16, 8)
    plan = call.context.plan("swiglu_quantize_1x128", m=m, width=width, groups=groups, ldx=arg_x.ld, ld_sf=sf.ld)
    plan.run(stream=call.stream, x=arg_x.ptr, q=q.ptr, sf=sf.ptr, counts=count)
    return call.finish()


def gather_rows(x, row_index, *, out=None, stream=None, context=None):
    """out[r] = x[row_index[r]]: x bfloat16 [rows, hidden], row_index int32 [m], -1 skips the row."""
    call = Call(context, stream, x, row_index, out)
    view = call.view("x", x, _BF16, None, None)
    rows, hidden = view.shape
    expect_multiple("x", "hidden (its last extent)", hidden, 8)
    index = call.view("row_index", row_index, _I32, None)
    y = call.result("out", out, _BF16, (index.shape[0], hidden), partial=True)
    plan = call.context.plan("gather_rows", m=index.shape[0], source_rows=rows, hidden=hidden)
    plan.run(stream=call.stream, x=call.device(view, _BF16).ptr, row_index=call.device(index, _I32).ptr, y=y.ptr)
    return call.finish()


def weighted_scatter(y, row, weight, out=None, out_dtype="bfloat16", *, stream=None, context=None):
    """out[t] = sum over j of weight[t, j] * y[row[t, j]]: y bfloat16 [rows, hidden], row int32 [tokens, top_k] (a
    negative one contributes nothing), weight float32 [tokens, top_k]."""
    call = Call(context, stream, y, row, weight, out)
    out_name, out_type = output_type(out_dtype)
    view = call.view("y", y, _BF16, None, None)
    rows, hidden = view.shape
    expect_multiple("y", "hidden (its last extent)", hidden, 8)
    index = call.view("row", row, _I32, None, None)
    tokens, top_k = index.shape
    if not 1 <= top_k <= 32:
        raise ValueError(f"row: expected a top_k (its last extent) of 1 .. 32, got {top_k}")
    weights = call.view("weight", weight, _F32, tokens, top_k)
    if index.ptr is None:
        bad = np.argwhere(index.host() >= rows)
        if bad.size:
            t, j = bad[0]
            raise ValueError(f"row[{t}, {j}]: expected less than {rows}, the rows of y, got {index.host()[t, j]}")
    result = call.result("out", out, out_name, (tokens, hidden))
    plan = call.context.plan(
        "weighted_scatter", tokens=tokens, rows=rows, hidden=hidden, top_k=top_k, out_type=out_type
    )
    plan.run(
        stream=call.stream,
        y=call.device(view, _BF16).ptr,
        row=call.device(index, _I32).ptr,
        weight=call.device(weights, _F32).ptr,
        out=result.ptr,
    )
    return call.finish()
