"""MLA decode from numpy: append the tokens of two requests to a paged FP8 cache, attend to them, compare."""

import numpy as np
import ptxops

rng = np.random.default_rng(1)
context = ptxops.Context()


def bfloat16(*shape):
    return (rng.standard_normal(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def values(bits):
    return (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


page_size, lengths = 64, np.array([100, 40], np.int32)
page_table = np.array([[2, 0], [3, -1]], np.int32)  # entries beyond a length are not read
key = np.concatenate([np.arange(n) for n in lengths])
slot = page_table[np.repeat([0, 1], lengths), key // page_size] * page_size + key % page_size
cache = context.array(np.zeros((4, page_size, 656), np.uint8))
latent, rope, q = bfloat16(140, 512), bfloat16(140, 64), bfloat16(2, 1, 16, 576)  # two requests, one token, 16 heads
ptxops.mla_append(latent, rope, slot, cache)
out, lse, flags = (x.numpy() for x in ptxops.mla_decode_fp8(q, cache, page_table, lengths))

error = 0
for b, keys in enumerate(np.split(np.concatenate([values(latent), values(rope)], axis=1), lengths[:1])):
    weight = np.exp(values(q)[b, 0] @ keys.T / 24)  # 24: the root of 576
    exact = weight @ keys[:, :512] / weight.sum(axis=1, keepdims=True)
    error = max(error, np.abs(values(out)[b, 0] - exact).max() / np.abs(exact).max())
print(f"{context.info['name']}: largest error {error:.1e} of the largest value")
assert error < 0.1 and not flags.any()  # e4m3 is off by up to 1/16
