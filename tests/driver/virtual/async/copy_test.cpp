// Asynchronous copies from PTX text: data, completion and misuse.
#include <fmt/format.h>

#include "driver/virtual/memory/tensor_map.h"
#include "tests/driver/virtual/exec/run_ptx.h"
#include "tests/support/random_seed.h"

namespace ptxops::virt::testing {
namespace {

constexpr const char* kHead = R"(
.extern .shared .align 1024 .b8 smem[];
.shared .align 8 .b64 bar;
.visible .entry k(.param .u64 p0, .param .u64 p1, .param .u64 p2)
{
.reg .pred %p, %leader;
.reg .b32 %me, %s, %b, %i, %v, %rank, %x, %y;
.reg .b64 %in, %out, %aux, %addr;
ld.param.u64 %in, [p0];
ld.param.u64 %out, [p1];
ld.param.u64 %aux, [p2];
mov.u32 %me, %tid.x;
mov.u32 %s, smem;
mov.u32 %b, bar;
mov.u32 %rank, %cluster_ctarank;
setp.eq.u32 %leader, %me, 0;
)";
// The leader makes the barrier for one arrival and expects `bytes`.
std::string barrier(uint32_t bytes) {
  return fmt::format(R"(
@%leader mbarrier.init.shared.b64 [%b], 1;
fence.mbarrier_init.release.cluster;
fence.proxy.async;
barrier.cluster.arrive;
barrier.cluster.wait;
@%leader mbarrier.arrive.expect_tx.shared.b64 _, [%b], {};
)",
                     bytes);
}
constexpr const char* kWait = R"(
WAIT:
mbarrier.try_wait.parity.shared.b64 %p, [%b], 0;
@!%p bra WAIT;
)";
// Copies `words` words of shared memory behind %s to `out`, by the whole CTA of 32 threads.
std::string dump(uint32_t words) {
  return fmt::format(R"(
mov.u32 %i, %me;
DUMP:
shl.b32 %x, %i, 2;
add.u32 %y, %s, %x;
ld.shared.b32 %v, [%y];
cvt.u64.u32 %addr, %x;
add.u64 %addr, %out, %addr;
st.global.b32 [%addr], %v;
add.u32 %i, %i, 32;
setp.lt.u32 %p, %i, {};
@%p bra DUMP;
)",
                     words);
}
// Fills shared memory behind %s from `in`.
std::string fill(uint32_t words) {
  return fmt::format(R"(
mov.u32 %i, %me;
FILL:
shl.b32 %x, %i, 2;
cvt.u64.u32 %addr, %x;
add.u64 %addr, %in, %addr;
ld.global.b32 %v, [%addr];
add.u32 %y, %s, %x;
st.shared.b32 [%y], %v;
add.u32 %i, %i, 32;
setp.lt.u32 %p, %i, {};
@%p bra FILL;
fence.proxy.async;
bar.sync 0;
)",
                     words);
}
std::string text(const std::string& body) {
  return ".version 8.6\n.target sm_90a\n.address_size 64\n" + std::string(kHead) + body + "\nret;\n}\n";
}

void randomize(Buffer& b, uint64_t purpose) {
  auto rng = test::random_engine(purpose);
  for (size_t i = 0; i < b.words; ++i) b.data()[i] = static_cast<uint32_t>(rng());
}
void expect_equal(const Buffer& got, const std::vector<uint32_t>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(got[i], expected[i]) << "word " << i;
}
std::vector<uint32_t> words(const Buffer& b) {
  return {b.data(), b.data() + b.words};
}

