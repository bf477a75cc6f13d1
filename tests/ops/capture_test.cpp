// Plans run while the user's stream captures: nothing runs then, and the graph computes from the inputs it
// finds when it is launched what a direct run computes from them. (That the direct run is right is the other
// tests' business.)
#include <optional>

#include "driver/client/graph.h"
#include "driver/client/stream.h"
#include "tests/ops/device.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

constexpr int kSource = 40, kRows = 72, kHidden = 256, kWidth = 128, kGroups = 3, kTokens = 24, kTopK = 4;
constexpr uint8_t kPoison = 0xcd;

// Random e4m3 without NaN, bf16 and scales of ordinary size.
std::vector<uint8_t> random_e4m3(size_t n, uint64_t purpose) {
  auto random = random_engine(purpose);
  std::vector<uint8_t> v(n);
  for (auto& x : v) x = static_cast<uint8_t>(random() % 0x70 | (random() & 0x80));
  return v;
}
std::vector<uint16_t> random_bf16(size_t n, uint64_t purpose) {
  auto random = random_engine(purpose);
  std::vector<uint16_t> v(n);
  for (auto& x : v) x = static_cast<uint16_t>(random() & 0x8000 | (0x3e00 + random() % 0x200));
  return v;
}
std::vector<float> random_scales(size_t n, uint64_t purpose) {
  auto random = random_engine(purpose);
  std::uniform_real_distribution<float> uniform(0.001f, 0.01f);
  std::vector<float> v(n);
  for (auto& x : v) x = uniform(random);
  return v;
}

// Part of an expert layer: gather + quantise, grouped GEMM with a row map, SwiGLU + quantise, dense GEMM,
// combine; and, in a second stream, a plain gather.
class Layer {
 public:
  Layer() {
    ptxopsQuantizeDesc_t quantize = PTXOPS_QUANTIZE_DESC_INITIALIZER;
    quantize.m = kRows, quantize.k = kHidden, quantize.source_rows = kSource;
    EXPECT_OK(ptxopsQuantizePlanCreate(context(), &quantize, &quantize_.handle));
    ptxopsFp8GemmDesc_t up = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
    up.form = PTXOPS_GEMM_GROUPED_CONTIGUOUS, up.group_layout = PTXOPS_GROUPS_ROW_MAP;
    up.m = kRows, up.n = 2 * kWidth, up.k = kHidden, up.groups = kGroups;
    EXPECT_OK(ptxopsFp8GemmPlanCreate(context(), &up, &up_.handle));
    ptxopsSwigluQuantizeDesc_t swiglu = PTXOPS_SWIGLU_QUANTIZE_DESC_INITIALIZER;
    swiglu.m = kRows, swiglu.width = kWidth;
    EXPECT_OK(ptxopsSwigluQuantizePlanCreate(context(), &swiglu, &swiglu_.handle));
    ptxopsFp8GemmDesc_t down = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
    down.m = kRows, down.n = kHidden, down.k = kWidth;
    EXPECT_OK(ptxopsFp8GemmPlanCreate(context(), &down, &down_.handle));
    ptxopsWeightedScatterDesc_t combine = PTXOPS_WEIGHTED_SCATTER_DESC_INITIALIZER;
    combine.tokens = kTokens, combine.rows = kRows, combine.hidden = kHidden, combine.top_k = kTopK;
    combine.out_type = PTXOPS_F32;
    EXPECT_OK(ptxopsWeightedScatterPlanCreate(context(), &combine, &combine_.handle));
    ptxopsGatherRowsDesc_t gather = PTXOPS_GATHER_ROWS_DESC_INITIALIZER;
    gather.m = kRows, gather.source_rows = kSource, gather.hidden = kHidden;
    EXPECT_OK(ptxopsGatherRowsPlanCreate(context(), &gather, &gather_.handle));
    size_t needed = 0;
    EXPECT_OK(ptxopsPlanGetWorkspaceSize(up_.handle, &needed));
    workspace_.emplace(needed);
    workspace_bytes_ = needed;
  }

  void prepare() {
    for (const Plan* p : {&quantize_, &up_, &swiglu_, &down_, &combine_, &gather_})
      ASSERT_OK(ptxopsPlanPrepare(p->handle));
  }

