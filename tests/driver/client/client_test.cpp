// The client's types, on the virtual device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

#include "driver/client/graph.h"
#include "driver/client/launch.h"
#include "driver/client/memory.h"
#include "driver/client/stream.h"
#include "driver/client/tensor_map.h"

namespace ptxops::driver {
namespace {

using namespace abi;
using ::testing::HasSubstr;

constexpr const char* kPtx = R"(.version 8.0
.target sm_90a
.address_size 64
.global .align 8 .u64 word = 77;
.visible .entry add(.param .u64 x, .param .u32 value)
.maxntid 128, 1, 1
{
  .reg .b32 t, v;
  .reg .b64 p, o;
  mov.u32 t, %tid.x;
  ld.param.u64 p, [x];
  mul.wide.u32 o, t, 4;
  add.u64 p, p, o;
  ld.param.u32 t, [value];
  ld.global.u32 v, [p];
  add.u32 v, v, t;
  st.global.u32 [p], v;
  ret;
}
)";

class Client : public ::testing::Test {
 protected:
  Context context_{Driver::get(), 0};
};

template <class F>
Error error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(CUDA_SUCCESS, "", "");
}

TEST_F(Client, RunsOnTheDriverItSays) {
  const Driver& d = Driver::get();
  EXPECT_TRUE(d.is_virtual());
  EXPECT_THAT(d.path(), HasSubstr("libcuda.so.1"));
  const DeviceInfo info = d.device(0);
  EXPECT_EQ(info.major, 9);
  EXPECT_EQ(info.sm_count, 132);
  EXPECT_EQ(info.smem_per_block_optin, 232448);
  EXPECT_EQ(info.memory_bytes, size_t{80} << 30);
}

TEST_F(Client, LoadsLaunchesAndCopies) {
  const Library library(context_, kPtx, "add.ptx");
  EXPECT_THAT(library.info_log(), HasSubstr("add"));
  EXPECT_EQ(library.global("word").bytes, 8u);
  const Kernel kernel(library, "add");
  EXPECT_EQ(kernel.max_threads(), 128);
  EXPECT_GT(kernel.registers(), 0);
  EXPECT_GE(kernel.max_blocks_per_sm(128, 0), 1);

  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 rng(seed);
  std::vector<uint32_t> data(128), got(128);
  for (auto& v : data) v = rng();
  DeviceBuffer buffer(context_, 512);
  const Stream stream(context_);
  const Event before(context_), after(context_);
  buffer.upload(data.data(), 512, 0, stream.handle());
  Launch launch(kernel, {.grid = {1}, .block = {128}, .programmatic = true});
  const Context::Guard current(context_);
  before.record(stream.handle());
  for (uint32_t value : {5u, 6u}) launch(stream.handle(), buffer.address(), value);
  Launch copy = launch;
  copy(stream.handle(), buffer.address(), uint32_t{7});
  after.record(stream.handle());
  buffer.download(got.data(), 512, 0, stream.handle());
  stream.synchronize();
  EXPECT_TRUE(stream.done());
  for (int i = 0; i < 128; ++i) ASSERT_EQ(got[i], data[i] + 18);
  EXPECT_GT(after.milliseconds_since(before), 0);
  EXPECT_GT(launch.max_active_clusters(), 0);
}

TEST_F(Client, LoadErrorsCarryTheLog) {
  const Error e = error_of([&] {
    Library(context_, ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k() {\n  bogus;\n}\n",
            "bad.ptx");
  });
  EXPECT_EQ(e.code(), CUDA_ERROR_INVALID_PTX);
  EXPECT_EQ(e.function(), "cuLibraryLoadData(bad.ptx)");
  EXPECT_THAT(e.log(), HasSubstr("line 5"));
  EXPECT_THAT(e.what(), HasSubstr("CUDA_ERROR_INVALID_PTX"));
}

TEST_F(Client, MissingNamesAreNamed) {
  const Library library(context_, kPtx, "add.ptx");
  const Error e = error_of([&] { Kernel(library, "subtract"); });
  EXPECT_EQ(e.code(), CUDA_ERROR_NOT_FOUND);
  EXPECT_THAT(e.what(), HasSubstr("cuLibraryGetKernel(add.ptx, subtract)"));
  EXPECT_EQ(error_of([&] { library.global("nothing"); }).code(), CUDA_ERROR_NOT_FOUND);
}

TEST_F(Client, LaunchErrorsNameTheShape) {
  const Library library(context_, kPtx, "add.ptx");
  const Kernel kernel(library, "add");
  DeviceBuffer buffer(context_, 512);
  const Context::Guard current(context_);
  Launch launch(kernel, {.grid = {3}, .block = {256}, .cluster = {2, 1, 1}});
  const Error e = error_of([&] { launch(nullptr, buffer.address(), 1u); });
  EXPECT_EQ(e.code(), CUDA_ERROR_INVALID_VALUE);
  EXPECT_THAT(e.what(), HasSubstr("add, grid 3x1x1, block 256x1x1, cluster 2x1x1"));
  EXPECT_THAT(e.log(), HasSubstr("allows at most 128 threads"));
  EXPECT_THAT(error_of([&] { kernel.set_max_dynamic_shared_bytes(300000); }).what(), HasSubstr("300000"));
}

