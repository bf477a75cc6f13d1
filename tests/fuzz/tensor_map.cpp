// Tensor maps: the encoder with hostile arguments, then a kernel that patches the map field by field with
// tensormap.replace and copies by it, in whatever order the input says.
#include <fmt/format.h>

#include <cstring>
#include <string>
#include <vector>

#include "driver/virtual/memory/tensor_map.h"
#include "tests/fuzz/feed.h"
#include "tests/fuzz/virtual_driver.h"

namespace ptxops::fuzz {
namespace {

constexpr size_t kDataBytes = 1 << 16, kMaxSteps = 64;

// One step of the kernel's program: the number of an action, and its operand.
struct Step {
  uint32_t action, unused;
  uint64_t value;
};

// Every action is a statement of its own, since fields and ordinals are constants in PTX.
std::vector<std::string> actions() {
  std::vector<std::string> all;
  const auto replace = [&](std::string_view field, const char* type, const std::string& operands) {
    all.push_back(fmt::format("tensormap.replace.tile.{}.global.b1024.{} [map], {};", field, type, operands));
  };
  replace("global_address", "b64", "value");
  replace("rank", "b32", "word");
  for (int d = 0; d < 5; ++d) {
    replace("box_dim", "b32", fmt::format("{}, word", d));
    replace("global_dim", "b32", fmt::format("{}, word", d));
    replace("element_stride", "b32", fmt::format("{}, word", d));
    if (d < 4) replace("global_stride", "b64", fmt::format("{}, value", d));
  }
  for (int v = 0; v < 13; ++v) replace("elemtype", "b32", fmt::format("{}", v));
  for (int v = 0; v < 3; ++v) replace("interleave_layout", "b32", fmt::format("{}", v));
  for (int v = 0; v < 4; ++v) replace("swizzle_mode", "b32", fmt::format("{}", v));
  for (int v = 0; v < 2; ++v) replace("fill_mode", "b32", fmt::format("{}", v));
  all.push_back("mbarrier.arrive.expect_tx.shared.b64 _, [bar], word;");
  all.push_back("cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;");
  std::string coordinates;
  for (int d = 1; d <= 5; ++d) {
    coordinates += fmt::format("{}c{}", d > 1 ? ", " : "", d - 1);
    const std::string at = fmt::format("[map, {{{}}}]", coordinates);
    all.push_back(
        fmt::format("cp.async.bulk.tensor.{}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                    "[tile], {}, [bar];",
                    d, at));
    all.push_back(
        fmt::format("cp.async.bulk.tensor.{}d.global.shared::cta.tile.bulk_group {}, [tile];", d, at));
    for (const char* op : {"add", "min", "xor"})
      all.push_back(fmt::format(
          "cp.reduce.async.bulk.tensor.{}d.global.shared::cta.{}.tile.bulk_group {}, [tile];", d, op, at));
    all.push_back(fmt::format("cp.async.bulk.prefetch.tensor.{}d.L2.global.tile {};", d, at));
  }
  return all;
}

std::string kernel(const std::vector<std::string>& all) {
  std::string cases, labels;
  for (size_t i = 0; i < all.size(); ++i) {
    cases += fmt::format("A{}: {} bra NEXT;\n", i, all[i]);
    labels += fmt::format("{}A{}", i ? ", " : "", i);
  }
  return fmt::format(R"(.version 8.6
.target sm_90a
.address_size 64
.extern .shared .align 1024 .b8 smem[];
.visible .entry k(.param .u64 map_, .param .u64 program_, .param .u32 steps_, .param .align 4 .b8 start_[20])
{{
.reg .pred more;
.reg .b32 steps, action, word, tile, bar, c0, c1, c2, c3, c4;
.reg .b64 map, program, value;
ld.param.u64 map, [map_];
ld.param.u64 program, [program_];
ld.param.u32 steps, [steps_];
ld.param.b32 c0, [start_];
ld.param.b32 c1, [start_+4];
ld.param.b32 c2, [start_+8];
ld.param.b32 c3, [start_+12];
ld.param.b32 c4, [start_+16];
mov.u32 bar, smem;
add.u32 tile, bar, 1024;
mbarrier.init.shared.b64 [bar], 1;
fence.mbarrier_init.release.cluster;
ACTIONS: .branchtargets {};
LOOP:
setp.ne.u32 more, steps, 0;
@!more bra END;
ld.global.b32 action, [program];
ld.global.b64 value, [program+8];
cvt.u32.u64 word, value;
fence.proxy.tensormap::generic.acquire.gpu [map], 128;
fence.proxy.async;
brx.idx action, ACTIONS;
{}NEXT:
add.u64 program, program, 16;
sub.u32 steps, steps, 1;
bra LOOP;
END:
ret;
}}
)",
                     labels, cases);
}

// A context with the kernel and its memory; made anew after a fault.
struct Device {
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  CUdeviceptr map = 0, program = 0, data = 0;

