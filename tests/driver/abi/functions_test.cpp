// The list of driver functions is consistent: no symbol twice, versions of a name rise with its suffix, and
// the client asks for one version of each name.
#include "driver/abi/functions.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

namespace {

enum Streams { PLAIN, PTSZ, PTDS };
enum Client { REQUIRED, OPTIONAL, UNUSED };
struct Row {
  std::string name, symbol;
  int version;
  Streams streams;
  Client client;
  bool implemented;
};

const Row kRows[] = {
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  {#name, #symbol, version, streams, client, true},
#define PTXOPS_NO(name, symbol, version, streams) {#name, #symbol, version, streams, UNUSED, false},
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
};

TEST(Functions, SymbolsAreUniqueAndBelongToTheirName) {
  std::set<std::string> symbols;
  for (const Row& r : kRows) {
    EXPECT_TRUE(symbols.insert(r.symbol).second) << r.symbol << " is listed twice";
    const std::string suffix = r.symbol.substr(r.name.size());
    EXPECT_EQ(r.symbol.compare(0, r.name.size(), r.name), 0) << r.symbol;
    EXPECT_TRUE(suffix.empty() || (suffix.size() == 3 && suffix.compare(0, 2, "_v") == 0)) << r.symbol;
  }
  EXPECT_EQ(symbols.size(), 540u) << "CUDA 13.0's stub exports 540 functions besides the _ptsz/_ptds ones";
}

TEST(Functions, LaterSuffixNeverMeansEarlierVersion) {
  std::map<std::string, std::map<std::string, int>> versions;
  for (const Row& r : kRows) versions[r.name][r.symbol] = r.version;
  for (const auto& [name, by_symbol] : versions) {
    int last = 0;
    for (const auto& [symbol, version] : by_symbol) {
      EXPECT_GT(version, last) << symbol;
      last = version;
    }
  }
}

TEST(Functions, ClientAsksForOneVersionOfEachName) {
  std::set<std::string> names;
  for (const Row& r : kRows)
    if (r.client != UNUSED) {
      EXPECT_TRUE(names.insert(r.name).second) << r.name;
      EXPECT_LE(r.version, 12080) << r.symbol << ": asking above an installed driver's version is an error";
    }
  EXPECT_GT(names.size(), 50u);
}

}  // namespace
