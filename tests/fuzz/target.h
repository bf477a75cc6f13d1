// A fuzzer is one function over bytes. libfuzzer.cpp drives the one that is linked with it; replay.cpp runs
// all of them on files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tests/fuzz/random.h"

namespace ptxops::fuzz {

using Bytes = std::span<const uint8_t>;

struct Target {
  const char* name;
  void (*run)(Bytes input);
  bool is_text;  // mutated by tokens and lines as well as by bytes
  const Target* next;
};
inline const Target* targets = nullptr;

struct Registration {
  Target target;
  Registration(const char* name, void (*run)(Bytes), bool is_text) : target{name, run, is_text, targets} {
    targets = &target;
  }
};

// Aborts with the expression: what a fuzzer checks beyond not crashing.
[[noreturn]] void check_failed(const char* file, int line, const char* expression, std::string_view detail);
#define FUZZ_CHECK(condition, detail) \
  ((condition) ? void() : ::ptxops::fuzz::check_failed(__FILE__, __LINE__, #condition, detail))

// While it lives, the process aborts when it has used too much CPU time: a hang, on however busy a machine.
class TimeLimit {
 public:
  TimeLimit();
  ~TimeLimit();
  TimeLimit(const TimeLimit&) = delete;
};

}  // namespace ptxops::fuzz