TensorMap map_2d(const Buffer& b, TensorMapType type, uint32_t width, uint32_t height, uint32_t box_width,
                 uint32_t box_height, TensorMapSwizzle swizzle) {
  TensorMap m{};
  m.global_address = b.address();
  for (int d = 0; d < 5; ++d) m.global_dim[d] = m.box_dim[d] = m.element_stride[d] = 1;
  m.global_dim[0] = width, m.global_dim[1] = height;
  m.box_dim[0] = box_width, m.box_dim[1] = box_height;
  m.global_stride[0] = uint64_t{width} * element_bytes(type);
  m.rank_minus_1 = 1;
  m.type = type;
  m.swizzle = swizzle;
  seal(m);
  return m;
}
Buffer upload(const TensorMap& m) {
  Buffer b(sizeof m / 4);
  std::memcpy(b.data(), &m, sizeof m);
  return b;
}

TEST(Bulk, GlobalToSharedAndBack) {
  Buffer in(1024), out(1024), back(1024);
  randomize(in, 21);
  const auto r = run(text(barrier(4096) + R"(
@%leader cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%s], [%in], 4096, [%b];
)" + kWait + dump(1024) + R"(
@!%leader bra END;
cp.async.bulk.global.shared::cta.bulk_group [%aux], [%s], 4096;
cp.async.bulk.commit_group;
cp.async.bulk.wait_group 0;
END:
)"),
                     {in.address(), out.address(), back.address()}, {.dynamic_smem = 4096});
  ASSERT_EQ(r.fault.text, "");
  expect_equal(out, words(in));
  expect_equal(back, words(in));
}

TEST(Bulk, MulticastReachesEveryCta) {
  Buffer in(512), out(1024);
  randomize(in, 22);
  // Each CTA loads its half for both.
  const auto r = run(text(barrier(2048) + R"(
shl.b32 %x, %rank, 10;
add.u32 %y, %s, %x;
cvt.u64.u32 %addr, %x;
add.u64 %addr, %in, %addr;
@%leader cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%y], [%addr], 1024, [%b], 3;
)" + kWait + R"(
mul.wide.u32 %addr, %rank, 2048;
add.u64 %out, %out, %addr;
)" + dump(512) + "barrier.cluster.arrive;\nbarrier.cluster.wait;\n"),
                     {in.address(), out.address(), 0},
                     {.grid = {2, 1, 1}, .cluster = {2, 1, 1}, .dynamic_smem = 2048});
  ASSERT_EQ(r.fault.text, "");
  for (uint32_t i = 0; i < 1024; ++i) ASSERT_EQ(out[i], in[i % 512]) << i;
}

TEST(Bulk, SharedToTheOtherCta) {
  Buffer in(256), out(512);
  randomize(in, 23);
  const auto r = run(text(fill(256) + barrier(1024) + R"(
xor.b32 %i, %rank, 1;
add.u32 %y, %s, 1024;
mapa.shared::cluster.u32 %x, %y, %i;
mapa.shared::cluster.u32 %v, %b, %i;
@%leader cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%x], [%s], 1024, [%v];
)" + kWait + R"(
mul.wide.u32 %addr, %rank, 1024;
add.u64 %out, %out, %addr;
add.u32 %s, %s, 1024;
)" + dump(256) + "barrier.cluster.arrive;\nbarrier.cluster.wait;\n"),
                     {in.address(), out.address(), 0},
                     {.grid = {2, 1, 1}, .cluster = {2, 1, 1}, .dynamic_smem = 2048});
  ASSERT_EQ(r.fault.text, "");
  for (uint32_t i = 0; i < 512; ++i) ASSERT_EQ(out[i], in[i % 256]) << i;
}

TEST(Bulk, ReduceAdds) {
  Buffer in(256), out(256);
  randomize(in, 24);
  randomize(out, 25);
  std::vector<uint32_t> expected = words(out);
  for (uint32_t i = 0; i < 256; ++i) expected[i] += 3 * in[i];
  const auto r = run(text(fill(256) + R"(
@!%leader bra END;
cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%out], [%s], 1024;
cp.async.bulk.commit_group;
cp.async.bulk.wait_group 0;
END:
)"),
                     {in.address(), out.address(), 0}, {.grid = {3, 1, 1}, .dynamic_smem = 1024});
  ASSERT_EQ(r.fault.text, "");
  expect_equal(out, expected);
}

