// The MLA kernels. A part walks over several requests, one of them cut in two, the first and another empty,
// with blocks enough for every ring to lap; 72 heads are two tiles of rows, the second with rows of half a
// warp's.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "driver/client/tensor_map.h"
#include "tests/mutants/cases.h"
#include "tests/ptx/numbers.h"
#include "tests/support/mla_model.h"

namespace ptxops::mutants {
namespace {

using test::ceil_div;
using test::Random;
namespace mla = test::mla;

constexpr int kLatent = mla::kLatent, kRope = mla::kRope, kWidth = mla::kWidth;
constexpr double kLog2e = 1.4426950408889634;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

uint32_t note(const Notes& notes, const char* name) {
  return static_cast<uint32_t>(notes.at(name));
}

// Requests of one query token against their keys. One request is cut in two, the last has a bad page
// (its keys are zero vectors) or, sparse, a bad key (which is not visible).
struct Attention {
  static constexpr int kHeads = 72, kPage = 64;
  std::vector<int> lengths = {0, 20, 300, 64, 0, 250};
  int requests = 6, pages = 12, width = 5;  // width: entries of a page table
  double scale = 0.05;
  std::vector<uint16_t> q;                  // bf16 [requests][kHeads][576]
  std::vector<std::vector<double>> tokens;  // of the cache, by slot
  std::vector<int32_t> table;               // [requests][width] pages
  std::vector<mla::Row> rows;               // [requests][kHeads]
  std::vector<int32_t> part_begin, pieces;

  static constexpr int kCut = 2, kBadRequest = 5, kBadPage = 1, kBadKey = 70;
  std::vector<double> zero = std::vector<double>(kWidth, 0);

