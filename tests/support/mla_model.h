// Latent attention in double precision, from the bytes of a 656-byte-token cache; and the same in BF16 with
// FP32 sums, the accuracy that a kernel must reach. Shares no arithmetic with the device.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/support/formats.h"

namespace ptxops::test::mla {

inline constexpr int kLatent = 512, kRope = 64, kWidth = kLatent + kRope, kTokenBytes = 656;

// 576 values -> 656 bytes: scale = amax / 448, or the next power of two.
void encode_token(const std::vector<double>& x, bool power_of_two, uint8_t* token);
// 656 bytes -> 576 values, exact; a token of one's own if null: the zero vector.
std::vector<double> decode_token(const uint8_t* token);

struct Row {
  std::vector<double> out;    // 512
  std::vector<double> bound;  // how far BF16 arithmetic may be from it, see mla_model.cpp
  double lse;                 // natural; +inf without keys
  double lse_bound;
};
// One row of queries over its visible keys. sink: -inf for none.
Row exact(const std::vector<double>& q, const std::vector<const std::vector<double>*>& keys, double scale,
          double sink);
// Keys and probabilities rounded to BF16, sums in FP32, output rounded to BF16.
std::vector<double> in_bf16(const std::vector<double>& q, const std::vector<const std::vector<double>*>& keys,
                            double scale, double sink);
// What a framework does without a fused kernel, at least one key: scores and softmax in FP32, its result
// rounded to BF16, the product in FP32, rounded to BF16.
std::vector<double> in_framework(const std::vector<double>& q,
                                 const std::vector<const std::vector<double>*>& keys, double scale);

}  // namespace ptxops::test::mla
