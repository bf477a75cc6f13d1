// mbarrier (PTX ISA 9.7.13.15): every spelling of every operation in a phase that must complete, and misuse.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/conformance/body.h"
#include "tests/conformance/cases.h"

namespace ptxops::conformance {
namespace {

using isa::Id;

constexpr uint32_t kThreads = 64;
const char* const kModule =
    ".shared .align 8 .b64 bar;\n.shared .align 8 .b64 second;\n.shared .b32 box[64];\n";

// r1 = bar, d1 = its generic address, r2 = its .shared::cluster address, r3 = this thread's word in box.
std::string prologue(uint32_t count) {
  return fmt::format(R"(    mad.wide.u32 d0, index, 4, in;
    ld.global.b32 r0, [d0];
    mov.u32 r1, bar;
    cvta.shared.u64 d1, bar;
    mapa.shared::cluster.u32 r2, r1, rank;
    mov.u32 r3, box;
    mad.lo.u32 r3, tid, 4, r3;
    setp.eq.u32 p0, tid, 0;
    @p0 mbarrier.init.shared::cta.b64 [r1], {};
    bar.sync 0;
    st.shared.b32 [r3], r0;
)",
                     count);
}
const char* const kWait = "WAIT: mbarrier.try_wait.parity.shared::cta.b64 p1, [r1], 0;\n    @!p1 bra WAIT;\n";
// Reads the word of the thread in the other warp.
const char* const kRead = R"(    mov.u32 r4, box;
    xor.b32 r5, tid, 32;
    mad.lo.u32 r4, r5, 4, r4;
    ld.shared.b32 r6, [r4];
    st.global.b32 [mine], r6;
)";

std::string address(const Form& f) {
  if (f.has("shared::cluster")) return "[r2]";
  return f.has("shared") || f.has("shared::cta") ? "[r1]" : "[d1]";
}

void expect_exchange(const std::string& text, const std::string& what) {
  Body b;
  b.module = kModule;
  b.text = text;
  b.shape.block = kThreads;
  b.input = random_words(kThreads, 41);
  b.output_words = kThreads;
  const auto out = run_body(b);
  for (uint32_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], b.input[i ^ 32]) << what << " thread " << i;
}

template <class F>
void each_form(std::initializer_list<Id> ids, const F& f) {
  for (const isa::Row& row : isa::rows())
    for (Id id : ids)
      if (row.id == id)
        for (const Form& form : forms_of(row)) {
          f(form);
          if (::testing::Test::HasFailure()) return;
        }
}

void arrive() {
  each_form({Id::mbarrier_arrive, Id::mbarrier_arrive_expect_tx}, [](const Form& f) {
    const std::string token = f.has("shared::cluster") ? "_" : "d5", a = address(f);
    if (f.has("expect_tx")) {
      expect_exchange(prologue(kThreads) + "    " + f.opcode + " " + token + ", " + a + ", 16;\n" +
                          "    mbarrier.complete_tx.shared::cta.b64 [r1], 16;\n" + kWait + kRead,
                      f.opcode);
      return;
    }
    expect_exchange(prologue(kThreads) + "    " + f.opcode + " " + token + ", " + a + ";\n" + kWait + kRead,
                    f.opcode);
    // With a count: half of the threads arrive twice at once.
    expect_exchange(prologue(kThreads) + "    setp.lt.u32 p2, tid, 32;\n    @p2 " + f.opcode + " " + token +
                        ", " + a + ", 2;\n" + kWait + kRead,
                    f.opcode + " with a count");
  });
}

// After everybody has dropped out, one thread completes the next phase alone.
void arrive_drop() {
  each_form({Id::mbarrier_arrive_drop, Id::mbarrier_arrive_drop_expect_tx}, [](const Form& f) {
    const std::string token = f.has("shared::cluster") ? "_" : "d5", a = address(f);
    const bool tx = f.has("expect_tx");
    expect_exchange(prologue(kThreads + 1) + "    " + f.opcode + " " + token + ", " + a + (tx ? ", 32" : "") +
                        ";\n" + (tx ? "    mbarrier.complete_tx.shared::cta.b64 [r1], 32;\n" : "") +
                        "    @p0 mbarrier.arrive.shared::cta.b64 d6, [r1];\n" + kWait + kRead +
                        // Nobody may be two phases behind.
                        "    bar.sync 0;\n    @p0 mbarrier.arrive.shared::cta.b64 d6, [r1];\n"
                        "AGAIN: mbarrier.try_wait.parity.shared::cta.b64 p1, [r1], 1;\n    @!p1 bra AGAIN;\n",
                    f.opcode);
  });
}

