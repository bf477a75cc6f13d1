#include "autotune/gemm_space.h"

#include <stdexcept>

namespace ptxops::autotune {

jit::Params GemmConfig::params() const {
  return {{"FORM", form},       {"OUT", out},         {"BLOCK_M", block_m},
          {"BLOCK_N", block_n}, {"CLUSTER", cluster}, {"STAGES", stages}};
}

const GemmSpace& GemmSpace::get() {
  static const GemmSpace space;
  return space;
}

GemmSpace::GemmSpace() : head_(jit::parse_head(kFp8GemmPath)) {
  const auto param = [&](const char* name) {
    const int i = head_.param_index(name);
    if (i < 0) throw std::logic_error(std::string(kFp8GemmPath) + " has no parameter " + name);
    return static_cast<size_t>(i);
  };
  const auto note = [&](const char* name) {
    const int i = head_.note_index(name);
    if (i < 0) throw std::logic_error(std::string(kFp8GemmPath) + " has no note " + name);
    return static_cast<size_t>(i);
  };
  const size_t form = param("FORM"), out = param("OUT"), block_m = param("BLOCK_M"),
               block_n = param("BLOCK_N"), cluster = param("CLUSTER"), stages = param("STAGES");
  const size_t threads = note("threads"), smem = note("smem_bytes"), math = note("math_warpgroups"),
               a_rows = note("a_box_rows"), d_cols = note("d_box_cols"), d_swizzle = note("d_swizzle_bytes");
  const jit::Domain domain = jit::legal_domain(head_);
  for (size_t i = 0; i < domain.configs.size(); ++i) {
    const jit::Config& c = domain.configs[i];
    const auto notes = [&](size_t index) { return domain.note(i, index); };
    const auto i32 = [](int64_t v) { return static_cast<int32_t>(v); };
    GemmConfig g;
    g.form = i32(c[form]), g.out = i32(c[out]), g.block_m = i32(c[block_m]), g.block_n = i32(c[block_n]);
    g.cluster = i32(c[cluster]), g.stages = i32(c[stages]);
    g.threads = i32(notes(threads)), g.smem_bytes = i32(notes(smem)), g.math_warpgroups = i32(notes(math));
    g.a_box_rows = i32(notes(a_rows)), g.d_box_cols = i32(notes(d_cols)),
    g.d_swizzle_bytes = i32(notes(d_swizzle));
    by_kind_[g.form][g.out].push_back(g);
  }
}

}  // namespace ptxops::autotune
