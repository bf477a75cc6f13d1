// Every kernel of ptx/, as embedded: parses, and every configuration of its legal domain expands.
#include <gtest/gtest.h>

#include <cstdlib>

#include "driver/jit/build.h"
#include "driver/jit/head.h"
#include "driver/jit/source.h"

namespace ptxops::jit {
namespace {

TEST(Kernels, EveryConfigurationExpands) {
  int kernels = 0;
  for (const std::string& path : source_paths()) {
    if (!path.ends_with(".ptx") || !is_kernel(*read_source(path))) continue;
    SCOPED_TRACE(path);
    ++kernels;
    const KernelHead head = parse_head(path);
    const std::vector<Config> configs = enumerate(head);
    EXPECT_FALSE(configs.empty());
    for (const Config& c : configs) {
      const Expansion e = expand(*head.parsed, head.named(c));
      EXPECT_NE(e.ptx.find(".entry " + head.name), std::string::npos);
      EXPECT_EQ(e.ptx.find("{{"), std::string::npos);
      EXPECT_EQ(e.ptx.find("//%"), std::string::npos);
      std::vector<int64_t> notes;
      evaluate_notes(head, c, notes);
      for (size_t i = 0; i < notes.size(); ++i) EXPECT_EQ(notes[i], e.notes.at(head.notes[i]));
    }
  }
  EXPECT_GT(kernels, 0);
}

}  // namespace
}  // namespace ptxops::jit
