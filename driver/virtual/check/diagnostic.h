// What the checker reports: an id with a policy, who did what where, what is missing, what mends it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace ptxops::virt {

enum class Diagnostic : uint8_t {
#define DIAGNOSTIC(code, ...) code,
#include "driver/virtual/check/policy.def"
#undef DIAGNOSTIC
};

enum class Level : uint8_t { off, pedantic, error };

struct Rule {
  std::string_view code, slug;
  Level level;  // the default
  std::string_view title, remedy, reason;
};
const Rule& rule(Diagnostic id);

// Is this id reported? By its level under PTXOPS_CHECK_POLICY, and by PTXOPS_CHECK_PEDANTIC. Throws
// std::runtime_error, once, when the policy file cannot be read or names something unknown.
bool reported(Diagnostic id);

// One side of a finding.
struct Site {
  std::array<uint32_t, 3> cta{};
  int warp = -1, lane = -1;  // -1: not one in particular
  std::string thread;        // "(x,y,z)" of the lane
  uint32_t line = 0;         // of the PTX text; Program::show_line fills these three
  std::string source;        // that line
  std::string place;       // "kernel.cu:42" that it was compiled from (.loc), "" where the text does not tell
  std::string action;      // "writes 16 bytes of shared memory at 0x1400", "waits for phase 3 of ..."
  std::string_view proxy;  // "generic", "async", "tensormap", "" where there is none
};

struct Finding {
  Diagnostic id{};
  std::string kernel;
  std::string what;     // the particular case, one line
  std::string missing;  // what should stand between the sites; may be empty
  Site sites[2];        // the access that was caught, and the earlier one
  int site_count = 0;
};

std::string to_text(const Finding& finding);
std::string to_json(const Finding& finding);  // one line, no newline

}  // namespace ptxops::virt
