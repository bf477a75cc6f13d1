// Asynchronous copies, tensor maps (PTX ISA 9.7.9.25-9.7.9.28).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/conformance/body.h"
#include "tests/conformance/cases.h"
#include "tests/conformance/reference.h"
#include "tests/conformance/values.h"

namespace ptxops::conformance {
namespace {

using isa::Id;

template <class F>
void each_form(std::initializer_list<Id> ids, size_t most, const F& f) {
  for (const isa::Row& row : isa::rows())
    for (Id id : ids) {
      if (row.id != id) continue;
      std::vector<Form> forms = forms_of(row);
      Random random(seed() + 61);
      std::shuffle(forms.begin(), forms.end(), random);
      if (forms.size() > most) forms.resize(most);
      for (const Form& form : forms) {
        f(form);
        if (::testing::Test::HasFailure()) return;
      }
    }
}

const char* const kPolicy = "    createpolicy.fractional.L2::evict_first.b64 d15;\n";
std::string hint(const Form& f) {
  return f.has("L2::cache_hint") ? ", d15" : "";
}

// ---- cp.async
// -----------------------------------------------------------------------------------------------------
void cp_async() {
  const char* waits[] = {"cp.async.commit_group;\n    cp.async.wait_group 0;", "cp.async.wait_all;",
                         "cp.async.commit_group;\n    cp.async.commit_group;\n    cp.async.wait_group 1;"};
  int turn = 0;
  each_form({Id::cp_async}, 12, [&](const Form& f) {
    for (int bytes : {4, 8, 16}) {
      if (f.has("cg") && bytes != 16) continue;
      for (const std::string extra : {std::string(), std::string(", 2"), std::string(", p1")}) {
        Body b;
        b.module = ".shared .align 16 .b8 box[512];\n";
        b.input = random_words(128, 71);
        b.output_words = 128;
        std::string operands = extra;
        if (f.has("L2::cache_hint")) operands += ", d15";
        b.text =
            std::string(kPolicy) +
            "    mad.wide.u32 d0, lane, 16, in;\n    mad.wide.u32 d1, lane, 16, out;\n    mov.u32 r1, box;\n"
            "    mad.lo.u32 r1, lane, 16, r1;\n    and.b32 r2, lane, 1;\n    setp.eq.u32 p1, r2, 1;\n"
            "    st.shared.v4.b32 [r1], {lane, lane, lane, lane};\n    " +
            f.opcode + fmt::format(" [r1], [d0], {}", bytes) + operands + ";\n    " + waits[turn++ % 3] +
            "\n    ld.shared.v4.b32 {r4, r5, r6, r7}, [r1];\n    st.global.v4.b32 [d1], {r4, r5, r6, r7};";
        const auto out = run_body(b);
        if (out.empty()) return;
        const auto* got = reinterpret_cast<const uint8_t*>(out.data());
        const auto* source = reinterpret_cast<const uint8_t*>(b.input.data());
        for (uint32_t lane = 0; lane < 32; ++lane)
          for (int i = 0; i < 16; ++i) {
            // Two source bytes, or none where the predicate says so; the rest of the copy is zero.
            const int valid = extra == ", 2" ? 2 : extra == ", p1" && lane % 2 ? 0 : bytes;
            const uint8_t expected = i >= bytes  ? (i % 4 == 0 ? lane : 0)
                                     : i < valid ? source[lane * 16 + i]
                                                 : 0;
            ASSERT_EQ(got[lane * 16 + i], expected)
                << f.opcode << " " << bytes << extra << " lane " << lane << " byte " << i;
          }
      }
    }
  });
}
void cp_async_arrive() {
  each_form({Id::cp_async_mbarrier_arrive}, 99, [](const Form& f) {
    const bool generic = !f.has("shared") && !f.has("shared::cta");
    Body b;
    b.module = ".shared .align 16 .b8 box[512];\n.shared .align 8 .b64 bar;\n";
    b.input = random_words(128, 72);
    b.output_words = 128;
    // .noinc arrivals are part of the count; the others are neutral, so each thread arrives once more.
    b.text =
        "    mad.wide.u32 d0, lane, 16, in;\n    mad.wide.u32 d1, lane, 16, out;\n    mov.u32 r1, box;\n    "
        "mad.lo.u32 r1, lane, 16, r1;\n"
        "    mov.u32 r2, bar;\n    cvta.shared.u64 d2, bar;\n    setp.eq.u32 p0, lane, 0;\n"
        "    @p0 mbarrier.init.shared::cta.b64 [r2], 32;\n    bar.sync 0;\n    "
        "cp.async.cg.shared::cta.global [r1], [d0], 16;\n    " +
        f.opcode + (generic ? " [d2];\n" : " [r2];\n") +
        (f.has("noinc") ? "" : "    mbarrier.arrive.shared::cta.b64 d3, [r2];\n") +
        "WAIT: mbarrier.try_wait.parity.shared::cta.b64 p1, [r2], 0;\n    @!p1 bra WAIT;\n    xor.b32 r3, "
        "lane, 1;\n    mov.u32 r4, box;\n"
        "    mad.lo.u32 r3, r3, 16, r4;\n    ld.shared.v4.b32 {r4, r5, r6, r7}, [r3];\n    st.global.v4.b32 "
        "[d1], {r4, r5, r6, r7};";
    const auto out = run_body(b);
    for (uint32_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], b.input[i ^ 4]) << f.opcode << " word " << i;
  });
}

// ---- Bulk copies
// --------------------------------------------------------------------------------------------------

// r1 = tile, r2 = bar (count 1), p0 = first thread; the barrier is ready when this is through.
const char* const kBulkModule =
    ".shared .align 128 .b8 tile[4096];\n.shared .align 128 .b8 second[4096];\n.shared .align 8 .b64 bar;\n";
const char* const kBulkStart = R"(    createpolicy.fractional.L2::evict_first.b64 d15;
    mov.u32 r1, tile;
    mov.u32 r2, bar;
    setp.eq.u32 p0, tid, 0;
    @p0 mbarrier.init.shared::cta.b64 [r2], 1;
    fence.mbarrier_init.release.cluster;
    barrier.cluster.arrive;
    barrier.cluster.wait;
)";
const char* const kBulkWait =
    "WAIT: mbarrier.try_wait.parity.shared::cta.b64 p1, [r2], 0;\n    @!p1 bra WAIT;\n";
