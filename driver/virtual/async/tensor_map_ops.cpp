// tensormap.replace patches one field of a tensor map; tensormap.cp_fenceproxy publishes a map made in shared
// memory.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/memory/tensor_map.h"

namespace ptxops::virt {
namespace {

enum class Field : uint32_t {
  global_address,
  rank,
  box_dim,
  global_dim,
  global_stride,
  element_stride,
  elemtype,
  interleave_layout,
  swizzle_mode,
  fill_mode
};
constexpr std::string_view kFields[] = {"global_address", "rank",           "box_dim",  "global_dim",
                                        "global_stride",  "element_stride", "elemtype", "interleave_layout",
                                        "swizzle_mode",   "fill_mode"};

// The instruction numbers element types otherwise than the driver API does.
constexpr TensorMapType kTypes[] = {TensorMapType::kU8,     TensorMapType::kU16,  TensorMapType::kU32,
                                    TensorMapType::kS32,    TensorMapType::kU64,  TensorMapType::kS64,
                                    TensorMapType::kF16,    TensorMapType::kF32,  TensorMapType::kF32Ftz,
                                    TensorMapType::kF64,    TensorMapType::kBF16, TensorMapType::kTF32,
                                    TensorMapType::kTF32Ftz};

// A reason why the value is illegal, or empty.
std::string patch(TensorMap& map, Field field, uint32_t index, uint64_t value) {
  const auto limit = [&](uint64_t low, uint64_t high) {
    return value >= low && value <= high ? std::string{}
                                         : fmt::format("tensormap.replace of {} with {}: expected {} to {}",
                                                       kFields[static_cast<int>(field)], value, low, high);
  };
  const uint32_t word = static_cast<uint32_t>(value);
  std::string why;
  switch (field) {
    case Field::global_address:
      if (value % 16)
        return fmt::format("tensormap.replace of global_address with {:#x}: expected a multiple of 16",
                           value);
      map.global_address = value;
      break;
    case Field::rank:
      if (why = limit(0, 4); why.empty()) map.rank_minus_1 = static_cast<uint8_t>(value);
      break;
    case Field::box_dim:
      if (why = limit(1, 256); why.empty()) map.box_dim[index] = word;
      break;
    case Field::global_dim:
      map.global_dim[index] = word;
      break;
    case Field::global_stride:
      if (index > 3) return fmt::format("tensormap.replace of global_stride {}: expected 0 to 3", index);
      if (value % 16 || value >> 40)
        return fmt::format("tensormap.replace of global_stride with {}: expected a multiple of 16 below 2^40",
                           value);
      map.global_stride[index] = value;
      break;
    case Field::element_stride:
      if (why = limit(1, 8); why.empty()) map.element_stride[index] = word;
      break;
    case Field::elemtype:
      if (why = limit(0, std::size(kTypes) - 1); why.empty()) map.type = kTypes[value];
      break;
    case Field::interleave_layout:
      if (why = limit(0, 2); why.empty()) map.interleave = static_cast<TensorMapInterleave>(value);
      break;
    case Field::swizzle_mode:
      if (why = limit(0, 3); why.empty()) map.swizzle = static_cast<TensorMapSwizzle>(value);
      break;
    case Field::fill_mode:
      if (why = limit(0, 1); why.empty()) map.fill = static_cast<TensorMapFill>(value);
      break;
  }
  return why;
}

// Op: a address, imm displacement, b new value (8 or 4 bytes: c), e field, f index and space.
Step replace(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const Access access{.space = static_cast<Space>(op.f >> 8),
                        .kind = AccessKind::store,
                        .size = sizeof(TensorMap),
                        .alignment = 64};
    std::byte* p = resolve(w, op, lane, w.reg<uint64_t>(op.a)[lane] + op.imm, access);
    if (!p || (w.order && !w.order->checker->generic_range(w, op, lane, p, access))) return Step::fault;
    TensorMap map;
    std::memcpy(&map, p, sizeof map);
    // A map may also be made from nothing: 128 zero bytes, then every field replaced.
    const bool blank = std::all_of(p, p + sizeof map, [](std::byte b) { return b == std::byte{0}; });
    if (!blank && !is_intact(map))
      return w.fault(
          op, lane, Diagnostic::X3,
          fmt::format(
              "tensormap.replace on 128 bytes that are neither a tensor map (magic {:#010x}, expected "
              "{:#010x}) nor zero",
              map.magic, kTensorMapMagic));
    if (blank)
      for (int d = 0; d < 5; ++d) map.global_dim[d] = map.box_dim[d] = map.element_stride[d] = 1;
    const uint64_t value = op.c == 8 ? w.reg<uint64_t>(op.b)[lane] : w.reg<uint32_t>(op.b)[lane];
    const std::string why = patch(map, static_cast<Field>(op.e), op.f & 0xFF, value);
    if (!why.empty()) return w.fault(op, lane, Diagnostic::X3, why);
    seal(map);
    std::memcpy(p, &map, sizeof map);
  }
  ++w.cta->cluster->progress;
  return Step::next;
}

// Op: a global, b shared address; imm and the pair c, d their displacements. One copy for the whole warp.
Step cp_fenceproxy(Warp& w, const Op& op, uint32_t lanes) {
  if (lanes != w.live())
    return w.fault(
        op, -1, Diagnostic::C3,
        fmt::format(
            "tensormap.cp_fenceproxy.aligned executed by lanes {:#010x}: expected all live lanes {:#010x}",
            lanes, w.live()));
  const int lane = __builtin_ctz(lanes);
  const uint64_t to = w.reg<uint64_t>(op.a)[lane] + op.imm;
  const uint64_t from = w.reg<uint64_t>(op.b)[lane] + (uint64_t{op.d} << 32 | op.c);
  const std::byte* source =
      resolve(w, op, lane, from, {.space = Space::shared, .size = 128, .alignment = 128});
  if (!source) return Step::fault;
  std::byte* target = resolve(
      w, op, lane, to, {.space = Space::global, .kind = AccessKind::store, .size = 128, .alignment = 128});
  if (!target) return Step::fault;
  if (w.order) {
    Checker& checker = *w.order->checker;
    order_lanes(w, lanes);
    if (!checker.generic_range(w, op, lane, source, {.space = Space::shared, .size = 128}) ||
        !checker.generic_range(w, op, lane, target,
                               {.space = Space::global, .kind = AccessKind::store, .size = 128}))
      return Step::fault;
    checker.release_tensor_map(w, lanes);
    checker.fence(w, lanes, Scope::gpu);
    // The map's scratch in shared memory has been read: kernels (Triton's) let bulk copies overwrite it then.
    checker.fence_proxy_async(w, lanes, true, false);
  }
  std::memcpy(target, source, 128);
  ++w.cta->cluster->progress;
  return Step::next;
}

}  // namespace

