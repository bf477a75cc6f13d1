// Matrix instructions (PTX ISA 9.7.15). Operands are small integers, so every accumulation order gives the
// same bits and the oracle is integer arithmetic; rounding and alignment of the tensor core have tests of
// their own.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "tests/conformance/body.h"
#include "tests/conformance/cases.h"
#include "tests/conformance/reference.h"
#include "tests/conformance/values.h"

namespace ptxops::conformance {
namespace {

using isa::Id;
using isa::Type;

int element_bits(Type t) {
  return t == Type::tf32 ? 32 : t == Type::b1 ? 1 : isa::type_bits(t);
}

uint32_t element(Type t, int v) {
  switch (t) {
    case Type::f16:
      return static_cast<uint32_t>(encode(kF16, v));
    case Type::bf16:
      return static_cast<uint32_t>(encode(kBf16, v));
    case Type::tf32:
      return static_cast<uint32_t>(encode(kF32, v));
    case Type::e4m3:
      return static_cast<uint32_t>(encode(kE4m3, v));
    case Type::e5m2:
      return static_cast<uint32_t>(encode(kE5m2, v));
    case Type::b1:
      return static_cast<uint32_t>(v & 1);
    case Type::s4:
    case Type::u4:
      return static_cast<uint32_t>(v & 15);
    default:
      return static_cast<uint32_t>(v) & 0xff;
  }
}
int random_element(Type t, Random& random) {
  if (t == Type::b1) return static_cast<int>(random() & 1);
  if (t == Type::u8 || t == Type::u4) return static_cast<int>(random() % 8);
  return static_cast<int>(random() % 7) - 3;
}

// A tile of `rows` x 32 bytes as the matrix descriptor without swizzle sees it: leading offset 128, stride
// 256.
constexpr uint32_t kLeading = 128, kStride = 256;
std::vector<uint8_t> tile(Type t, const std::vector<int>& values, int rows, int k) {
  std::vector<uint8_t> bytes(rows * 32);
  const int bits = element_bits(t);
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < k; ++i) {
      const int at_bit = i * bits, at = at_bit / 8;
      const size_t place = (r / 8) * kStride + (r % 8) * 16 + (at / 16) * kLeading + at % 16;
      const uint32_t e = element(t, values[r * k + i]);
      if (bits == 1) bytes[place] |= static_cast<uint8_t>(e << at_bit % 8);
      for (int byte = 0; byte < bits / 8; ++byte) bytes[place + byte] = static_cast<uint8_t>(e >> 8 * byte);
    }
  return bytes;
}

// The element (row, k) of A that byte or bit `slot` of register `reg` of thread t holds; A comes from
// registers.
void fragment_place(Type t, int thread, int reg, int slot, int& row, int& k) {
  const int w = thread / 32, l = thread % 32;
  const int bits = element_bits(t);
  if (bits == 16) {
    row = 16 * w + l / 4 + 8 * (reg & 1);
    k = 2 * (l % 4) + slot + 8 * (reg >> 1);
  } else if (bits == 8) {
    row = 16 * w + l / 4 + 8 * (reg & 1);
    k = 4 * (l % 4) + slot + 16 * (reg >> 1);
  } else {
    row = 16 * w + l / 4 + 8 * (reg & 1);
    k = l % 4 + 4 * (reg >> 1);
  }
}

void wgmma(const Form& f, bool a_in_registers) {
  const std::string shape(f.choice("shape"));
  const int n = std::atoi(shape.c_str() + 4), k = std::atoi(shape.c_str() + shape.rfind('k') + 1);
  const Type dt = f.types[0], at = f.types[1], bt = f.types[2];
  Random random(seed() ^ std::hash<std::string>{}(f.opcode) ^ a_in_registers);
  std::vector<int> a(64 * k), b(n * k);
  for (int& v : a) v = random_element(at, random);
  for (int& v : b) v = random_element(bt, random);
  const bool floating = isa::is_float(at) || at == Type::tf32;
  const int scale_a = floating && random() % 2 ? -1 : 1;

  const int registers = dt == Type::f16 ? n / 4 : n / 2;
  const auto d_value = [&](int thread, int i) {
    return (thread + 3 * i) % 5;
  };  // accumulator before, value i of a thread

  Body body;
  body.version = "8.6";
  body.shape.block = 128;
  const std::vector<uint8_t> ta = tile(at, a, 64, k), tb = tile(bt, b, n, k);
  body.input.resize((2048 + tb.size()) / 4 + 128 * 4 + 128 * registers);
  std::memcpy(body.input.data(), ta.data(), ta.size());
  std::memcpy(body.input.data() + 512, tb.data(), tb.size());
  const size_t tiles_words = 512 + tb.size() / 4, fragment = tiles_words, accumulator = fragment + 512;
  if (a_in_registers)
    for (int t = 0; t < 128; ++t)
      for (int reg = 0; reg < 4; ++reg) {
        uint32_t word = 0;
        const int per = 32 / element_bits(at);
        for (int slot = 0; slot < per; ++slot) {
          int row, kk;
          fragment_place(at, t, reg, slot, row, kk);
          word |= element(at, a[row * k + kk]) << slot * element_bits(at);
        }
        body.input[fragment + t * 4 + reg] = word;
      }
  for (int t = 0; t < 128; ++t)
    for (int r = 0; r < registers; ++r) {
      uint32_t word;
      if (dt == Type::f16)
        word = element(Type::f16, d_value(t, 2 * r)) | element(Type::f16, d_value(t, 2 * r + 1)) << 16;
      else if (dt == Type::f32)
        word = element(Type::tf32, d_value(t, r));
      else
        word = static_cast<uint32_t>(d_value(t, r));
      body.input[accumulator + r * 128 + t] = word;
    }

  std::string text = fmt::format(
      "    .reg .b32 acc<{}>;\n    mov.u32 r1, tile;\n    mov.u32 r9, tid;\n"
      "COPY: setp.ge.u32 p0, r9, {};\n    @p0 bra COPIED;\n    mad.wide.u32 d0, r9, 4, in;\n"
      "    ld.global.b32 r2, [d0];\n    mad.lo.u32 r3, r9, 4, r1;\n    st.shared.b32 [r3], r2;\n"
      "    add.u32 r9, r9, 128;\n    bra COPY;\nCOPIED:\n    fence.proxy.async.shared::cta;\n"
      "    bar.sync 0;\n",
      registers, tiles_words);
  std::string list;
  text += fmt::format("    mad.wide.u32 d1, tid, 4, in;\n");
  for (int r = 0; r < registers; ++r) {
    text += fmt::format("    ld.global.b32 acc{}, [d1+{}];\n", r, (accumulator + r * 128) * 4);
    list += fmt::format("{}acc{}", r ? ", " : "", r);
  }
  text += fmt::format(
      "    mad.wide.u32 d2, tid, 16, in;\n    ld.global.v4.b32 {{r20, r21, r22, r23}}, [d2+{}];\n",
      fragment * 4);
  // Descriptors: address, leading offset and stride in units of 16 bytes.
  const uint64_t fields = uint64_t{kLeading >> 4} << 16 | uint64_t{kStride >> 4} << 32;
  text += fmt::format(
      "    shr.u32 r4, r1, 4;\n    cvt.u64.u32 d3, r4;\n    or.b64 d3, d3, {0};\n    add.u32 r5, r1, 2048;\n"
      "    shr.u32 r5, r5, 4;\n    cvt.u64.u32 d4, r5;\n    or.b64 d4, d4, {0};\n    setp.eq.u32 p1, r1, "
      "r1;\n",
      fields);
  const std::string operand_a = a_in_registers ? "{r20, r21, r22, r23}" : "d3";
  std::string immediates = floating ? fmt::format(", {}, 1", scale_a) : "";
  if (at == Type::f16 || at == Type::bf16) immediates += a_in_registers ? ", 0" : ", 0, 0";
  text += "    wgmma.fence.sync.aligned;\n    " + f.opcode + " {" + list + "}, " + operand_a + ", d4, p1" +
          immediates +
          ";\n    wgmma.commit_group.sync.aligned;\n    wgmma.wait_group.sync.aligned 0;\n    mad.wide.u32 "
          "d5, tid, 4, out;\n";
  for (int r = 0; r < registers; ++r) text += fmt::format("    st.global.b32 [d5+{}], acc{};\n", r * 512, r);
  body.text = text;
  body.module = ".shared .align 128 .b8 tile[10240];\n";
  body.output_words = registers * 128;
  const auto out = run_body(body);
  if (out.empty()) return;
  for (int t = 0; t < 128; ++t)
    for (int i = 0; i < n / 2; ++i) {
      const int row = 16 * (t / 32) + t % 32 / 4 + 8 * (i >> 1 & 1),
                col = 8 * (i >> 2) + 2 * (t % 4) + (i & 1);
      int sum = 0;
      for (int kk = 0; kk < k; ++kk) sum += a[row * k + kk] * b[col * k + kk];
      const int v = scale_a * sum + d_value(t, i);
      uint32_t expected, got;
      if (dt == Type::f16) {
        expected = element(Type::f16, v);
        got = out[(i / 2) * 128 + t] >> 16 * (i & 1) & 0xffff;
      } else {
        expected = dt == Type::f32 ? element(Type::tf32, v) : static_cast<uint32_t>(v);
        got = out[i * 128 + t];
      }
      // A zero sum may carry either sign.
      if (v == 0 && floating) got &= dt == Type::f16 ? 0x7fff : 0x7fffffff;
      ASSERT_EQ(got, expected) << f.opcode << (a_in_registers ? " (A in registers)" : "") << " row " << row
                               << " column " << col << ", seed " << seed();
    }
}

void wgmmas(Id id) {
  for (const isa::Row& row : isa::rows()) {
    if (row.id != id) continue;
    std::vector<Form> forms = forms_of(row);
    Random random(seed() + 5);
    std::shuffle(forms.begin(), forms.end(), random);
    if (forms.size() > 20) forms.resize(20);
    for (const Form& f : forms) {
      wgmma(f, false);
      if (id != Id::wgmma_b1 && f.row->id == id) wgmma(f, true);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// mma.sync: fragments as PTX ISA 9.7.15.5 draws them. A register holds `per` consecutive k of a row of A or a
// column of B.
void warp_mma(const Form& f) {
  const std::string shape(f.choice("shape"));
  const int m = std::atoi(shape.c_str() + 1), k = std::atoi(shape.c_str() + shape.rfind('k') + 1);
  const Type dt = f.types[0], at = f.types[1], bt = f.types[2];
  const bool f64 = dt == Type::f64, exclusive = f.has("xor");
  const int bits = f64 ? 64 : element_bits(at), per = f64 ? 1 : 32 / bits, words = f64 ? 2 : 1;
  const int a_registers = m / 8 * k / (4 * per), b_registers = k / (4 * per);
  const int values = m / 4, d_registers = dt == Type::f16 ? values / 2 : values;
  Random random(seed() ^ std::hash<std::string>{}(f.opcode));
  std::vector<int> a(m * k), b(8 * k), c(m * 8);
  for (int& v : a) v = random_element(at, random);
  for (int& v : b) v = random_element(bt, random);
  for (int& v : c) v = static_cast<int>(random() % 11) - 5;
  // Values as the words of one register; fragments lie register by register, lane by lane.
  std::vector<uint32_t> input;
  const auto put = [&](const auto& value_of) {
    for (int lane = 0; lane < 32; ++lane) {
      const uint64_t v = value_of(lane);
      for (int i = 0; i < words; ++i) input.push_back(static_cast<uint32_t>(v >> 32 * i));
    }
  };
  const auto packed = [&](Type t, const std::vector<int>& matrix, int row, int first) {
    if (f64) return std::bit_cast<uint64_t>(static_cast<double>(matrix[row * k + first]));
    uint64_t word = 0;
    for (int i = 0; i < per; ++i) word |= uint64_t{element(t, matrix[row * k + first + i])} << i * bits;
    return word;
  };
  for (int r = 0; r < a_registers; ++r)
    put([&](int l) {
      const int rows = m / 8;
      return packed(at, a, l / 4 + 8 * (r % rows), per * (l % 4) + 4 * per * (r / rows));
    });
  for (int r = 0; r < b_registers; ++r)
    put([&](int l) { return packed(bt, b, l / 4, per * (l % 4) + 4 * per * r); });
  const auto place = [](int lane, int i) { return (lane / 4 + 8 * (i >> 1)) * 8 + 2 * (lane % 4) + (i & 1); };
  const auto result = [&](int v) -> uint64_t {
    if (f64) return std::bit_cast<uint64_t>(static_cast<double>(v));
    return dt == Type::s32 ? static_cast<uint32_t>(v) : element(dt == Type::f32 ? Type::tf32 : dt, v);
  };
  for (int r = 0; r < d_registers; ++r)
    put([&](int l) {
      if (dt != Type::f16) return result(c[place(l, r)]);
      return result(c[place(l, 2 * r)]) | result(c[place(l, 2 * r + 1)]) << 16;
    });

  Body body;
  body.version = "9.0";
  body.input = input;
  body.output_words = static_cast<size_t>(d_registers) * 32 * words;
  const char* type = f64 ? "b64" : "b32";
  body.text = fmt::format("    .reg .{} x<{}>;\n    mad.wide.u32 d0, lane, {}, in;\n", type,
                          a_registers + b_registers + d_registers, 4 * words);
  int next = 0;
  const auto registers = [&](int count) {
    std::string list;
    for (int i = 0; i < count; ++i, ++next) list += fmt::format("{}x{}", i ? ", " : "", next);
    return "{" + list + "}";
  };
  for (int i = 0; i < a_registers + b_registers + d_registers; ++i)
    body.text += fmt::format("    ld.global.{} x{}, [d0+{}];\n", type, i, i * 128 * words);
  const std::string la = registers(a_registers), lb = registers(b_registers);
  const int first_d = next;
  const std::string ld = registers(d_registers);
  body.text += fmt::format("    {} {}, {}, {}, {};\n    mad.wide.u32 d1, lane, {}, out;\n", f.opcode, ld, la,
                           lb, ld, 4 * words);
  for (int i = 0; i < d_registers; ++i)
    body.text += fmt::format("    st.global.{} [d1+{}], x{};\n", type, i * 128 * words, first_d + i);
  const auto out = run_body(body);
  if (out.empty()) return;
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < values; ++i) {
      const int at_c = place(lane, i), row = at_c / 8, column = at_c % 8;
      int v = c[at_c];
      for (int kk = 0; kk < k; ++kk) {
        const int x = a[row * k + kk], y = b[column * k + kk];
        v += exclusive ? x ^ y : x * y;
      }
      uint64_t got;
      if (dt == Type::f16)
        got = out[i / 2 * 32 + lane] >> 16 * (i & 1) & 0xffff;
      else if (f64)
        got = out[(i * 32 + lane) * 2] | uint64_t{out[(i * 32 + lane) * 2 + 1]} << 32;
      else
        got = out[i * 32 + lane];
      ASSERT_EQ(got, result(v)) << f.opcode << " row " << row << " column " << column << ", seed " << seed();
    }
}

void warp_mmas(Id id) {
  for (const isa::Row& row : isa::rows())
    if (row.id == id)
      for (const Form& f : forms_of(row)) {
        warp_mma(f);
        if (::testing::Test::HasFailure()) return;
      }
}

int matrices(const Form& f) {
  return std::atoi(std::string(f.choice("num")).c_str() + 1);
}
// Half `h` of the register that thread t holds of an 8x8 matrix: its row and column.
void matrix_place(int t, int h, bool trans, int& row, int& col) {
  row = t / 4, col = 2 * (t % 4) + h;
  if (trans) std::swap(row, col);
}

void move_matrices(bool store) {
  for (const isa::Row& row : isa::rows()) {
    if (row.id != (store ? Id::stmatrix : Id::ldmatrix)) continue;
    for (const Form& f : forms_of(row)) {
      const int num = matrices(f);
      const bool trans = f.has("trans"), shared = f.has("shared") || f.has("shared::cta");
      Body b;
      b.module = ".shared .align 16 .b8 box[512];\n";
      b.input = random_words(128, 51);
      b.output_words = 128;
      std::string list;
      for (int i = 0; i < num; ++i) list += fmt::format("{}r{}", i ? ", " : "", 10 + i);
      list = "{" + list + "}";
      b.text =
          "    mov.u32 r1, box;\n    mad.lo.u32 r1, lane, 16, r1;\n    cvta.shared.u64 d2, box;\n    "
          "mad.wide.u32 d2, lane, 16, d2;\n"
          "    mad.wide.u32 d0, lane, 16, in;\n    mad.wide.u32 d1, lane, 16, out;\n";
      const char* place = shared ? "[r1]" : "[d2]";
      if (store)
        b.text +=
            "    ld.global.v4.b32 {r10, r11, r12, r13}, [d0];\n    st.shared.v4.b32 [r1], {r10, r11, r12, "
            "r13};\n"
            "    bar.warp.sync 0xffffffff;\n    " +
            f.opcode + " " + place + ", " + list +
            ";\n    bar.warp.sync 0xffffffff;\n    ld.shared.v4.b32 {r10, r11, r12, r13}, [r1];\n"
            "    st.global.v4.b32 [d1], {r10, r11, r12, r13};";
      else
        b.text +=
            "    ld.global.v4.b32 {r10, r11, r12, r13}, [d0];\n    st.shared.v4.b32 [r1], {r10, r11, r12, "
            "r13};\n"
            "    bar.warp.sync 0xffffffff;\n    " +
            f.opcode + " " + list + ", " + place + ";\n    st.global.v4.b32 [d1], {r10, r11, r12, r13};";
      const auto out = run_body(b);
      if (out.empty()) return;
      // Row r of matrix m is 16 bytes of lane 8m + r: halves of 16 bits.
      const auto half = [](const std::vector<uint32_t>& words, int lane, int i) {
        return words[lane * 4 + i / 2] >> 16 * (i & 1) & 0xffff;
      };
      for (int t = 0; t < 32; ++t)
        for (int m = 0; m < num; ++m)
          for (int h = 0; h < 2; ++h) {
            int r, c;
            matrix_place(t, h, trans, r, c);
            const uint32_t in_memory = half(store ? out : b.input, 8 * m + r, c),
                           in_register = half(store ? b.input : out, t, 2 * m + h);
            ASSERT_EQ(in_memory, in_register)
                << f.opcode << " thread " << t << " matrix " << m << " half " << h;
          }
    }
  }
}

void transpose() {
  Body b;
  b.input = random_words(32, 52);
  b.text =
      "    mad.wide.u32 d0, index, 4, in;\n    ld.global.b32 r0, [d0];\n    "
      "movmatrix.sync.aligned.m8n8.trans.b16 r1, r0;\n"
      "    st.global.b32 [mine], r1;";
  const auto out = run_body(b);
  for (int t = 0; t < static_cast<int>(out.size()); ++t)
    for (int h = 0; h < 2; ++h) {
      int r, c;
      matrix_place(t, h, true, r, c);
      EXPECT_EQ(out[t] >> 16 * h & 0xffff, b.input[r * 4 + c / 2] >> 16 * (c & 1) & 0xffff)
          << t << " half " << h;
    }
}

const WrittenCases cases({
    {"matrix",
     "wgmma_f16",
     {Id::wgmma_f16, Id::wgmma_fence, Id::wgmma_commit_group, Id::wgmma_wait_group},
     [] { wgmmas(Id::wgmma_f16); }},
    {"matrix", "wgmma_bf16", {Id::wgmma_bf16}, [] { wgmmas(Id::wgmma_bf16); }},
    {"matrix", "wgmma_tf32", {Id::wgmma_tf32}, [] { wgmmas(Id::wgmma_tf32); }},
    {"matrix", "wgmma_fp8", {Id::wgmma_fp8}, [] { wgmmas(Id::wgmma_fp8); }},
    {"matrix", "wgmma_int8", {Id::wgmma_int8}, [] { wgmmas(Id::wgmma_int8); }},
    {"matrix", "wgmma_b1", {Id::wgmma_b1}, [] { wgmmas(Id::wgmma_b1); }},
    {"matrix", "mma_f16", {Id::mma_f16}, [] { warp_mmas(Id::mma_f16); }},
    {"matrix", "mma_bf16", {Id::mma_bf16}, [] { warp_mmas(Id::mma_bf16); }},
    {"matrix", "mma_tf32", {Id::mma_tf32}, [] { warp_mmas(Id::mma_tf32); }},
    {"matrix", "mma_fp8", {Id::mma_fp8}, [] { warp_mmas(Id::mma_fp8); }},
    {"matrix", "mma_int8", {Id::mma_int8}, [] { warp_mmas(Id::mma_int8); }},
    {"matrix", "mma_int4", {Id::mma_int4}, [] { warp_mmas(Id::mma_int4); }},
    {"matrix", "mma_b1", {Id::mma_b1}, [] { warp_mmas(Id::mma_b1); }},
    {"matrix", "mma_f64", {Id::mma_f64}, [] { warp_mmas(Id::mma_f64); }},
    {"matrix", "ldmatrix", {Id::ldmatrix}, [] { move_matrices(false); }},
    {"matrix", "stmatrix", {Id::stmatrix}, [] { move_matrices(true); }},
    {"matrix", "movmatrix", {Id::movmatrix}, transpose},
});

}  // namespace
}  // namespace ptxops::conformance