// Every thread copies 16 bytes of the tile at `reg` out.
std::string tile_out(const char* reg) {
  return fmt::format(
      "    mad.lo.u32 r3, tid, 16, {};\n    ld.shared.v4.b32 {{r4, r5, r6, r7}}, [r3];\n    mad.wide.u32 d1, "
      "index, 16, out;\n"
      "    st.global.v4.b32 [d1], {{r4, r5, r6, r7}};\n",
      reg);
}
std::string tile_in(const char* reg) {
  return fmt::format(
      "    mad.wide.u32 d0, index, 16, in;\n    ld.global.v4.b32 {{r4, r5, r6, r7}}, [d0];\n    mad.lo.u32 "
      "r3, tid, 16, {};\n"
      "    st.shared.v4.b32 [r3], {{r4, r5, r6, r7}};\n    fence.proxy.async.shared::cta;\n    bar.sync 0;\n",
      reg);
}
const char* const kClusterBarrier = "    barrier.cluster.arrive;\n    barrier.cluster.wait;\n";

void bulk_g2s() {
  each_form({Id::cp_async_bulk_g2s}, 99, [](const Form& f) {
    const bool multicast = f.has("multicast::cluster");
    Body b;
    b.module = kBulkModule;
    b.shape.grid = b.shape.cluster = 2;
    b.input = random_words(256, 73);
    b.output_words = 256;
    b.text = std::string(kBulkStart) + "    @p0 mbarrier.arrive.expect_tx.shared::cta.b64 d5, [r2], 512;\n" +
             (multicast ? "    setp.eq.and.u32 p2, rank, 1, p0;\n" : "    mov.pred p2, p0;\n") +
             kClusterBarrier + "    @p2 " + f.opcode + " [r1], [in+512], 512, [r2]" +
             (multicast ? ", h0" : "") + hint(f) + ";\n" + kBulkWait + tile_out("r1") + kClusterBarrier;
    b.text = "    mov.b16 h0, 3;\n" + b.text;
    const auto out = run_body(b);
    for (uint32_t i = 0; i < out.size(); ++i)
      ASSERT_EQ(out[i], b.input[128 + i % 128]) << f.opcode << " word " << i;
  });
}
void bulk_s2s() {
  each_form({Id::cp_async_bulk_s2s}, 99, [](const Form& f) {
    Body b;
    b.module = kBulkModule;
    b.shape.grid = b.shape.cluster = 2;
    b.input = random_words(256, 74);
    b.output_words = 256;
    b.text = std::string(kBulkStart) + tile_in("r1") +
             "    mov.u32 r8, second;\n    xor.b32 r9, rank, 1;\n    mapa.shared::cluster.u32 r10, r8, r9;\n"
             "    mapa.shared::cluster.u32 r11, r2, r9;\n    @p0 mbarrier.arrive.expect_tx.shared::cta.b64 "
             "d5, [r2], 512;\n" +
             kClusterBarrier + "    @p0 " + f.opcode + " [r10], [r1], 512, [r11];\n" + kBulkWait +
             tile_out("r8") + kClusterBarrier;
    const auto out = run_body(b);
    for (uint32_t i = 0; i < out.size(); ++i)
      ASSERT_EQ(out[i], b.input[i ^ 128]) << f.opcode << " word " << i;
  });
}
void bulk_s2g() {
  int turn = 0;
  each_form({Id::cp_async_bulk_s2g}, 99, [&](const Form& f) {
    for (const char* wait : {"cp.async.bulk.wait_group 0;", "cp.async.bulk.wait_group.read 0;"}) {
      Body b;
      b.module = kBulkModule;
      b.input = random_words(128, 75 + turn++);
      b.output_words = 128;
      b.text = std::string(kBulkStart) + tile_in("r1") +
               "    @p0 cp.async.bulk.prefetch.L2.global [in], 512;\n"
               "    @p0 cp.async.bulk.prefetch.L2.global.L2::cache_hint [in], 512, d15;\n    @p0 " +
               f.opcode + " [out], [r1], 512" + hint(f) + ";\n    cp.async.bulk.commit_group;\n    " + wait;
      const auto out = run_body(b);
      for (uint32_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], b.input[i]) << f.opcode << " word " << i;
    }
  });
}

