// A captured decode over an FP8 cache is replayed with other lengths, keys and data: nothing of the plan or
// the graph depends on them.
#include <gmock/gmock.h>

#include <limits>

#include "driver/client/graph.h"
#include "driver/client/stream.h"
#include "tests/ops/mla_fp8_session.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

struct Form {
  bool sparse;
  int split_tokens;
};

class MlaFp8Graph : public ::testing::TestWithParam<Form> {
 protected:
  driver::Context driver_{driver::Driver::get(), 0};
  driver::Context::Guard guard_{driver_};
  driver::Stream stream_{driver_};
};

TEST_P(MlaFp8Graph, ReplaysWithOtherLengths) {
  const Form form = GetParam();
  mla::Problem problem{.sparse = form.sparse,
                       .batch = 2,
                       .s_q = 2,
                       .h_q = 24,
                       .pages = 10,
                       .capacity = 600,
                       .causal = !form.sparse,
                       .sinks = true};
  const std::vector<std::vector<int>> all_lengths =
      form.sparse ? std::vector<std::vector<int>>{{90, 600, 0, 64}, {0, 0, 0, 0}, {600, 65, 599, 1}}
                  : std::vector<std::vector<int>>{{90, 600}, {0, 0}, {64, 599}};
  std::vector<mla::Data> all;
  for (const std::vector<int>& lengths : all_lengths) {
    problem.lengths = lengths;
    all.emplace_back(problem, random_seed() + 280 + all.size());
  }
  mla::Session session(all[0], desc_of(all[0], {.sm_count = 12, .split_tokens = form.split_tokens}));
  driver::Capture capture(driver_, stream_.handle(), abi::CU_STREAM_CAPTURE_MODE_GLOBAL);
  ASSERT_OK(ptxopsMlaDecodeFp8Run(session.plan.handle, &session.args, session.workspace->address(),
                                  session.bytes, reinterpret_cast<ptxopsStream_t>(stream_.handle())));
  const driver::Graph graph = capture.end();
  for (const mla::Data& data : all) {
    SCOPED_TRACE(testing::PrintToString(data.p.lengths));
    const auto put = [](const DeviceMemory& to, const auto& from) {
      ASSERT_OK(
          ptxopsMemcpyToDevice(context(), to.address(), from.data(), from.size() * sizeof from[0], nullptr));
    };
    put(session.q, data.q), put(session.cache, data.cache), put(session.table, data.table);
    put(session.lengths, std::vector<int32_t>(data.p.lengths.begin(), data.p.lengths.end()));
    put(session.sink, data.sink);
    put(session.out, std::vector<uint16_t>(data.requests * data.rows * 512, 0xa5a5));
    put(session.lse, std::vector<float>(data.requests * data.rows, std::numeric_limits<float>::quiet_NaN()));
    ASSERT_OK(ptxopsStreamSynchronize(context(), nullptr));  // the graph's stream does not wait for that one
    graph.launch(stream_.handle());
    stream_.synchronize();
    EXPECT_EQ(data.difference(session.out.read<uint16_t>(), session.lse.read<float>()), "");
  }
}
INSTANTIATE_TEST_SUITE_P(Forms, MlaFp8Graph,
                         testing::Values(Form{false, 0}, Form{false, 128}, Form{true, 0}, Form{true, 128}));

}  // namespace
}  // namespace ptxops::test
