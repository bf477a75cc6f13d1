#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "bench/expert_layer/attention_stage.h"

namespace ptxops::demo {
namespace {

constexpr size_t kTokenBytes = 656;

// A token of the cache: 512 e4m3, four FP32 scales, 64 BF16.
void dequantise_token(const uint8_t* token, std::vector<float>& to) {
  float scales[4];
  std::memcpy(scales, token + kLatent, sizeof scales);
  for (int c = 0; c < kLatent; ++c) to.push_back(e4m3_to_float(token[c]) * scales[c / 128]);
  for (int c = 0; c < kWidth - kLatent; ++c) {
    uint16_t bits;
    std::memcpy(&bits, token + kLatent + sizeof scales + 2 * c, 2);
    to.push_back(bf16_to_float(bits));
  }
}

class Fp8Attention {
 public:
  Fp8Attention(ptxopsContext_t context, const AttentionOptions& options)
      : context_(context),
        o_(options),
        r_(random_requests(options)),
        device_(context),
        q_(random_bf16(r_.lengths.size() * kHeads * kWidth, 1, options.seed + 1)),
        cache_(device_.allocate(slots() * kTokenBytes)),
        d_q_(device_.upload(q_)) {}

  AttentionResult append() {
    const auto tokens = static_cast<size_t>(r_.keys);
    const auto latent = random_bf16(tokens * kLatent, 1, o_.seed + 2),
               rope = random_bf16(tokens * (kWidth - kLatent), 1, o_.seed + 3);
    std::vector<int32_t> slot;
    for (size_t b = 0; b < r_.lengths.size(); ++b)
      for (int k = 0; k < r_.lengths[b]; ++k) slot.push_back(static_cast<int32_t>(r_.slot(b, k)));
    ptxopsMlaAppendDesc_t desc = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
    desc.tokens = r_.keys, desc.pages = r_.pages, desc.page_size = kPage, desc.format = PTXOPS_MLA_CACHE_FP8;
    ptxopsPlan_t plan = nullptr;
    check(ptxopsMlaAppendPlanCreate(context_, &desc, &plan));
    device_.ready(plan, o_.explain);
    ptxopsMlaAppendArgs_t args = PTXOPS_MLA_APPEND_ARGS_INITIALIZER;
    args.latent = device_.upload(latent), args.rope = device_.upload(rope), args.slot = device_.upload(slot);
    args.cache = cache_;
    AttentionResult result{"MLA append FP8", fmt::format("{} tokens of 656 bytes", tokens)};
    device_.timed(result, [&] { return ptxopsMlaAppendRun(plan, &args, nullptr); });
    result.bytes = static_cast<double>(tokens * (2 * kWidth + kTokenBytes));
    const auto bytes = device_.download<uint8_t>(cache_, slots() * kTokenBytes);
    keys_.resize(slots());
    for (size_t t = 0; t < tokens; ++t)
      dequantise_token(&bytes[static_cast<size_t>(slot[t]) * kTokenBytes],
                       keys_[static_cast<size_t>(slot[t])]);
    result.columns = kWidth;
    const Matrix exact_latent = widen(latent), exact_rope = widen(rope);
    const auto row = [](const Matrix& m, size_t t, size_t width) {
      return m.begin() + static_cast<long>(t * width);
    };
    for (size_t t = 0; t < tokens; ++t) {
      const std::vector<float>& have = keys_[static_cast<size_t>(slot[t])];
      result.out.insert(result.out.end(), have.begin(), have.end());
      result.exact.insert(result.exact.end(), row(exact_latent, t, kLatent),
                          row(exact_latent, t + 1, kLatent));
      result.exact.insert(result.exact.end(), row(exact_rope, t, kWidth - kLatent),
                          row(exact_rope, t + 1, kWidth - kLatent));
    }
    return result;
  }

  AttentionResult dense() {
    ptxopsMlaDecodeFp8Desc_t desc = PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER;
    desc.max_pages = r_.columns;
    std::vector<std::vector<float>> keys(r_.lengths.size());
    for (size_t b = 0; b < keys.size(); ++b)
      for (int k = 0; k < r_.lengths[b]; ++k) append_key(keys[b], r_.slot(b, k));
    return decode("MLA decode FP8", desc, r_.table, r_.lengths, keys);
  }

