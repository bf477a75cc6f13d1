#include "driver/virtual/exec/registry.h"

#include <array>

namespace ptxops::virt {

// Weak: a row whose chapter does not define it yields a null pointer, which the loader reports.
#define INSTRUCTION(id, pattern, form, scope, min_ptx, arch) \
  [[gnu::weak]] void decode_##id(Decoder&, const isa::Instruction&);
#define ALSO(id, pattern, form, scope, min_ptx, arch)
#define UNSUPPORTED(pattern, why)
#include "driver/virtual/isa/table/instructions.def"
#undef INSTRUCTION

DecodeFunction decode_function(isa::Id id) {
  static const std::array<DecodeFunction, static_cast<size_t>(isa::Id::count)> table = {
      nullptr,
#define INSTRUCTION(id, pattern, form, scope, min_ptx, arch) decode_##id,
#include "driver/virtual/isa/table/instructions.def"
#undef INSTRUCTION
  };
  return table[static_cast<size_t>(id)];
}

}  // namespace ptxops::virt