  void write_inputs(uint64_t purpose) {
    auto random = random_engine(purpose);
    const auto put = [](const DeviceMemory& to, const auto& from) {
      ASSERT_OK(
          ptxopsMemcpyToDevice(context(), to.address(), from.data(), from.size() * sizeof from[0], nullptr));
    };
    put(x, random_bf16(kSource * kHidden, purpose + 1));
    std::vector<int32_t> index(kRows), map(kRows), row(kTokens * kTopK);
    for (auto& i : index) i = static_cast<int32_t>(random() % kSource);
    // Groups of random sizes, in order.
    size_t cuts[] = {random() % kRows, random() % kRows};
    if (cuts[0] > cuts[1]) std::swap(cuts[0], cuts[1]);
    for (size_t i = 0; i < kRows; ++i) map[i] = (i >= cuts[0]) + (i >= cuts[1]);
    for (auto& r : row) r = static_cast<int32_t>(random() % kRows);
    put(row_index, index), put(row_map, map), put(rows, row);
    put(weight, random_scales(kTokens * kTopK, purpose + 2));
    put(b_up, random_e4m3(size_t(kGroups) * 2 * kWidth * kHidden, purpose + 3));
    put(sfb_up, random_scales(size_t(kGroups) * (2 * kWidth / 128) * (kHidden / 128), purpose + 4));
    put(b_down, random_e4m3(kHidden * kWidth, purpose + 5));
    put(sfb_down, random_scales(kHidden / 128 * (kWidth / 128), purpose + 6));
  }

  void poison_outputs() {
    for (const auto& [memory, bytes] : outputs())
      ASSERT_OK(ptxopsMemset(context(), memory->address(), kPoison, bytes, nullptr));
  }
  // All that the layer writes, workspace excepted.
  std::vector<std::vector<uint8_t>> read_outputs() {
    std::vector<std::vector<uint8_t>> all;
    for (const auto& [memory, bytes] : outputs()) all.push_back(memory->read<uint8_t>());
    return all;
  }
  std::vector<std::pair<const DeviceMemory*, size_t>> outputs() const {
    return {{&q, size_t(kRows) * kHidden},
            {&sf, size_t(kHidden / 128) * kRows * 4},
            {&up, size_t(kRows) * 2 * kWidth * 2},
            {&h, size_t(kRows) * kWidth},
            {&sf_h, size_t(kWidth / 128) * kRows * 4},
            {&down, size_t(kRows) * kHidden * 2},
            {&out, size_t(kTokens) * kHidden * 4},
            {&gathered, size_t(kRows) * kHidden * 2}};
  }

  ptxopsStatus_t run_main(ptxopsStream_t stream) {
    ptxopsQuantizeArgs_t quantize = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
    quantize.x = x.address(), quantize.q = q.address(), quantize.sf = sf.address();
    quantize.row_index = row_index.address();
    ptxopsFp8GemmArgs_t first = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
    first.a = q.address(), first.sfa = sf.address(), first.b = b_up.address(), first.sfb = sfb_up.address();
    first.d = up.address(), first.groups = row_map.address();
    ptxopsSwigluQuantizeArgs_t swiglu = PTXOPS_SWIGLU_QUANTIZE_ARGS_INITIALIZER;
    swiglu.x = up.address(), swiglu.q = h.address(), swiglu.sf = sf_h.address();
    ptxopsFp8GemmArgs_t second = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
    second.a = h.address(), second.sfa = sf_h.address(), second.b = b_down.address();
    second.sfb = sfb_down.address(), second.d = down.address();
    ptxopsWeightedScatterArgs_t combine = PTXOPS_WEIGHTED_SCATTER_ARGS_INITIALIZER;
    combine.y = down.address(), combine.row = rows.address(), combine.weight = weight.address();
    combine.out = out.address();
    ptxopsStatus_t s = ptxopsQuantizeRun(quantize_.handle, &quantize, stream);
    if (!s) s = ptxopsFp8GemmRun(up_.handle, &first, workspace_->address(), workspace_bytes_, stream);
    if (!s) s = ptxopsSwigluQuantizeRun(swiglu_.handle, &swiglu, stream);
    if (!s) s = ptxopsFp8GemmRun(down_.handle, &second, 0, 0, stream);
    if (!s) s = ptxopsWeightedScatterRun(combine_.handle, &combine, stream);
    return s;
  }
  ptxopsStatus_t run_side(ptxopsStream_t stream) {
    ptxopsGatherRowsArgs_t gather = PTXOPS_GATHER_ROWS_ARGS_INITIALIZER;
    gather.x = x.address(), gather.row_index = row_index.address(), gather.y = gathered.address();
    return ptxopsGatherRowsRun(gather_.handle, &gather, stream);
  }

 private:
  Plan quantize_, up_, swiglu_, down_, combine_, gather_;
  std::optional<DeviceMemory> workspace_;
  size_t workspace_bytes_ = 0;
  DeviceMemory x{size_t(kSource) * kHidden * 2}, row_index{kRows * 4}, row_map{kRows * 4},
      rows{kTokens * kTopK * 4}, weight{kTokens * kTopK * 4}, b_up{size_t(kGroups) * 2 * kWidth * kHidden},
      sfb_up{size_t(kGroups) * (2 * kWidth / 128) * (kHidden / 128) * 4}, b_down{kHidden * kWidth},
      sfb_down{kHidden / 128 * (kWidth / 128) * 4};
  DeviceMemory q{size_t(kRows) * kHidden}, sf{size_t(kHidden / 128) * kRows * 4},
      up{size_t(kRows) * 2 * kWidth * 2}, h{size_t(kRows) * kWidth}, sf_h{size_t(kWidth / 128) * kRows * 4},
      down{size_t(kRows) * kHidden * 2}, out{size_t(kTokens) * kHidden * 4},
      gathered{size_t(kRows) * kHidden * 2};
};