// The result of a reduction on one element.
uint64_t reduced(std::string_view op, isa::Type t, uint64_t old, uint64_t b) {
  const int bits = isa::type_bits(t);
  const uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
  if (op == "and") return old & b;
  if (op == "or") return old | b;
  if (op == "xor") return old ^ b;
  if (op == "inc") return old >= b ? 0 : old + 1;
  if (op == "dec") return old == 0 || old > b ? b : old - 1;
  if (const Format* f = format_of(t)) {
    const Quad x = decode(*f, old), y = decode(*f, b);
    if (op == "min") return x < y ? old : b;
    if (op == "max") return x < y ? b : old;
    const Sum s = exact_add(x, y);
    return encode(*f, s.value, s.sticky);
  }
  if (op == "add") return (old + b) & mask;
  const uint64_t flip = isa::is_signed(t) ? 1ull << (bits - 1) : 0;
  return ((op == "min") == ((old ^ flip) < (b ^ flip))) ? old : b;
}
// 512 bytes of values whose reductions have no special cases.
std::vector<uint32_t> reduction_operands(isa::Type t, uint64_t purpose) {
  std::vector<uint32_t> words = random_words(128, purpose);
  const Format* f = format_of(t);
  if (!f) return words;
  auto* bytes = reinterpret_cast<uint8_t*>(words.data());
  const int size = f->bits() / 8;
  for (int i = 0; i < 512; i += size) {
    uint64_t v = 0;
    std::memcpy(&v, bytes + i, size);
    v = (v & ((1ull << f->mantissa_bits) - 1)) | (v & sign_bit(*f)) |
        uint64_t(f->bias() - 2 + i / size % 5) << f->mantissa_bits;
    std::memcpy(bytes + i, &v, size);
  }
  return words;
}
void expect_reduced(const Form& f, const std::vector<uint32_t>& old, const std::vector<uint32_t>& source,
                    const std::vector<uint32_t>& out, size_t first = 0) {
  if (out.empty()) return;
  const isa::Type t = f.types.back();
  const int size = isa::type_bits(t) / 8;
  for (int i = 0; i < 512; i += size) {
    uint64_t a = 0, b = 0, got = 0;
    std::memcpy(&a, reinterpret_cast<const uint8_t*>(old.data()) + i, size);
    std::memcpy(&b, reinterpret_cast<const uint8_t*>(source.data()) + i, size);
    std::memcpy(&got, reinterpret_cast<const uint8_t*>(out.data() + first) + i, size);
    ASSERT_EQ(got, reduced(f.choice("op"), t, a, b))
        << f.opcode << " byte " << i << ": " << a << " with " << b;
  }
}
void bulk_reduce_s2g() {
  each_form({Id::cp_reduce_async_bulk_s2g}, 99, [](const Form& f) {
    const auto old = reduction_operands(f.types.back(), 81), source = reduction_operands(f.types.back(), 82);
    Body b;
    b.module = kBulkModule;
    b.input = source;
    b.input.insert(b.input.end(), old.begin(), old.end());
    b.output_words = 128;
    b.text =
        std::string(kBulkStart) + tile_in("r1") +
        "    ld.global.v4.b32 {r4, r5, r6, r7}, [d0+512];\n    mad.wide.u32 d1, index, 16, out;\n"
        "    st.global.v4.b32 [d1], {r4, r5, r6, r7};\n    fence.proxy.async;\n    bar.sync 0;\n    @p0 " +
        f.opcode + " [out], [r1], 512" + hint(f) +
        ";\n    cp.async.bulk.commit_group;\n    cp.async.bulk.wait_group 0;";
    expect_reduced(f, old, source, run_body(b));
  });
}
void bulk_reduce_s2s() {
  each_form({Id::cp_reduce_async_bulk_s2s}, 99, [](const Form& f) {
    const auto old = reduction_operands(f.types.back(), 83), source = reduction_operands(f.types.back(), 84);
    Body b;
    b.module = kBulkModule;
    b.shape.grid = b.shape.cluster = 2;
    // Both CTAs load the same source tile and the same old values.
    b.input = source;
    b.input.insert(b.input.end(), source.begin(), source.end());
    b.input.insert(b.input.end(), old.begin(), old.end());
    b.output_words = 256;
    b.text = std::string(kBulkStart) + tile_in("r1") +
             "    mad.wide.u32 d0, tid, 16, in;\n    ld.global.v4.b32 {r4, r5, r6, r7}, [d0+1024];\n"
             "    mov.u32 r8, second;\n    mad.lo.u32 r3, tid, 16, r8;\n    st.shared.v4.b32 [r3], {r4, r5, "
             "r6, r7};\n    fence.proxy.async;\n"
             "    xor.b32 r9, rank, 1;\n    mapa.shared::cluster.u32 r10, r8, r9;\n    "
             "mapa.shared::cluster.u32 r11, r2, r9;\n"
             "    @p0 mbarrier.arrive.expect_tx.shared::cta.b64 d5, [r2], 512;\n" +
             kClusterBarrier + "    @p0 " + f.opcode + " [r10], [r1], 512, [r11];\n" + kBulkWait +
             tile_out("r8") + kClusterBarrier;
    const auto out = run_body(b);
    expect_reduced(f, old, source, out);
    expect_reduced(f, old, source, out, 128);
  });
}

