// How MLA decode is laid out over the SMs, and what a block of 64 keys costs: which cluster size, how many
// parts. Deterministic, no I/O. Cycles are modelled, from published Hopper figures; they rank, they do not
// predict.
#pragma once

#include <cstdint>
#include <vector>

#include "driver/jit/head.h"

namespace ptxops::autotune {

inline constexpr const char* kMlaDecodePath = "mla/mla_decode.ptx";
inline constexpr const char* kMlaDecodeE4m3Path = "mla/mla_decode_e4m3.ptx";

struct MlaShape {
  bool e4m3 = false;  // mla_decode_e4m3, else mla_decode
  int type = 0;       // TYPE of the kernel: 0 BF16, 1 FP16
  int64_t page_size = 64;
  int64_t rows = 0;    // of a request: s_q * h_q
  int sm_count = 132;  // SMs that the plan may use
};

// One way to lay the work out.
struct MlaConfig {
  int32_t cluster = 1;
  int32_t tiles = 0;  // CTAs along the rows, 64 each
  int32_t parts = 0;  // CTAs along the pieces
  int32_t threads = 0, smem_bytes = 0;
  int32_t latent_box_rows = 0, latent_box_chunks = 0, rope_box_rows = 0;
  jit::Params params;
};

// Modelled cycles of one block of 64 keys on one SM, by what bounds it.
struct MlaCost {
  double tensor = 0, shared = 0, l2 = 0, dram = 0;
  double block = 0;     // the largest of them
  double occupied = 0;  // share of the SMs that get work
};

struct MlaRanked {
  MlaConfig config;
  MlaCost cost;
};
// All layouts, the one with the most keys a clock first.
std::vector<MlaRanked> rank(const MlaShape& shape);

// Cost of a piece beyond its blocks, in blocks: loading q, the first scores without a softmax to hide, the
// output.
inline constexpr int kMlaPieceOverhead = 2;

}  // namespace ptxops::autotune
