// What an instruction must compute, written down independently of the virtual device.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "tests/conformance/form.h"
#include "tests/conformance/reference.h"

namespace ptxops::conformance {

struct Expected {
  enum class Kind : uint8_t {
    bits,      // exactly these
    nan,       // any NaN of the result's format
    close,     // |got - value| <= absolute + relative * |value|
    halves,    // two 16-bit elements, each judged by `element`
    anything,  // PTX leaves the result open
  };
  struct Element {  // of a packed result: a pattern, any NaN, or a value with error bounds
    Kind kind = Kind::bits;
    uint64_t bits = 0;
    Quad value = 0;
    double absolute = 0, relative = 0;
  };
  Kind kind = Kind::anything;
  Element element[2];
  uint64_t bits = 0, alternative = 0;  // `alternative` is as good
  Quad value = 0;
  double absolute = 0, relative = 0;

  static Expected exactly(uint64_t bits) { return either(bits, bits); }
  static Expected either(uint64_t a, uint64_t b) {
    Expected e;
    e.kind = Kind::bits, e.bits = a, e.alternative = b;
    return e;
  }
  static Expected any_nan() {
    Expected e;
    e.kind = Kind::nan;
    return e;
  }
  static Expected open() { return {}; }
  static Expected near(Quad value, double absolute, double relative) {
    Expected e;
    e.kind = Kind::close, e.value = value, e.absolute = absolute, e.relative = relative;
    return e;
  }
};

// One concrete use of a form: its operands and the text around it.
struct Case {
  Form form;
  std::vector<isa::Type> sources;  // values the oracle gets, immediates included
  std::vector<isa::Type> results;
  bool pair = false;  // d|p: the second result is the predicate
};

// `in`: one zero-extended bit pattern a source; `out`: one entry a result.
using Oracle = void (*)(const Case&, const uint64_t* in, Expected* out);
using Oracles = std::unordered_map<isa::Id, Oracle>;

// The oracles of generated cases, by row id.
const Oracles& oracles();
void add_integer_oracles(Oracles&);
void add_float_oracles(Oracles&);
void add_approximation_oracles(Oracles&);
void add_half_oracles(Oracles&);
void add_compare_oracles(Oracles&);
void add_convert_oracles(Oracles&);

}  // namespace ptxops::conformance