// st.async and red.async: each thread sends to the other CTA, whose barrier counts the bytes.
void send_async() {
  each_form({Id::st_async, Id::red_async}, 40, [](const Form& f) {
    const bool reduces = f.row->id == Id::red_async;
    const isa::Type t = f.types.back();
    const int n = f.has("v2") ? 2 : f.has("v4") ? 4 : 1, bits = isa::type_bits(t), bytes = bits / 8 * n;
    if (bytes > 16) return;
    Body b;
    b.module = kBulkModule;
    b.shape.grid = b.shape.cluster = 2;
    b.input = random_words(256, 91);
    if (reduces)  // the reduced word differs from lane to lane, the old one is a constant
      for (uint32_t i = 0; i < 256; i += 8) b.input[i] = 7;
    b.output_words = 256;
    std::string list, declarations;
    for (int i = 0; i < n; ++i) {
      declarations += fmt::format("    .reg .b{} v{};\n    ld.global.b{} v{}, [d0+{}];\n", bits, i, bits, i,
                                  i * bits / 8);
      list += fmt::format("{}v{}", i ? ", " : "", i);
    }
    if (n > 1) list = "{" + list + "}";
    b.text = std::string(kBulkStart) +
             fmt::format(
                 "    mad.lo.u32 r3, tid, 16, r1;\n    mov.u32 r4, 5;\n    mov.u32 r5, 0;\n"
                 "    st.shared.v4.b32 [r3], {{r4, r5, r5, r5}};\n    @p0 "
                 "mbarrier.arrive.expect_tx.shared::cta.b64 d5, [r2], {};\n",
                 32 * bytes) +
             kClusterBarrier +
             "    xor.b32 r9, rank, 1;\n    mapa.shared::cluster.u32 r10, r3, r9;\n    "
             "mapa.shared::cluster.u32 r11, r2, r9;\n"
             "    mad.wide.u32 d0, index, 16, in;\n" +
             declarations + "    " + f.opcode + " [r10], " + list + ", [r11];\n" + kBulkWait +
             tile_out("r1") + kClusterBarrier;
    const auto out = run_body(b);
    if (out.empty()) return;
    for (uint32_t i = 0; i < 256; i += 4) {
      uint32_t expected[4] = {5, 0, 0, 0};
      const uint32_t* source = b.input.data() + (i ^ 128);
      if (reduces) {
        uint64_t old = 5, v = 0;
        std::memcpy(&v, source, bytes);
        old = reduced(f.choice("op"), t, old, v);
        std::memcpy(expected, &old, bytes);
      } else {
        std::memcpy(expected, source, bytes);
      }
      for (uint32_t k = 0; k < 4; ++k) ASSERT_EQ(out[i + k], expected[k]) << f.opcode << " word " << i + k;
    }
  });
}