  // `token` makes slot n of the cache and returns its value. second: length of the second request. query: an
  // element of q; then both products are in FP8.
  Attention(uint64_t seed, bool sparse, const std::function<std::vector<double>(int, Random&)>& token,
            int second = 64, const std::function<double(Random&)>& query = nullptr) {
    lengths[1] = second;
    Random random{seed};
    for (int i = 0; i < requests * kHeads * kWidth; ++i)
      q.push_back(test::to_bf16(static_cast<float>(query ? query(random) : 2 * random.unit() - 1)));
    for (int slot = 0; slot < pages * kPage; ++slot) tokens.push_back(token(slot, random));
    for (int i = 0; i < requests * width; ++i)
      table.push_back(static_cast<int32_t>(random.between(0, pages - 1)));
    for (int r = 0; r < requests; ++r) {
      std::vector<const std::vector<double>*> keys;
      for (int k = 0; k < lengths[r]; ++k) {
        const bool bad = r == kBadRequest && (sparse ? k == kBadKey : k / kPage == kBadPage);
        if (!bad || !sparse) keys.push_back(bad ? &zero : &tokens[slot_of(r, k)]);
      }
      for (int h = 0; h < kHeads; ++h) {
        std::vector<double> x;
        for (int i = 0; i < kWidth; ++i)
          x.push_back(test::from_bf16(q[(size_t(r) * kHeads + h) * kWidth + i]));
        rows.push_back(mla::exact(x, keys, scale, -std::numeric_limits<double>::infinity()));
        if (query) loosen(rows.back(), x, keys);
      }
      // {request, first block, end block, length, slot, split, splits, merge}
      const int blocks = static_cast<int>(ceil_div(lengths[r], 64));
      const auto piece = [&](int first, int end, int slot, int split) {
        for (const int v : {r, first, end, lengths[r], slot, split, slot < 0 ? 1 : 2, 0}) pieces.push_back(v);
      };
      if (r == kCut) {
        piece(0, 2, 0, 0);
        piece(2, blocks, 1, 1);
      } else {
        piece(0, blocks, -1, 0);
      }
    }
    part_begin = {0, static_cast<int32_t>(pieces.size() / 8)};
  }
  // For FP8: scores lose 0.02 at most of their 14 bits' cuts; a weight is off by that and half a step of e4m3
  // (1/16), independent of the others'. What moves a column is how far a value lies from it. Six standard
  // deviations.
  void loosen(mla::Row& row, const std::vector<double>& x,
              const std::vector<const std::vector<double>*>& keys) {
    constexpr double kScore = 0.02;
    row.lse_bound += kScore;
    std::vector<double> square(kLatent, 0);
    for (const std::vector<double>* key : keys) {
      double s = 0;
      for (int i = 0; i < kWidth; ++i) s += x[i] * (*key)[i];
      const double off = std::exp(s * scale - row.lse) * (1.0 / 16 / std::sqrt(3) + kScore);
      for (int i = 0; i < kLatent; ++i) square[i] += std::pow(off * ((*key)[i] - row.out[i]), 2);
    }
    for (int i = 0; i < kLatent; ++i) row.bound[i] += 6 * std::sqrt(square[i]);
  }
  std::vector<int32_t> page_table() const {
    std::vector<int32_t> t = table;
    t[kBadRequest * width + kBadPage] = pages;
    return t;
  }
  size_t slot_of(int request, int key) const {
    return static_cast<size_t>(table[request * width + key / kPage]) * kPage + key % kPage;
  }
};

struct Outputs {
  uint64_t out, lse, partial, partial_lse, flags;
};
Outputs outputs(Memory& memory, const Attention& a) {
  return {memory.output(std::vector<uint16_t>(a.rows.size() * kLatent, 0x7fc0)),
          memory.output(std::vector<float>(a.rows.size(), kNaN)),
          memory.output(std::vector<float>(size_t(2) * a.kHeads * kLatent, kNaN)),
          memory.output(std::vector<float>(2 * a.kHeads, kNaN)),
          memory.output(std::vector<int32_t>(a.requests, 0))};
}

// The results; the cut request's merged here, unless the kernel has.
std::string check(const Memory& memory, const Attention& a, const Outputs& at, bool fused = false) {
  std::vector<uint16_t> out(a.rows.size() * kLatent);
  std::vector<float> lse(a.rows.size()), partial(size_t(2) * a.kHeads * kLatent), partial_lse(2 * a.kHeads);
  for (const std::string& stray :
       {memory.download(at.out, out.data(), 2 * out.size()),
        memory.download(at.lse, lse.data(), 4 * lse.size()),
        memory.download(at.partial, partial.data(), 4 * partial.size()),
        memory.download(at.partial_lse, partial_lse.data(), 4 * partial_lse.size())})
    if (!stray.empty()) return "an output" + stray;
  for (size_t row = 0; row < a.rows.size(); ++row) {
    const mla::Row& want = a.rows[row];
    const size_t head = row % a.kHeads;
    const bool cut = row / a.kHeads == a.kCut && !fused, empty = std::isinf(want.lse);
    double w[2] = {}, got_lse = lse[row];
    if (cut) {
      const double x[2] = {partial_lse[head], partial_lse[a.kHeads + head]}, top = std::max(x[0], x[1]);
      double sum = 0;
      for (int s = 0; s < 2; ++s) sum += w[s] = std::exp2(x[s] - top);
      got_lse = (top + std::log2(sum)) / kLog2e;
      for (double& weight : w) weight /= sum;
      if (!std::isnan(lse[row])) return fmt::format("row {} is cut, and its LSE written", row);
    }
    if (empty ? got_lse != want.lse : !(std::fabs(got_lse - want.lse) <= want.lse_bound))
      return fmt::format("LSE of row {}: {}, expected {}", row, got_lse, want.lse);
    for (size_t i = 0; i < size_t(kLatent); ++i) {
      const uint16_t bits = out[row * kLatent + i];
      double got = test::from_bf16(bits);
      if (cut) {
        if (bits != 0x7fc0) return fmt::format("row {} is cut, and its output written", row);
        got = w[0] * partial[head * kLatent + i] + w[1] * partial[(a.kHeads + head) * kLatent + i];
      }
      if (!(std::fabs(got - want.out[i]) <= want.bound[i]))
        return fmt::format("row {} column {}: {}, expected {}", row, i, got, want.out[i]);
    }
  }
  std::vector<int32_t> flags(a.requests, 0);
  flags[Attention::kBadRequest] = 4;
  return memory.compare("flags", at.flags, flags);
}

std::vector<Protocol> everything() {
  return {{"", "kernel"}};
}

// fused: keys gathered one by one, and the cut request, whose pieces two parts have, merged by the kernel.
void add_decode(std::vector<Case>& cases, uint64_t seed, int cluster, bool fused) {
  // Latent and rope of every slot, in BF16.
  auto latent = std::make_shared<std::vector<uint16_t>>(), rope = std::make_shared<std::vector<uint16_t>>();
  const auto a = std::make_shared<const Attention>(
      seed, false,
      [&](int, Random& random) {
        std::vector<double> x;
        for (int i = 0; i < kWidth; ++i) {
          const uint16_t bits = test::to_bf16(static_cast<float>(2 * random.unit() - 1));
          (i < kLatent ? *latent : *rope).push_back(bits);
          x.push_back(test::from_bf16(bits));
        }
        return x;
      },
      fused ? 128 : 64);  // the second accumulator's last scores are not the run's last
  std::vector<uint16_t> q, qr;
  for (size_t i = 0; i < a->q.size(); ++i) (i % kWidth < size_t(kLatent) ? q : qr).push_back(a->q[i]);
  std::vector<Protocol> protocols;
  const auto protocol = [&](const char* name, std::initializer_list<const char*> texts) {
    for (const char* text : texts) protocols.push_back({text, name});
  };
  const std::initializer_list<const char*> set_up = {"mbar_init_fence", "cluster_barrier", "bar.sync 0;"};
  protocol("key rings", {"SMEM_FULL", "SMEM_EMPTY", "SMEM_ROPE", "release(", "load_next(", "scores_start(",
                         "scores_wait(", "wgmma", "clear_tail("});
  protocol("p slots", {"SMEM_P_", "bar.warp.sync -1; @ mla_decode_output:OUTPUT_STORE", "write_scales(",
                       "publish_p(", "wait_p(", "release_p(", "softmax_block(", "wgmma", "ld.shared"});
  protocol("q tile", {"SMEM_Q", "named_barrier(1", "fence_async_smem", "wgmma"});
  for (const char* name : {"key rings", "p slots"}) protocol(name, set_up);
  protocol("dependent launch", {"dependency_wait()", "ld.global", "st.global", "tensor_load", "cp.async"});
  protocol("registers", {"setmaxnreg"});
  if (fused) {
    protocol("key rings",
             {"gather_next(", "cp.async", "async_arrive(", "keys_arrived(", "shfl", "createpolicy"});
    protocol("merge", {"arrive()", "merge_due()", "merge_", "store_partial_row(", "store_lse(", "publish_p(",
                       "wait_p(", "atom.", "MERGE_DUE", "named_barrier(barrier"});
  }
  Case c{.name = fmt::format("mla_decode/{}", fused          ? "fused gather"
                                              : cluster == 2 ? "cluster"
                                                             : "single"),
         .path = "mla/mla_decode.ptx",
         .params = {{"TYPE", 0},
                    {"PAGE", fused ? 0 : Attention::kPage},
                    {"CLUSTER", cluster},
                    {"FUSED", fused ? 1 : 0}},
         .protocols = std::move(protocols),
         .problems = {}};
  c.problems.push_back([=](const Device& device, const Notes& notes) {
    constexpr uint64_t heads = Attention::kHeads, page = Attention::kPage;
    Memory memory(device);
    const uint64_t d_q = memory.input(q), d_qr = memory.input(qr), d_latent = memory.input(*latent),
                   d_rope = memory.input(*rope),
                   parts = memory.input(fused ? std::vector<int32_t>{0, Attention::kCut + 1, a->part_begin[1]}
                                              : a->part_begin),
                   pieces = memory.input(a->pieces), table = memory.input(a->page_table());
    const Outputs at = outputs(memory, *a);
    const uint64_t arrivals = memory.output(std::vector<int32_t>(4, 0));  // of two tiles
    const auto map = [&](uint64_t address, std::vector<uint64_t> dim, std::vector<uint64_t> stride,
                         std::vector<uint32_t> box) {
      driver::TiledTensor t{.type = abi::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                            .rank = static_cast<uint32_t>(dim.size()),
                            .address = address};
      std::copy(dim.begin(), dim.end(), t.dim);
      std::copy(stride.begin(), stride.end(), t.stride);
      std::copy(box.begin(), box.end(), t.box);
      t.swizzle = abi::CU_TENSOR_MAP_SWIZZLE_128B;
      return driver::encode_tiled(device.context().driver(), t);
    };
    memory.prime();
    device.kernel().set_max_dynamic_shared_bytes(static_cast<int>(note(notes, "smem_bytes")));
    driver::LaunchShape shape{.grid = {2, fused ? 2u : 1u}, .block = {note(notes, "threads")}};
    if (note(notes, "cluster") > 1) shape.cluster = {note(notes, "cluster"), 1, 1};
    shape.dynamic_shared_bytes = note(notes, "smem_bytes");
    shape.programmatic = true;
    driver::Launch launch(device.kernel(), shape);
    const auto run = [&](const auto&... keys) {
      launch(nullptr, keys..., d_q, heads * 1024, heads * 1024, uint64_t(1024), d_qr, heads * 128,
             heads * 128, uint64_t(128), at.out, heads * 1024, heads * 1024, uint64_t(1024), at.lse,
             heads * 4, heads * 4, uint64_t(4), at.partial, at.partial_lse, parts, pieces, table,
             uint64_t(4 * a->width), at.flags, arrivals, uint32_t(1), uint32_t(heads), uint32_t(a->pages),
             uint32_t(0), static_cast<float>(a->scale * kLog2e));
    };
    if (fused) {
      run(d_latent, page * 1024, uint64_t(1024), d_rope, page * 128, uint64_t(128), uint32_t(page));
    } else {
      const auto tm_latent = map(d_latent, {64, page, 8, uint64_t(a->pages)}, {1024, 128, page * 1024},
                                 {64, note(notes, "latent_box_rows"), note(notes, "latent_box_chunks"), 1});
      const auto tm_rope = map(d_rope, {64, page, uint64_t(a->pages)}, {128, page * 128},
                               {64, note(notes, "rope_box_rows"), 1});
      run(tm_latent, tm_rope);
    }
    device.context().synchronize();
    return check(memory, *a, at, fused);
  });
  cases.push_back(std::move(c));
}

void add_decode_fp8(std::vector<Case>& cases, uint64_t seed, bool sparse) {
  auto cache = std::make_shared<std::vector<uint8_t>>();
  const auto a = std::make_shared<const Attention>(seed, sparse, [&](int slot, Random& random) {
    std::vector<double> x;
    for (int i = 0; i < kWidth; ++i) x.push_back(2 * random.unit() - 1);
    cache->resize(size_t(slot + 1) * mla::kTokenBytes);
    mla::encode_token(x, false, &(*cache)[size_t(slot) * mla::kTokenBytes]);
    return mla::decode_token(&(*cache)[size_t(slot) * mla::kTokenBytes]);
  });
  std::vector<int32_t> keys = a->page_table();
  int width = a->width;
  if (sparse) {  // the slots themselves
    width = *std::max_element(a->lengths.begin(), a->lengths.end());
    keys.assign(size_t(a->requests) * width, -1);
    for (int r = 0; r < a->requests; ++r)
      for (int k = 0; k < a->lengths[r]; ++k) keys[r * width + k] = static_cast<int32_t>(a->slot_of(r, k));
    keys[Attention::kBadRequest * width + Attention::kBadKey] = a->pages * Attention::kPage;
  }
  Case c{.name = fmt::format("mla_decode_fp8/{}", sparse ? "sparse" : "dense"),
         .path = "mla/mla_decode_fp8.ptx",
         .params = {{"SPARSE", sparse}},
         .protocols = {},
         .problems = {}};
  for (const char* text : {"SMEM_FULL", "SMEM_EMPTY", "SMEM_NEXT", "SMEM_K", "SMEM_VALID", "st.shared",
                           "bar.warp.sync -1; @ mla_decode_fp8_producer:HALF", "wgmma", "fence_async_smem",
                           "mbar_init_fence", "bar.sync 0;"})
    c.protocols.push_back({text, "key slots"});
  for (const char* text :
       {"SMEM_P", "SMEM_SCALE", "SMEM_NORM", "SMEM_NEXT", "wgmma", "stmatrix", "ldmatrix",
        "bar.warp.sync -1; @ mla_decode_fp8_scores:", "bar.warp.sync -1; @ mla_decode_fp8_output:",
        "mbar_init_fence", "bar.sync 0;", "ld.shared", "st.shared"})
    c.protocols.push_back({text, "p slots"});
  for (const char* text : {"SMEM_Q", "named_barrier", "fence_async_smem", "wgmma", "cp.async"})
    c.protocols.push_back({text, "q tile"});
  for (const char* text : {"dependency_wait()", "ld.global", "st.global", "cp.async"})
    c.protocols.push_back({text, "dependent launch"});
  c.protocols.push_back({"setmaxnreg", "registers"});
  c.problems.push_back([=](const Device& device, const Notes& notes) {
    constexpr uint64_t heads = Attention::kHeads, page = Attention::kPage;
    Memory memory(device);
    const uint64_t q = memory.input(a->q), d_cache = memory.input(*cache),
                   parts = memory.input(a->part_begin), pieces = memory.input(a->pieces),
                   d_keys = memory.input(keys);
    const Outputs at = outputs(memory, *a);
    memory.prime();
    device.kernel().set_max_dynamic_shared_bytes(static_cast<int>(note(notes, "smem_bytes")));
    driver::Launch launch(device.kernel(), {.grid = {2, 1},
                                            .block = {note(notes, "threads")},
                                            .dynamic_shared_bytes = note(notes, "smem_bytes"),
                                            .programmatic = true});
    launch(nullptr, q, heads * 1152, heads * 1152, uint64_t(1152), at.out, heads * 1024, heads * 1024,
           uint64_t(1024), at.lse, heads * 4, heads * 4, uint64_t(4), at.partial, at.partial_lse, parts,
           pieces, at.flags, d_keys, uint64_t(4 * width), uint64_t(4 * width), d_cache,
           page * mla::kTokenBytes, uint64_t(mla::kTokenBytes), uint64_t(0), uint32_t(page),
           uint32_t(a->pages), uint32_t(1), uint32_t(heads), uint32_t(0),
           static_cast<float>(a->scale * kLog2e));
    device.context().synchronize();
    return check(memory, *a, at);
  });
  cases.push_back(std::move(c));
}

// An element of e4m3, 2^-3 to 1.875 or their negatives.
double push_e4m3(std::vector<uint8_t>& codes, Random& random) {
  codes.push_back(static_cast<uint8_t>(random.between(0x20, 0x3f) | random.between(0, 1) << 7));
  return test::from_e4m3(codes.back());
}

void add_decode_e4m3(std::vector<Case>& cases, uint64_t seed, int cluster) {
  auto q = std::make_shared<std::vector<uint8_t>>(), cache = std::make_shared<std::vector<uint8_t>>();
  const auto a = std::make_shared<const Attention>(
      seed, false,
      [&](int, Random& random) {
        std::vector<double> x;
        for (int i = 0; i < kWidth; ++i) x.push_back(push_e4m3(*cache, random));
        return x;
      },
      100, [&](Random& random) { return push_e4m3(*q, random); });  // a tail whose slot is filled again
  Case c{.name = fmt::format("mla_decode_e4m3/{}", cluster == 2 ? "cluster" : "single"),
         .path = "mla/mla_decode_e4m3.ptx",
         .params = {{"TYPE", 0}, {"PAGE", Attention::kPage}, {"CLUSTER", cluster}},
         .protocols = {},
         .problems = {}};
  const auto protocol = [&](const char* name, std::initializer_list<const char*> texts) {
    for (const char* text : texts) c.protocols.push_back({text, name});
  };
  const std::initializer_list<const char*> set_up = {"mbar_init_fence", "cluster_barrier", "bar.sync 0;"};
  protocol("key ring", {"SMEM_FULL", "SMEM_EMPTY", "load_next(", "scores_start(", "wait_keys(", "next_keys(",
                        "wrap, group, {{BLOCKS}}", "load_v(", "mbar_arrive_cluster_if(",
                        "mbar_arrive_if(warp_leader, empty)", "wgmma", "clear_tail("});
  protocol("p slots", {"SMEM_P_", "SMEM_NEXT", "write_scales(", "store_p(", "publish_p(", "wait_p(",
                       "wait_next(", "release_p(", "rescale(", "multiply(", "wgmma", "fence_async_smem",
                       "ld.shared", "bar.warp.sync -1; < store_piece()"});
  for (const char* name : {"key ring", "p slots"}) protocol(name, set_up);
  protocol("dependent launch", {"dependency_wait()", "ld.global", "st.global", "tensor_load"});
  protocol("registers", {"setmaxnreg"});
  c.problems.push_back([=](const Device& device, const Notes& notes) {
    constexpr uint64_t heads = Attention::kHeads, page = Attention::kPage, token = kWidth;
    Memory memory(device);
    const uint64_t d_q = memory.input(*q), d_cache = memory.input(*cache),
                   parts = memory.input(a->part_begin), pieces = memory.input(a->pieces),
                   table = memory.input(a->page_table()), scales = memory.input(std::vector<float>{0.5F, 2});
    // The scales' product is 1; one case has none of them.
    const bool scaled = cluster == 2;
    const uint64_t descale_q = scaled ? scales : 0, descale_k = scaled ? scales + 4 : 0;
    const Outputs at = outputs(memory, *a);
    const auto map = [&](uint64_t address, std::vector<uint64_t> dim, std::vector<uint64_t> stride,
                         std::vector<uint32_t> box, abi::CUtensorMapSwizzle swizzle) {
      driver::TiledTensor t{.type = abi::CU_TENSOR_MAP_DATA_TYPE_UINT8,
                            .rank = static_cast<uint32_t>(dim.size()),
                            .address = address};
      std::copy(dim.begin(), dim.end(), t.dim);
      std::copy(stride.begin(), stride.end(), t.stride);
      std::copy(box.begin(), box.end(), t.box);
      t.swizzle = swizzle;
      return driver::encode_tiled(device.context().driver(), t);
    };
    const auto tm_latent = map(d_cache, {128, page, 4, uint64_t(a->pages)}, {token, 128, page * token},
                               {128, note(notes, "latent_box_rows"), note(notes, "latent_box_chunks"), 1},
                               abi::CU_TENSOR_MAP_SWIZZLE_128B);
    const auto tm_rope = map(d_cache + kLatent, {64, page, uint64_t(a->pages)}, {token, page * token},
                             {64, note(notes, "rope_box_rows"), 1}, abi::CU_TENSOR_MAP_SWIZZLE_64B);
    memory.prime();
    device.kernel().set_max_dynamic_shared_bytes(static_cast<int>(note(notes, "smem_bytes")));
    driver::LaunchShape shape{.grid = {2, 1}, .block = {note(notes, "threads")}};
    if (note(notes, "cluster") > 1) shape.cluster = {note(notes, "cluster"), 1, 1};
    shape.dynamic_shared_bytes = note(notes, "smem_bytes");
    shape.programmatic = true;
    driver::Launch launch(device.kernel(), shape);
    launch(nullptr, tm_latent, tm_rope, d_q, heads * token, heads * token, token, descale_q, descale_k,
           at.out, heads * 1024, heads * 1024, uint64_t(1024), at.lse, heads * 4, heads * 4, uint64_t(4),
           at.partial, at.partial_lse, parts, pieces, table, uint64_t(4 * a->width), at.flags, uint32_t(1),
           uint32_t(heads), uint32_t(a->pages), uint32_t(0), static_cast<float>(a->scale * kLog2e),
           scaled ? 0.5F : 1.0F);
    device.context().synchronize();
    return check(memory, *a, at);
  });
  cases.push_back(std::move(c));
}

// Seven chunks of eight splits, the last not full: both chunk buffers are filled several times.
void add_combine(std::vector<Case>& cases, uint64_t seed) {
  constexpr int heads = 3, splits = 53, first_slot = 2, slots = splits + first_slot;
  Random random{seed};
  std::vector<float> partial(size_t(slots) * heads * kLatent), lse(size_t(slots) * heads);
  for (float& v : partial) v = static_cast<float>(2 * random.unit() - 1);
  for (float& v : lse) v = static_cast<float>(8 * random.unit() - 4);
  std::vector<double> want(size_t(heads) * kLatent), want_lse(heads);
  for (int h = 0; h < heads; ++h) {
    double sum = 0;
    for (int s = 0; s < splits; ++s) {
      const size_t row = size_t(first_slot + s) * heads + h;
      const double w = std::exp2(lse[row]);
      sum += w;
      for (int i = 0; i < kLatent; ++i) want[h * kLatent + i] += w * partial[row * kLatent + i];
    }
    for (int i = 0; i < kLatent; ++i) want[h * kLatent + i] /= sum;
    want_lse[h] = std::log(sum);
  }
  Case c{.name = "mla_combine/",
         .path = "mla/mla_combine.ptx",
         .params = {{"TYPE", 0}, {"DEPTH", 8}},
         .protocols = everything(),
         .problems = {}};
  c.problems.push_back([=](const Device& device, const Notes& notes) -> std::string {
    Memory memory(device);
    std::vector<uint16_t> out(want.size(), 0x7fc0);
    std::vector<float> got_lse(heads, kNaN);
    const uint64_t count = memory.input(std::vector<int32_t>{1}),
                   merges = memory.input(std::vector<int32_t>{0, first_slot, splits, 0}),
                   d_partial = memory.input(partial), d_lse = memory.input(lse), d_out = memory.output(out),
                   d_out_lse = memory.output(got_lse);
    memory.prime();
    device.kernel().set_max_dynamic_shared_bytes(static_cast<int>(note(notes, "smem_bytes")));
    driver::Launch launch(device.kernel(), {.grid = {heads, 2},
                                            .block = {note(notes, "threads")},
                                            .dynamic_shared_bytes = note(notes, "smem_bytes"),
                                            .programmatic = true});
    launch(nullptr, count, merges, d_partial, d_lse, uint64_t(0), d_out, uint64_t(heads * 1024),
           uint64_t(heads * 1024), uint64_t(1024), d_out_lse, uint64_t(heads * 4), uint64_t(heads * 4),
           uint64_t(4), uint32_t(1), uint32_t(heads), uint32_t(0), uint32_t(1));
    device.context().synchronize();
    for (const std::string& stray : {memory.download(d_out, out.data(), 2 * out.size()),
                                     memory.download(d_out_lse, got_lse.data(), 4 * heads)})
      if (!stray.empty()) return "an output" + stray;
    for (int h = 0; h < heads; ++h) {
      // FP32 sums and approximate ex2, lg2 and rcp: some 1e-6; the rounding to BF16: 2^-9
      if (!(std::fabs(got_lse[h] - want_lse[h]) <= 1e-4)) return fmt::format("LSE of head {}", h);
      for (int i = 0; i < kLatent; ++i) {
        const double x = want[h * kLatent + i];
        if (!(std::fabs(test::from_bf16(out[h * kLatent + i]) - x) <= 0x1p-8 * std::fabs(x) + 1e-5))
          return fmt::format("head {} column {}", h, i);
      }
    }
    return {};
  });
  cases.push_back(std::move(c));
}

// What mla_schedule makes of the lengths, by the formulas of its head. split: blocks of a fixed cut, 0: free
// cuts.
struct Schedule {
  static constexpr int kCapacity = 640, kOverhead = 2;
  int requests, parts, split;
  std::vector<int32_t> lengths, flags, pieces, merges;
  std::vector<int32_t>
      part_begin;  // of fixed cuts; of free ones the text leaves it open where a cut moves to an edge
  int max_pieces = 0;

