"""An FP8 GEMM from numpy: quantise, multiply, compare."""

import numpy as np
import ptxops

rng = np.random.default_rng(1)
x = ptxops.Context().array((rng.standard_normal((64, 512), np.float32).view(np.uint32) >> 16).astype(np.uint16), "bfloat16")
a, sfa = ptxops.quantize_1x128(x)  # on the device, as a DeviceArray
b, sfb = ptxops.quantize_128x128(rng.standard_normal((256, 512), np.float32))
d = ptxops.fp8_gemm(a, sfa, b, sfb, out_dtype="float32").numpy()
exact = ptxops.dequantize(a, sfa).astype(np.float64) @ ptxops.dequantize(b, sfb).astype(np.float64).T
error = np.abs(d - exact).max() / np.abs(exact).max()
print(f"{x.context.info['name']}: largest error {error:.1e} of the largest value")
assert error < 1e-3
