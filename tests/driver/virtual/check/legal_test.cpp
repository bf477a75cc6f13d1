// Larger kernels that are legal as they stand, written as shipped kernels are: silent, and right.
#include <gtest/gtest.h>

#include "tests/driver/virtual/check/legal.h"

namespace ptxops::virt::testing {
namespace {

class Legal : public ::testing::TestWithParam<std::string> {};

TEST_P(Legal, Ptx) {
  const Twin twin = read_twin(GetParam());
  expect_silent_and_right(twin, twin.text);
}
INSTANTIATE_TEST_SUITE_P(Kernels, Legal, ::testing::ValuesIn(files_of(LEGAL_FOLDER, ".ptx")), name_of);

}  // namespace
}  // namespace ptxops::virt::testing
