// Exact arithmetic of Hopper's tensor cores (wgmma, and 16-bit mma.sync): one call, one fused step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace ptxops::virt::numerics {

// Changes whenever any result of this module may change; caches of results must key on it.
inline constexpr int kNumericsVersion = 1;

enum class MmaType : std::uint8_t { f16, bf16, tf32, e4m3, e5m2, s8, u8, b1 };
enum class AccType : std::uint8_t { f32, f16, s32 };

// Every operand row is K elements packed into 32 bytes: K = 16 (f16, bf16), 8 (tf32), 32 (8-bit types), 256
// (b1). A shorter mma.sync K is the same sum with the rest of the row zero.
inline constexpr int kMmaRowBytes = 32;
constexpr int mma_k(MmaType t) {
  switch (t) {
    case MmaType::f16:
    case MmaType::bf16:
      return 16;
    case MmaType::tf32:
      return 8;
    case MmaType::b1:
      return 256;
    default:
      return 32;
  }
}

// D = A*B (+ D when `accumulate`). Legal combinations:
//   f16 x f16 -> f32, f16; bf16 x bf16 -> f32; tf32 x tf32 -> f32; {e4m3,e5m2} x {e4m3,e5m2} -> f32, f16;
//   {s8,u8} x {s8,u8} -> s32 (wraps, or clamps with `satfinite`); b1 x b1 -> s32 (and.popc).
// negate_a/b are wgmma's imm-scale -1, float types only.
struct MmaShape {
  int m = 16;  // 1..kMaxM
  int n = 8;   // multiple of 8, up to kMaxN
  int k = 16;  // must equal mma_k(a)
  MmaType a = MmaType::f16;
  MmaType b = MmaType::f16;
  AccType d = AccType::f32;
  bool negate_a = false;
  bool negate_b = false;
  bool accumulate = true;  // wgmma's scale-d; false: the contents of d are not read
  bool satfinite = false;
};
inline constexpr int kMaxM = 64, kMaxN = 256;

// B in the form in which the arithmetic reads it, so that calls with the same B need not decode it again.
class MmaB {
 public:
  // Makes it the n rows of 32 bytes (K-major) at `rows`, as shape.b. A comparison where it holds them
  // already.
  void set(const MmaShape& shape, const std::byte* rows);

 private:
  friend void mma(const MmaShape&, const std::byte*, const MmaB&, const struct MmaD&);
  static constexpr std::size_t kAlignment = 64;
  struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t(kAlignment)); }
  };
  using Bytes = std::unique_ptr<std::byte[], Free>;
  MmaType type_ = MmaType::f16;
  int n_ = 0;
  std::size_t capacity_ = 0;
  Bytes rows_, decoded_;  // rows_: zeros behind the n rows
};

// D in pieces of 8 rows x 16 bytes, which is how the registers of a warp hold it: rows 8g..8g+7 of columns
// [c*16/element, (c+1)*16/element) are 128 contiguous bytes at base + in[g*(n*element/16) + c], and their
// results go to base + out[...]; in and out may be the same. m must be a multiple of 8.
struct MmaD {
  std::byte* base;
  const std::uint32_t *in, *out;
};
inline constexpr int kPieceRows = 8, kPieceBytes = 16;

// a: m rows of 32 B. No piece may overlap a. Thread-safe, no state, allocates nothing, and does not touch the
// floating point environment (which must be the default one: round to nearest, no flush to zero).
// Throws std::invalid_argument, naming the field, for an illegal combination.
// FP8 follows wgmma (13 fraction bits); mma.sync on FP8 has another data path and is not modelled here.
void mma(const MmaShape& shape, const std::byte* a, const MmaB& b, const MmaD& d);

// For a single call: b as rows, d row-major, 4 B (f32, s32) or 2 B (f16) an element. Any alignment; d must
// not overlap a or b.
void mma(const MmaShape& shape, const std::byte* a, const std::byte* b, std::byte* d);

// The same result from plain integer code, one output at a time: the fast path's fallback and its second
// opinion.
void mma_scalar(const MmaShape& shape, const std::byte* a, const std::byte* b, std::byte* d);

// Name of the instruction set that mma() runs on here ("AVX3_DL", "AVX2", ...), for reports.
const char* mma_target();

}  // namespace ptxops::virt::numerics
