// MLA over an FP8 cache: decode with whole and cut requests, and append.
#include <cmath>
#include <cstring>
#include <memory>

#include "tests/mutants/cases.h"
#include "tests/support/mla_fp8_data.h"

namespace ptxops::mutants {
namespace {

using test::mla::Cut;
using test::mla::Data;
using test::mla::Problem;

std::vector<Protocol> decode_protocols() {
  std::vector<Protocol> out;
  const auto add = [&](const char* name, std::initializer_list<const char*> texts) {
    for (const char* text : texts) out.push_back({text, name});
  };
  // Keys, p and what announces the next scores alternate between two slots in step.
  add("slots", {"SMEM_FULL", "SMEM_EMPTY", "SMEM_P_FULL", "SMEM_NEXT", "SMEM_VALID", "SMEM_SCALE",
                "store_codes(", "announce_next(", "multiply_half(", "score_chunk(", "ldmatrix", "stmatrix",
                "HALF", "SCORE_BLOCK", "OUTPUT_BLOCK", "bar.sync 0;", "fence_async_smem()"});
  add("norms", {"SMEM_NORM"});
  add("q", {"load_q_", "named_barrier(1", "cp.async", "fence_async_smem()", "score_chunk("});
  add("registers", {"wgmma", "left{{", "right{{", "setmaxnreg"});
  add("dependent launch", {"dependency_wait()", "ld.global", "st.global"});
  return out;
}

std::string run_decode(const Device& device, const Notes& notes, const Data& data, const Cut& cut) {
  const Problem& p = data.p;
  const size_t partial_rows = size_t(cut.slots) * data.rows;
  std::vector<uint16_t> out(size_t(p.batch * data.out_batch), 0x7fc0);
  std::vector<float> lse(size_t(data.requests) * data.rows, NAN), partial(partial_rows * 512, NAN),
      partial_lse(partial_rows, NAN);
  std::vector<int32_t> flags(data.requests, 0);
  Memory memory(device);
  const uint64_t q = memory.input(data.q), cache = memory.input(data.cache), table = memory.input(data.table),
                 parts = memory.input(cut.part_begin), pieces = memory.input(cut.pieces),
                 sink = memory.input(data.sink), d_out = memory.output(out), d_lse = memory.output(lse),
                 d_partial = memory.output(partial), d_partial_lse = memory.output(partial_lse),
                 d_flags = memory.output(flags);
  memory.prime();
  const auto note = [&](const char* name) { return static_cast<uint32_t>(notes.at(name)); };
  device.kernel().set_max_dynamic_shared_bytes(static_cast<int>(note("smem_bytes")));
  driver::Launch launch(device.kernel(), {.grid = {1, uint32_t(cut.part_begin.size() - 1)},
                                          .block = {note("threads")},
                                          .dynamic_shared_bytes = note("smem_bytes"),
                                          .programmatic = true});
  const auto bytes = [](int64_t elements, int64_t size) { return static_cast<uint64_t>(elements * size); };
  launch(nullptr, q, bytes(data.q_batch, 2), bytes(data.q_token, 2), bytes(data.q_head, 2), d_out,
         bytes(data.out_batch, 2), bytes(data.out_token, 2), bytes(data.out_head, 2), d_lse,
         bytes(p.s_q * p.h_q, 4), bytes(1, 4), bytes(p.s_q, 4), d_partial, d_partial_lse, parts, pieces,
         d_flags, table, bytes(data.table_width * (p.sparse ? p.s_q : 1), 4), bytes(data.table_width, 4),
         cache, uint64_t(data.page_stride), uint64_t(data.token_stride), p.sinks ? sink : uint64_t(0),
         uint32_t(p.page_size), uint32_t(p.pages), uint32_t(p.s_q), uint32_t(p.h_q),
         uint32_t(p.causal ? 1 : 0), static_cast<float>(data.scale * 1.4426950408889634));
  device.context().synchronize();
  for (const std::string& stray :
       {memory.download(d_out, out.data(), out.size() * 2),
        memory.download(d_lse, lse.data(), lse.size() * 4),
        memory.download(d_partial, partial.data(), partial.size() * 4),
        memory.download(d_partial_lse, partial_lse.data(), partial_lse.size() * 4)})
    if (!stray.empty()) return "mla_decode_fp8" + stray;
  return cut.difference(data, out, lse, partial, partial_lse);
}

void add_decode(std::vector<Case>& cases, const char* name, const Problem& problem, int splits,
                uint64_t seed) {
  const auto data = std::make_shared<Data>(problem, seed);
  const auto cut = std::make_shared<Cut>(*data, splits, 1);
  cases.push_back({.name = std::string("mla_decode_fp8/") + name,
                   .path = "mla/mla_decode_fp8.ptx",
                   .params = {{"SPARSE", problem.sparse ? 1 : 0}},
                   .protocols = decode_protocols(),
                   .problems = {[=](const Device& device, const Notes& notes) {
                     return run_decode(device, notes, *data, *cut);
                   }}});
}

// Latent values are codes times a power of two, so that a host without arithmetic of its own knows the bytes.
void add_append(std::vector<Case>& cases, uint64_t seed) {
  constexpr int tokens = 9, pages = 3, page_size = 5;
  std::vector<uint16_t> latent(size_t(tokens) * 512), rope(size_t(tokens) * 64);
  std::vector<int32_t> slots(tokens);
  std::vector<uint8_t> cache(size_t(pages) * page_size * 656, 0xee), expected = cache;
  uint64_t state = seed;
  const auto next = [&] { return state = state * 6364136223846793005u + 1442695040888963407u, state >> 33; };
  for (auto& v : rope) v = static_cast<uint16_t>(next());
  for (int t = 0; t < tokens; ++t) {
    slots[size_t(t)] = t == 3 ? -1 : t == 1 ? pages * page_size : t == 7 ? -9 : (t * 7) % (pages * page_size);
    uint8_t token[656];
    for (int b = 0; b < 4; ++b) {
      const float scale = std::ldexp(1.0f, static_cast<int>(next() % 9) - 4);
      for (int i = 0; i < 128; ++i) {
        const uint8_t code = i == 5 ? 0x7e : static_cast<uint8_t>(next() % 2 * 128 + next() % 0x7f);
        token[128 * b + i] = code;
        latent[size_t(t) * 512 + 128 * b + i] = test::mla::to_bf16(test::mla::e4m3_value(code) * scale);
      }
      std::memcpy(token + 512 + 4 * b, &scale, 4);
    }
    std::memcpy(token + 528, &rope[size_t(t) * 64], 128);
    if (slots[size_t(t)] >= 0 && slots[size_t(t)] < pages * page_size)
      std::memcpy(&expected[size_t(slots[size_t(t)]) * 656], token, 656);
  }
  const std::vector<uint32_t> bad = {40}, bad_expected = {42};
  cases.push_back({.name = "mla_append/656 bytes, powers of two",
                   .path = "mla/mla_append.ptx",
                   .params = {{"FORMAT", 1}, {"SCALE", 1}, {"SLOT_BYTES", 4}},
                   .protocols = {{"", "kernel"}},
                   .problems = {[=](const Device& device, const Notes& notes) {
                     Memory memory(device);
                     const uint64_t in = memory.input(latent), in_rope = memory.input(rope),
                                    in_slots = memory.input(slots), out = memory.output(cache),
                                    count = memory.output(bad);
                     memory.prime();
                     driver::Launch launch(device.kernel(),
                                           {.grid = {(tokens + 3) / 4},
                                            .block = {static_cast<uint32_t>(notes.at("threads"))},
                                            .programmatic = true});
                     launch(nullptr, in, in_rope, in_slots, out, out, count, uint64_t(1024), uint64_t(128),
                            uint64_t(page_size * 656), uint64_t(656), uint64_t(0), uint64_t(0),
                            uint32_t(tokens), uint32_t(page_size), uint32_t(pages * page_size));
                     device.context().synchronize();
                     const std::string different = memory.compare("cache", out, expected);
                     return different.empty() ? memory.compare("bad_slots", count, bad_expected) : different;
                   }}});
}

}  // namespace

void add_mla_fp8_cases(std::vector<Case>& cases, uint64_t seed) {
  // Six blocks and more in one CTA: every slot three times; a whole request, then one in two pieces.
  add_decode(cases, "sparse",
             {.batch = 1,
              .s_q = 2,
              .h_q = 9,
              .page_size = 7,
              .pages = 40,
              .lengths = {60, 400},
              .capacity = 400,
              .sinks = true},
             2, seed);
  add_decode(cases, "dense causal",
             {.sparse = false,
              .batch = 2,
              .s_q = 2,
              .h_q = 9,
              .page_size = 16,
              .lengths = {400, 60},
              .capacity = 400,
              .causal = true},
             2, seed + 1);
  add_append(cases, seed + 2);
}

}  // namespace ptxops::mutants
