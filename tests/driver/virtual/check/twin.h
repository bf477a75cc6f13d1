// A kernel with its launch and its expected result, read from one file: comments that begin with //!.
//
//   //! launch [NAME] [grid X[,Y[,Z]]] [block ..] [cluster ..] [smem BYTES] [programmatic]   (default entry:
//   k)
//   //! buffer NAME WORDS random|zero|ones|fresh [host|peer|freed] [bytes N]
//   //! map NAME of BUFFER TYPE dims D0,D1.. box B0,B1.. [swizzle 32|64|128] [interleave
//       16|32] [global]
//   //! value NAME NUMBER
//   //! expect BUFFER[i] = EXPRESSION              or BUFFER[FIRST..LAST] = EXPRESSION   (expression.h)
//   //! also CODE                                  another id that the violation may be reported under
//   //! ptxas refuses bad
//
// The kernel's parameters are the buffers, maps and values in the order of the file: addresses and values as
// .u64; a map as `.align 64 .b8 [128]`, or, with `global`, the address of its 128 bytes. A fresh buffer is
// poisoned and counts as never written; what no expectation names must keep the poison.
//
// `//! bad: TEXT` and `//! good: TEXT` are lines of one variant only; `//! here` ends a line that the report
// must name. Lines keep their numbers in both variants.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "driver/virtual/check/diagnostic.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/memory/tensor_map.h"

namespace ptxops::virt::testing {

enum class Variant : uint8_t { bad, good };

struct Twin {
  enum class Fill : uint8_t { random, zero, ones, fresh };
  enum class Place : uint8_t { device, host, peer, freed };
  struct Parameter {
    enum class Kind : uint8_t { buffer, map, value } kind = Kind::buffer;
    std::string name;
    // buffer
    uint32_t words = 0, bytes = 0;
    Fill fill = Fill::fresh;
    Place place = Place::device;
    // map
    std::string of;
    TensorMap map{};  // without its address
    bool in_global = false;
    // value
    uint64_t value = 0;
  };
  struct Launch {
    std::string entry = "k";
    Dim3 grid, block{32, 1, 1}, cluster;
    uint32_t smem = 0;
    bool programmatic = false;
  };
  struct Expectation {
    std::string buffer, expression;
    uint32_t first = 0, last = 0;
  };

  std::string name;  // of the file, without folder and suffix
  std::string code;  // of the diagnostic; empty: a legal kernel without a twin
  std::string text;
  std::vector<Launch> launches;
  std::vector<Parameter> parameters;
  std::vector<Expectation> expectations;
  std::set<std::string> also;
  bool ptxas_refuses_bad = false;

  std::string expand(Variant variant) const;
  std::set<uint32_t> lines_here(Variant variant) const;
};

// Throws std::runtime_error that names file and line.
Twin read_twin(const std::string& path);

// Files of `folder` with this suffix, sorted.
std::vector<std::string> files_of(const std::string& folder, const std::string& suffix);

}  // namespace ptxops::virt::testing
