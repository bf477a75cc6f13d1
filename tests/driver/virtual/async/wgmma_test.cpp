// wgmma from PTX text: every operand type and layout against the canonical layouts of the PTX ISA and an
// arithmetic oracle that shares nothing with the device.
#include <fmt/format.h>

#include "tests/driver/virtual/exec/run_ptx.h"
#include "tests/support/random_seed.h"
#include "tests/support/tensor_core_oracle.h"

namespace ptxops::virt::testing {
namespace {

struct Layout {
  bool mn_major = false;
  uint32_t swizzle = 0;  // bytes: 0, 32, 64, 128
  uint32_t k_step = 0;   // 32-byte steps inside a K-major swizzle atom
  uint32_t gap = 0;      // bytes between swizzled K-major blocks of 8 rows
};

struct Case {
  std::string a, b, d;  // PTX types
  uint32_t n;
  Layout la, lb;
  bool a_in_registers = false, accumulate = true, negate_a = false, negate_b = false, satfinite = false;
};

uint32_t bits_of(const std::string& type) {
  if (type == "f16" || type == "bf16") return 16;
  if (type == "tf32") return 32;
  return type == "b1" ? 1 : 8;
}
uint32_t k_of(const std::string& type) {
  return 256 / bits_of(type);
}

// Canonical layouts, in bytes, with strides chosen so that nothing overlaps: byte offset of (row, byte of K)
// or, for MN-major, of (row, k) for 2-byte elements.
struct Strides {
  uint32_t lbo, sbo, bytes;
};
Strides strides(const Layout& l, uint32_t rows) {
  const uint32_t s = l.swizzle;
  if (!l.mn_major)
    return s ? Strides{16, 8 * s + l.gap, rows / 8 * (8 * s + l.gap)}
             : Strides{rows / 8 * 128, 128, rows / 8 * 256};
  return s ? Strides{16 * s, 8 * s, (rows * 2 + s - 1) / s * 16 * s} : Strides{128, 256, rows / 8 * 256};
}
uint32_t offset_of(const Layout& l, const Strides& t, uint32_t row, uint32_t k_byte) {
  const uint32_t s = l.swizzle;
  if (!l.mn_major)
    return s ? row / 8 * t.sbo + row % 8 * s + k_byte + 32 * l.k_step
             : row / 8 * t.sbo + row % 8 * 16 + k_byte / 16 * t.lbo + k_byte % 16;
  const uint32_t k = k_byte / 2, m = 2 * row, low = k_byte % 2;
  return low + (s ? m % s + m / s * t.lbo + k % 8 * s + k / 8 * t.sbo
                  : m / 16 * t.sbo + m % 16 + k % 8 * 16 + k / 8 * t.lbo);
}
// Chunk c of 128-byte line L goes to c ^ (L mod 2, 4 or 8).
uint32_t swizzled(uint32_t address, uint32_t s) {
  const uint32_t line = address / 128, chunk = address / 16 % 8;
  return line * 128 + (chunk ^ (s ? line % (s / 16) : 0)) * 16 + address % 16;
}
uint64_t descriptor(const Layout& l, const Strides& t, uint32_t start) {
  const uint64_t mode = l.swizzle == 128 ? 1 : l.swizzle == 64 ? 2 : l.swizzle == 32 ? 3 : 0;
  return (start + 32 * l.k_step) >> 4 | uint64_t{t.lbo >> 4} << 16 | uint64_t{t.sbo >> 4} << 32 | mode << 62;
}

// Tile of rows x 32 bytes of K, placed at shared address `start` of `smem` (index 0 = shared address 0).
void place(std::vector<uint8_t>& smem, const std::vector<uint8_t>& tile, uint32_t rows, const Layout& l,
           uint32_t start) {
  const Strides t = strides(l, rows);
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t b = 0; b < 32; ++b)
      smem[swizzled(start + offset_of(l, t, r, b), l.swizzle)] = tile[r * 32 + b];
}

std::vector<uint32_t> row_elements(const std::vector<uint8_t>& tile, uint32_t row, const std::string& type) {
  const uint32_t bits = bits_of(type), k = k_of(type);
  std::vector<uint32_t> out(k);
  for (uint32_t i = 0; i < k; ++i) {
    if (bits == 1) {
      out[i] = tile[row * 32 + i / 8] >> (i % 8) & 1;
    } else {
      for (uint32_t b = 0; b < bits / 8; ++b)
        out[i] |= uint32_t{tile[row * 32 + i * bits / 8 + b]} << (8 * b);
    }
  }
  return out;
}

// Random bytes that are finite numbers of similar size, so that sums exercise rounding.
std::vector<uint8_t> random_tile(std::mt19937_64& rng, uint32_t rows, const std::string& type) {
  std::vector<uint8_t> tile(rows * 32);
  for (auto& b : tile) b = static_cast<uint8_t>(rng());
  for (size_t i = 0; i < tile.size(); ++i) {
    if (type == "f16" && i % 2) tile[i] = static_cast<uint8_t>((tile[i] & 0x83) | 0x30 | (rng() & 0xC));
    if (type == "bf16" && i % 2) tile[i] = static_cast<uint8_t>((tile[i] & 0x81) | 0x3E);
    if (type == "tf32" && i % 4 == 3) tile[i] = static_cast<uint8_t>((tile[i] & 0x81) | 0x3E);
    if (type == "e4m3" && (tile[i] & 0x7F) == 0x7F) tile[i] ^= 0x10;
    if (type == "e5m2" && (tile[i] & 0x7C) >= 0x70) tile[i] ^= 0x40;
  }
  return tile;
}

constexpr uint32_t kStart = 1024;        // first shared address of dynamic memory
constexpr uint32_t kB = kStart + 32768;  // B's tile
constexpr uint32_t kSmem = 32768 + 65536;

std::string kernel_text(const Case& c, uint32_t registers) {
  const bool half = c.d == "f16", integer = c.d == "s32";
  std::string regs, loads, stores;
  for (uint32_t r = 0; r < registers; ++r) {
    regs += fmt::format("{}%d{}", r ? ", " : "", r);
    loads += fmt::format("ld.global.b32 %d{}, [%frag + {}];\n", r, 4 * r);
    stores += fmt::format("st.global.b32 [%frag + {}], %d{};\n", 4 * r, r);
  }
  const char* type = half ? "b32" : c.d == "f32" ? "f32" : "b32";
  std::string extra;
  if (!integer) extra += fmt::format(", {}, {}", c.negate_a ? -1 : 1, c.negate_b ? -1 : 1);
  if (c.a == "f16" || c.a == "bf16") {
    if (!c.a_in_registers) extra += fmt::format(", {}", c.la.mn_major ? 1 : 0);
    extra += fmt::format(", {}", c.lb.mn_major ? 1 : 0);
  }
  const std::string shape = fmt::format("m64n{}k{}", c.n, k_of(c.a));
  return header() + fmt::format(R"(
.extern .shared .align 1024 .b8 smem[];
.visible .entry k(.param .u64 image, .param .u64 frags, .param .u64 areg, .param .u64 adesc, .param .u64 bdesc, .param .u64 scale)
{{
.reg .pred %p, %q;
.reg .b32 %me, %i, %s, %v, %a<4>;
.reg .{0} %d<{1}>;
.reg .b64 %image, %frag, %x, %ad, %bd, %ar;
mov.u32 %me, %tid.x;
ld.param.u64 %image, [image];
ld.param.u64 %frag, [frags];
ld.param.u64 %ar, [areg];
ld.param.u64 %ad, [adesc];
ld.param.u64 %bd, [bdesc];
ld.param.u64 %x, [scale];
setp.ne.u64 %q, %x, 0;
mov.u32 %i, %me;
LOOP:
mul.wide.u32 %x, %i, 4;
add.u64 %x, %image, %x;
ld.global.b32 %v, [%x];
shl.b32 %s, %i, 2;
add.u32 %s, %s, {2};
st.shared.b32 [%s], %v;
add.u32 %i, %i, 128;
setp.lt.u32 %p, %i, {3};
@%p bra LOOP;
mul.wide.u32 %x, %me, {4};
add.u64 %frag, %frag, %x;
mul.wide.u32 %x, %me, 16;
add.u64 %ar, %ar, %x;
ld.global.v4.b32 {{%a0, %a1, %a2, %a3}}, [%ar];
{5}
fence.proxy.async;
bar.sync 0;
wgmma.fence.sync.aligned;
wgmma.mma_async.sync.aligned.{6}{7}.{8}.{9}.{10}{11} {{{12}}}, {13}, %bd, %q{14};
wgmma.commit_group.sync.aligned;
wgmma.wait_group.sync.aligned 0;
{15}
ret;
}}
)",
                                type, registers, kStart, kSmem / 4, 4 * registers, loads, shape,
                                c.satfinite ? ".satfinite" : "", c.d, c.a, c.b,
                                c.a == "b1" ? ".and.popc" : "", regs,
                                c.a_in_registers ? "{%a0, %a1, %a2, %a3}" : "%ad", extra, stores);
}