// ---- Tensor copies
// ------------------------------------------------------------------------------------------------

struct Tensor {
  MapShape shape;
  std::vector<uint32_t> words;
  uint64_t elements = 1, box_elements = 1;
};
// Small odd extents, 16-byte rows.
Tensor tensor_of(int rank, uint64_t purpose) {
  Tensor t;
  t.shape.rank = rank;
  const uint64_t dims[5] = {12, 5, 3, 3, 2};
  const uint32_t boxes[5] = {8, 4, 2, 2, 2};
  uint64_t pitch = 4;
  for (int d = 0; d < rank; ++d) {
    t.shape.dim[d] = dims[d];
    t.shape.box[d] = boxes[d];
    t.elements *= dims[d];
    t.box_elements *= boxes[d];
    if (d > 0) t.shape.stride[d - 1] = pitch;
    pitch *= dims[d];
  }
  t.words = random_words(t.elements, purpose);
  return t;
}
// Linear index of box element `e` at `start`, or -1 outside the tensor.
int64_t place(const MapShape& s, const int* start, uint64_t e) {
  int64_t index = 0, pitch = 1;
  bool inside = true;
  for (uint32_t d = 0; d < s.rank; ++d) {
    const int64_t c = start[d] + static_cast<int64_t>(e % s.box[d]);
    e /= s.box[d];
    inside &= c >= 0 && c < static_cast<int64_t>(s.dim[d]);
    index += c * pitch;
    pitch *= static_cast<int64_t>(s.dim[d]);
  }
  return inside ? index : -1;
}

