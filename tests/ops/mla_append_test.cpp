// The append helper against a model of its own: every byte of the cache, strides and gaps included. The model
// shares no arithmetic with the device: power-of-two scales by comparison.
#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <random>

#include "tests/ops/device.h"
#include "tests/support/formats.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

using ::testing::HasSubstr;

// 656 bytes of one token.
void encode_fp8(const uint16_t* latent, const uint16_t* rope, bool power_of_two, uint8_t* token) {
  for (int b = 0; b < 4; ++b) {
    float amax = 0;
    bool nan = false;
    for (int i = 0; i < 128; ++i) {
      const float x = from_bf16(latent[128 * b + i]);
      nan = nan || std::isnan(x);
      amax = std::fmax(amax, std::fabs(x));
    }
    if (nan) {
      const uint32_t canonical = 0x7fffffff;
      std::memset(token + 128 * b, 0x7f, 128);
      std::memcpy(token + 512 + 4 * b, &canonical, 4);
      continue;
    }
    const float a = std::fmax(amax, 1e-4f);
    float scale = a / 448, inverse = 448 / a;
    if (power_of_two) {
      float p = 0x1p-100f;
      while (p < scale && p < 0x1p127f) p *= 2;
      scale = p;
      inverse = std::isinf(a) ? 0 : 1 / p;
    }
    for (int i = 0; i < 128; ++i) token[128 * b + i] = to_e4m3(from_bf16(latent[128 * b + i]) * inverse);
    std::memcpy(token + 512 + 4 * b, &scale, 4);
  }
  std::memcpy(token + 528, rope, 128);
}

std::vector<uint16_t> random_bf16(size_t n, uint64_t purpose) {
  auto random = random_engine(purpose);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> out(n);
  for (auto& v : out) v = to_bf16(normal(random) * std::ldexp(1.0f, static_cast<int>(random() % 13) - 6));
  return out;
}

struct Case {
  int format, scale_rule, slot_64bit, separate_rope;
  int64_t tokens, pages, page_size;
  int64_t gap;  // bytes between tokens, pages and input rows, a multiple of 16
};

// Distinct slots in random order, -1 and bad ones among them.
std::vector<int64_t> random_slots(const Case& c, uint64_t purpose, uint32_t& bad) {
  auto random = random_engine(purpose);
  std::vector<int64_t> all(static_cast<size_t>(c.pages * c.page_size));
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  std::shuffle(all.begin(), all.end(), random);
  std::vector<int64_t> slots(static_cast<size_t>(c.tokens));
  const int64_t outside[] = {c.pages * c.page_size, -2, INT32_MAX, INT32_MIN};
  bad = 0;
  for (size_t t = 0; t < slots.size(); ++t) {
    slots[t] = all[t];
    if (random() % 5 == 0) slots[t] = -1;
    if (random() % 5 == 0) {
      slots[t] = outside[random() % 4];
      // A slot whose low half alone would be legal.
      if (c.slot_64bit && random() % 2) slots[t] = (int64_t{1} << 32) + 1;
      ++bad;
    }
  }
  return slots;
}