std::string title(const Case& c) {
  return fmt::format("m64n{} {} x {} -> {}{} A {}{}/{}+{} B {}/{}+{} neg {}{} acc {}", c.n, c.a, c.b, c.d,
                     c.satfinite ? " sat" : "", c.a_in_registers ? "regs " : "", c.la.mn_major ? "MN" : "K",
                     c.la.swizzle, c.la.k_step, c.lb.mn_major ? "MN" : "K", c.lb.swizzle, c.lb.k_step,
                     c.negate_a, c.negate_b, c.accumulate);
}

void check(const Case& c, std::mt19937_64& rng) {
  SCOPED_TRACE(title(c));
  const auto a = random_tile(rng, 64, c.a), b = random_tile(rng, c.n, c.b);
  std::vector<uint8_t> smem(kStart + kSmem, 0xA5);
  place(smem, a, 64, c.la, kStart);
  place(smem, b, c.n, c.lb, kB);
  const bool half = c.d == "f16";
  const uint32_t registers = c.n / (half ? 4 : 2);
  Buffer image(kSmem / 4), frags(128 * registers), a_regs(128 * 4);
  std::memcpy(image.data(), &smem[kStart], kSmem);
  // Thread t, A register g: row 16w + l/4 + 8*(g&1), 4 bytes of K from 4*(l%4) + 16*(g>>1).
  for (uint32_t t = 0; t < 128; ++t)
    for (uint32_t g = 0; g < 4; ++g)
      std::memcpy(a_regs.data() + 4 * t + g,
                  &a[(16 * (t / 32) + t % 32 / 4 + 8 * (g & 1)) * 32 + 4 * (t % 4) + 16 * (g >> 1)], 4);
  // D: register r of thread t, value v (f16 registers hold two).
  const auto value_bits = [&](const Buffer& from, uint32_t t, uint32_t v) -> uint32_t {
    return half ? from[t * registers + v / 2] >> (v % 2 * 16) & 0xFFFF : from[t * registers + v];
  };
  for (size_t i = 0; i < frags.words; ++i) {
    const float x = static_cast<float>(static_cast<int64_t>(rng() % 20001) - 10000) / 512.0f;
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (c.d == "s32") bits = static_cast<uint32_t>(rng()) >> (rng() % 2 ? 12 : 0);
    if (half) bits = (static_cast<uint32_t>(rng()) & 0x8FFF8FFF) | 0x30003000;
    frags.data()[i] = bits;
  }
  std::vector<uint32_t> before(frags.data(), frags.data() + frags.words);
  const auto result =
      run(kernel_text(c, registers),
          {image.address(), frags.address(), a_regs.address(), descriptor(c.la, strides(c.la, 64), kStart),
           descriptor(c.lb, strides(c.lb, c.n), kB), c.accumulate},
          {.block = {128, 1, 1}, .dynamic_smem = kSmem});
  ASSERT_EQ(result.fault.text, "");
  EXPECT_EQ(result.mma_macs, 64u * c.n * k_of(c.a));
  test::DotSpec spec{c.a, c.b, c.d, c.negate_a, c.negate_b, c.satfinite};
  std::vector<std::vector<uint32_t>> a_rows, b_rows;
  for (uint32_t r = 0; r < 64; ++r) a_rows.push_back(row_elements(a, r, c.a));
  for (uint32_t r = 0; r < c.n; ++r) b_rows.push_back(row_elements(b, r, c.b));
  int wrong = 0;
  for (uint32_t t = 0; t < 128 && wrong < 5; ++t)
    for (uint32_t v = 0; v < c.n / 2 && wrong < 5; ++v) {
      const uint32_t l = t % 32, row = 16 * (t / 32) + l / 4 + 8 * (v >> 1 & 1),
                     col = 8 * (v >> 2) + 2 * (l % 4) + (v & 1);
      const uint32_t old =
          half ? before[t * registers + v / 2] >> (v % 2 * 16) & 0xFFFF : before[t * registers + v];
      const uint32_t expected = test::tensor_core_dot(spec, a_rows[row], b_rows[col], old, c.accumulate);
      if (value_bits(frags, t, v) != expected) {
        ++wrong;
        ADD_FAILURE() << fmt::format("row {} col {}: got {:#x}, expected {:#x}", row, col,
                                     value_bits(frags, t, v), expected);
      }
    }
}

