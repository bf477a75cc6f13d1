// libFuzzer's entry points over the one fuzzer that is linked.
#include <algorithm>
#include <cstring>
#include <string>

#include "tests/fuzz/mutator.h"
#include "tests/fuzz/target.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ptxops::fuzz::TimeLimit limit;
  ptxops::fuzz::targets->run({data, size});
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using namespace ptxops::fuzz;
  Random random(seed);
  if (!targets->is_text || random.one_in(3)) return LLVMFuzzerMutate(data, size, max_size);
  // The last inputs, to take pieces from.
  static std::string earlier[64];
  std::string& remembered = random.pick(earlier);
  const std::string text(reinterpret_cast<char*>(data), size);
  const std::string mutated = mutate_text(text, random.one_in(2) ? remembered : text, random);
  if (random.one_in(16)) remembered = text;
  const size_t n = std::min(mutated.size(), max_size);
  std::memcpy(data, mutated.data(), n);
  return n;
}