// The pending counts that the arrivals saw are all different: 65 down to 2.
void no_complete() {
  each_form({Id::mbarrier_arrive_nocomplete, Id::mbarrier_arrive_drop_nocomplete}, [](const Form& f) {
    Body b;
    b.module = kModule;
    b.text = prologue(kThreads + 1) + "    " + f.opcode + " d5, " + address(f) + ", 1;\n" +
             "    mbarrier.pending_count.b64 r7, d5;\n    bar.sync 0;\n    @p0 "
             "mbarrier.arrive.shared::cta.b64 d6, [r1];\n" +
             kWait + "    st.global.b32 [mine], r7;";
    b.shape.block = kThreads;
    b.input = random_words(kThreads, 42);
    b.output_words = kThreads;
    const auto out = run_body(b);
    const std::set<uint32_t> seen(out.begin(), out.end());
    EXPECT_EQ(seen.size(), kThreads) << f.opcode;
    if (!seen.empty()) {
      EXPECT_EQ(*seen.begin(), 2u) << f.opcode;
      EXPECT_EQ(*seen.rbegin(), kThreads + 1) << f.opcode;
    }
  });
}

void waits() {
  each_form({Id::mbarrier_test_wait, Id::mbarrier_test_wait_parity, Id::mbarrier_try_wait,
             Id::mbarrier_try_wait_parity},
            [](const Form& f) {
              const std::string phase = f.has("parity") ? "0" : "d5";
              for (const char* limit : {"", ", 1000"}) {
                if (*limit && f.has("test_wait")) continue;
                expect_exchange(
                    prologue(kThreads) + "    mbarrier.arrive.shared::cta.b64 d5, [r1];\nLOOP: " + f.opcode +
                        " p1, " + address(f) + ", " + phase + limit + ";\n    @!p1 bra LOOP;\n" + kRead,
                    f.opcode + limit);
              }
            });
  // An incomplete phase answers false, also from try_wait, in bounded time.
  for (const char* text : {"mbarrier.test_wait.parity.shared::cta.b64 p1, [r1], 0;",
                           "mbarrier.try_wait.parity.shared::cta.b64 "
                           "p1, [r1], 0, 100;"}) {
    Body b;
    b.module = kModule;
    b.text = prologue(kThreads) + "    " + text +
             "\n    selp.u32 r7, 1, 0, p1;\n    mbarrier.test_wait.parity.shared::cta.b64 p2, [r1], 1;\n"
             "    selp.u32 r8, 2, 0, p2;\n    or.b32 r7, r7, r8;\n    st.global.b32 [mine], r7;";
    b.shape.block = kThreads;
    b.input = random_words(kThreads, 43);
    b.output_words = kThreads;
    // The phase before the first counts as complete.
    for (uint32_t word : run_body(b)) EXPECT_EQ(word, 2u) << text;
  }
}

void transactions() {
  each_form({Id::mbarrier_expect_tx, Id::mbarrier_complete_tx}, [](const Form& f) {
    const bool expect = f.has("expect_tx");
    const std::string generic = "    " + f.opcode + " " + address(f) + ", 48;\n";
    const std::string other =
        fmt::format("    mbarrier.{}.shared::cta.b64 [r1], 48;\n", expect ? "complete_tx" : "expect_tx");
    // Completions may come first.
    expect_exchange(prologue(kThreads) + generic + other + "    mbarrier.arrive.shared::cta.b64 d5, [r1];\n" +
                        kWait + kRead,
                    f.opcode);
  });
}

void life() {
  each_form({Id::mbarrier_init, Id::mbarrier_inval}, [](const Form& f) {
    const bool init = f.has("init");
    const std::string first =
        init ? f.opcode + " " + (f.has("shared") || f.has("shared::cta") ? "[r7]" : "[d7]") + ", 64;"
             : std::string("mbarrier.init.shared::cta.b64 [r7], 64;");
    const std::string last =
        init ? std::string("mbarrier.inval.shared::cta.b64 [r7];")
             : f.opcode + " " + (f.has("shared") || f.has("shared::cta") ? "[r7]" : "[d7]") + ";";
    // A second object is made, used, ended, and its memory used for other things.
    expect_exchange(prologue(kThreads) +
                        "    mov.u32 r7, second;\n    cvta.shared.u64 d7, second;\n    @p0 " + first +
                        "\n    bar.sync 0;\n    mbarrier.arrive.shared::cta.b64 d5, [r7];\n"
                        "LOOP: mbarrier.try_wait.shared::cta.b64 p1, [r7], d5;\n    @!p1 bra LOOP;\n    "
                        "bar.sync 0;\n    @p0 " +
                        last + "\n    bar.sync 0;\n    @p0 st.shared.b64 [r7], d5;\n" + kRead,
                    f.opcode);
  });
}