  AttentionResult sparse() {
    ptxopsMlaDecodeFp8Desc_t desc = PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER;
    desc.sparse = 1, desc.top_k = (o_.longest + 3) / 4;
    Random random(o_.seed + 4);
    std::vector<int32_t> indices(r_.lengths.size() * static_cast<size_t>(desc.top_k), -1), lengths;
    std::vector<std::vector<float>> keys(r_.lengths.size());
    for (size_t b = 0; b < keys.size(); ++b) {
      // A random choice of the request's keys, in random order.
      std::vector<int32_t> all(static_cast<size_t>(r_.lengths[b]));
      for (int k = 0; k < r_.lengths[b]; ++k)
        all[static_cast<size_t>(k)] = static_cast<int32_t>(r_.slot(b, k));
      for (size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random.next() % i]);
      all.resize(std::min(all.size(), static_cast<size_t>(desc.top_k)));
      std::copy(all.begin(), all.end(), indices.begin() + static_cast<long>(b) * desc.top_k);
      for (const int32_t slot : all) append_key(keys[b], static_cast<size_t>(slot));
      lengths.push_back(static_cast<int32_t>(all.size()));
    }
    return decode("MLA decode sparse", desc, indices, lengths, keys);
  }

 private:
  size_t slots() const { return static_cast<size_t>(r_.pages) * kPage; }
  void append_key(std::vector<float>& to, size_t slot) const {
    to.insert(to.end(), keys_[slot].begin(), keys_[slot].end());
  }

  AttentionResult decode(const char* name, ptxopsMlaDecodeFp8Desc_t desc, const std::vector<int32_t>& table,
                         const std::vector<int32_t>& lengths, const std::vector<std::vector<float>>& keys) {
    desc.batch = o_.requests, desc.h_q = kHeads, desc.pages = r_.pages, desc.page_size = kPage,
    desc.sm_count = o_.sms;
    ptxopsPlan_t plan = nullptr;
    check(ptxopsMlaDecodeFp8PlanCreate(context_, &desc, &plan));
    device_.ready(plan, o_.explain);
    const size_t rows = lengths.size() * kHeads;
    ptxopsMlaDecodeFp8Args_t args = PTXOPS_MLA_DECODE_FP8_ARGS_INITIALIZER;
    args.q = d_q_, args.cache = cache_, args.keys = device_.upload(table),
    args.lengths = device_.upload(lengths);
    args.out = device_.allocate(rows * kLatent * 2), args.lse = device_.allocate(rows * 4);
    size_t bytes = 0;
    const ptxopsDevicePtr_t workspace = device_.workspace(plan, &bytes);
    double count = 0;
    for (const int32_t n : lengths) count += n;
    AttentionResult result{name, fmt::format("{} x {} heads, {:.0f} keys", o_.requests, kHeads, count)};
    device_.timed(result, [&] { return ptxopsMlaDecodeFp8Run(plan, &args, workspace, bytes, nullptr); });
    result.flops = 2 * count * kHeads * (kWidth + kLatent);
    result.bytes = count * kTokenBytes + 2.0 * static_cast<double>(rows) * (kWidth + kLatent);
    result.out = widen(device_.download<uint16_t>(args.out, rows * kLatent));
    result.exact = exact_attention(q_, keys);
    return result;
  }

  ptxopsContext_t context_;
  AttentionOptions o_;
  Requests r_;
  StageMemory device_;
  std::vector<uint16_t> q_;
  std::vector<std::vector<float>> keys_;  // what the cache holds, by slot
  ptxopsDevicePtr_t cache_, d_q_;
};

}  // namespace

std::vector<AttentionResult> attention_fp8(ptxopsContext_t context, const AttentionOptions& options) {
  Fp8Attention stage(context, options);
  std::vector<AttentionResult> results;
  results.push_back(stage.append());
  results.push_back(stage.dense());
  results.push_back(stage.sparse());
  return results;
}

}  // namespace ptxops::demo
