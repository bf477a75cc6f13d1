#include "tests/driver/virtual/check/run_twin.h"

#include <fmt/format.h>

#include <cstring>
#include <functional>

#include "tests/support/random_seed.h"

namespace ptxops::virt::testing {

Buffers initial_contents(const Twin& twin) {
  Buffers contents;
  auto random = test::random_engine(std::hash<std::string>{}(twin.name));
  for (const auto& p : twin.parameters) {
    if (p.kind != Twin::Parameter::Kind::buffer) continue;
    auto& words = contents[p.name];
    for (uint32_t i = 0; i < p.words; ++i)
      words.push_back(p.fill == Twin::Fill::random ? static_cast<uint32_t>(random())
                      : p.fill == Twin::Fill::ones ? 0x01010101u
                      : p.fill == Twin::Fill::zero ? 0u
                                                   : kPoison);
  }
  return contents;
}

TensorMap map_at(const Twin::Parameter& map, uint64_t address) {
  TensorMap m = map.map;
  m.global_address = address;
  seal(m);
  return m;
}

std::vector<std::byte> parameter_block(const Twin& twin, const std::map<std::string, uint64_t>& address) {
  std::vector<std::byte> block;
  const auto append = [&](const void* data, size_t size, size_t alignment) {
    block.resize((block.size() + alignment - 1) / alignment * alignment + size);
    std::memcpy(block.data() + block.size() - size, data, size);
  };
  for (const auto& p : twin.parameters) {
    if (p.kind == Twin::Parameter::Kind::map && !p.in_global) {
      const TensorMap m = map_at(p, address.at(p.of));
      append(&m, sizeof m, 64);
    } else {
      const uint64_t value = p.kind == Twin::Parameter::Kind::value ? p.value : address.at(p.name);
      append(&value, 8, 8);
    }
  }
  return block;
}

std::string compare(const Twin& twin, const Outcome& outcome) {
  std::map<std::string, std::vector<bool>> expected;
  for (const auto& e : twin.expectations) {
    const auto found = outcome.after.find(e.buffer);
    if (found == outcome.after.end()) return fmt::format("no buffer {} to expect anything of", e.buffer);
    const auto& words = found->second;
    auto& seen = expected[e.buffer];
    seen.resize(words.size());
    for (uint32_t i = e.first; i < words.size() && i <= e.last; ++i) {
      seen[i] = true;
      const uint32_t want = evaluate(e.expression, outcome.before, i);
      if (words[i] != want)
        return fmt::format("{}[{}] is {:#010x}, expected {:#010x} ={}", e.buffer, i, words[i], want,
                           e.expression);
    }
  }
  for (const auto& p : twin.parameters) {
    if (p.kind != Twin::Parameter::Kind::buffer || p.fill != Twin::Fill::fresh) continue;
    const auto& words = outcome.after.at(p.name);
    auto& seen = expected[p.name];
    seen.resize(words.size());
    for (size_t i = 0; i < words.size(); ++i)
      if (!seen[i] && words[i] != kPoison)
        return fmt::format("{}[{}] was written: {:#010x}", p.name, i, words[i]);
  }
  return "";
}

}  // namespace ptxops::virt::testing
