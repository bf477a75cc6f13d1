// What a legal kernel has to be: silent, and right.
#pragma once

#include <gtest/gtest.h>

#include "tests/driver/virtual/check/run_twin.h"

namespace ptxops::virt::testing {

inline void expect_silent_and_right(const Twin& twin, const std::string& ptx) {
  ASSERT_FALSE(twin.expectations.empty()) << "no result is expected";
  const Outcome o = run_twin(twin, ptx);
  ASSERT_TRUE(o.ran) << o.report;
  ASSERT_EQ(o.code, "") << o.report;
  EXPECT_EQ(compare(twin, o), "");
}

inline std::string name_of(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = read_twin(info.param).name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

}  // namespace ptxops::virt::testing
