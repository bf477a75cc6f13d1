"""MLA: append to the paged cache, and decode attention over it. What ops have in common stands in the package's docstring."""

from __future__ import annotations

import numpy as np

from ._context import integer
from ._tensors import Argument, Call, expect_outputs, output_type
from ._types import C_TYPES

_FP8, _BF16, _F16, _F32, _I32, _I64 = "float8_e4m3fn", "bfloat16", "float16", "float32", "int32", "int64"
_LATENT, _ROPE = 512, 64
_WIDTH, _FP8_TOKEN = _LATENT + _ROPE, 656  # elements of a token; bytes of a token with scales
_MERGES = {"auto": 0, "separate": 1, "fused": 2}  # ptxopsMlaMerge_t


def _positive(name: str, value) -> float:
    """A number that FP32 holds as a finite one above 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.float32(number)
    if not 0 < rounded < np.inf:
        raise ValueError(f"{name}: expected a finite number above 0 in FP32, got {value!r}")
    return number


def _strides(argument: Argument, *names: str, bytes_each: int = 1) -> dict[str, int]:
    """The descriptor's strides: of the argument's first axes, one for each name."""
    return {name: stride * bytes_each for name, stride in zip(names, argument.strides)}


def _together(first: str, a, second: str, b) -> bool:
    """Whether both are given; refuses one without the other."""
    if (a is None) != (b is None):
        given, missing = (second, first) if a is None else (first, second)
        raise ValueError(f"{first}, {second}: expected both or neither, got {given} without {missing}")
    return a is not None


def mla_append(
    latent, rope, slot, cache, *, rope_cache=None, power_of_two=False, stream=None, context=None,
):
    """Puts token t's latent [tokens, 512] and rope [tokens, 64] into row slot[t] % page_size of page slot[t] / page_size.

    Writes cache (and rope_cache) in place and returns bad_slots, int32 [1]: how many slots lay outside the cache, not
    counting -1, which leaves a token out. slot is int32 or int64 [tokens]; the slots of a call must differ. cache is

      bfloat16 or float16 [pages, page_size, 576]: latent and rope, of the same dtype, are copied; or with rope_cache
      [pages, page_size, 64] next to a cache [pages, page_size, 512]
      float8_e4m3fn or uint8 [pages, page_size, 656]: 512 e4m3, 4 float32 scales, 64 bfloat16; latent and rope are
      bfloat16. A scale is (largest magnitude of 128 values, at least 1e-4) / 448, rounded up to a power of two with
      power_of_two

    On the device all but the last axis of latent, rope and caches may have any strides of multiples of 16 bytes. Tensors
    in host memory are uploaded and the caches copied back, whole. ValueError for other shapes, dtypes or strides; Error
    where the library refuses. More: help(ptxops).
    """
    call = Call(context, stream, latent, rope, slot, cache, rope_cache)
    apart = rope_cache is not None
    view = call.view("cache", cache, (_BF16, _F16, _FP8), None, None, None, free=2)
    fp8 = view.type == _FP8
    if fp8 and apart:
        raise ValueError(f"rope_cache: expected None with a cache of dtype {view.dtype}, whose tokens hold the rope")
    if power_of_two and not fp8:
        raise ValueError(f"power_of_two: expected False with a cache of dtype {view.dtype}, which has no scales, got True")
    call.expect_shape("cache", view, None, None, _FP8_TOKEN if fp8 else _LATENT if apart else _WIDTH)
    dtype = _BF16 if fp8 else view.type
    pages, page_size = view.shape[:2]
    arg_latent = call.take("latent", latent, dtype, None, _LATENT, free=1)
    tokens = arg_latent.shape[0]
    arg_rope = call.take("rope", rope, dtype, tokens, _ROPE, free=1)
    arg_slot = call.take("slot", slot, (_I32, _I64), tokens)
    arg_cache = call.update("cache", cache, view)
    item = 1 if fp8 else 2
    strides = {
        **_strides(arg_latent, "latent_stride_bytes", bytes_each=2),
        **_strides(arg_rope, "rope_stride_bytes", bytes_each=2),
        **_strides(arg_cache, "page_stride_bytes", "token_stride_bytes", bytes_each=item),
    }
    rope_ptr = 0
    if apart:
        arg_rope_cache = call.result("rope_cache", rope_cache, dtype, (pages, page_size, _ROPE), free=2)
        strides |= _strides(arg_rope_cache, "rope_page_stride_bytes", "rope_token_stride_bytes", bytes_each=2)
        rope_ptr = arg_rope_cache.ptr
    bad_slots = call.result("bad_slots", None, _I32, (1,), partial=True)  # it is added to
    plan = call.context.plan(
        "mla_append", tokens=tokens, pages=pages, page_size=page_size, format=int(fp8), scale_rule=int(bool(power_of_two)),
        slot_64bit=int(arg_slot.array.dtype == _I64), separate_rope=int(apart), **strides,
    )
    plan.run(
        stream=call.stream, latent=arg_latent.ptr, rope=arg_rope.ptr, slot=arg_slot.ptr, cache=arg_cache.ptr,
        rope_cache=rope_ptr, bad_slots=bad_slots.ptr,
    )
    return call.finish()[-1]


class _Decode:
    """What the three decodes share: options, queries and outputs."""

    def __init__(self, call: Call, q, dtype, width: int, options: dict):
        self.call = call
        self.q = call.take("q", q, dtype, None, None, None, width, free=3)
        self.batch, self.s_q, self.h_q = self.q.shape[:3]
        scale = options.pop("softmax_scale")
        self.descriptor = dict(
            batch=self.batch, s_q=self.s_q, h_q=self.h_q,
            softmax_scale=0.0 if scale is None else _positive("softmax_scale", scale),  # 0: the library's default
            **{name: int(bool(options.pop(name))) for name in ("causal", "lse_base2", "lse_empty_neg")},
            **{name: integer(name, value) for name, value in options.items()},
            **_strides(self.q, "q_request", "q_token", "q_head"),
        )

    def table(self, page_table, name: str) -> tuple[Argument, dict]:
        """The page table, and its fields of the descriptor; `name` is its stride's."""
        table = self.call.take("page_table", page_table, _I32, self.batch, None, free=1)
        return table, dict(max_pages=table.shape[1], **_strides(table, name))

    def run(self, op: str, out, out_dtype: str, flags: tuple, arguments: dict, **descriptor):
        """Launches with the outputs that all have; returns them."""
        call, (out, lse, out_flags) = self.call, out
        d = call.result("out[0]", out, out_dtype, (self.batch, self.s_q, self.h_q, _LATENT), free=3)
        l = call.result("out[1]", lse, _F32, (self.batch, self.h_q, self.s_q), free=3)
        f = call.result("out[2]", out_flags, _I32, flags)
        plan = call.context.plan(
            op, **self.descriptor, **descriptor,
            **_strides(d, "out_request", "out_token", "out_head"), **_strides(l, "lse_request", "lse_head", "lse_token"),
        )
        plan.run(stream=call.stream, q=self.q.ptr, out=d.ptr, lse=l.ptr, flags=f.ptr, **arguments)
        return call.finish()