TEST(Wgmma, EveryTypeInTheCommonLayout) {
  auto rng = test::random_engine(11);
  const Layout k128{false, 128, 0};
  for (const Case& c :
       {Case{"f16", "f16", "f32", 64, k128, k128}, Case{"f16", "f16", "f16", 128, k128, k128},
        Case{"bf16", "bf16", "f32", 256, k128, k128}, Case{"tf32", "tf32", "f32", 40, k128, k128},
        Case{"e4m3", "e4m3", "f32", 128, k128, k128}, Case{"e5m2", "e4m3", "f32", 8, k128, k128},
        Case{"e4m3", "e5m2", "f16", 24, k128, k128}, Case{"s8", "u8", "s32", 96, k128, k128},
        Case{"b1", "b1", "s32", 16, k128, k128}})
    check(c, rng);
}

TEST(Wgmma, EveryLayoutOfBothOperands) {
  auto rng = test::random_engine(12);
  std::vector<Layout> k_major{{false, 0, 0},   {false, 32, 0},  {false, 64, 1},
                              {false, 128, 0}, {false, 128, 1}, {false, 128, 3}};
  std::vector<Layout> mn_major{{true, 0, 0}, {true, 32, 0}, {true, 64, 0}, {true, 128, 0}};
  std::vector<Layout> all = k_major;
  all.insert(all.end(), mn_major.begin(), mn_major.end());
  for (const Layout& l : all) {
    check({"bf16", "bf16", "f32", 128, l, k_major[3]}, rng);
    check({"f16", "f16", "f32", 64, k_major[3], l}, rng);
    check({"f16", "f16", "f16", 192, k_major[1], l}, rng);
  }
  for (const Layout& l : k_major) check({"e4m3", "e4m3", "f32", 48, l, k_major[0]}, rng);
}