  Schedule(int request_count, int part_count, int split_blocks, uint64_t seed)
      : requests(request_count), parts(part_count), split(split_blocks) {
    Random random{seed};
    std::vector<int> length, blocks, count;
    int total = 0, longest = 0;
    for (int r = 0; r < requests; ++r) {
      lengths.push_back(static_cast<int32_t>(random.between(-20, 700)));
      flags.push_back(lengths[r] < 0 ? 1 : lengths[r] > kCapacity ? 2 : 0);
      length.push_back(std::clamp<int>(lengths[r], 0, kCapacity));
      blocks.push_back(static_cast<int>(ceil_div(length[r], 64)));
      count.push_back(split ? std::max(1, static_cast<int>(ceil_div(blocks[r], split))) : 1);
      total += blocks[r] + kOverhead * count[r];
      longest = std::max(longest, blocks[r]);
    }
    int target = static_cast<int>(ceil_div(total, parts));
    int64_t best = INT64_MAX;
    for (int used = 1; used <= parts && !split; ++used) {
      const int64_t each = ceil_div(total, used);
      const int64_t cost = 8 * each + (longest > each ? 8 * kOverhead + (longest + each - 1) / each : 0);
      if (cost < best) best = cost, target = static_cast<int>(each);
    }
    const int snap = std::clamp(target / 4, 1, 4);
    int at = 0, slots = 0;
    std::vector<int> starts;
    for (int r = 0; r < requests; ++r) {
      std::vector<int> cuts = {0};
      if (split)
        for (int s = 1; s < count[r]; ++s) cuts.push_back(s * split);
      for (int p = 1; p < parts && !split; ++p) {
        const int o = p * target - at - kOverhead;
        if (p * target >= at && o >= snap && o <= blocks[r] - snap) cuts.push_back(o);
      }
      const int splits = static_cast<int>(cuts.size());
      cuts.push_back(blocks[r]);
      const auto merge = static_cast<int32_t>(merges.size() / 4);
      if (splits > 1) merges.insert(merges.end(), {r, slots, splits, 0});
      for (int s = 0; s < splits; ++s) {
        starts.push_back(at + s * (split + kOverhead));
        pieces.insert(pieces.end(),
                      {r, cuts[s], cuts[s + 1], length[r], splits > 1 ? slots++ : -1, s, splits, merge});
      }
      at += blocks[r] + kOverhead * count[r];
    }
    for (int p = 0; p <= parts && split; ++p)
      part_begin.push_back(static_cast<int32_t>(
          p == parts ? starts.size()
                     : std::count_if(starts.begin(), starts.end(), [&](int x) { return x < p * target; })));
    max_pieces = split ? requests * std::max(1, static_cast<int>(ceil_div(kCapacity / 64, split)))
                       : requests + parts - 1;
  }
};

void add_schedule(std::vector<Case>& cases, uint64_t seed) {
  constexpr int kCounters = 150;  // of a merge: more than a round of the threads, in all
  Case c{.name = "mla_schedule/",
         .path = "mla/mla_schedule.ptx",
         .params = {},
         .protocols = everything(),
         .problems = {}};
  for (const auto& [requests, parts, split] : {std::tuple{700, 7, 3}, {600, 90, 0}, {5, 4, 0}}) {
    const auto s =
        std::make_shared<const Schedule>(requests, parts, split, seed + static_cast<uint64_t>(requests));
    c.problems.push_back([s](const Device& device, const Notes& notes) -> std::string {
      Memory memory(device);
      const auto poison = [](int n) { return std::vector<int32_t>(static_cast<size_t>(n), -77); };
      const int max_merges = s->split ? s->requests : std::min(s->requests, s->parts - 1);
      const int max_slots =
          s->split ? s->max_pieces : std::min(s->requests + s->parts - 1, 2 * (s->parts - 1));
      const uint64_t in = memory.input(s->lengths), flags = memory.output(poison(s->requests)),
                     begin = memory.output(poison(s->parts + 1)),
                     pieces = memory.output(poison(8 * s->max_pieces)), count = memory.output(poison(1)),
                     merges = memory.output(poison(4 * max_merges)),
                     arrivals = memory.output(poison(kCounters * max_merges));
      memory.prime();
      driver::Launch launch(device.kernel(),
                            {.grid = {1}, .block = {note(notes, "threads")}, .programmatic = true});
      launch(nullptr, in, flags, begin, pieces, count, merges, uint32_t(s->requests), uint32_t(0),
             uint32_t(1), uint32_t(Schedule::kCapacity), uint32_t(s->parts), uint32_t(s->split),
             uint32_t(max_slots), uint32_t(Schedule::kOverhead), arrivals, uint32_t(kCounters));
      device.context().synchronize();
      // Entries beyond the last are not written.
      const auto padded = [&](const std::vector<int32_t>& values, int size) {
        std::vector<int32_t> all = poison(size);
        std::copy(values.begin(), values.end(), all.begin());
        return all;
      };
      for (const std::string& difference :
           {memory.compare("flags", flags, s->flags),
            memory.compare("pieces", pieces, padded(s->pieces, 8 * s->max_pieces)),
            memory.compare("merges", merges, padded(s->merges, 4 * max_merges)),
            memory.compare(
                "arrivals", arrivals,
                padded(std::vector<int32_t>(kCounters * s->merges.size() / 4, 0), kCounters * max_merges)),
            memory.compare("merge_count", count,
                           std::vector<int32_t>{static_cast<int32_t>(s->merges.size() / 4)})})
        if (!difference.empty()) return difference;
      if (s->split) return memory.compare("part_begin", begin, s->part_begin);
      std::vector<int32_t> bounds(s->parts + 1);
      if (std::string stray = memory.download(begin, bounds.data(), 4 * bounds.size()); !stray.empty())
        return "part_begin" + stray;
      if (bounds.front() != 0 || bounds.back() != static_cast<int32_t>(s->pieces.size() / 8) ||
          !std::is_sorted(bounds.begin(), bounds.end()))
        return "parts are no runs of all pieces";
      return {};
    });
  }
  cases.push_back(std::move(c));
}

void add_append(std::vector<Case>& cases, uint64_t seed) {
  constexpr int tokens = 22, page = 8, slots = 4 * page;
  const std::vector<uint16_t> latent = test::random_bf16(size_t(tokens) * kLatent, seed),
                              rope = test::random_bf16(size_t(tokens) * kRope, seed + 1);
  std::vector<int32_t> slot;
  for (int t = 0; t < tokens; ++t)
    slot.push_back(t == 3 ? -1 : t == 7 ? slots : t == 9 ? -5 : (t * 11 + 5) % slots);
  const std::vector<uint8_t> poison(size_t(slots) * mla::kTokenBytes, 0xEE);
  std::vector<uint8_t> expected = poison;
  for (int t = 0; t < tokens; ++t) {
    if (slot[t] < 0 || slot[t] >= slots) continue;
    uint8_t* to = &expected[size_t(slot[t]) * mla::kTokenBytes];
    for (int b = 0; b < 4; ++b) {
      float x[128];
      for (int i = 0; i < 128; ++i) x[i] = test::from_bf16(latent[size_t(t) * kLatent + 128 * b + i]);
      const test::QuantizedBlock block = test::quantized(x);
      std::copy_n(block.q, 128, to + 128 * b);
      std::memcpy(to + kLatent + 4 * b, &block.scale, 4);
    }
    std::memcpy(to + kLatent + 16, &rope[size_t(t) * kRope], 2 * kRope);
  }
  Case c{.name = "mla_append/e4m3",
         .path = "mla/mla_append.ptx",
         .params = {{"FORMAT", 1}, {"SCALE", 0}, {"SLOT_BYTES", 4}},
         .protocols = everything(),
         .problems = {}};
  c.problems.push_back([=](const Device& device, const Notes& notes) {
    Memory memory(device);
    const uint64_t d_latent = memory.input(latent), d_rope = memory.input(rope), d_slot = memory.input(slot),
                   cache = memory.output(poison), bad = memory.output(std::vector<uint32_t>{40});
    memory.prime();
    driver::Launch launch(device.kernel(), {.grid = {ceil_div(tokens, note(notes, "tokens_per_cta"))},
                                            .block = {note(notes, "threads")},
                                            .programmatic = true});
    launch(nullptr, d_latent, d_rope, d_slot, cache, uint64_t(0), bad, uint64_t(1024), uint64_t(128),
           uint64_t(page * mla::kTokenBytes), uint64_t(mla::kTokenBytes), uint64_t(0), uint64_t(0),
           uint32_t(tokens), uint32_t(page), uint32_t(slots));
    device.context().synchronize();
    const std::string difference = memory.compare("cache", cache, expected);
    return difference.empty() ? memory.compare("bad_slots", bad, std::vector<uint32_t>{42}) : difference;
  });
  cases.push_back(std::move(c));
}

}  // namespace

void add_mla_cases(std::vector<Case>& cases, uint64_t seed) {
  add_decode(cases, seed + 201, 1, false);
  add_decode(cases, seed + 202, 2, false);
  add_decode(cases, seed + 206, 1, true);
  add_decode_fp8(cases, seed + 203, false);
  add_decode_fp8(cases, seed + 204, true);
  add_decode_e4m3(cases, seed + 208, 1);
  add_decode_e4m3(cases, seed + 209, 2);
  add_combine(cases, seed + 205);
  add_schedule(cases, seed + 206);
  add_append(cases, seed + 207);
}

}  // namespace ptxops::mutants