def _outputs(out) -> tuple:
    return expect_outputs(out, "three", "out", "lse", "flags")


def mla_decode(
    q, cache, page_table, lengths, *, q_rope=None, cache_rope=None, softmax_scale=None, causal=False, lse_base2=False,
    lse_empty_neg=False, sm_count=0, split_tokens=0, max_total_tokens=0, merge="auto", out=None, stream=None, context=None,
):
    """Latent attention of the last s_q tokens of each request over a paged cache -> (out, lse, flags).

    q           bfloat16 or float16 [batch, s_q, h_q, 576], 512 latent and 64 rope; h_q up to 128
    cache       of q's dtype [pages, page_size, 576]; keys are all 576 columns, values the first 512
    q_rope, cache_rope   [batch, s_q, h_q, 64] and [pages, page_size, 64]: rope apart; q and cache then have 512 columns
    page_table  int32 [batch, max_pages]: key k of request b is row k % page_size of page page_table[b, k / page_size]
    lengths     int32 [batch], the s_q tokens included
    out         of q's dtype [batch, s_q, h_q, 512]
    lse         float32 [batch, h_q, s_q]: log of the sum of exp(scores)
    flags       int32 [batch], 0 = all was well: 1 a negative length, 2 one too long, 4 a page that does not exist,
                8 max_total_tokens was exceeded

    softmax_scale  None: 1 / sqrt(576)
    causal         token t sees the keys below lengths[b] - (s_q - 1 - t), else all below lengths[b]
    lse_base2      lse in base 2
    lse_empty_neg  lse of a row that sees no key is -inf, not +inf; its out is 0
    sm_count       here any number of SMs
    split_tokens   0: requests are split as the batch allows; a multiple of 64: there, and a request's bits depend on
                   nothing but itself. max_total_tokens then bounds the sum of lengths, and the workspace; 0: no bound
    merge          'auto', 'separate' or 'fused': who merges split requests; the bits are the same

    Wrong lengths and pages never lead outside the cache: lengths are clamped, keys of missing pages are zero, flags tell.
    Entries of page_table beyond a length are not read. `out` is a tuple (out, lse, flags), of which each may be None. On
    the device all axes may have any strides but the last of q, cache, page_table and out (it is 1) and lengths and flags
    (dense); those of q, cache and out are multiples of 8. ValueError for other shapes, dtypes or strides; Error where the
    library refuses. More: help(ptxops).
    """
    outputs = _outputs(out)
    call = Call(context, stream, q, cache, page_table, lengths, q_rope, cache_rope, *outputs)
    apart = _together("q_rope", q_rope, "cache_rope", cache_rope)
    if merge not in _MERGES:
        raise ValueError(f"merge: expected one of {', '.join(_MERGES)}, got {merge!r}")
    width = _LATENT if apart else _WIDTH
    decode = _Decode(
        call, q, (_BF16, _F16), width,
        dict(softmax_scale=softmax_scale, causal=causal, lse_base2=lse_base2, lse_empty_neg=lse_empty_neg,
             sm_count=sm_count, split_tokens=split_tokens, max_total_tokens=max_total_tokens),
    )
    dtype = decode.q.array.dtype
    keys = call.take("cache", cache, dtype, None, None, width, free=2)
    pages, page_size = keys.shape[:2]
    arguments = dict(cache=keys.ptr)
    strides = _strides(keys, "cache_page", "cache_token")
    if apart:
        queries_rope = call.take("q_rope", q_rope, dtype, *decode.q.shape[:3], _ROPE, free=3)
        keys_rope = call.take("cache_rope", cache_rope, dtype, pages, page_size, _ROPE, free=2)
        arguments |= dict(q_rope=queries_rope.ptr, cache_rope=keys_rope.ptr)
        strides |= _strides(queries_rope, "q_rope_request", "q_rope_token", "q_rope_head")
        strides |= _strides(keys_rope, "cache_rope_page", "cache_rope_token")
    table, table_fields = decode.table(page_table, "table_request")
    arguments |= dict(page_table=table.ptr, lengths=call.take("lengths", lengths, _I32, decode.batch).ptr)
    return decode.run(
        "mla_decode", outputs, dtype, (decode.batch,), arguments,
        pages=pages, page_size=page_size, type=C_TYPES[dtype], separate_rope=int(apart), merge=_MERGES[merge],
        **strides, **table_fields,
    )