// Words 0-31 of the input are the map; `replace` patches it in shared memory; d8 becomes its address for
// copies.
std::string map_ready(const std::string& replace) {
  return R"(    mov.u32 r20, mapbox;
    setp.lt.u32 p3, tid, 32;
    @!p3 bra MAPPED;
    mad.wide.u32 d0, lane, 4, in;
    ld.global.b32 r21, [d0];
    mad.lo.u32 r22, lane, 4, r20;
    st.shared.b32 [r22], r21;
    bar.warp.sync 0xffffffff;
    setp.ne.u32 p4, lane, 0;
    @p4 bra PATCHED;
)" + replace +
         R"(PATCHED:
    bar.warp.sync 0xffffffff;
    mov.u64 d8, descriptor;
    cvta.global.u64 d8, d8;
    tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [d8], [r20], 128;
MAPPED:
    bar.sync 0;
    mov.u64 d8, descriptor;
    fence.proxy.tensormap::generic.acquire.gpu [d8], 128;
)";
}
const std::string kTensorModule =
    std::string(kBulkModule) +
    ".shared .align 128 .b8 mapbox[128];\n.global .align 128 .b8 descriptor[128];\n";
const char* const kPatchAddress =
    "    add.u64 d9, in, 128;\n    tensormap.replace.tile.global_address.shared::cta.b1024.b64 [r20], d9;\n";
std::string coordinates(int rank, const int* start) {
  std::string s = "{";
  for (int d = 0; d < rank; ++d) s += fmt::format("{}{}", d ? ", " : "", start[d]);
  return s + "}";
}
int rank_of(const Form& f) {
  return f.choice("dim")[0] - '0';
}

