// A captured FP8 decode is replayed with other lengths, pages and data: nothing of the plan or the graph
// depends on them.
#include <gmock/gmock.h>

#include <algorithm>

#include "driver/client/graph.h"
#include "driver/client/stream.h"
#include "tests/ops/mla_e4m3_reference.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

class MlaE4m3Graph : public ::testing::TestWithParam<int> {
 protected:
  driver::Context driver_{driver::Driver::get(), 0};
  driver::Context::Guard guard_{driver_};
  driver::Stream stream_{driver_};
};

TEST_P(MlaE4m3Graph, ReplaysWithOtherLengths) {
  MlaE4m3Problem p{.s_q = 2,
                   .h_q = 36,
                   .lengths = {},
                   .causal = true,
                   .scales_on_device = true,
                   .split_tokens = GetParam(),
                   .sm_count = 12,
                   .max_pages = 8,
                   .seed = random_seed()};
  std::vector<MlaE4m3Data> all;
  for (const std::vector<int>& lengths :
       std::vector<std::vector<int>>{{90, 0, 300, 64}, {512, 3, 0, 65}, {0, 0, 0, 0}, {64, 128, 511, 1}}) {
    p.lengths = lengths;
    all.emplace_back(p);
    ++p.seed;
  }
  ptxopsMlaDecodeE4m3Desc_t desc = all[0].desc;
  for (const MlaE4m3Data& data : all) desc.pages = std::max(desc.pages, data.desc.pages);
  Plan plan;
  ASSERT_OK(ptxopsMlaDecodeE4m3PlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  size_t bytes = 0;
  ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const size_t out_bytes = static_cast<size_t>(desc.batch * desc.out_request) * 2,
               lse_bytes = static_cast<size_t>(desc.batch * desc.lse_request) * 4;
  const DeviceMemory workspace(bytes, 0xFF), q(all[0].q.size()),
      cache(static_cast<size_t>(desc.pages * desc.cache_page)), table(all[0].table.size() * 4),
      lengths(all[0].lengths.size() * 4), scales(8), out(out_bytes), lse(lse_bytes),
      flags(static_cast<size_t>(desc.batch) * 4);
  ptxopsMlaDecodeE4m3Args_t args = PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER;
  args.q = q.address(), args.cache = cache.address();
  args.descale_q = scales.address(), args.descale_k = scales.address() + 4;
  args.page_table = table.address(), args.lengths = lengths.address();
  args.out = out.address(), args.lse = lse.address(), args.flags = flags.address();
  driver::Capture capture(driver_, stream_.handle(), abi::CU_STREAM_CAPTURE_MODE_GLOBAL);
  ASSERT_OK(ptxopsMlaDecodeE4m3Run(plan.handle, &args, workspace.address(), bytes,
                                   reinterpret_cast<ptxopsStream_t>(stream_.handle())));
  const driver::Graph graph = capture.end();
  EXPECT_EQ(graph.nodes(), 3U);  // schedule, attention, merge
  for (MlaE4m3Data& data : all) {
    SCOPED_TRACE(testing::PrintToString(data.p.lengths));
    if (&data == &all[1]) data.device_descale_q *= 2, data.device_descale_k /= 2;  // read when the graph runs
    const auto put = [](const DeviceMemory& to, const auto& from) {
      ASSERT_OK(
          ptxopsMemcpyToDevice(context(), to.address(), from.data(), from.size() * sizeof from[0], nullptr));
    };
    put(q, data.q), put(cache, data.cache), put(table, data.table), put(lengths, data.lengths);
    put(scales, std::vector<float>{data.device_descale_q, data.device_descale_k});
    ASSERT_OK(ptxopsMemset(context(), out.address(), 0xA7, out_bytes, nullptr));
    ASSERT_OK(ptxopsMemset(context(), lse.address(), 0xA7, lse_bytes, nullptr));
    ASSERT_OK(ptxopsStreamSynchronize(context(), nullptr));  // the graph's stream does not wait for that one
    graph.launch(stream_.handle());
    stream_.synchronize();
    const MlaResult result{out.read<uint16_t>(), lse.read<float>(), flags.read<int32_t>()};
    expect_close(data, result);
    EXPECT_THAT(result.flags, testing::Each(0));
  }
}
INSTANTIATE_TEST_SUITE_P(SplitTokens, MlaE4m3Graph, testing::Values(0, 128));

}  // namespace
}  // namespace ptxops::test
