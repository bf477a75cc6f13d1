#include "bench/expert_layer/attention_stage.h"

#include <fmt/core.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

namespace ptxops::demo {

void check(ptxopsStatus_t status) {
  if (status != PTXOPS_SUCCESS)
    throw std::runtime_error(fmt::format("MLA: {}: {}", ptxopsGetStatusName(status), ptxopsGetLastError()));
}

size_t Requests::slot(size_t request, int key) const {
  const int32_t page = table[request * static_cast<size_t>(columns) + static_cast<size_t>(key / kPage)];
  return static_cast<size_t>(page) * kPage + static_cast<size_t>(key % kPage);
}

Requests random_requests(const AttentionOptions& o) {
  Random random(o.seed);
  Requests r;
  r.columns = (o.longest + kPage - 1) / kPage;
  r.lengths.resize(static_cast<size_t>(o.requests));
  r.table.assign(r.lengths.size() * static_cast<size_t>(r.columns), -1);
  for (size_t b = 0; b < r.lengths.size(); ++b) {
    // the longest first, a single token second, the rest in between
    r.lengths[b] = b == 0   ? o.longest
                   : b == 1 ? 1
                            : 1 + static_cast<int32_t>(random.next() % static_cast<uint64_t>(o.longest));
    r.keys += r.lengths[b];
    for (int i = 0; i < (r.lengths[b] + kPage - 1) / kPage; ++i)
      r.table[b * static_cast<size_t>(r.columns) + static_cast<size_t>(i)] = r.pages++;
  }
  for (size_t i = r.table.size(); i > 1; --i) {  // pages in no order
    int32_t& a = r.table[i - 1];
    int32_t& c = r.table[random.next() % i];
    if (a >= 0 && c >= 0) std::swap(a, c);
  }
  return r;
}

StageMemory::StageMemory(ptxopsContext_t context) : context_(context) {
  check(ptxopsTimerCreate(context, &timer_));
}
StageMemory::~StageMemory() {
  for (ptxopsPlan_t p : plans_) ptxopsPlanDestroy(p);
  ptxopsTimerDestroy(timer_);
  for (ptxopsDevicePtr_t p : memory_) ptxopsMemFree(context_, p);
}

ptxopsDevicePtr_t StageMemory::allocate(size_t bytes) {
  ptxopsDevicePtr_t p = 0;
  check(ptxopsMemAlloc(context_, &p, bytes));
  memory_.push_back(p);
  check(ptxopsMemset(context_, p, 0xff, bytes, nullptr));
  return p;
}

ptxopsPlan_t StageMemory::ready(ptxopsPlan_t plan, bool explain) {
  plans_.push_back(plan);
  check(ptxopsPlanPrepare(plan));
  if (explain) {
    size_t needed = 0;
    check(ptxopsPlanExplain(plan, nullptr, 0, &needed));
    std::string text(needed, '\0');
    check(ptxopsPlanExplain(plan, text.data(), needed, nullptr));
    fmt::print("{}", text.c_str());
  }
  return plan;
}

ptxopsDevicePtr_t StageMemory::workspace(ptxopsPlan_t plan, size_t* bytes) {
  check(ptxopsPlanGetWorkspaceSize(plan, bytes));
  return allocate(*bytes);
}

void StageMemory::timed(AttentionResult& result, const std::function<ptxopsStatus_t()>& run) {
  const auto start = std::chrono::steady_clock::now();
  check(ptxopsTimerStart(timer_, nullptr));
  check(run());
  check(ptxopsTimerStop(timer_, nullptr, &result.seconds));
  check(ptxopsStreamSynchronize(context_, nullptr));
  result.host_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Matrix exact_attention(const std::vector<uint16_t>& q, const std::vector<std::vector<float>>& keys) {
  Matrix out(keys.size() * kHeads * kLatent);
  for (size_t r = 0; r < keys.size(); ++r) {
    const std::vector<float>& k = keys[r];
    const size_t count = k.size() / kWidth;
    tbb::parallel_for(size_t{0}, size_t{kHeads}, [&](size_t h) {
      std::vector<double> query(kWidth), weight(count);
      for (size_t c = 0; c < kWidth; ++c) query[c] = bf16_to_float(q[(r * kHeads + h) * kWidth + c]);
      double top = -INFINITY, sum = 0;
      for (size_t i = 0; i < count; ++i) {
        double partial[8] = {};
        for (size_t c = 0; c < kWidth; c += 8)
          for (size_t j = 0; j < 8; ++j) partial[j] += query[c + j] * k[i * kWidth + c + j];
        double s = 0;
        for (const double p : partial) s += p;
        weight[i] = s / std::sqrt(static_cast<double>(kWidth));
        top = std::max(top, weight[i]);
      }
      for (double& w : weight) sum += w = std::exp(w - top);
      double* row = out.data() + (r * kHeads + h) * kLatent;
      for (size_t i = 0; i < count; ++i)
        for (size_t c = 0; c < kLatent; ++c) row[c] += weight[i] / sum * k[i * kWidth + c];
    });
  }
  return out;
}

}  // namespace ptxops::demo