// Where the distance between blocks is no multiple of the swizzle's period, each block has a phase of its
// own.
TEST(Wgmma, BlocksOutOfStepWithTheSwizzle) {
  auto rng = test::random_engine(14);
  for (const Layout& l : {Layout{false, 128, 1, 128}, Layout{false, 64, 0, 128}, Layout{false, 32, 0, 128}})
    for (const uint32_t n : {8u, 72u}) {
      check({"bf16", "bf16", "f32", n, l, l}, rng);
      check({"f16", "f16", "f16", n, l, l}, rng);
    }
}

TEST(Wgmma, RegistersNegationAndScale) {
  auto rng = test::random_engine(13);
  const Layout k128{false, 128, 0}, mn128{true, 128, 0};
  for (const char* type : {"f16", "bf16", "tf32", "e4m3", "s8"}) {
    Case c{type, type, std::string(type) == "s8" ? "s32" : "f32", 64, k128, k128};
    c.a_in_registers = true;
    check(c, rng);
    c.accumulate = false;
    check(c, rng);
  }
  Case c{"bf16", "bf16", "f32", 128, k128, mn128};
  c.a_in_registers = true;
  c.negate_a = true;
  check(c, rng);
  c.negate_b = true;
  c.accumulate = false;
  check(c, rng);
  Case s{"s8", "s8", "s32", 32, k128, k128};
  s.satfinite = true;
  check(s, rng);
}

LaunchResult run_with(uint64_t a, uint64_t b) {
  const Case c{"bf16", "bf16", "f32", 64, {false, 128, 0}, {false, 128, 0}};
  Buffer image(kSmem / 4, 0), frags(128 * 32, 0), a_regs(128 * 4, 0);
  return run(kernel_text(c, 32), {image.address(), frags.address(), a_regs.address(), a, b, 1},
             {.block = {128, 1, 1}, .dynamic_smem = kSmem});
}

TEST(Wgmma, BadDescriptorsAreFaults) {
  const Layout l{false, 128, 0};
  const uint64_t good_a = descriptor(l, strides(l, 64), kStart), good_b = descriptor(l, strides(l, 64), kB);
  EXPECT_EQ(run_with(good_a, good_b).fault.text, "");
  EXPECT_NE(run_with(good_a | 1ull << 14, good_b).fault.text.find("reserved bits"), std::string::npos);
  EXPECT_NE(run_with(good_a, good_b | 1ull << 60).fault.text.find("reserved bits"), std::string::npos);
  EXPECT_NE(run_with(good_a & ~0x3FFFull, good_b).fault.text.find("operand A"),
            std::string::npos);  // reserved kilobyte
  EXPECT_NE(run_with(good_a, good_b | 0x3FFF).fault.text.find("operand B"),
            std::string::npos);  // past the end
}

TEST(Wgmma, HalfAWarpgroupIsAFault) {
  const Case c{"bf16", "bf16", "f32", 64, {false, 128, 0}, {false, 128, 0}};
  Buffer image(kSmem / 4, 0), frags(128 * 32, 0), a_regs(128 * 4, 0);
  const auto r = run(kernel_text(c, 32), {image.address(), frags.address(), a_regs.address(), 0x40, 0x40, 1},
                     {.block = {64, 1, 1}, .dynamic_smem = kSmem});
  EXPECT_NE(r.fault.text.find("warpgroup"), std::string::npos) << r.fault.text;
}

}  // namespace
}  // namespace ptxops::virt::testing
