// The main job: DeepSeek-V3's attention and one expert layer as Hopper PTX, through the C ABI, verified stage
// by stage. Exit status: 0 when every stage is within its bound, 1 when one is not, 2 on an error.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "bench/expert_layer/attention.h"
#include "bench/expert_layer/reference.h"
#include "bench/expert_layer/routing.h"
#include "bench/expert_layer/tensors.h"
#include "ops/include/ptxops.h"

namespace ptxops::demo {
namespace {

void check(ptxopsStatus_t status, const char* what) {
  if (status != PTXOPS_SUCCESS)
    throw std::runtime_error(
        fmt::format("{}: {}: {}", what, ptxopsGetStatusName(status), ptxopsGetLastError()));
}
#define CHECK(call) check(call, #call)

struct Options {
  int tokens = 64, experts = 256, local_experts = 8, first_expert = 0, hidden = 7168, intermediate = 2048,
      device = 0, sms = 0, requests = 8, longest = 2048;
  uint64_t seed = 20241226;
  bool explain = false;
};

class Device {
 public:
  explicit Device(int ordinal) {
    CHECK(ptxopsContextCreate(&context, ordinal));
    CHECK(ptxopsContextGetInfo(context, &info));
  }
  ~Device() {
    for (ptxopsPlan_t p : plans) ptxopsPlanDestroy(p);
    for (ptxopsDevicePtr_t p : memory) ptxopsMemFree(context, p);
    ptxopsContextDestroy(context);
  }
  // Memory poisoned with NaN patterns.
  ptxopsDevicePtr_t allocate(size_t bytes) {
    ptxopsDevicePtr_t p = 0;
    CHECK(ptxopsMemAlloc(context, &p, std::max<size_t>(bytes, 16)));
    memory.push_back(p);
    CHECK(ptxopsMemset(context, p, 0xff, std::max<size_t>(bytes, 16), nullptr));
    return p;
  }
  template <class T>
  ptxopsDevicePtr_t upload(const std::vector<T>& host) {
    ptxopsDevicePtr_t p = 0;
    CHECK(ptxopsMemAlloc(context, &p, std::max<size_t>(host.size() * sizeof(T), 16)));
    memory.push_back(p);
    CHECK(ptxopsMemcpyToDevice(context, p, host.data(), host.size() * sizeof(T), nullptr));
    return p;
  }
  template <class T>
  std::vector<T> download(ptxopsDevicePtr_t p, size_t count) {
    std::vector<T> host(count);
    CHECK(ptxopsMemcpyToHost(context, host.data(), p, count * sizeof(T), nullptr));
    return host;
  }
  ptxopsPlan_t ready(ptxopsPlan_t plan, bool explain) {
    plans.push_back(plan);
    CHECK(ptxopsPlanPrepare(plan));
    if (explain) {
      size_t needed = 0;
      CHECK(ptxopsPlanExplain(plan, nullptr, 0, &needed));
      std::string text(needed, '\0');
      CHECK(ptxopsPlanExplain(plan, text.data(), needed, nullptr));
      fmt::print("{}", text.c_str());
    }
    return plan;
  }