def mla_decode_fp8(
    q, cache, page_table=None, lengths=None, *, indices=None, sink=None, softmax_scale=None, causal=False, lse_base2=False,
    lse_empty_neg=False, sm_count=0, split_tokens=0, max_total_tokens=0, out=None, stream=None, context=None,
):
    """mla_decode with q bfloat16 and a cache of float8_e4m3fn or uint8 [pages, page_size, 656], as mla_append writes it:
    512 e4m3, 4 float32 scales (below 256), 64 bfloat16 of rope -> (out bfloat16, lse, flags). Either

      page_table  int32 [batch, max_pages], with lengths int32 [batch]: dense; flags int32 [batch]
      indices     int32 [batch, s_q, top_k]: sparse. Each query token names its keys, page * page_size + row, -1 for none;
                  seen are those at positions below lengths, int32 [batch] or [batch, s_q], or all without lengths.
                  No causal. flags int32 [batch, s_q]: 4 for an index below -1 or beyond the cache, which is left out

    sink, float32 [h_q], multiplies out by exp(lse) / (exp(lse) + exp(sink)), with lse in base e; lse itself stays. A code
    counts as bfloat16(code * scale). Positions of indices count as tokens for split_tokens and max_total_tokens. Strides
    as in mla_decode, those of cache multiples of 16. Other arguments, results and errors as in mla_decode.
    """
    if (page_table is None) == (indices is None):
        raise ValueError(
            f"page_table, indices: expected exactly one of them, got {'neither' if indices is None else 'both'}"
        )
    sparse = indices is not None
    if lengths is None and not sparse:
        raise ValueError("lengths: expected int32 [batch] with a page_table, got None")
    if causal and sparse:
        raise ValueError("causal: expected False with indices, got True")
    outputs = _outputs(out)
    call = Call(context, stream, q, cache, page_table, lengths, indices, sink, *outputs)
    decode = _Decode(
        call, q, _BF16, _WIDTH,
        dict(softmax_scale=softmax_scale, causal=causal, lse_base2=lse_base2, lse_empty_neg=lse_empty_neg,
             sm_count=sm_count, split_tokens=split_tokens, max_total_tokens=max_total_tokens),
    )
    batch, s_q = decode.batch, decode.s_q
    tokens = call.take("cache", cache, _FP8, None, None, _FP8_TOKEN, free=2)
    if sparse:
        keys = call.take("indices", indices, _I32, batch, s_q, None, free=2)
        fields = dict(top_k=keys.shape[2], **_strides(keys, "keys_request", "keys_token"))
    else:
        keys, fields = decode.table(page_table, "keys_request")
    arguments = dict(cache=tokens.ptr, keys=keys.ptr)
    if lengths is not None:
        per_token = sparse and len(getattr(lengths, "shape", ())) == 2
        arguments["lengths"] = call.take("lengths", lengths, _I32, *((batch, s_q) if per_token else (batch,))).ptr
        fields["lengths_per_token"] = int(per_token)
    if sink is not None:
        arguments["sink"] = call.take("sink", sink, _F32, decode.h_q).ptr
    return decode.run(
        "mla_decode_fp8", outputs, _BF16, (batch, s_q) if sparse else (batch,), arguments,
        pages=tokens.shape[0], page_size=tokens.shape[1], sparse=int(sparse),
        **_strides(tokens, "page_stride_bytes", "token_stride_bytes"), **fields,
    )