TEST(Bulk, DataIsStaleWithoutWaiting) {
  Buffer in(32), out(32), fresh(32);
  randomize(in, 26);
  randomize(fresh, 27);
  const auto r = run(text(fill(32) + barrier(128) + R"(
@%leader cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%s], [%aux], 128, [%b];
)" + dump(32) + kWait),
                     {in.address(), out.address(), fresh.address()}, {.dynamic_smem = 128});
  ASSERT_EQ(r.fault.text, "");
  expect_equal(out, words(in));
}

TEST(Bulk, MisuseIsAFault) {
  Buffer in(1024), out(1024);
  const auto fault = [&](const std::string& copy) {
    return run(text(barrier(64) + copy + kWait), {in.address(), out.address(), 0}, {.dynamic_smem = 4096})
        .fault.text;
  };
  const std::string g2s = "@%leader cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes ";
  EXPECT_NE(fault("mov.u32 %x, 72;\n" + g2s + "[%s], [%in], %x, [%b];\n").find("multiple of 16"),
            std::string::npos);
  EXPECT_NE(fault(g2s + "[%s+8], [%in], 64, [%b];\n").find("misaligned"), std::string::npos);
  EXPECT_NE(fault(g2s + "[%s+4064], [%in], 64, [%b];\n").find("shared memory of CTA rank 0"),
            std::string::npos);
  EXPECT_NE(fault(g2s + "[%s], [%in+4064], 64, [%b];\n").find("illegal address"), std::string::npos);
  EXPECT_EQ(fault(g2s + "[%s], [%in], 64, [%b];\n"), "");
}

TEST(Tensor, LoadClipsAndSwizzles) {
  // dim = (100, 70), box = (64, 64) of bf16 at (64, 32): 36 columns and 38 rows are inside.
  Buffer in(100 * 70 / 2 + 4), out(2048);
  randomize(in, 31);
  TensorMap m = map_2d(in, TensorMapType::kBF16, 100, 70, 64, 64, TensorMapSwizzle::k128B);
  m.global_stride[0] = 208;  // a multiple of 16
  Buffer wide(208 * 70 / 4);
  randomize(wide, 32);
  m.global_address = wide.address();
  seal(m);
  const Buffer map = upload(m);
  const auto r = run(text(barrier(8192) + R"(
@%leader cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%s], [%aux, {64, 32}], [%b];
)" + kWait + dump(2048)),
                     {0, out.address(), map.address()}, {.dynamic_smem = 8192});
  ASSERT_EQ(r.fault.text, "");
  const auto* got = reinterpret_cast<const uint8_t*>(out.data());
  const auto* global = reinterpret_cast<const uint8_t*>(wide.data());
  for (uint32_t row = 0; row < 64; ++row)
    for (uint32_t col = 0; col < 64; ++col) {
      uint16_t value, expected = 0;
      std::memcpy(&value, got + row * 128 + ((col / 8) ^ (row % 8)) * 16 + col % 8 * 2, 2);
      if (col + 64 < 100 && row + 32 < 70)
        std::memcpy(&expected, global + (row + 32) * 208 + (col + 64) * 2, 2);
      ASSERT_EQ(value, expected) << row << ", " << col;
    }
}

