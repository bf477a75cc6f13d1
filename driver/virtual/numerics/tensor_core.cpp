#include "driver/virtual/numerics/tensor_core.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "driver/virtual/numerics/tensor_core_exact.h"
#include "driver/virtual/numerics/tensor_core_simd.h"

namespace ptxops::virt::numerics {
namespace {

constexpr const char* kTypeNames[] = {"f16", "bf16", "tf32", "e4m3", "e5m2", "s8", "u8", "b1"};
constexpr const char* kAccNames[] = {"f32", "f16", "s32"};

// Types that multiply with one another.
int family(MmaType t) {
  switch (t) {
    case MmaType::e4m3:
    case MmaType::e5m2:
      return 3;
    case MmaType::s8:
    case MmaType::u8:
      return 4;
    case MmaType::b1:
      return 5;
    default:
      return static_cast<int>(t);
  }
}

void check(const MmaShape& s) {
  const auto fail = [&](const std::string& what) { throw std::invalid_argument("mma: " + what); };
  if (s.m < 1 || s.m > kMaxM) fail(fmt::format("m = {}, expected 1..{}", s.m, kMaxM));
  if (s.n < 8 || s.n > kMaxN || s.n % 8)
    fail(fmt::format("n = {}, expected a multiple of 8 in 8..{}", s.n, kMaxN));
  const char* a = kTypeNames[static_cast<int>(s.a)];
  const char* b = kTypeNames[static_cast<int>(s.b)];
  if (family(s.a) != family(s.b)) fail(fmt::format("a = {} does not multiply with b = {}", a, b));
  if (s.k != mma_k(s.a)) fail(fmt::format("k = {}, expected {} for {}", s.k, mma_k(s.a), a));
  const int f = family(s.a);
  const bool integer = f >= 4;
  const bool legal = s.d == AccType::s32 ? integer : s.d == AccType::f32 ? !integer : (f == 0 || f == 3);
  if (!legal)
    fail(fmt::format("d = {} does not accumulate {} products", kAccNames[static_cast<int>(s.d)], a));
  if (integer && (s.negate_a || s.negate_b)) fail("negate_a/negate_b need a float type");
  if (s.satfinite && f != 4) fail(fmt::format("satfinite needs s8 or u8, got {}", a));
}

int element_bytes(AccType d) {
  return d == AccType::f16 ? 2 : 4;
}

// at(row, column): where the element is read from, and where it goes.
template <class At>
void run_scalar(const MmaShape& s, const std::byte* a, const std::byte* b, At at) {
  const int bytes = element_bytes(s.d);
  for (int i = 0; i < s.m; ++i)
    for (int j = 0; j < s.n; ++j) {
      const auto [in, out] = at(i, j);
      std::uint32_t c = 0;
      if (s.accumulate) std::memcpy(&c, in, bytes);
      const std::uint32_t r = mma_element(s, a + i * kMmaRowBytes, b + j * kMmaRowBytes, c);
      std::memcpy(out, &r, bytes);
    }
}

// n rows and zeros up to a whole vector of the widest machine.
constexpr std::size_t padded_bytes(int n) {
  return static_cast<std::size_t>((n + 15) / 16 * 16) * kMmaRowBytes;
}

}  // namespace

void MmaB::set(const MmaShape& s, const std::byte* rows) {
  check(s);
  const std::size_t bytes = static_cast<std::size_t>(s.n) * kMmaRowBytes;
  if (n_ == s.n && type_ == s.b && std::memcmp(rows_.get(), rows, bytes) == 0) return;
  const auto allocate = [](std::size_t size) {
    return Bytes(static_cast<std::byte*>(::operator new[](size, std::align_val_t(kAlignment))));
  };
  n_ = 0;  // holds nothing, should memory run out
  if (!rows_) rows_ = allocate(padded_bytes(kMaxN));
  const std::size_t decoded = simd_decoded_bytes(s.b, s.n);
  if (decoded > capacity_) {
    decoded_ = allocate(decoded);
    capacity_ = decoded;
  }
  std::memcpy(rows_.get(), rows, bytes);
  std::memset(rows_.get() + bytes, 0, padded_bytes(s.n) - bytes);
  if (decoded) simd_decode(s, rows_.get(), decoded_.get());
  n_ = s.n;
  type_ = s.b;
}

void mma(const MmaShape& s, const std::byte* a, const MmaB& b, const MmaD& d) {
  check(s);
  if (s.m % kPieceRows)
    throw std::invalid_argument(fmt::format("mma: m = {}, expected a multiple of {}", s.m, kPieceRows));
  if (b.n_ != s.n || b.type_ != s.b)
    throw std::invalid_argument(fmt::format("mma: b holds {} rows of {}, expected {} of {}", b.n_,
                                            kTypeNames[static_cast<int>(b.type_)], s.n,
                                            kTypeNames[static_cast<int>(s.b)]));
  if (simd_decoded_bytes(s.b, s.n)) return mma_simd(s, a, b.rows_.get(), b.decoded_.get(), d);
  const int bytes = element_bytes(s.d), pieces = s.n * bytes / kPieceBytes;
  run_scalar(s, a, b.rows_.get(), [&](int i, int j) {
    const int piece = i / kPieceRows * pieces + j * bytes / kPieceBytes;
    const int offset = i % kPieceRows * kPieceBytes + j * bytes % kPieceBytes;
    return std::pair(d.base + d.in[piece] + offset, d.base + d.out[piece] + offset);
  });
}

void mma(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  MmaB decoded;
  decoded.set(s, b);
  // Eight rows at a time, through pieces.
  const int row_bytes = s.n * element_bytes(s.d), pieces = row_bytes / kPieceBytes;
  constexpr int kMostPieces = kMaxN * 4 / kPieceBytes;
  alignas(64) std::byte rows[kPieceRows * kMmaRowBytes], copy[kMostPieces][kPieceRows][kPieceBytes];
  std::uint32_t places[kMostPieces];
  for (int p = 0; p < pieces; ++p) places[p] = static_cast<std::uint32_t>(p * sizeof copy[0]);
  MmaShape eight = s;
  eight.m = kPieceRows;
  for (int first = 0; first < s.m; first += kPieceRows) {
    const int m = std::min(kPieceRows, s.m - first);
    std::memset(rows, 0, sizeof rows);
    std::memcpy(rows, a + first * kMmaRowBytes, static_cast<std::size_t>(m) * kMmaRowBytes);
    std::memset(copy, 0, sizeof copy);
    const auto piece = [&](int i, int p) {
      return d + static_cast<std::ptrdiff_t>(first + i) * row_bytes + p * kPieceBytes;
    };
    for (int i = 0; i < m && s.accumulate; ++i)
      for (int p = 0; p < pieces; ++p) std::memcpy(copy[p][i], piece(i, p), kPieceBytes);
    mma(eight, rows, decoded, {copy[0][0], places, places});
    for (int i = 0; i < m; ++i)
      for (int p = 0; p < pieces; ++p) std::memcpy(piece(i, p), copy[p][i], kPieceBytes);
  }
}

void mma_scalar(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  check(s);
  const int bytes = element_bytes(s.d);
  run_scalar(s, a, b, [&](int i, int j) {
    std::byte* at = d + (static_cast<std::ptrdiff_t>(i) * s.n + j) * bytes;
    return std::pair(at, at);
  });
}

}  // namespace ptxops::virt::numerics