def mla_decode_e4m3(
    q, cache, page_table, lengths, *, descale_q=1.0, descale_k=1.0, out_dtype="bfloat16", softmax_scale=None, causal=False,
    lse_base2=False, lse_empty_neg=False, sm_count=0, split_tokens=0, max_total_tokens=0, out=None, stream=None, context=None,
):
    """mla_decode with q and cache in float8_e4m3fn (or uint8), and both products in FP8 -> (out, lse, flags).

    q [batch, s_q, h_q, 576] counts as q * descale_q, cache [pages, page_size, 576] as cache * descale_k; page_size is 16,
    32, 64 or 128. A descale is a number above 0, of the plan, or float32 [1], read by the kernel: then it may change
    without a new plan. out_dtype, also that of `out`, is 'bfloat16' or 'float16'. Weights of the softmax are rounded to
    e4m3. Strides of q and cache are multiples of 16. Other arguments, results and errors as in mla_decode.
    """
    outputs = _outputs(out)
    out_name, out_type = output_type(out_dtype, (_BF16, _F16))
    call = Call(context, stream, q, cache, page_table, lengths, descale_q, descale_k, *outputs)
    decode = _Decode(
        call, q, _FP8, _WIDTH,
        dict(softmax_scale=softmax_scale, causal=causal, lse_base2=lse_base2, lse_empty_neg=lse_empty_neg,
             sm_count=sm_count, split_tokens=split_tokens, max_total_tokens=max_total_tokens),
    )
    tokens = call.take("cache", cache, _FP8, None, None, _WIDTH, free=2)
    table, fields = decode.table(page_table, "table_request")
    arguments = dict(cache=tokens.ptr, page_table=table.ptr)
    arguments["lengths"] = call.take("lengths", lengths, _I32, decode.batch).ptr
    for name, value in (("descale_q", descale_q), ("descale_k", descale_k)):
        if len(getattr(value, "shape", ())):  # a tensor, not a number
            arguments[name] = call.take(name, value, _F32, 1).ptr
        else:
            fields[name] = _positive(name, value)
    return decode.run(
        "mla_decode_e4m3", outputs, out_name, (decode.batch,), arguments,
        pages=tokens.shape[0], page_size=tokens.shape[1], out_type=out_type,
        **_strides(tokens, "cache_page", "cache_token"), **fields,
    )