void tensor_load_case(const Form& f, const std::vector<uint32_t>& map, const Tensor& t,
                      const std::string& replace) {
  const int rank = static_cast<int>(t.shape.rank);
  for (int variant = 0; variant < 2; ++variant) {
    const int inside[5] = {2, 1, 1, 0, 0}, outside[5] = {7, -2, 2, 2, 1};
    const int* start = variant ? outside : inside;
    const bool multicast = f.has("multicast::cluster");
    Body b;
    b.module = kTensorModule;
    b.shape.block = 64;
    b.shape.grid = b.shape.cluster = multicast ? 2 : 1;
    b.input = map;
    b.input.insert(b.input.end(), t.words.begin(), t.words.end());
    b.output_words = t.box_elements * b.shape.grid;
    b.text =
        "    mov.b16 h0, 3;\n" + std::string(kBulkStart) + map_ready(replace) +
        "    prefetch.tensormap [d8];\n" +
        fmt::format("    @p0 mbarrier.arrive.expect_tx.shared::cta.b64 d5, [r2], {};\n", t.box_elements * 4) +
        kClusterBarrier + (multicast ? "    setp.eq.and.u32 p2, rank, 0, p0;\n" : "    mov.pred p2, p0;\n") +
        fmt::format("    @p2 cp.async.bulk.prefetch.tensor.{}d.L2.global.tile [d8, {}];\n", rank,
                    coordinates(rank, start)) +
        "    @p2 " + f.opcode + " [r1], [d8, " + coordinates(rank, start) + "], [r2]" +
        (multicast ? ", h0" : "") + hint(f) + ";\n" + kBulkWait +
        fmt::format(
            "    mov.u32 r9, tid;\nCOPY: setp.ge.u32 p5, r9, {0};\n    @p5 bra COPIED;\n    mad.lo.u32 r3, "
            "r9, 4, r1;\n"
            "    ld.shared.b32 r4, [r3];\n    mad.lo.u32 r5, rank, {0}, r9;\n    mad.wide.u32 d1, r5, 4, "
            "out;\n"
            "    st.global.b32 [d1], r4;\n    add.u32 r9, r9, 64;\n    bra COPY;\nCOPIED:\n",
            t.box_elements) +
        kClusterBarrier;
    const auto out = run_body(b);
    for (uint64_t i = 0; i < out.size(); ++i) {
      const int64_t from = place(t.shape, start, i % t.box_elements);
      ASSERT_EQ(out[i], from < 0 ? 0 : t.words[from])
          << f.opcode << " element " << i << " from " << coordinates(rank, start);
    }
  }
}
void tensor_load() {
  each_form({Id::cp_async_bulk_tensor_g2s}, 99, [](const Form& f) {
    const Tensor t = tensor_of(rank_of(f), 95);
    tensor_load_case(f, encode_map(t.shape), t, kPatchAddress);
  });
}
// A map made from another one, field by field.
void tensor_replace() {
  const Tensor from = tensor_of(1, 96), t = tensor_of(2, 97);
  std::vector<uint32_t> map = encode_map(from.shape);
  const std::string replace =
      std::string(kPatchAddress) +
      fmt::format(R"(    tensormap.replace.tile.rank.shared::cta.b1024.b32 [r20], 1;
    tensormap.replace.tile.elemtype.shared::cta.b1024.b32 [r20], 2;
    tensormap.replace.tile.interleave_layout.shared::cta.b1024.b32 [r20], 0;
    tensormap.replace.tile.swizzle_mode.shared::cta.b1024.b32 [r20], 0;
    tensormap.replace.tile.fill_mode.shared::cta.b1024.b32 [r20], 0;
    tensormap.replace.tile.global_dim.shared::cta.b1024.b32 [r20], 0, {};
    tensormap.replace.tile.global_dim.shared::cta.b1024.b32 [r20], 1, {};
    mov.b64 d10, {};
    tensormap.replace.tile.global_stride.shared::cta.b1024.b64 [r20], 0, d10;
    tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [r20], 0, {};
    tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [r20], 1, {};
    tensormap.replace.tile.element_stride.shared::cta.b1024.b32 [r20], 0, 1;
    tensormap.replace.tile.element_stride.shared::cta.b1024.b32 [r20], 1, 1;
)",
                  t.shape.dim[0], t.shape.dim[1], t.shape.stride[0], t.shape.box[0], t.shape.box[1]);
  each_form({Id::cp_async_bulk_tensor_g2s}, 1, [&](const Form& any) {
    Form f = any;
    f.opcode = "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes";
    for (auto& choice : f.choices)
      if (choice == "multicast::cluster" || choice == "L2::cache_hint") choice = {};
    tensor_load_case(f, map, t, replace);
  });
}

