// What the checker judges is PTX that the vendor's assembler takes. Skipped without ptxas.
#include <gtest/gtest.h>

#include "driver/jit/ptxas.h"
#include "tests/driver/virtual/check/twin.h"

namespace ptxops::virt::testing {
namespace {

TEST(Ptxas, AssemblesTwinsAndLegalKernels) {
  const jit::PtxasSearch search = jit::find_ptxas();
  if (!search.tool) GTEST_SKIP() << search.status;
  for (const char* folder : {TWINS_FOLDER, LEGAL_FOLDER})
    for (const std::string& file : files_of(folder, ".ptx")) {
      const Twin twin = read_twin(file);
      for (const Variant v : {Variant::bad, Variant::good}) {
        if (v == Variant::bad && twin.code.empty()) continue;
        const jit::Assembly a = search.tool->assemble(twin.expand(v), twin.name + ".ptx");
        const bool refused = v == Variant::bad && twin.ptxas_refuses_bad;
        EXPECT_EQ(a.ok, !refused) << file << (v == Variant::bad ? " (bad)\n" : " (good)\n") << a.log;
      }
    }
}

}  // namespace
}  // namespace ptxops::virt::testing