// A CTA releases its neighbour's barrier.
void remote() {
  for (const char* text : {"mbarrier.arrive.release.cluster.shared::cluster.b64 _, [r8];",
                           "mbarrier.arrive.shared::cluster.b64 _, [r8];",
                           "mbarrier.arrive.expect_tx.release.cluster.shared::cluster.b64 _, [r8], 8; "
                           "mbarrier.complete_tx.relaxed.cluster.shared::cluster.b64 [r8], 8;"}) {
    Body b;
    b.module = kModule;
    b.text =
        prologue(kThreads) +
        "    barrier.cluster.arrive;\n    barrier.cluster.wait;\n    xor.b32 r7, rank, 1;\n"
        "    mapa.shared::cluster.u32 r8, r1, r7;\n    mapa.shared::cluster.u32 r9, r3, r7;\n"
        "    st.shared::cluster.b32 [r9], r0;\n    " +
        text +
        "\nWAIT: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p1, [r1], 0;\n    @!p1 bra WAIT;\n"
        "    ld.shared.b32 r6, [r3];\n    st.global.b32 [mine], r6;\n    barrier.cluster.arrive;\n    "
        "barrier.cluster.wait;";
    b.shape.block = kThreads;
    b.shape.grid = 2;
    b.shape.cluster = 2;
    b.input = random_words(2 * kThreads, 44);
    b.output_words = 2 * kThreads;
    const auto out = run_body(b);
    for (uint32_t i = 0; i < out.size(); ++i)
      EXPECT_EQ(out[i], b.input[i ^ kThreads]) << text << " thread " << i;
  }
}

void misuse() {
  Body b;
  b.module = kModule;
  const auto faults = [&](const std::string& text, const std::string& expected) {
    b.text = "    mov.u32 r1, bar;\n    setp.ne.u32 p7, lane, 0;\n    @p7 exit;\n" + text;
    expect_fault(b, expected);
  };
  faults("    mbarrier.arrive.shared::cta.b64 d0, [r1];", "uninitialised mbarrier");
  faults("    mbarrier.init.shared::cta.b64 [r1], 0;", "expected 1 to 1048575");
  faults("    mbarrier.init.shared::cta.b64 [r1], 4;\n    mbarrier.init.shared::cta.b64 [r1], 4;",
         "live object");
  faults("    mbarrier.init.shared::cta.b64 [r1+4], 4;", "misaligned");
  faults("    mbarrier.init.shared::cta.b64 [r1], 2;\n    mbarrier.arrive.shared::cta.b64 d0, [r1], 3;",
         "arrival overflow");
  faults(
      "    mbarrier.init.shared::cta.b64 [r1], 2;\n    mbarrier.inval.shared::cta.b64 [r1];\n"
      "    mbarrier.arrive.shared::cta.b64 d0, [r1];",
      "invalidated mbarrier");
  faults(
      "    mbarrier.init.shared::cta.b64 [r1], 2;\n    mov.b64 d1, 5;\n    st.shared.b64 [r1], d1;\n"
      "    mbarrier.arrive.shared::cta.b64 d0, [r1];",
      "overwritten");
  faults(
      "    mbarrier.init.shared::cta.b64 [r1], 1;\n    mbarrier.arrive.noComplete.shared::cta.b64 d0, [r1], "
      "1;",
      ".noComplete");
  faults(
      "    mbarrier.init.shared::cta.b64 [r1], 1;\n    mbarrier.expect_tx.shared::cta.b64 [r1], 1048575;\n"
      "    mbarrier.expect_tx.shared::cta.b64 [r1], 1;",
      "tx-count out of range");
  // Nobody will ever arrive: the report names what is missing.
  faults(
      "    mbarrier.init.shared::cta.b64 [r1], 2;\n    mbarrier.arrive.expect_tx.shared::cta.b64 d0, [r1], "
      "256;\n"
      "WAIT: mbarrier.try_wait.parity.shared::cta.b64 p0, [r1], 0;\n    @!p0 bra WAIT;",
      "pending 1 of 2 arrivals, tx-count 256");
}

const WrittenCases cases({
    {"parallel", "mbarrier_arrive", {Id::mbarrier_arrive, Id::mbarrier_arrive_expect_tx}, arrive},
    {"parallel",
     "mbarrier_arrive_drop",
     {Id::mbarrier_arrive_drop, Id::mbarrier_arrive_drop_expect_tx},
     arrive_drop},
    {"parallel",
     "mbarrier_arrive_no_complete",
     {Id::mbarrier_arrive_nocomplete, Id::mbarrier_arrive_drop_nocomplete, Id::mbarrier_pending_count},
     no_complete},
    {"parallel",
     "mbarrier_waits",
     {Id::mbarrier_test_wait, Id::mbarrier_test_wait_parity, Id::mbarrier_try_wait,
      Id::mbarrier_try_wait_parity},
     waits},
    {"parallel", "mbarrier_transactions", {Id::mbarrier_expect_tx, Id::mbarrier_complete_tx}, transactions},
    {"parallel", "mbarrier_init_inval", {Id::mbarrier_init, Id::mbarrier_inval}, life},
    {"parallel",
     "mbarrier_remote",
     {Id::mbarrier_arrive, Id::mbarrier_arrive_expect_tx, Id::mbarrier_complete_tx},
     remote},
    {"parallel", "mbarrier_misuse", {Id::mbarrier_init, Id::mbarrier_arrive}, misuse},
});

}  // namespace
}  // namespace ptxops::conformance