// Store and reduce: the output is the tensor; its words start as the old values.
void tensor_store() {
  each_form({Id::cp_async_bulk_tensor_s2g, Id::cp_reduce_async_bulk_tensor_s2g}, 99, [](const Form& f) {
    const bool reduces = f.row->id == Id::cp_reduce_async_bulk_tensor_s2g;
    const Tensor t = tensor_of(rank_of(f), 98);
    const int rank = rank_of(f), start[5] = {7, 2, 1, 2, 0};
    const std::vector<uint32_t> box = random_words(t.box_elements, 99);
    Body b;
    b.module = kTensorModule;
    b.shape.block = 64;
    b.input = encode_map(t.shape);
    b.input.insert(b.input.end(), t.words.begin(), t.words.end());
    b.input.insert(b.input.end(), box.begin(), box.end());
    b.output_words = t.elements;
    const auto copy = [&](const char* label, uint64_t count, uint64_t first_word, const char* store) {
      return fmt::format(
          "    mov.u32 r9, tid;\n{0}: setp.ge.u32 p5, r9, {1};\n    @p5 bra {0}_END;\n    add.u32 r5, r9, "
          "{2};\n"
          "    mad.wide.u32 d1, r5, 4, in;\n    ld.global.b32 r4, [d1];\n    {3}\n    add.u32 r9, r9, 64;\n  "
          "  bra {0};\n{0}_END:\n",
          label, count, first_word, store);
    };
    b.text =
        std::string(kBulkStart) +
        map_ready("    tensormap.replace.tile.global_address.shared::cta.b1024.b64 [r20], out;\n") +
        copy("OLD", t.elements, 32, "mad.wide.u32 d2, r9, 4, out; st.global.b32 [d2], r4;") +
        copy("BOX", t.box_elements, 32 + t.elements, "mad.lo.u32 r6, r9, 4, r1; st.shared.b32 [r6], r4;") +
        "    fence.proxy.async;\n    bar.sync 0;\n    @p0 " + f.opcode + " [d8, " + coordinates(rank, start) +
        "], [r1]" + hint(f) + ";\n    cp.async.bulk.commit_group;\n    cp.async.bulk.wait_group 0;";
    std::vector<uint32_t> expected = t.words;
    for (uint64_t i = 0; i < t.box_elements; ++i) {
      const int64_t to = place(t.shape, start, i);
      if (to < 0) continue;
      expected[to] =
          reduces ? static_cast<uint32_t>(reduced(f.choice("op"), isa::Type::u32, expected[to], box[i]))
                  : box[i];
    }
    const auto out = run_body(b);
    for (uint64_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], expected[i]) << f.opcode << " element " << i;
  });
}

// There is no multicast object to address yet: the loader must say so.
void multimem() {
  for (const char* text : {"multimem.ld_reduce.global.add.u32 r0, [out];",
                           "multimem.st.global.u32 [out], r0;", "multimem.red.global.add.u32 [out], r0;"}) {
    Body b;
    b.text = std::string("    mov.u32 r0, 1;\n    ") + text;
    expect_fault(b, "multimem");
  }
}

const WrittenCases cases({
    {"async",
     "cp_async",
     {Id::cp_async, Id::cp_async_commit_group, Id::cp_async_wait_group, Id::cp_async_wait_all},
     cp_async},
    {"async", "cp_async_mbarrier_arrive", {Id::cp_async_mbarrier_arrive}, cp_async_arrive},
    {"async", "cp_async_bulk_g2s", {Id::cp_async_bulk_g2s}, bulk_g2s},
    {"async", "cp_async_bulk_s2s", {Id::cp_async_bulk_s2s}, bulk_s2s},
    {"async",
     "cp_async_bulk_s2g",
     {Id::cp_async_bulk_s2g, Id::cp_async_bulk_commit_group, Id::cp_async_bulk_wait_group,
      Id::cp_async_bulk_prefetch},
     bulk_s2g},
    {"async", "cp_reduce_async_bulk_s2g", {Id::cp_reduce_async_bulk_s2g}, bulk_reduce_s2g},
    {"async", "cp_reduce_async_bulk_s2s", {Id::cp_reduce_async_bulk_s2s}, bulk_reduce_s2s},
    {"async", "st_async_red_async", {Id::st_async, Id::red_async}, send_async},
    {"async",
     "tensor_load",
     {Id::cp_async_bulk_tensor_g2s, Id::cp_async_bulk_prefetch_tensor, Id::prefetch_tensormap,
      Id::tensormap_cp_fenceproxy},
     tensor_load},
    {"async", "tensormap_replace", {Id::tensormap_replace}, tensor_replace},
    {"async",
     "tensor_store",
     {Id::cp_async_bulk_tensor_s2g, Id::cp_reduce_async_bulk_tensor_s2g},
     tensor_store},
    {"async", "multimem_refused", {Id::multimem_ld_reduce, Id::multimem_st, Id::multimem_red}, multimem},
});

}  // namespace
}  // namespace ptxops::conformance