  static void must(CUresult result, const char* what) {
    FUZZ_CHECK(result == CUDA_SUCCESS, what + (": " + driver().report()));
  }
  void open(const std::string& text) {
    const Driver& cuda = driver();
    must(cuda.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
    must(cuda.cuModuleLoadData(&module, text.c_str()), "cuModuleLoadData");
    must(cuda.cuModuleGetFunction(&function, module, "k"), "cuModuleGetFunction");
    must(cuda.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 200 << 10),
         "cuFuncSetAttribute");
    must(cuda.cuMemAlloc_v2(&map, 128), "cuMemAlloc");
    must(cuda.cuMemAlloc_v2(&program, kMaxSteps * sizeof(Step)), "cuMemAlloc");
    must(cuda.cuMemAlloc_v2(&data, kDataBytes), "cuMemAlloc");
    must(cuda.cuMemsetD8_v2(data, 0x3C, kDataBytes), "cuMemsetD8");
  }
  void close() {
    must(driver().cuCtxDestroy_v2(context), "cuCtxDestroy");
    *this = {};
  }
};

CUdeviceptr address_from(Feed& feed, const Device& device) {
  const uint8_t choice = feed.byte();
  if (choice == 0) return 0;
  if (choice < 128) return device.data + 16 * uint64_t{feed.byte()};
  if (choice < 224) return device.data + feed.number();
  return feed.take<uint64_t>();
}

// Small numbers more often than a uniform choice gives.
uint64_t extent(Feed& feed) {
  const uint8_t choice = feed.byte();
  return choice < 192 ? choice : feed.number();
}

// Encodes from the input; what is accepted must be stored.
virt::TensorMap encode(Feed& feed, const Device& device) {
  alignas(128) CUtensorMap map{};
  cuuint64_t dims[5], strides[4];
  cuuint32_t box[5], steps[5];
  const auto type = static_cast<CUtensorMapDataType>(feed.below(17));
  const auto rank = static_cast<cuuint32_t>(feed.below(16) == 15 ? feed.number() : 1u + feed.below(5));
  const CUdeviceptr address = address_from(feed, device);
  for (int d = 0; d < 5; ++d) {
    dims[d] = extent(feed), box[d] = static_cast<cuuint32_t>(extent(feed));
    steps[d] = feed.below(4) ? 1 : feed.byte();
    if (d < 4) strides[d] = feed.below(8) ? 16 * uint64_t{feed.byte()} : feed.number();
  }
  const auto interleave = static_cast<CUtensorMapInterleave>(feed.below(4) ? 0 : feed.byte());
  const auto swizzle = static_cast<CUtensorMapSwizzle>(feed.below(8));
  const auto promotion = static_cast<CUtensorMapL2promotion>(feed.below(6));
  const auto fill = static_cast<CUtensorMapFloatOOBfill>(feed.below(3));
  const CUresult result =
      driver().cuTensorMapEncodeTiled(&map, type, rank, reinterpret_cast<void*>(address), dims, strides, box,
                                      steps, interleave, swizzle, promotion, fill);
  virt::TensorMap stored;
  std::memcpy(&stored, &map, sizeof stored);
  if (result != CUDA_SUCCESS) {
    for (const cuuint64_t word : map.opaque) FUZZ_CHECK(word == 0, "a refused map was written");
    return stored;
  }
  FUZZ_CHECK(virt::is_intact(stored), "checksum");
  FUZZ_CHECK(stored.global_address == address && static_cast<cuuint32_t>(stored.rank()) == rank, "head");
  for (cuuint32_t d = 0; d < rank; ++d) {
    FUZZ_CHECK(stored.dim(static_cast<int>(d)) == dims[d] && stored.box_dim[d] == box[d], "dimensions");
    FUZZ_CHECK(stored.element_stride[d] == steps[d], "element strides");
    FUZZ_CHECK(d + 1 == rank || stored.global_stride[d] == strides[d], "strides");
  }
  if (feed.below(4) == 0) {
    const CUdeviceptr other = address_from(feed, device);
    if (driver().cuTensorMapReplaceAddress(&map, reinterpret_cast<void*>(other)) == CUDA_SUCCESS)
      std::memcpy(&stored, &map, sizeof stored);
  }
  return stored;
}

void run(Bytes input) {
  static const std::vector<std::string> all = actions();
  static const std::string text = kernel(all);
  static Device device;
  if (!device.context) device.open(text);
  Feed feed(input);
  const Driver& cuda = driver();
  const virt::TensorMap map = encode(feed, device);
  int32_t start[5];
  for (int32_t& s : start)
    s = feed.below(4) ? static_cast<int8_t>(feed.byte()) : static_cast<int32_t>(feed.number());
  const unsigned shared = 1024 + 1024 * (feed.below(4) ? 64 : feed.byte() % 190);
  std::vector<Step> program;
  while (!feed.empty() && program.size() < kMaxSteps) {
    const uint8_t action = feed.byte();
    program.push_back({action % static_cast<uint32_t>(all.size()), 0,
                       action % all.size() == 0 ? address_from(feed, device) : extent(feed)});
  }
  Device::must(cuda.cuMemcpyHtoD_v2(device.map, &map, sizeof map), "map");
  if (!program.empty())
    Device::must(cuda.cuMemcpyHtoD_v2(device.program, program.data(), program.size() * sizeof(Step)),
                 "program");
  auto steps = static_cast<uint32_t>(program.size());
  void* params[] = {&device.map, &device.program, &steps, start};
  Device::must(cuda.cuLaunchKernel(device.function, 1, 1, 1, 1, 1, 1, shared, nullptr, params, nullptr),
               "launch");
  if (cuda.cuCtxSynchronize() == CUDA_SUCCESS) return;
  FUZZ_CHECK(cuda.last_report(nullptr, 0) > 0, "a fault without a report");
  device.close();
}

const Registration registration("tensor_map", run, false);

}  // namespace
}  // namespace ptxops::fuzz
