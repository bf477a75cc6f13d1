#include "bench/expert_layer/attention.h"

#include <fmt/core.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

namespace ptxops::demo {
namespace {

constexpr int kHeads = 128, kWidth = 576, kPage = 64;

void check(ptxopsStatus_t status) {
  if (status != PTXOPS_SUCCESS)
    throw std::runtime_error(
        fmt::format("MLA decode: {}: {}", ptxopsGetStatusName(status), ptxopsGetLastError()));
}

// What the stage owns on the device.
struct Owned {
  explicit Owned(ptxopsContext_t c) : context(c) {}
  ~Owned() {
    ptxopsPlanDestroy(plan);
    ptxopsTimerDestroy(timer);
    for (ptxopsDevicePtr_t p : memory) ptxopsMemFree(context, p);
  }
  ptxopsDevicePtr_t allocate(size_t bytes) {
    ptxopsDevicePtr_t p = 0;
    check(ptxopsMemAlloc(context, &p, bytes));
    memory.push_back(p);
    check(ptxopsMemset(context, p, 0xff, bytes, nullptr));  // NaN
    return p;
  }
  template <class T>
  ptxopsDevicePtr_t upload(const std::vector<T>& host) {
    const ptxopsDevicePtr_t p = allocate(host.size() * sizeof(T));
    check(ptxopsMemcpyToDevice(context, p, host.data(), host.size() * sizeof(T), nullptr));
    return p;
  }
  ptxopsContext_t context;
  ptxopsPlan_t plan = nullptr;
  ptxopsTimer_t timer = nullptr;
  std::vector<ptxopsDevicePtr_t> memory;
};

// out[b,h,:] = softmax(q . keys / sqrt(576)) * keys[:, 0:512]; page i of request b is table[b * columns + i].
Matrix exact_attention(const std::vector<uint16_t>& q, const std::vector<uint16_t>& cache,
                       const std::vector<int32_t>& table, const std::vector<int32_t>& lengths) {
  const size_t columns = table.size() / lengths.size();
  Matrix out(lengths.size() * kHeads * kAttentionColumns);
  for (size_t b = 0; b < lengths.size(); ++b) {
    const auto length = static_cast<size_t>(lengths[b]);
    std::vector<float> keys(length * kWidth);
    for (size_t k = 0; k < length; ++k) {
      const auto page = static_cast<size_t>(table[b * columns + k / kPage]);
      for (size_t c = 0; c < kWidth; ++c)
        keys[k * kWidth + c] = bf16_to_float(cache[(page * kPage + k % kPage) * kWidth + c]);
    }
    tbb::parallel_for(size_t{0}, size_t{kHeads}, [&](size_t h) {
      std::vector<double> query(kWidth), weight(length);
      for (size_t c = 0; c < kWidth; ++c) query[c] = bf16_to_float(q[(b * kHeads + h) * kWidth + c]);
      double top = -INFINITY, sum = 0;
      for (size_t k = 0; k < length; ++k) {
        double partial[8] = {};
        for (size_t c = 0; c < kWidth; c += 8)
          for (size_t j = 0; j < 8; ++j) partial[j] += query[c + j] * keys[k * kWidth + c + j];
        double s = 0;
        for (const double p : partial) s += p;
        weight[k] = s / std::sqrt(static_cast<double>(kWidth));
        top = std::max(top, weight[k]);
      }
      for (double& w : weight) sum += w = std::exp(w - top);
      double* row = out.data() + (b * kHeads + h) * kAttentionColumns;
      for (size_t k = 0; k < length; ++k)
        for (size_t c = 0; c < kAttentionColumns; ++c) row[c] += weight[k] / sum * keys[k * kWidth + c];
    });
  }
  return out;
}

}  // namespace

AttentionResult attention(ptxopsContext_t context, const AttentionOptions& o) {
  Random random(o.seed);
  const auto requests = static_cast<size_t>(o.requests);
  const int columns = (o.longest + kPage - 1) / kPage;
  std::vector<int32_t> lengths(requests), table(requests * static_cast<size_t>(columns), -1);
  int32_t pages = 0;
  double keys = 0;
  for (size_t b = 0; b < requests; ++b) {
    // the longest first, a single token second, the rest in between
    lengths[b] = b == 0   ? o.longest
                 : b == 1 ? 1
                          : 1 + static_cast<int32_t>(random.next() % static_cast<uint64_t>(o.longest));
    keys += lengths[b];
    for (int i = 0; i < (lengths[b] + kPage - 1) / kPage; ++i)
      table[b * static_cast<size_t>(columns) + static_cast<size_t>(i)] = pages++;
  }
  for (size_t i = table.size(); i > 1; --i) {  // pages in no order
    int32_t& a = table[i - 1];
    int32_t& c = table[random.next() % i];
    if (a >= 0 && c >= 0) std::swap(a, c);
  }
  const std::vector<uint16_t> q = random_bf16(requests * kHeads * kWidth, 1, o.seed + 1);
  const std::vector<uint16_t> cache = random_bf16(static_cast<size_t>(pages) * kPage * kWidth, 1, o.seed + 2);

  Owned device(context);
  ptxopsMlaDecodeDesc_t desc = PTXOPS_MLA_DECODE_DESC_INITIALIZER;
  desc.batch = o.requests, desc.h_q = kHeads, desc.pages = pages, desc.page_size = kPage,
  desc.max_pages = columns;
  desc.sm_count = o.sms;
  check(ptxopsMlaDecodePlanCreate(context, &desc, &device.plan));
  check(ptxopsPlanPrepare(device.plan));
  if (o.explain) {
    size_t needed = 0;
    check(ptxopsPlanExplain(device.plan, nullptr, 0, &needed));
    std::string text(needed, '\0');
    check(ptxopsPlanExplain(device.plan, text.data(), needed, nullptr));
    fmt::print("{}", text.c_str());
  }
  size_t workspace_bytes = 0;
  check(ptxopsPlanGetWorkspaceSize(device.plan, &workspace_bytes));
  std::vector<uint16_t> out(requests * kHeads * kAttentionColumns);
  ptxopsMlaDecodeArgs_t args = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
  args.q = device.upload(q), args.cache = device.upload(cache), args.page_table = device.upload(table);
  args.lengths = device.upload(lengths), args.out = device.allocate(out.size() * 2);
  args.lse = device.allocate(requests * kHeads * 4);
  const ptxopsDevicePtr_t workspace = device.allocate(workspace_bytes);

  AttentionResult result;
  check(ptxopsTimerCreate(context, &device.timer));
  const auto start = std::chrono::steady_clock::now();
  check(ptxopsTimerStart(device.timer, nullptr));
  check(ptxopsMlaDecodeRun(device.plan, &args, workspace, workspace_bytes, nullptr));
  check(ptxopsTimerStop(device.timer, nullptr, &result.seconds));
  check(ptxopsStreamSynchronize(context, nullptr));
  result.host_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  check(ptxopsMemcpyToHost(context, out.data(), args.out, out.size() * 2, nullptr));
  result.shape = fmt::format("{} x {} heads, {:.0f} keys", o.requests, kHeads, keys);
  result.flops = 2 * keys * kHeads * (kWidth + kAttentionColumns);
  result.bytes = 2 * (keys * kWidth + static_cast<double>(requests) * kHeads * (kWidth + kAttentionColumns));
  result.out = widen(out);
  result.exact = exact_attention(q, cache, table, lengths);
  return result;
}

}  // namespace ptxops::demo
