// What mla_decode and mla_decode_e4m3 share: from the descriptor to the choice, the split and the launch.
#pragma once

#include "autotune/mla_model.h"
#include "ops/mla/split_kv.h"

namespace ptxops::ops {

inline constexpr uint32_t kReadOnce = 8;  // of the kernels' heads: no other CTA reads the keys

// What the model chooses by, but for type and merge.
template <class Desc>
autotune::MlaShape model_shape(const Desc& d, int64_t sm_count) {
  autotune::MlaShape s;
  s.page_size = d.page_size;
  s.rows = d.s_q * d.h_q;
  s.sm_count = static_cast<int>(sm_count);
  s.requests = d.batch, s.keys = d.max_pages * d.page_size;
  s.split_keys = d.split_tokens, s.total_keys = d.max_total_tokens;
  return s;
}

template <class Desc>
SplitKv::Shape split_shape(const Desc& d, const autotune::MlaShape& shape,
                           const autotune::MlaConfig& config) {
  SplitKv::Shape s;
  s.requests = d.batch;
  s.tokens = d.s_q, s.heads = d.h_q;
  s.capacity = d.max_pages * d.page_size;
  s.split_tokens = d.split_tokens, s.max_total_tokens = d.max_total_tokens;
  s.parts = config.parts, s.sm_count = shape.sm_count;
  s.type = shape.type;
  if (config.fused) s.merge_counters = 2 * config.tiles;  // one for each output warpgroup of a tile
  return s;
}

inline driver::LaunchShape launch_shape(const autotune::MlaConfig& config) {
  driver::LaunchShape shape;
  shape.grid = {u32(config.tiles), u32(config.parts), 1};
  shape.block.x = u32(config.threads);
  if (config.cluster > 1) shape.cluster = {u32(config.cluster), 1, 1};
  shape.dynamic_shared_bytes = u32(config.smem_bytes);
  shape.programmatic = true;
  return shape;
}

}  // namespace ptxops::ops
