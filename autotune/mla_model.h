// How MLA decode is laid out over the SMs, what a block of 64 keys costs, and who merges the requests that
// are cut: which cluster size, how many parts, mla_combine or the attention kernel itself. Deterministic, no
// I/O. Cycles are modelled, from published Hopper figures; they rank, they do not predict.
#pragma once

#include <cstdint>
#include <vector>

#include "driver/jit/head.h"

namespace ptxops::autotune {

inline constexpr const char* kMlaDecodePath = "mla/mla_decode.ptx";
inline constexpr const char* kMlaDecodeE4m3Path = "mla/mla_decode_e4m3.ptx";

enum class MlaMerge { kAny, kSeparate, kFused };

struct MlaShape {
  bool e4m3 = false;  // mla_decode_e4m3, else mla_decode
  int type = 0;       // TYPE of the kernel: 0 BF16, 1 FP16
  int64_t page_size = 64;
  int64_t rows = 0;                 // of a request: s_q * h_q
  int sm_count = 132;               // SMs that the plan may use
  int64_t requests = 1, keys = 64;  // keys of a request at most
  int64_t split_keys = 0;           // every request is cut there; 0: where the batch allows
  int64_t total_keys = 0;           // with split_keys: of all requests together, at most; 0: no bound
  MlaMerge merge = MlaMerge::kAny;
};

// One way to lay the work out.
struct MlaConfig {
  int32_t cluster = 1;
  bool fused = false;   // the attention kernel merges
  bool gather = false;  // keys one by one, for pages that are no box of TMA
  int32_t tiles = 0;    // CTAs along the rows, 64 each
  int32_t parts = 0;    // CTAs along the pieces
  int32_t threads = 0, smem_bytes = 0;
  int32_t latent_box_rows = 0, latent_box_chunks = 0, rope_box_rows = 0;
  jit::Params params;
};

// Modelled cycles of one block of 64 keys on one SM, by what bounds it.
struct MlaCost {
  double tensor = 0, shared = 0, l2 = 0, dram = 0;
  double block = 0;     // the largest of them
  double occupied = 0;  // share of the SMs that get work
  int64_t splits = 1;   // of a request that is cut, as the batch's size suggests
  double merge = 0;     // what follows the last block of keys, of a whole run
};

struct MlaRanked {
  MlaConfig config;
  MlaCost cost;
};
// All layouts, the one with the most keys a clock first; among equals, the one that merges sooner.
std::vector<MlaRanked> rank(const MlaShape& shape);

// Cost of a piece beyond its blocks, in blocks: loading q, the first scores without a softmax to hide, the
// output.
inline constexpr int kMlaPieceOverhead = 2;

}  // namespace ptxops::autotune
