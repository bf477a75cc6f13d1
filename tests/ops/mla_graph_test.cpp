// A captured MLA decode is replayed with other lengths, pages and data: nothing of the plan or the graph
// depends on them.
#include <gmock/gmock.h>

#include "driver/client/graph.h"
#include "driver/client/stream.h"
#include "tests/ops/mla_reference.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

struct Form {
  int split_tokens, merge, page_size;
  unsigned launches;
};

class MlaGraph : public ::testing::TestWithParam<Form> {
 protected:
  driver::Context driver_{driver::Driver::get(), 0};
  driver::Context::Guard guard_{driver_};
  driver::Stream stream_{driver_};
};

TEST_P(MlaGraph, ReplaysWithOtherLengths) {
  MlaProblem p{.s_q = 2,
               .h_q = 24,
               .lengths = {90, 0, 300, 64},
               .causal = true,
               .split_tokens = GetParam().split_tokens};
  p.merge = GetParam().merge, p.page_size = GetParam().page_size;
  p.sm_count = 12, p.max_pages = 1024 / p.page_size, p.seed = random_seed();
  const std::vector<std::vector<int>> replays = {{1000, 3, 0, 65}, {0, 0, 0, 0}, {64, 128, 1024, 1023}};
  // One cache for all: as many pages as the longest needs.
  int64_t most = 0;
  std::vector<MlaData> all;
  all.emplace_back(p);
  for (const std::vector<int>& lengths : replays) {
    p.lengths = lengths;
    ++p.seed;
    all.emplace_back(p);
  }
  for (const MlaData& data : all) most = std::max(most, data.desc.pages);
  ptxopsMlaDecodeDesc_t desc = all[0].desc;
  desc.pages = most;
  Plan plan;
  ASSERT_OK(ptxopsMlaDecodePlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  size_t bytes = 0;
  ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const size_t out_bytes = static_cast<size_t>(desc.batch * desc.out_request) * 2,
               lse_bytes = static_cast<size_t>(desc.batch * desc.lse_request) * 4;
  const DeviceMemory workspace(bytes), q(all[0].q.size() * 2),
      cache(static_cast<size_t>(most * desc.cache_page) * 2), table(all[0].table.size() * 4),
      lengths(all[0].lengths.size() * 4), out(out_bytes), lse(lse_bytes),
      flags(static_cast<size_t>(desc.batch) * 4);
  const auto load = [&](const MlaData& data) {
    const auto put = [](const DeviceMemory& to, const auto& from) {
      ASSERT_OK(
          ptxopsMemcpyToDevice(context(), to.address(), from.data(), from.size() * sizeof from[0], nullptr));
    };
    put(q, data.q), put(cache, data.cache), put(table, data.table), put(lengths, data.lengths);
    ASSERT_OK(ptxopsMemset(context(), out.address(), 0xA7, out_bytes, nullptr));
    ASSERT_OK(ptxopsMemset(context(), lse.address(), 0xA7, lse_bytes, nullptr));
    ASSERT_OK(
        ptxopsStreamSynchronize(context(), nullptr));  // the graph's stream does not wait for the default one
  };
  ptxopsMlaDecodeArgs_t args = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
  args.q = q.address(), args.cache = cache.address(), args.page_table = table.address();
  args.lengths = lengths.address(), args.out = out.address(), args.lse = lse.address(),
  args.flags = flags.address();
  load(all[0]);
  driver::Capture capture(driver_, stream_.handle(), abi::CU_STREAM_CAPTURE_MODE_GLOBAL);
  ASSERT_OK(ptxopsMlaDecodeRun(plan.handle, &args, workspace.address(), bytes,
                               reinterpret_cast<ptxopsStream_t>(stream_.handle())));
  const driver::Graph graph = capture.end();
  EXPECT_EQ(graph.nodes(), GetParam().launches);
  for (const MlaData& data : all) {
    SCOPED_TRACE(testing::PrintToString(data.p.lengths));
    load(data);
    graph.launch(stream_.handle());
    stream_.synchronize();
    const MlaResult result{out.read<uint16_t>(), lse.read<float>(), flags.read<int32_t>()};
    expect_close(data, result);
    EXPECT_THAT(result.flags, testing::Each(0));
  }
}
INSTANTIATE_TEST_SUITE_P(
    Forms, MlaGraph,
    testing::Values(Form{0, PTXOPS_MLA_MERGE_SEPARATE, 64, 3}, Form{128, PTXOPS_MLA_MERGE_SEPARATE, 64, 3},
                    Form{0, PTXOPS_MLA_MERGE_FUSED, 64, 2}, Form{128, PTXOPS_MLA_MERGE_FUSED, 1, 2}),
    [](const testing::TestParamInfo<Form>& form) { return testing::PrintToString(form.index); });

}  // namespace
}  // namespace ptxops::test