ptxopsStream_t handle(const driver::Stream& stream) {
  return reinterpret_cast<ptxopsStream_t>(stream.handle());
}

class PlansUnderCapture : public testing::Test {
 protected:
  driver::Context driver_{driver::Driver::get(), 0};
  driver::Stream stream_{driver_}, side_{driver_};
  driver::Event fork_{driver_, false}, join_{driver_, false};
};

TEST_F(PlansUnderCapture, ReplayReadsTheInputsOfThen) {
  Layer layer;
  layer.prepare();
  layer.write_inputs(100);
  layer.poison_outputs();
  const auto poisoned = layer.read_outputs();

  // The first run of these plans: their checks and tensor maps are made during the capture, in the strictest
  // mode.
  driver::Capture capture(driver_, stream_.handle(), abi::CU_STREAM_CAPTURE_MODE_GLOBAL);
  fork_.record(stream_.handle());
  side_.wait(fork_);
  ASSERT_OK(layer.run_side(handle(side_)));
  ASSERT_OK(layer.run_main(handle(stream_)));
  join_.record(side_.handle());
  stream_.wait(join_);
  const driver::Graph graph = capture.end();
  EXPECT_EQ(graph.nodes(), 7u) << "the row map takes a kernel of its own";
  EXPECT_EQ(layer.read_outputs(), poisoned) << "something ran during the capture";

  std::vector<std::vector<uint8_t>> before = poisoned;
  for (uint64_t inputs : {200, 300}) {
    SCOPED_TRACE(inputs);
    layer.write_inputs(inputs);
    layer.poison_outputs();
    graph.launch(stream_.handle());
    stream_.synchronize();
    const auto replayed = layer.read_outputs();
    layer.poison_outputs();
    ASSERT_OK(layer.run_side(handle(side_)));
    ASSERT_OK(layer.run_main(handle(stream_)));
    side_.synchronize();
    stream_.synchronize();
    const auto direct = layer.read_outputs();
    for (size_t i = 0; i < direct.size(); ++i) {
      EXPECT_EQ(replayed[i], direct[i]) << "output " << i;
      EXPECT_NE(replayed[i], before[i]) << "output " << i << " does not depend on the inputs";
      EXPECT_NE(replayed[i], poisoned[i]) << "output " << i;
    }
    before = replayed;
  }
}

// A run that is refused leaves the capture as it was, and later runs of it are captured.
TEST_F(PlansUnderCapture, RefusedRunsDoNotSpoilIt) {
  Layer layer;
  driver::Capture capture(driver_, stream_.handle(), abi::CU_STREAM_CAPTURE_MODE_RELAXED);
  EXPECT_EQ(layer.run_side(handle(stream_)), PTXOPS_NOT_PREPARED);
  layer.prepare();  // relaxed mode lets a library load its kernels
  ASSERT_OK(layer.run_side(handle(stream_)));
  const driver::Graph graph = capture.end();
  EXPECT_EQ(graph.nodes(), 1u);
  layer.write_inputs(400);
  layer.poison_outputs();
  graph.launch(stream_.handle());
  stream_.synchronize();
  const auto replayed = layer.read_outputs();
  layer.poison_outputs();
  ASSERT_OK(layer.run_side(handle(stream_)));
  stream_.synchronize();
  EXPECT_EQ(layer.read_outputs(), replayed);
}

// Whatever waits for the device during a capture says so, and the capture says why it ended.
TEST_F(PlansUnderCapture, SynchronisingEndsIt) {
  std::vector<char> host(16);
  const DeviceMemory memory(16);
  driver::Capture capture(driver_, stream_.handle());
  EXPECT_EQ(ptxopsStreamSynchronize(context(), handle(stream_)), PTXOPS_DRIVER_ERROR);
  EXPECT_NE(std::string(ptxopsGetLastError()).find("STREAM_CAPTURE_UNSUPPORTED"), std::string::npos)
      << ptxopsGetLastError();
  try {
    capture.end();
    ADD_FAILURE() << "the capture was not invalidated";
  } catch (const driver::Error& e) {
    EXPECT_EQ(e.code(), abi::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED) << e.what();
  }
  // A capture that is given up leaves nothing behind.
  { const driver::Capture abandoned(driver_, stream_.handle()); }
  stream_.synchronize();
}

}  // namespace
}  // namespace ptxops::test
