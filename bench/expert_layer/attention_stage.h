// What the attention stages share: their requests, device memory, timing and the FP64 reference.
#pragma once

#include <functional>

#include "bench/expert_layer/attention.h"

namespace ptxops::demo {

inline constexpr int kHeads = 128, kWidth = 576, kPage = 64;

// Throws std::runtime_error with the op's text.
void check(ptxopsStatus_t status);

// Lengths from 1 to the longest, and pages of 64 keys in no order.
struct Requests {
  int columns = 0, pages = 0;
  int64_t keys = 0;                     // of all
  std::vector<int32_t> lengths, table;  // table [requests][columns], -1 where there is no page
  size_t slot(size_t request, int key) const;
};
Requests random_requests(const AttentionOptions& options);

// What a stage owns on the device. Fresh memory is NaN.
class StageMemory {
 public:
  explicit StageMemory(ptxopsContext_t context);
  ~StageMemory();
  StageMemory(const StageMemory&) = delete;
  ptxopsDevicePtr_t allocate(size_t bytes);
  template <class T>
  ptxopsDevicePtr_t upload(const std::vector<T>& host) {
    const ptxopsDevicePtr_t p = allocate(host.size() * sizeof(T));
    check(ptxopsMemcpyToDevice(context_, p, host.data(), host.size() * sizeof(T), nullptr));
    return p;
  }
  template <class T>
  std::vector<T> download(ptxopsDevicePtr_t p, size_t count) {
    std::vector<T> host(count);
    check(ptxopsMemcpyToHost(context_, host.data(), p, count * sizeof(T), nullptr));
    return host;
  }
  // Owns the plan, prepares it, prints how it was chosen.
  ptxopsPlan_t ready(ptxopsPlan_t plan, bool explain);
  // A workspace of the plan's size.
  ptxopsDevicePtr_t workspace(ptxopsPlan_t plan, size_t* bytes);
  void timed(AttentionResult& result, const std::function<ptxopsStatus_t()>& run);

 private:
  ptxopsContext_t context_;
  ptxopsTimer_t timer_ = nullptr;
  std::vector<ptxopsPlan_t> plans_;
  std::vector<ptxopsDevicePtr_t> memory_;
};

// out[r,h,:] = softmax(q[r,h,:] . keys[r] / sqrt(576)) * keys[r][:, 0:512]; q [rows][kHeads][kWidth] BF16,
// keys[r] is [n][kWidth].
Matrix exact_attention(const std::vector<uint16_t>& q, const std::vector<std::vector<float>>& keys);

}  // namespace ptxops::demo