TEST(Tensor, StoreAndReduceTouchOnlyTheInside) {
  constexpr uint32_t kWidth = 40, kHeight = 20;
  Buffer in(32 * 8), out(kWidth * kHeight);
  auto rng = test::random_engine(33);
  for (size_t i = 0; i < in.words; ++i) {
    const float x = static_cast<float>(rng() % 1000) / 8;
    std::memcpy(in.data() + i, &x, 4);
  }
  for (size_t i = 0; i < out.words; ++i) {
    const float x = static_cast<float>(rng() % 1000) / 8;
    std::memcpy(out.data() + i, &x, 4);
  }
  std::vector<uint32_t> expected = words(out);
  const auto f = [](uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  };
  for (uint32_t row = 0; row < 8; ++row)
    for (uint32_t col = 0; col < 32; ++col) {
      const uint32_t y = row + 15, x = col + 16;
      if (y >= kHeight || x >= kWidth) continue;
      const uint32_t v = in[row * 32 + ((col / 4) ^ (row % 8)) * 4 + col % 4];
      const float sum = f(v) + f(v);  // stored, then added
      std::memcpy(&expected[y * kWidth + x], &sum, 4);
    }
  const Buffer map =
      upload(map_2d(out, TensorMapType::kF32, kWidth, kHeight, 32, 8, TensorMapSwizzle::k128B));
  const auto r = run(text(fill(256) + R"(
@!%leader bra END;
cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%aux, {16, 15}], [%s];
cp.async.bulk.commit_group;
cp.async.bulk.wait_group 0;
cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group [%aux, {16, 15}], [%s];
cp.async.bulk.commit_group;
cp.async.bulk.wait_group.read 0;
END:
)"),
                     {in.address(), 0, map.address()}, {.dynamic_smem = 1024});
  ASSERT_EQ(r.fault.text, "");
  expect_equal(out, expected);
}

TEST(Tensor, MisuseIsAFault) {
  Buffer in(1024), out(1024);
  const Buffer map = upload(map_2d(in, TensorMapType::kF32, 32, 32, 32, 8, TensorMapSwizzle::k128B));
  const auto fault = [&](const std::string& copy, uint64_t tensor) {
    return run(text(barrier(1024) + copy + kWait), {0, 0, tensor}, {.dynamic_smem = 2048}).fault.text;
  };
  const std::string load =
      "@%leader cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes ";
  EXPECT_EQ(fault(load + "[%s], [%aux, {0, 0}], [%b];\n", map.address()), "");
  EXPECT_NE(fault(load + "[%s], [%aux, {0, 0}], [%b];\n", in.address()).find("no tensor map"),
            std::string::npos);
  EXPECT_NE(fault(load + "[%s+64], [%aux, {0, 0}], [%b];\n", map.address()).find("misaligned"),
            std::string::npos);
  EXPECT_NE(fault("@%leader cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes "
                  "[%s], [%aux, {0}], [%b];\n",
                  map.address())
                .find("dimensions"),
            std::string::npos);
  EXPECT_NE(fault("@%leader cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%aux, {-1, 0}], [%s];\n",
                  map.address())
                .find("expected 0 or more"),
            std::string::npos);
}

TEST(CpAsync, GroupsAndZeroFill) {
  Buffer in(128), out(128);
  randomize(in, 41);
  const auto r = run(text(R"(
shl.b32 %x, %me, 4;
add.u32 %y, %s, %x;
cvt.u64.u32 %addr, %x;
add.u64 %addr, %in, %addr;
rem.u32 %i, %me, 5;
shl.b32 %i, %i, 2;
min.u32 %i, %i, 16;
cp.async.cg.shared.global [%y], [%addr], 16, %i;
cp.async.commit_group;
cp.async.wait_group 0;
bar.sync 0;
)" + dump(128)),
                     {in.address(), out.address(), 0}, {.dynamic_smem = 512});
  ASSERT_EQ(r.fault.text, "");
  for (uint32_t i = 0; i < 128; ++i) ASSERT_EQ(out[i], i % 4 < i / 4 % 5 ? in[i] : 0) << i;
}

TEST(CpAsync, SignalsAnMbarrier) {
  Buffer in(32), out(32);
  randomize(in, 42);
  const auto r = run(text(R"(
@%leader mbarrier.init.shared.b64 [%b], 32;
bar.sync 0;
shl.b32 %x, %me, 2;
add.u32 %y, %s, %x;
cvt.u64.u32 %addr, %x;
add.u64 %addr, %in, %addr;
cp.async.ca.shared.global [%y], [%addr], 4;
cp.async.mbarrier.arrive.noinc.shared.b64 [%b];
)" + std::string(kWait) + dump(32)),
                     {in.address(), out.address(), 0}, {.dynamic_smem = 128});
  ASSERT_EQ(r.fault.text, "");
  expect_equal(out, words(in));
}