TEST_F(Client, BuffersCheckTheirRange) {
  DeviceBuffer buffer(context_, 100);
  uint8_t bytes[200] = {};
  EXPECT_THAT(error_of([&] { buffer.upload(bytes, 101); }).what(),
              HasSubstr("[0, 101) lie outside the buffer of 100"));
  EXPECT_THAT(error_of([&] { buffer.download(bytes, 1, SIZE_MAX); }).what(), HasSubstr("outside"));
  buffer.fill(7);
  buffer.download(bytes, 100);
  EXPECT_EQ(bytes[99], 7);
  EXPECT_EQ(bytes[100], 0);
  DeviceBuffer moved = std::move(buffer);
  EXPECT_FALSE(buffer);
  EXPECT_EQ(moved.bytes(), 100u);
  EXPECT_EQ(DeviceBuffer(context_, 0).address(), 0u);
  EXPECT_EQ(error_of([&] { DeviceBuffer(context_, size_t{81} << 30); }).code(), CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_F(Client, StreamOrderedBuffersAndPinnedMemory) {
  const Stream stream(context_, -1);
  PinnedBuffer host(context_, 1000);
  DeviceBuffer buffer = DeviceBuffer::allocate_async(context_, 1000, stream.handle());
  buffer.fill(9, stream.handle());
  buffer.download(host.data(), 1000, 0, stream.handle());
  buffer.free_async(stream.handle());
  stream.synchronize();
  EXPECT_EQ(static_cast<uint8_t*>(host.data())[999], 9);
}

TEST_F(Client, CapturesAndLaunchesGraphs) {
  const Library library(context_, kPtx, "add.ptx");
  const Kernel kernel(library, "add");
  Launch launch(kernel, {.grid = {1}, .block = {128}, .programmatic = true});
  const DeviceBuffer buffer(context_, 512);
  const Stream stream(context_);
  const Context::Guard current(context_);
  std::vector<uint32_t> got(128);
  buffer.fill(0);
  Capture capture(context_, stream.handle());
  for (uint32_t value : {5u, 6u}) launch(stream.handle(), buffer.address(), value);
  Graph first = capture.end();
  EXPECT_EQ(first.nodes(), 2u);
  const Graph graph = std::move(first);
  for (int i = 0; i < 3; ++i) graph.launch(stream.handle());
  buffer.download(got.data(), 512, 0, stream.handle());
  stream.synchronize();
  EXPECT_EQ(got, std::vector<uint32_t>(128, 33));
  EXPECT_EQ(error_of([&] { Capture(context_, nullptr); }).code(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  {
    Capture spoilt(context_, stream.handle());
    EXPECT_EQ(error_of([&] { stream.synchronize(); }).code(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    const Error e = error_of([&] { spoilt.end(); });
    EXPECT_EQ(e.code(), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    EXPECT_THAT(e.what(), HasSubstr("cuStreamSynchronize"));
  }
  { const Capture abandoned(context_, stream.handle()); }
  EXPECT_TRUE(stream.done());
}

TEST_F(Client, TensorMaps) {
  DeviceBuffer buffer(context_, 1 << 20);
  TiledTensor t;
  t.rank = 2;
  t.address = buffer.address();
  t.dim[0] = 1024, t.dim[1] = 1024;
  t.stride[0] = 1024;
  t.box[0] = 128, t.box[1] = 64;
  t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  encode_tiled(Driver::get(), t);
  t.box[0] = 256;
  const Error e = error_of([&] { encode_tiled(Driver::get(), t); });
  EXPECT_THAT(e.what(), HasSubstr("box [256, 64]"));
  EXPECT_THAT(e.log(), HasSubstr("128-byte swizzle"));
}

TEST_F(Client, GuardsRestoreWhatWasCurrent) {
  const Api& api = Driver::get().api();
  auto current = [&] {
    CUcontext c = nullptr;
    EXPECT_EQ(api.cuCtxGetCurrent(&c), CUDA_SUCCESS);
    return c;
  };
  EXPECT_EQ(current(), nullptr);
  {
    const Context::Guard a(context_);
    EXPECT_EQ(current(), context_.handle());
    const Context second(Driver::get(), 0);
    EXPECT_EQ(second.handle(), context_.handle()) << "one primary context";
  }
  EXPECT_EQ(current(), nullptr);
}

TEST_F(Client, OneDriverForManyThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([] { EXPECT_EQ(&Driver::get(), &Driver::get()); });
  for (auto& t : threads) t.join();
}

TEST(ClientErrors, NoDevice) {
  EXPECT_EQ(error_of([] { Context(Driver::get(), 99); }).code(), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(result_name(CUDA_ERROR_NOT_READY), "CUDA_ERROR_NOT_READY");
  EXPECT_EQ(result_name(static_cast<CUresult>(4242)), "CUresult 4242");
}

}  // namespace
}  // namespace ptxops::driver