void check(const Case& c, uint64_t purpose) {
  SCOPED_TRACE(::testing::Message() << "format " << c.format << " rule " << c.scale_rule << " 64-bit "
                                    << c.slot_64bit << " separate " << c.separate_rope << " tokens "
                                    << c.tokens << " page " << c.page_size);
  const bool fp8 = c.format == PTXOPS_MLA_CACHE_FP8;
  const int64_t ld_latent = 1024 + c.gap, ld_rope = 128 + c.gap;
  auto latent = random_bf16(static_cast<size_t>(c.tokens * ld_latent / 2), purpose);
  auto rope = random_bf16(static_cast<size_t>(c.tokens * ld_rope / 2), purpose + 1);
  if (c.tokens > 4) {
    std::fill_n(latent.begin() + ld_latent / 2, 512, 0);                               // zeros: the floor
    std::fill_n(latent.begin() + ld_latent, 512, to_bf16(-0.0f));                      // and negative ones
    latent[3 * ld_latent / 2 + 7] = 0x7fc0, latent[3 * ld_latent / 2 + 200] = 0x7f80;  // NaN, infinity
    for (int i = 0; i < 512; ++i) latent[4 * ld_latent / 2 + i] = static_cast<uint16_t>(0x7f7f - i);  // huge
  }
  uint32_t bad = 0;
  const std::vector<int64_t> slots = random_slots(c, purpose + 2, bad);
  const std::vector<int32_t> narrow(slots.begin(), slots.end());

  const int64_t token_bytes = (fp8               ? 656
                               : c.separate_rope ? 1024
                                                 : 1152) +
                              c.gap,
                page_bytes = c.page_size * token_bytes + c.gap, rope_token_bytes = 128 + c.gap,
                rope_page_bytes = c.page_size * rope_token_bytes + c.gap;
  std::vector<uint8_t> cache(static_cast<size_t>(c.pages * page_bytes), 0xff);
  std::vector<uint8_t> rope_cache(static_cast<size_t>(c.pages * rope_page_bytes), 0xff);
  const DeviceMemory d_cache(cache.size()), d_rope_cache(rope_cache.size());
  for (size_t t = 0; t < slots.size(); ++t) {
    if (slots[t] < 0 || slots[t] >= c.pages * c.page_size) continue;
    const uint16_t* x = &latent[t * static_cast<size_t>(ld_latent / 2)];
    const uint16_t* r = &rope[t * static_cast<size_t>(ld_rope / 2)];
    const int64_t page = slots[t] / c.page_size, row = slots[t] % c.page_size;
    uint8_t* at = &cache[static_cast<size_t>(page * page_bytes + row * token_bytes)];
    if (fp8) {
      encode_fp8(x, r, c.scale_rule == PTXOPS_MLA_SCALE_POWER_OF_TWO, at);
    } else {
      std::memcpy(at, x, 1024);
      std::memcpy(c.separate_rope
                      ? &rope_cache[static_cast<size_t>(page * rope_page_bytes + row * rope_token_bytes)]
                      : at + 1024,
                  r, 128);
    }
  }

  ptxopsMlaAppendDesc_t desc = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
  desc.tokens = c.tokens, desc.pages = c.pages, desc.page_size = c.page_size;
  desc.format = c.format, desc.scale_rule = c.scale_rule, desc.slot_64bit = c.slot_64bit,
  desc.separate_rope = c.separate_rope;
  if (c.gap) {
    desc.latent_stride_bytes = ld_latent, desc.rope_stride_bytes = ld_rope;
    desc.token_stride_bytes = token_bytes, desc.page_stride_bytes = page_bytes;
    if (c.separate_rope)
      desc.rope_token_stride_bytes = rope_token_bytes, desc.rope_page_stride_bytes = rope_page_bytes;
  }
  Plan plan;
  ASSERT_OK(ptxopsMlaAppendPlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const DeviceMemory d_latent(latent), d_rope(rope), d_bad(std::vector<uint32_t>{100});
  const DeviceMemory d_slots64(slots), d_slots32(narrow);
  ptxopsMlaAppendArgs_t args = PTXOPS_MLA_APPEND_ARGS_INITIALIZER;
  args.latent = d_latent.address(), args.rope = d_rope.address(), args.cache = d_cache.address();
  args.slot = c.slot_64bit ? d_slots64.address() : d_slots32.address();
  args.bad_slots = d_bad.address();
  if (c.separate_rope) args.rope_cache = d_rope_cache.address();
  ASSERT_OK(ptxopsMlaAppendRun(plan.handle, &args, nullptr));
  EXPECT_EQ(d_cache.read<uint8_t>(), cache);
  EXPECT_EQ(d_rope_cache.read<uint8_t>(), rope_cache);
  EXPECT_EQ(d_bad.read<uint32_t>()[0], 100 + bad);
  args.bad_slots = 0;  // nobody counts: the same bytes again
  ASSERT_OK(ptxopsMlaAppendRun(plan.handle, &args, nullptr));
  EXPECT_EQ(d_cache.read<uint8_t>(), cache);
}

TEST(MlaAppend, SixteenBits) {
  check({PTXOPS_MLA_CACHE_16BIT, 0, 0, 0, 23, 5, 16, 0}, 10);
  check({PTXOPS_MLA_CACHE_16BIT, 0, 1, 0, 64, 3, 64, 32}, 20);
  check({PTXOPS_MLA_CACHE_16BIT, 0, 0, 1, 50, 61, 1, 48}, 30);
  check({PTXOPS_MLA_CACHE_16BIT, 0, 1, 1, 9, 2, 53, 0}, 40);
}

TEST(MlaAppend, Fp8) {
  for (const int rule : {PTXOPS_MLA_SCALE_EXACT, PTXOPS_MLA_SCALE_POWER_OF_TWO}) {
    check({PTXOPS_MLA_CACHE_FP8, rule, 0, 0, 23, 5, 16, 0}, 50);
    check({PTXOPS_MLA_CACHE_FP8, rule, 1, 0, 64, 3, 64, 16}, 60);
    check({PTXOPS_MLA_CACHE_FP8, rule, 0, 0, 1, 1, 1, 0}, 70);
  }
}

// Page strides and sums beyond 2^31 bytes: a cache of two pages far apart.
TEST(MlaAppend, FarPages) {
  const int64_t page_bytes = (int64_t{5} << 30) + 16;
  ptxopsMlaAppendDesc_t desc = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
  desc.tokens = 2, desc.pages = 2, desc.format = PTXOPS_MLA_CACHE_FP8, desc.page_stride_bytes = page_bytes;
  Plan plan;
  ASSERT_OK(ptxopsMlaAppendPlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  ptxopsDevicePtr_t cache = 0;
  ASSERT_OK(ptxopsMemAlloc(context(), &cache, static_cast<size_t>(page_bytes) + 64 * 656));
  const auto latent = random_bf16(1024, 80), rope = random_bf16(128, 81);
  const DeviceMemory d_latent(latent), d_rope(rope), d_slots(std::vector<int32_t>{127, 63});
  ptxopsMlaAppendArgs_t args = PTXOPS_MLA_APPEND_ARGS_INITIALIZER;
  args.latent = d_latent.address(), args.rope = d_rope.address(), args.slot = d_slots.address(),
  args.cache = cache;
  ASSERT_OK(ptxopsMlaAppendRun(plan.handle, &args, nullptr));
  for (int t = 0; t < 2; ++t) {
    std::vector<uint8_t> want(656), got(656);
    encode_fp8(&latent[512 * t], &rope[64 * t], false, want.data());
    ASSERT_OK(
        ptxopsMemcpyToHost(context(), got.data(), cache + (t ? 0 : page_bytes) + 63 * 656, 656, nullptr));
    EXPECT_EQ(got, want) << t;
  }
  EXPECT_OK(ptxopsMemFree(context(), cache));
}

TEST(MlaAppend, RefusesWithText) {
  const auto refused = [](auto change, const char* text) {
    ptxopsMlaAppendDesc_t d = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
    d.tokens = 4, d.pages = 2;
    change(d);
    EXPECT_EQ(ptxopsMlaAppendCheck(&d), PTXOPS_INVALID_ARGUMENT) << text;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(text));
  };
  refused([](auto& d) { d.tokens = -1; }, "desc.tokens: expected 0 .. ");
  refused([](auto& d) { d.pages = 0; }, "desc.pages: expected 1 .. 2147483647, got 0");
  refused([](auto& d) { d.page_size = 0; }, "desc.page_size: expected 1 .. ");
  refused([](auto& d) { d.page_size = 1 << 30; },
          "desc.pages * desc.page_size: expected 1 .. 2147483647, got");
  refused([](auto& d) { d.format = 2; }, "desc.format: expected 0 .. 1, got 2");
  refused([](auto& d) { d.scale_rule = 1; }, "desc.scale_rule: expected 0 with a 16-bit cache");
  refused([](auto& d) { d.format = 1, d.separate_rope = 1; },
          "desc.separate_rope: expected 0 with the 656-byte");
  refused([](auto& d) { d.latent_stride_bytes = 1023; }, "desc.latent_stride_bytes: expected 1024 .. ");
  refused([](auto& d) { d.latent_stride_bytes = 1032; },
          "desc.latent_stride_bytes: expected a multiple of 16");
  refused([](auto& d) { d.token_stride_bytes = 640; }, "desc.token_stride_bytes: expected 1152 .. ");
  refused([](auto& d) { d.page_stride_bytes = 1160; }, "desc.page_stride_bytes: expected a multiple of 16");
  refused([](auto& d) { d.rope_page_stride_bytes = 16; },
          "desc.rope_page_stride_bytes: expected 0 without desc.separate_rope, got 16");

  ptxopsMlaAppendDesc_t desc = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
  desc.tokens = 4, desc.pages = 2;
  Plan plan;
  ASSERT_OK(ptxopsMlaAppendPlanCreate(context(), &desc, &plan.handle));
  const DeviceMemory latent(4 * 1024), rope(4 * 128), slot(64, 0), cache(128 * 1152, 0xa5);
  ptxopsMlaAppendArgs_t args = PTXOPS_MLA_APPEND_ARGS_INITIALIZER;
  args.latent = latent.address(), args.rope = rope.address(), args.slot = slot.address(),
  args.cache = cache.address();
  const auto run_refused = [&](ptxopsStatus_t status, const char* text) {
    EXPECT_EQ(ptxopsMlaAppendRun(plan.handle, &args, nullptr), status);
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(text));
  };
  run_refused(PTXOPS_NOT_PREPARED, "expected a prepared plan");
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  args.cache = cache.address() + 8;
  run_refused(PTXOPS_INVALID_ARGUMENT, "args.cache: expected alignment 16 bytes");
  args.cache = cache.address(), args.rope_cache = cache.address();
  run_refused(PTXOPS_INVALID_ARGUMENT, "args.rope_cache: expected 0 where rope lies in the token");
  args.rope_cache = 0, args.slot = 0;
  run_refused(PTXOPS_INVALID_ARGUMENT, "args.slot: expected a device address, got NULL");
  for (uint8_t byte : cache.read<uint8_t>()) ASSERT_EQ(byte, 0xa5);
}

}  // namespace
}  // namespace ptxops::test