TEST(StAsync, WritesAndSignalsTheOtherCta) {
  Buffer out(128);
  const auto r = run(text(barrier(256) + R"(
xor.b32 %i, %rank, 1;
shl.b32 %x, %me, 3;
add.u32 %y, %s, %x;
mapa.shared::cluster.u32 %y, %y, %i;
mapa.shared::cluster.u32 %v, %b, %i;
mad.lo.u32 %x, %rank, 1000, %me;
st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%y], {%x, %me}, [%v];
)" + kWait + R"(
mul.wide.u32 %addr, %rank, 256;
add.u64 %out, %out, %addr;
)" + dump(64) + "barrier.cluster.arrive;\nbarrier.cluster.wait;\n"),
                     {0, out.address(), 0}, {.grid = {2, 1, 1}, .cluster = {2, 1, 1}, .dynamic_smem = 256});
  ASSERT_EQ(r.fault.text, "");
  for (uint32_t rank = 0; rank < 2; ++rank)
    for (uint32_t i = 0; i < 32; ++i) {
      EXPECT_EQ(out[rank * 64 + 2 * i], (1 - rank) * 1000 + i);
      EXPECT_EQ(out[rank * 64 + 2 * i + 1], i);
    }
}

TEST(Matrix, LoadStoreAndTranspose) {
  Buffer in(128), out(128);
  randomize(in, 51);
  // x4 in, transposed x4 out: matrix j of `out` is the transpose of matrix j of `in`.
  const auto r = run(text(fill(128) + R"(
.reg .b32 %m<4>;
shl.b32 %x, %me, 4;
add.u32 %y, %s, %x;
ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%m0, %m1, %m2, %m3}, [%y];
movmatrix.sync.aligned.m8n8.trans.b16 %m3, %m3;
movmatrix.sync.aligned.m8n8.trans.b16 %m3, %m3;
bar.sync 0;
stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%y], {%m0, %m1, %m2, %m3};
bar.sync 0;
)" + dump(128)),
                     {in.address(), out.address(), 0}, {.dynamic_smem = 512});
  ASSERT_EQ(r.fault.text, "");
  const auto* a = reinterpret_cast<const uint16_t*>(in.data());
  const auto* b = reinterpret_cast<const uint16_t*>(out.data());
  for (uint32_t j = 0; j < 4; ++j)
    for (uint32_t row = 0; row < 8; ++row)
      for (uint32_t col = 0; col < 8; ++col) ASSERT_EQ(b[j * 64 + row * 8 + col], a[j * 64 + col * 8 + row]);
}

TEST(TensorMapReplace, PatchedMapIsUsed) {
  Buffer in(1024), other(1024), out(256);
  randomize(in, 61);
  randomize(other, 62);
  const Buffer map = upload(map_2d(in, TensorMapType::kF32, 32, 32, 32, 8, TensorMapSwizzle::k128B));
  const auto r = run(text(barrier(1024) + R"(
@!%leader bra SKIP;
tensormap.replace.tile.global_address.global.b1024.b64 [%aux], %in;
tensormap.replace.tile.swizzle_mode.global.b1024.b32 [%aux], 0;
fence.proxy.tensormap::generic.release.gpu;
fence.proxy.tensormap::generic.acquire.gpu [%aux], 128;
cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%s], [%aux, {0, 4}], [%b];
SKIP:
)" + kWait + dump(256)),
                     {other.address(), out.address(), map.address()}, {.dynamic_smem = 1024});
  ASSERT_EQ(r.fault.text, "");
  for (uint32_t i = 0; i < 256; ++i) ASSERT_EQ(out[i], other[4 * 32 + i]);
}

}  // namespace
}  // namespace ptxops::virt::testing