  ptxopsContext_t context = nullptr;
  ptxopsDeviceInfo_t info{};
  std::vector<ptxopsDevicePtr_t> memory;
  std::vector<ptxopsPlan_t> plans;
};

struct Stage {
  std::string name, shape;
  double flops = 0, bytes = 0;
  double seconds = 0, host_seconds = 0;
};

template <class Run>
void timed(Device& device, ptxopsTimer_t timer, Stage& stage, const Run& run) {
  const auto start = std::chrono::steady_clock::now();
  CHECK(ptxopsTimerStart(timer, nullptr));
  CHECK(run());
  CHECK(ptxopsTimerStop(timer, nullptr, &stage.seconds));
  CHECK(ptxopsStreamSynchronize(device.context, nullptr));
  stage.host_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Report {
 public:
  explicit Report(bool is_virtual) : virtual_(is_virtual) {
    fmt::print("\n{:<18} {:<28} {:>12} {:>9} {:>9}{} {:>10} {:>10} {:>8}\n", "stage", "shape",
               virtual_ ? "us modelled" : "us on GPU", "TFLOPS", "GB/s", virtual_ ? "  s on CPU" : "",
               "row error", "calc_diff", "bound");
  }
  void add(const Stage& s, const Error& e, double bound, double difference_bound) {
    const bool ok = e.worst_row <= bound && e.difference <= difference_bound && e.same_nonfinite;
    ok_ = ok_ && ok;
    fmt::print("{:<18} {:<28} {:>12.1f} {:>9.1f} {:>9.0f}{} {:>10.2e} {:>10.2e} {:>8.0e} {}\n", s.name,
               s.shape, s.seconds * 1e6, s.flops / s.seconds / 1e12, s.bytes / s.seconds / 1e9,
               virtual_ ? fmt::format(" {:>9.2f}", s.host_seconds) : std::string(), e.worst_row, e.difference,
               bound,
               ok                 ? "ok"
               : e.same_nonfinite ? "WRONG"
                                  : "WRONG (NaN or Inf)");
    std::fflush(stdout);
    total_ += s.seconds;
  }
  double total() const { return total_; }
  bool ok() const { return ok_; }

 private:
  bool virtual_;
  bool ok_ = true;
  double total_ = 0;
};

// Router logits of the batch: x times a random router matrix, in FP32.
std::vector<float> router_logits(const std::vector<uint16_t>& x, const Options& o) {
  const std::vector<uint16_t> router = random_bf16(static_cast<size_t>(o.experts) * o.hidden,
                                                   1 / std::sqrt(static_cast<float>(o.hidden)), o.seed + 2);
  std::vector<float> logits(static_cast<size_t>(o.tokens) * o.experts);
  std::vector<float> wide(router.size());
  for (size_t i = 0; i < wide.size(); ++i) wide[i] = bf16_to_float(router[i]);
  for (size_t t = 0; t < static_cast<size_t>(o.tokens); ++t) {
    std::vector<float> row(o.hidden);
    for (size_t i = 0; i < row.size(); ++i) row[i] = bf16_to_float(x[t * o.hidden + i]);
    for (size_t e = 0; e < static_cast<size_t>(o.experts); ++e) {
      double sum = 0;
      for (size_t i = 0; i < row.size(); ++i) sum += static_cast<double>(row[i]) * wide[e * o.hidden + i];
      logits[t * o.experts + e] = static_cast<float>(sum);
    }
  }
  return logits;
}

// Bounds, each for the worst row. Quantising to e4m3 leaves 3 mantissa bits: 2^-4 at most per element,
// about 2.7 % of a row's norm. A GEMM keeps 14 bits inside a 128-block (truncation, 32 products a step) and
// rounds to BF16 once: about 0.3 %. The scatter rounds to BF16 once. The whole layer compounds three
// quantisations.
constexpr double kQuantiseBound = 4e-2, kGemmBound = 1e-2, kScatterBound = 4e-3, kLayerBound = 1e-1;
// Attention rounds its weights and its result to BF16, each about 0.17 % of a row's norm.
// Over an FP8 cache the keys are rounded to BF16 after dequantisation, too.
constexpr double kAttentionBound = 5e-3, kFp8AttentionBound = 8e-3, kAttentionDifference = 1e-5;
constexpr double kAnyDifference = 1e-3;    // DeepGEMM's criterion, against the unquantised product
constexpr double kLayerDifference = 5e-3;  // three such quantisations in sequence

int run(const Options& o) {
  Device device(o.device);
  fmt::print("device {}: {}, {} SMs, driver {}.{}{}\n", device.info.device, device.info.name,
             device.info.sm_count, device.info.driver_version / 1000, device.info.driver_version % 1000 / 10,
             device.info.is_virtual ? "; a virtual GPU: its times are modelled, not measured" : "");
  fmt::print("layer: {} tokens, hidden {}, intermediate {}, experts {}..{} of {}, top 8, seed {}\n", o.tokens,
             o.hidden, o.intermediate, o.first_expert, o.first_expert + o.local_experts - 1, o.experts,
             o.seed);
  AttentionOptions attending;
  attending.requests = o.requests, attending.longest = o.longest, attending.sms = o.sms;
  attending.seed = o.seed + 6, attending.explain = o.explain;
  std::vector<AttentionResult> attended = {attention(device.context, attending)};
  for (AttentionResult& a : attention_fp8(device.context, attending)) attended.push_back(std::move(a));
  const auto begin = std::chrono::steady_clock::now();

  const std::vector<uint16_t> x = random_bf16(static_cast<size_t>(o.tokens) * o.hidden, 1, o.seed + 1);
  RoutingConfig config;
  config.experts = o.experts;
  std::vector<float> bias(o.experts);
  Random random(o.seed + 3);
  for (float& b : bias) b = 0.02f * random.normal();
  const Routing routing = route(router_logits(x, o), bias, o.tokens, config);
  const LocalRows local = local_rows(routing, o.tokens, config.top_k, o.first_expert, o.local_experts);
  const int rows = local.rows(), ld = (std::max(rows, 1) + 3) / 4 * 4;
  fmt::print("routing: {} of {} slots are local; rows per expert:", rows, o.tokens * config.top_k);
  for (int g = 0; g < o.local_experts; ++g) fmt::print(" {}", local.offsets[g + 1] - local.offsets[g]);
  fmt::print("\ngenerating {:.0f} MB of e4m3 weights ...\n",
             static_cast<double>(o.local_experts) * 3 * o.hidden * o.intermediate * 1e-6);
  std::fflush(stdout);
  const BlockScaledMatrix gate_up = random_matrix(o.local_experts, 2 * o.intermediate, o.hidden,
                                                  1 / std::sqrt(static_cast<float>(o.hidden)), o.seed + 4);
  const BlockScaledMatrix down = random_matrix(o.local_experts, o.hidden, o.intermediate,
                                               1 / std::sqrt(static_cast<float>(o.intermediate)), o.seed + 5);

  const ptxopsDevicePtr_t d_x = device.upload(x), d_token = device.upload(local.token),
                          d_offsets = device.upload(local.offsets), d_row_of = device.upload(local.row_of),
                          d_weight = device.upload(routing.weight),
                          d_gate_up = device.upload(gate_up.elements),
                          d_gate_up_scales = device.upload(gate_up.scales),
                          d_down = device.upload(down.elements), d_down_scales = device.upload(down.scales);
  const size_t r = static_cast<size_t>(rows);
  const ptxopsDevicePtr_t d_q = device.allocate(r * o.hidden),
                          d_sf = device.allocate(4ull * ld * (o.hidden / 128)),
                          d_h = device.allocate(2 * r * 2 * o.intermediate),
                          d_hq = device.allocate(r * o.intermediate),
                          d_hsf = device.allocate(4ull * ld * (o.intermediate / 128)),
                          d_y = device.allocate(2 * r * o.hidden),
                          d_out = device.allocate(2ull * o.tokens * o.hidden);

  ptxopsQuantizeDesc_t quantize = PTXOPS_QUANTIZE_DESC_INITIALIZER;
  quantize.m = rows, quantize.k = o.hidden, quantize.source_rows = o.tokens, quantize.ld_sf = ld;
  ptxopsFp8GemmDesc_t first = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  first.form = PTXOPS_GEMM_GROUPED_CONTIGUOUS;
  first.m = rows, first.n = 2 * o.intermediate, first.k = o.hidden, first.groups = o.local_experts,
  first.ld_sfa = ld;
  first.weights_static = 1, first.sm_count = o.sms;
  ptxopsSwigluQuantizeDesc_t swiglu_desc = PTXOPS_SWIGLU_QUANTIZE_DESC_INITIALIZER;
  swiglu_desc.m = rows, swiglu_desc.width = o.intermediate, swiglu_desc.ld_sf = ld;
  ptxopsFp8GemmDesc_t second = first;
  second.n = o.hidden, second.k = o.intermediate;
  ptxopsWeightedScatterDesc_t scatter = PTXOPS_WEIGHTED_SCATTER_DESC_INITIALIZER;
  scatter.tokens = o.tokens, scatter.rows = rows, scatter.hidden = o.hidden, scatter.top_k = config.top_k;

  ptxopsPlan_t p_quantize, p_first, p_swiglu, p_second, p_scatter;
  CHECK(ptxopsQuantizePlanCreate(device.context, &quantize, &p_quantize));
  device.ready(p_quantize, o.explain);
  CHECK(ptxopsFp8GemmPlanCreate(device.context, &first, &p_first));
  device.ready(p_first, o.explain);
  CHECK(ptxopsSwigluQuantizePlanCreate(device.context, &swiglu_desc, &p_swiglu));
  device.ready(p_swiglu, o.explain);
  CHECK(ptxopsFp8GemmPlanCreate(device.context, &second, &p_second));
  device.ready(p_second, o.explain);
  CHECK(ptxopsWeightedScatterPlanCreate(device.context, &scatter, &p_scatter));
  device.ready(p_scatter, o.explain);

  ptxopsQuantizeArgs_t a_quantize = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
  a_quantize.x = d_x, a_quantize.q = d_q, a_quantize.sf = d_sf, a_quantize.row_index = d_token;
  ptxopsFp8GemmArgs_t a_first = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
  a_first.a = d_q, a_first.sfa = d_sf, a_first.b = d_gate_up, a_first.sfb = d_gate_up_scales, a_first.d = d_h,
  a_first.groups = d_offsets;
  ptxopsSwigluQuantizeArgs_t a_swiglu = PTXOPS_SWIGLU_QUANTIZE_ARGS_INITIALIZER;
  a_swiglu.x = d_h, a_swiglu.q = d_hq, a_swiglu.sf = d_hsf;
  ptxopsFp8GemmArgs_t a_second = a_first;
  a_second.a = d_hq, a_second.sfa = d_hsf, a_second.b = d_down, a_second.sfb = d_down_scales,
  a_second.d = d_y;
  ptxopsWeightedScatterArgs_t a_scatter = PTXOPS_WEIGHTED_SCATTER_ARGS_INITIALIZER;
  a_scatter.y = d_y, a_scatter.row = d_row_of, a_scatter.weight = d_weight, a_scatter.out = d_out;

  ptxopsTimer_t timer;
  CHECK(ptxopsTimerCreate(device.context, &timer));
  const double wide = static_cast<double>(r), hidden = o.hidden, inter = o.intermediate;
  double experts = 0;  // that have rows: only their weights are read
  for (int g = 0; g < o.local_experts; ++g) experts += local.offsets[g + 1] > local.offsets[g];

  Report report(device.info.is_virtual);
  for (size_t i = 0; i < attended.size(); ++i) {
    const AttentionResult& a = attended[i];
    const bool appends = a.columns != kLatent;
    report.add({a.name, a.shape, a.flops, a.bytes, a.seconds, a.host_seconds},
               compare(a.out, a.exact, a.columns),
               appends ? kQuantiseBound
               : i > 0 ? kFp8AttentionBound
                       : kAttentionBound,
               appends ? kAnyDifference : kAttentionDifference);
  }
  const double attention_seconds = report.total();
  // The reference's own intermediate values, without quantised activations.
  Matrix exact_x(r * o.hidden);
  for (size_t i = 0; i < r; ++i)
    for (size_t h = 0; h < static_cast<size_t>(o.hidden); ++h)
      exact_x[i * o.hidden + h] = bf16_to_float(x[local.token[i] * static_cast<size_t>(o.hidden) + h]);

  Stage stage{"gather+quantise", fmt::format("{} x {}", rows, o.hidden), 0, wide * hidden * 3};
  timed(device, timer, stage, [&] { return ptxopsQuantizeRun(p_quantize, &a_quantize, nullptr); });
  const Matrix q = dequantise(device.download<uint8_t>(d_q, r * o.hidden),
                              device.download<float>(d_sf, static_cast<size_t>(ld) * (o.hidden / 128)), rows,
                              o.hidden, ld);
  report.add(stage, compare(q, exact_x, o.hidden), kQuantiseBound, kAnyDifference);

  stage = {"gate/up GEMM",
           fmt::format("{} x {} x {}, {} groups", rows, 2 * o.intermediate, o.hidden, o.local_experts),
           2 * wide * 2 * inter * hidden, experts * 2 * inter * hidden + wide * (hidden + 4 * inter)};
  timed(device, timer, stage, [&] { return ptxopsFp8GemmRun(p_first, &a_first, 0, 0, nullptr); });
  const Matrix h = widen(device.download<uint16_t>(d_h, r * 2 * o.intermediate));
  report.add(stage, compare(h, grouped_product(q, gate_up, local.offsets), 2 * o.intermediate), kGemmBound,
             kAnyDifference);

  stage = {"SwiGLU+quantise", fmt::format("{} x {}", rows, o.intermediate), 0, wide * inter * 5};
  timed(device, timer, stage, [&] { return ptxopsSwigluQuantizeRun(p_swiglu, &a_swiglu, nullptr); });
  const Matrix hq =
      dequantise(device.download<uint8_t>(d_hq, r * o.intermediate),
                 device.download<float>(d_hsf, static_cast<size_t>(ld) * (o.intermediate / 128)), rows,
                 o.intermediate, ld);
  report.add(stage, compare(hq, swiglu(h, rows, o.intermediate), o.intermediate), kQuantiseBound,
             kAnyDifference);

  stage = {"down GEMM",
           fmt::format("{} x {} x {}, {} groups", rows, o.hidden, o.intermediate, o.local_experts),
           2 * wide * inter * hidden, experts * inter * hidden + wide * (inter + 2 * hidden)};
  timed(device, timer, stage, [&] { return ptxopsFp8GemmRun(p_second, &a_second, 0, 0, nullptr); });
  const Matrix y = widen(device.download<uint16_t>(d_y, r * o.hidden));
  report.add(stage, compare(y, grouped_product(hq, down, local.offsets), o.hidden), kGemmBound,
             kAnyDifference);

  stage = {"weighted scatter", fmt::format("{} x {} x top {}", o.tokens, o.hidden, config.top_k),
           2 * wide * hidden, 2 * (wide + o.tokens) * hidden};
  timed(device, timer, stage, [&] { return ptxopsWeightedScatterRun(p_scatter, &a_scatter, nullptr); });
  const Matrix out = widen(device.download<uint16_t>(d_out, static_cast<size_t>(o.tokens) * o.hidden));
  report.add(
      stage,
      compare(out, weighted_sum(y, local.row_of, routing.weight, o.tokens, config.top_k, o.hidden), o.hidden),
      kScatterBound, kAnyDifference);
  ptxopsTimerDestroy(timer);

  // The whole layer against FP64 on unquantised activations.
  const Matrix exact_h = swiglu(grouped_product(exact_x, gate_up, local.offsets), rows, o.intermediate);
  const Matrix exact = weighted_sum(grouped_product(exact_h, down, local.offsets), local.row_of,
                                    routing.weight, o.tokens, config.top_k, o.hidden);
  Stage layer{"expert layer", "against FP64, unquantised", 6 * wide * inter * hidden,
              3 * experts * inter * hidden};
  layer.seconds = report.total() - attention_seconds;
  layer.host_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  report.add(layer, compare(out, exact, o.hidden), kLayerBound, kLayerDifference);
  fmt::print("{}\n", report.ok() ? "verified: every stage is within its bound"
                                 : "FAILED: a stage is outside its bound");
  return report.ok() ? 0 : 1;
}

}  // namespace
}  // namespace ptxops::demo

int main(int argc, char** argv) {
  ptxops::demo::Options o;
  CLI::App app{
      "DeepSeek-V3's attention and one expert layer as Hopper PTX: on a Hopper GPU, or on the virtual H800."};
  app.add_option("--tokens", o.tokens, "tokens of the batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--experts", o.experts, "experts of the layer, in 8 groups")
      ->check(CLI::Range(16, 4096))
      ->capture_default_str();
  app.add_option("--local-experts", o.local_experts, "experts computed here")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--first-expert", o.first_expert, "the first of them")
      ->check(CLI::Range(0, 4095))
      ->capture_default_str();
  app.add_option("--hidden", o.hidden, "hidden size, a multiple of 128")
      ->check(CLI::Range(128, 1 << 16))
      ->capture_default_str();
  app.add_option("--intermediate", o.intermediate, "expert's intermediate size, a multiple of 128")
      ->check(CLI::Range(128, 1 << 16))
      ->capture_default_str();
  app.add_option("--requests", o.requests, "requests that attention decodes for")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  app.add_option("--longest", o.longest, "keys of the longest of them")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of all random data")->capture_default_str();
  app.add_option("--device", o.device, "ordinal")->check(CLI::Range(0, 255))->capture_default_str();
  app.add_option("--sms", o.sms, "SMs that attention and GEMMs may use, even; 0 = all")
      ->capture_default_str();
  app.add_flag("--explain", o.explain, "print how each plan was chosen");
  CLI11_PARSE(app, argc, argv);
  try {
    if (o.first_expert + o.local_experts > o.experts)
      throw std::runtime_error(
          fmt::format("--first-expert {} --local-experts {}: expected at most {} experts in all",
                      o.first_expert, o.local_experts, o.experts));
    return ptxops::demo::run(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "ptxops-demo: {}\n", e.what());
    return 2;
  }
}