void decode_tensormap_replace(Decoder& d, const isa::Instruction& in) {
  const std::string_view name = in.choice("field");
  const auto field =
      static_cast<Field>(std::find(std::begin(kFields), std::end(kFields), name) - std::begin(kFields));
  const bool indexed = in.operands.size() == 3;
  const bool wide = field == Field::global_address || field == Field::global_stride;
  int64_t displacement;
  const uint32_t address = d.address(in.operands[0], displacement);
  const uint32_t value = d.src(in.operands[indexed ? 2 : 1], wide ? isa::Type::b64 : isa::Type::b32);
  Op& op = d.emit(replace);
  op.a = address;
  op.imm = static_cast<uint64_t>(displacement);
  op.b = value;
  op.c = wide ? 8 : 4;
  op.e = static_cast<uint32_t>(field);
  op.f = (indexed ? static_cast<uint32_t>(in.operands[1].immediate(isa::Type::u32)) : 0) |
         static_cast<uint32_t>(in.space()) << 8;
  op.cost = 4;
}

void decode_tensormap_cp_fenceproxy(Decoder& d, const isa::Instruction& in) {
  int64_t to, from;
  const uint32_t a = d.address(in.operands[0], to), b = d.address(in.operands[1], from);
  Op& op = d.emit(cp_fenceproxy);
  op.a = a;
  op.imm = static_cast<uint64_t>(to);
  op.b = b;
  op.c = static_cast<uint32_t>(static_cast<uint64_t>(from));
  op.d = static_cast<uint32_t>(static_cast<uint64_t>(from) >> 32);
  op.cost = 8;
}

}  // namespace ptxops::virt
