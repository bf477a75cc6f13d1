#include "tests/conformance/body.h"

#include <gtest/gtest.h>

#include "tests/conformance/values.h"

namespace ptxops::conformance {

std::string kernel_text(const Body& b) {
  return module_head(b.version) + b.module +
         ".visible .entry k(.param .u64 p_in, .param .u64 p_out, .param .u32 p_n)\n" + b.directives + R"({
    .reg .b32 r<32>, tid, lane, warp, cta, rank, index, count, ntid;
    .reg .b64 d<16>, in, out, mine;
    .reg .b16 h<8>;
    .reg .pred p<8>;
    ld.param.u64 in, [p_in];
    ld.param.u64 out, [p_out];
    ld.param.u32 count, [p_n];
    cvta.to.global.u64 in, in;
    cvta.to.global.u64 out, out;
    mov.u32 tid, %tid.x;
    mov.u32 ntid, %ntid.x;
    mov.u32 cta, %ctaid.x;
    mov.u32 rank, %cluster_ctarank;
    and.b32 lane, tid, 31;
    shr.u32 warp, tid, 5;
    mad.lo.u32 index, cta, ntid, tid;
    mad.wide.u32 mine, index, 4, out;
)" + b.text +
         "\n    ret;\n}\n";
}

namespace {

Outcome run(const Body& b) {
  Module module(kernel_text(b), "body");
  if (!module.error().empty()) return {"refused: " + module.error(), {}};
  std::vector<uint8_t> input(b.input.size() * 4);
  if (!input.empty()) std::memcpy(input.data(), b.input.data(), input.size());
  return module.run("k", input, b.output_words * 4, static_cast<uint32_t>(b.output_words), b.shape);
}

}  // namespace

std::vector<uint32_t> run_body(const Body& b) {
  const Outcome outcome = run(b);
  if (!outcome.fault.empty()) {
    ADD_FAILURE() << outcome.fault << "\n" << b.text;
    return {};
  }
  std::vector<uint32_t> words(b.output_words);
  std::memcpy(words.data(), outcome.output.data(), outcome.output.size());
  return words;
}

void expect_fault(const Body& b, const std::string& expected) {
  if (!device_is_virtual()) GTEST_SKIP() << "a fault would end this process's GPU context";
  const Outcome outcome = run(b);
  EXPECT_NE(outcome.fault.find(expected), std::string::npos)
      << "expected a fault with \"" << expected
      << "\", got: " << (outcome.fault.empty() ? "success" : outcome.fault) << "\n"
      << b.text;
}

std::vector<uint32_t> random_words(size_t count, uint64_t purpose) {
  Random random(seed() * 31 + purpose);
  std::vector<uint32_t> words(count);
  for (uint32_t& w : words) w = static_cast<uint32_t>(random());
  return words;
}

}  // namespace ptxops::conformance
