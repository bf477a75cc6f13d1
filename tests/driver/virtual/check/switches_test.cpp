// The checker's switches: seed of the schedule, level by call, policy file, findings as JSON, perturbation.
// Those that a process reads once are set for a child.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "driver/jit/process.h"
#include "tests/driver/virtual/api/virtual_driver.h"
#include "tests/driver/virtual/check/json.h"
#include "tests/driver/virtual/check/run_twin.h"
#include "tests/support/random_seed.h"

namespace ptxops::virt::testing {
namespace {

using namespace abi;
using test::ChildResult;
using test::cuda;
using test::run_child;

template <class F>
F symbol(const char* name) {
  const auto f = reinterpret_cast<F>(dlsym(cuda().library, name));
  if (!f) throw std::runtime_error(std::string("the driver does not export ") + name);
  return f;
}
int set_check(const char* level, unsigned long long seed = 0) {
  return symbol<Fn_ptxopsVirtualSetCheck>(kVirtualSetCheckSymbol)(level, seed);
}
std::string last_finding() {
  const auto last = symbol<Fn_ptxopsVirtualLastFinding>(kVirtualLastFindingSymbol);
  std::string text(last(nullptr, 0) + 1, '?');
  last(text.data(), text.size());
  text.pop_back();
  return text;
}

// tickets: each warp notes when it came. race: the warps of a CTA write one word of shared memory, unordered.
constexpr const char* kKernels = R"(.version 8.0
.target sm_90a
.address_size 64
.file 1 "race.cu"
.global .align 4 .u32 next;
.visible .entry tickets(.param .u64 out)
{
  .reg .pred lane0;
  .reg .b32 t, w, c, m, ticket;
  .reg .b64 p, o;
  mov.u32 t, %tid.x;
  and.b32 m, t, 31;
  setp.eq.u32 lane0, m, 0;
  shr.u32 w, t, 5;
  mov.u32 c, %ctaid.x;
  mad.lo.u32 w, c, 4, w;
  ld.param.u64 p, [out];
  mul.wide.u32 o, w, 4;
  add.u64 p, p, o;
  @lane0 atom.global.add.u32 ticket, [next], 1;
  @lane0 st.global.u32 [p], ticket;
  ret;
}
.visible .entry race(.param .u64 out)
{
  .reg .b32 t;
  .shared .align 4 .b32 word;
  mov.u32 t, %tid.x;
  shr.u32 t, t, 5;
  .loc 1 7 3
  st.shared.u32 [word], t;	// a "quote", a back\slash, a tab, UTF-8: ü
  ret;
}
)";

// One context in which one kernel runs.
class Kernels {
 public:
  static constexpr uint32_t kWarpsPerCta = 4;
  explicit Kernels(const char* ptx = kKernels) {
    EXPECT_CUDA(cuda().cuCtxCreate_v2(&context_, 0, 0));
    EXPECT_CUDA(cuda().cuModuleLoadData(&module_, ptx));
    EXPECT_CUDA(cuda().cuMemAlloc_v2(&out_, sizeof tickets_));
    EXPECT_CUDA(cuda().cuMemsetD32_v2(out_, 0xdeadbeef, std::size(tickets_)));
  }
  ~Kernels() { EXPECT_CUDA(cuda().cuCtxDestroy_v2(context_)); }
  Kernels(const Kernels&) = delete;

  CUresult run(const char* name) {
    CUfunction function = nullptr;
    EXPECT_CUDA(cuda().cuModuleGetFunction(&function, module_, name));
    void* parameters[] = {&out_};
    EXPECT_CUDA(
        cuda().cuLaunchKernel(function, 8, 1, 1, kWarpsPerCta * 32, 1, 1, 0, nullptr, parameters, nullptr));
    return cuda().cuCtxSynchronize();
  }
  std::vector<uint32_t> tickets() {
    EXPECT_CUDA(cuda().cuMemcpyDtoH_v2(tickets_, out_, sizeof tickets_));
    return {std::begin(tickets_), std::end(tickets_)};
  }

 private:
  CUcontext context_ = nullptr;
  CUmodule module_ = nullptr;
  CUdeviceptr out_ = 0;
  uint32_t tickets_[8 * kWarpsPerCta] = {};
};

class Switches : public ::testing::Test {
 protected:
  void TearDown() override { set_check(nullptr); }
  static CUresult race() { return Kernels().run("race"); }
};

std::vector<uint32_t> tickets_under(unsigned long long seed) {
  EXPECT_EQ(set_check("full", seed), CUDA_SUCCESS);
  Kernels r;
  EXPECT_CUDA(r.run("tickets"));
  std::vector<uint32_t> t = r.tickets(), sorted = t;
  std::sort(sorted.begin(), sorted.end());
  for (uint32_t i = 0; i < sorted.size(); ++i) EXPECT_EQ(sorted[i], i) << "each warp has a ticket of its own";
  return t;
}

// A judged grid is run by one core: who came when depends on the seed alone.
TEST_F(Switches, SeedDecidesTheOrder) {
  std::set<std::vector<uint32_t>> orders, orders_of_ctas;
  for (const unsigned long long seed : {0ull, 1ull, 2ull, 3ull, ~0ull}) {
    const auto first = tickets_under(seed);
    EXPECT_EQ(tickets_under(seed), first) << "seed " << seed;
    orders.insert(first);
    std::map<uint32_t, size_t> ends;  // a CTA has come when its last warp has
    for (size_t i = 0; i < first.size(); i += Kernels::kWarpsPerCta)
      ends[*std::max_element(&first[i], &first[i] + Kernels::kWarpsPerCta)] = i;
    std::vector<uint32_t> ctas;
    for (const auto& [ticket, cta] : ends) ctas.push_back(static_cast<uint32_t>(cta));
    orders_of_ctas.insert(ctas);
  }
  EXPECT_GE(orders.size(), 4u) << "different seeds, the same order";
  EXPECT_GE(orders_of_ctas.size(), 3u) << "different seeds, the same order of CTAs";
}

TEST_F(Switches, SameSeedSameReport) {
  std::set<std::string> reports;
  for (unsigned long long seed = 0; seed < 6; ++seed) {
    std::string first;
    for (int time = 0; time < 3; ++time) {
      ASSERT_EQ(set_check("full", seed), CUDA_SUCCESS);
      ASSERT_NE(race(), CUDA_SUCCESS);
      const std::string report = cuda().report() + last_finding();
      if (time == 0) first = report;
      EXPECT_EQ(report, first) << "seed " << seed;
    }
    reports.insert(first);
  }
  EXPECT_GE(reports.size(), 2u) << "no seed changes who is caught";
}

TEST(DISABLED_SwitchesChild, Tickets) {
  Kernels r;
  ASSERT_CUDA(r.run("tickets"));
  for (const uint32_t t : r.tickets()) std::printf("ticket %u\n", t);
}
TEST_F(Switches, SeedOfTheEnvironment) {
  const auto child = [](const char* seed) {
    const ChildResult r =
        run_child(fmt::format("PTXOPS_CHECK=full PTXOPS_SCHEDULE_SEED={}", seed), "*SwitchesChild.Tickets");
    EXPECT_EQ(r.status, 0) << r.output;
    std::vector<uint32_t> tickets;
    std::istringstream lines(r.output);
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("ticket ")) tickets.push_back(std::stoul(line.substr(7)));
    return tickets;
  };
  const auto five = child("5");
  EXPECT_EQ(five, tickets_under(5));
  EXPECT_EQ(child("0x5"), five);
  EXPECT_NE(child("6"), five);
  EXPECT_EQ(child(""), tickets_under(0));
}

TEST_F(Switches, LevelIsTheThreadsOwn) {
  ASSERT_EQ(set_check("bounds"), CUDA_SUCCESS);
  std::thread([] {
    EXPECT_EQ(set_check("full"), CUDA_SUCCESS);
    EXPECT_NE(race(), CUDA_SUCCESS);
  }).join();
  EXPECT_EQ(race(), CUDA_SUCCESS) << "another thread's level";
  ASSERT_EQ(set_check("full"), CUDA_SUCCESS);
  EXPECT_NE(race(), CUDA_SUCCESS);
  ASSERT_EQ(set_check("off"), CUDA_SUCCESS);
  EXPECT_EQ(race(), CUDA_SUCCESS);
}

TEST_F(Switches, AnUnknownLevelChangesNothing) {
  ASSERT_EQ(set_check("full"), CUDA_SUCCESS);
  EXPECT_EQ(set_check("pedantic"), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuda().report(), "ptxopsVirtualSetCheck: level: expected off, bounds or full, got \"pedantic\"");
  EXPECT_NE(race(), CUDA_SUCCESS);
}

TEST(DISABLED_SwitchesChild, LevelOfTheEnvironment) {
  ASSERT_EQ(set_check("off"), CUDA_SUCCESS);
  EXPECT_EQ(Kernels().run("race"), CUDA_SUCCESS);
  ASSERT_EQ(set_check(nullptr), CUDA_SUCCESS);
  EXPECT_NE(Kernels().run("race"), CUDA_SUCCESS);
}
TEST_F(Switches, NullIsTheEnvironmentsLevel) {
  const ChildResult r = run_child("PTXOPS_CHECK=full", "*SwitchesChild.LevelOfTheEnvironment");
  EXPECT_EQ(r.status, 0) << r.output;
}

const std::set<std::string> kFields = {"id", "slug", "title", "what", "kernel", "sites", "missing", "remedy"};
const std::set<std::string> kSiteFields = {"cta",    "warp",  "lane",   "line",
                                           "source", "place", "action", "proxy"};

template <class Map>
std::set<std::string> names(const Map& map) {
  std::set<std::string> out;
  for (const auto& [name, value] : map) out.insert(name);
  return out;
}

// The fields of driver/virtual/README.md, and no others.
void expect_finding(const Json& f) {
  ASSERT_EQ(f.kind, Json::Kind::object);
  EXPECT_EQ(names(f.members), kFields);
  for (const char* name : {"id", "slug", "title", "what", "kernel", "missing", "remedy"})
    EXPECT_EQ(f[name].kind, Json::Kind::string) << name;
  ASSERT_EQ(f["sites"].kind, Json::Kind::array);
  for (const Json& s : f["sites"].items) {
    ASSERT_EQ(s.kind, Json::Kind::object);
    EXPECT_EQ(names(s.members), kSiteFields);
    ASSERT_EQ(s["cta"].kind, Json::Kind::array);
    EXPECT_EQ(s["cta"].items.size(), 3u);
    for (const char* name : {"warp", "lane", "line"}) EXPECT_EQ(s[name].kind, Json::Kind::number) << name;
    for (const char* name : {"source", "place", "action", "proxy"})
      EXPECT_EQ(s[name].kind, Json::Kind::string) << name;
  }
}

TEST_F(Switches, LastFindingIsJson) {
  ASSERT_EQ(set_check("full"), CUDA_SUCCESS);
  ASSERT_NE(race(), CUDA_SUCCESS);
  const std::string text = last_finding();
  EXPECT_EQ(text.find('\n'), text.npos);
  const Json f = JsonReader::read(text);
  expect_finding(f);
  EXPECT_EQ(f["id"].text, "M1");
  EXPECT_EQ(f["slug"].text, "race");
  EXPECT_EQ(f["kernel"].text, "race");
  ASSERT_EQ(f["sites"].items.size(), 2u);
  const std::string before(kKernels, std::strstr(kKernels, "st.shared.u32 [word]"));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  for (const Json& s : f["sites"].items) {
    EXPECT_NE(s["source"].text.find("st.shared.u32 [word], t;"), std::string::npos) << s["source"].text;
    EXPECT_EQ(s["line"].number, line);
    EXPECT_EQ(s["place"].text, "race.cu:7");
    EXPECT_EQ(s["proxy"].text, "generic");
  }
  EXPECT_NE(f["sites"].items[0]["warp"].number, f["sites"].items[1]["warp"].number);
  EXPECT_NE(cuda().report().find(fmt::format("\n    line {} (race.cu:7): st.shared.u32", line)),
            std::string::npos)
      << cuda().report();

  // Of a comment in Latin-1 too, which no JSON may hold as it is.
  std::string latin = kKernels;
  latin.replace(latin.find("ü"), std::strlen("ü"), "\xfc\xe4");
  EXPECT_NE(Kernels(latin.c_str()).run("race"), CUDA_SUCCESS);
  expect_finding(JsonReader::read(last_finding()));
  EXPECT_NE(JsonReader::read(last_finding())["sites"].items[0]["source"].text.find("UTF-8: üä"),
            std::string::npos);

  // A short buffer holds the beginning, ended by a zero.
  char part[8];
  std::memset(part, '?', sizeof part);
  const auto last = symbol<Fn_ptxopsVirtualLastFinding>(kVirtualLastFindingSymbol);
  EXPECT_EQ(last(part, 5), last_finding().size());
  EXPECT_EQ(std::string(part, sizeof part), text.substr(0, 4) + '\0' + "???");
}

TEST(DISABLED_SwitchesChild, Races) {
  EXPECT_NE(Kernels().run("race"), CUDA_SUCCESS);
  EXPECT_NE(Kernels().run("race"), CUDA_SUCCESS);
  // Every twin that needs no policy of its own: whatever a finding says, it must be one line of JSON.
  for (const std::string& file : files_of(TWINS_FOLDER, ".ptx")) {
    const Twin twin = read_twin(file);
    if (twin.name.starts_with("P2-") || twin.name.starts_with("W") || twin.name.starts_with("B1-"))
      run_on_driver(twin, twin.expand(Variant::bad));
  }
}
TEST_F(Switches, FindingsAreAppendedAsJson) {
  const jit::ScratchDirectory folder;
  const std::string file = folder.path() + "/findings.json";
  std::ofstream(file) << "{\"earlier\":1}\n";
  const ChildResult r = run_child("PTXOPS_CHECK=full PTXOPS_CHECK_JSON=" + file, "*SwitchesChild.Races");
  EXPECT_EQ(r.status, 0) << r.output;
  std::ifstream lines(file);
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(line, "{\"earlier\":1}");
  std::map<std::string, int> ids;
  while (std::getline(lines, line)) {
    SCOPED_TRACE(line);
    const Json f = JsonReader::read(line);
    expect_finding(f);
    ++ids[f["id"].text];
  }
  EXPECT_EQ(ids["M1"], 2);
  EXPECT_GE(ids["P2"], 1);
  EXPECT_GE(ids["W2"], 1);
  EXPECT_GE(ids["B1"], 1);

  const ChildResult refused =
      run_child("PTXOPS_CHECK=full PTXOPS_CHECK_JSON=/no/such/folder/f", "*SwitchesChild.Races");
  EXPECT_NE(refused.output.find("PTXOPS_CHECK_JSON: cannot append to /no/such/folder/f"), std::string::npos);
}

// Prints what is reported of a race (M1, an error), of a read before a refill (P6, pedantic), and of two
// errors that the executor itself raises: a second arrival at a barrier (C2), a lane outside its mask (C4).
TEST(DISABLED_SwitchesChild, Policy) {
  if (test::raw_cuda().cuInit(0) != CUDA_SUCCESS) {
    std::printf("cuInit: %s\n", test::raw_cuda().report().c_str());
    return;
  }
  std::printf("M1 %s\n", Kernels().run("race") == CUDA_SUCCESS ? "silent" : "reported");
  const Twin p6 = read_twin(TWINS_FOLDER "/P6-generic-read-bulk-write.ptx");
  const Outcome o = run_on_driver(p6, p6.expand(Variant::bad));
  EXPECT_TRUE(o.ran) << o.report;
  std::printf("P6 %s\n", o.code.empty() ? "silent" : "reported");
  for (const char* name : {"C2-double-arrival", "C4-bad-member-mask"}) {
    const Twin twin = read_twin(std::string(TWINS_FOLDER "/") + name + ".ptx");
    const Outcome outcome = run_on_driver(twin, twin.expand(Variant::bad));
    std::printf("%.2s %s\n", name,
                !outcome.code.empty() ? outcome.code.c_str() : compare(twin, outcome).c_str());
  }
}

class Policy : public ::testing::Test {
 protected:
  std::string output(const std::string& text, const std::string& environment = "") {
    std::ofstream(path_) << text;
    const ChildResult r =
        run_child(fmt::format("PTXOPS_CHECK=full PTXOPS_CHECK_POLICY={} {}", path_, environment),
                  "*SwitchesChild.Policy");
    EXPECT_EQ(r.status, 0) << r.output;
    return r.output;
  }
  void expect(const std::string& text, const char* m1, const char* p6, const std::string& environment = "") {
    const std::string out = output(text, environment);
    EXPECT_NE(out.find(fmt::format("M1 {}\n", m1)), out.npos) << text << out;
    EXPECT_NE(out.find(fmt::format("P6 {}\n", p6)), out.npos) << text << out;
  }
  void expect_refused(const std::string& text, const std::string& why) {
    const std::string out = output(text);
    EXPECT_NE(out.find("cuInit: cuInit: CUDA_ERROR_INVALID_VALUE: " + path_ + why), out.npos) << text << out;
  }
  jit::ScratchDirectory folder_;
  std::string path_ = folder_.path() + "/policy";
};

TEST_F(Policy, OverridesTheLevels) {
  expect("", "reported", "silent");
  expect("M1 = off\n", "silent", "silent");
  expect("M1=pedantic # a comment\n\n# another\n", "silent", "silent");
  expect("M1=pedantic\n", "reported", "reported", "PTXOPS_CHECK_PEDANTIC=1");
  expect("  P6 = error\t\r\n", "reported", "reported");
  expect("P6 = off", "reported", "silent", "PTXOPS_CHECK_PEDANTIC=1");
  expect("M1 = off\nM1 = error\n", "reported", "silent");
}

// The machine then goes on as hardware does: a second arrival counts as another warp's (and the warp that
// comes last waits for ever), a lane outside the mask of its shuffle takes part.
TEST_F(Policy, SwitchesOffWhatTheExecutorRaises) {
  const std::string on = output(""), off = output("C2 = off\nC4 = off\n");
  EXPECT_NE(on.find("C2 C2\n"), on.npos) << on;
  EXPECT_NE(on.find("C4 C4\n"), on.npos) << on;
  EXPECT_NE(off.find("C2 C13\n"), off.npos) << off;
  EXPECT_NE(off.find("C4 \n"), off.npos) << off;
}

// At the first call, not when something is to be reported: a typing error must not read as silence.
TEST_F(Policy, WhatIsMalformedIsRefused) {
  expect_refused("M1 = off\nM1 error\n", ":2: expected the code of a diagnostic, got \"M1 error\"");
  expect_refused("M99 = off\n", ":1: expected the code of a diagnostic, got \"M99\"");
  expect_refused("# x\n\nM1 = loud\n", ":3: expected error, pedantic or off for M1, got \"loud\"");
  expect_refused("M1\n", ":1: expected error, pedantic or off for M1, got \"\"");
  expect_refused("= off\n", ":1: expected the code of a diagnostic, got \"\"");
  const ChildResult none = run_child("PTXOPS_CHECK_POLICY=/no/such/file", "*SwitchesChild.Policy");
  EXPECT_NE(none.output.find("PTXOPS_CHECK_POLICY: cannot read \"/no/such/file\""), std::string::npos);
}

TEST_F(Switches, MalformedVariablesAreRefusedAtTheFirstCall) {
  for (const auto& [setting, why] : std::map<std::string, std::string>{
           {"PTXOPS_CHECK=most", "PTXOPS_CHECK: expected off, bounds or full, got \"most\""},
           {"PTXOPS_CHECK_PEDANTIC=yes", "PTXOPS_CHECK_PEDANTIC: expected 0 or 1, got \"yes\""},
           {"PTXOPS_SCHEDULE_SEED=7x", "PTXOPS_SCHEDULE_SEED: expected an integer, got \"7x\""}}) {
    const ChildResult r = run_child(setting, "*SwitchesChild.Policy");
    EXPECT_NE(r.output.find("cuInit: cuInit: CUDA_ERROR_INVALID_VALUE: " + why), std::string::npos)
        << r.output;
  }
}

// The approximations as a kernel sees them, against long double and the bounds of the PTX ISA.
struct Approximation {
  const char* instruction;
  long double (*exact)(long double x);
  long double (*bound)(long double x, long double y);  // absolute
};
long double ulp(long double y) {
  return std::ldexp(1.0L, std::max(std::ilogb(y), -126) - 23);
}
const Approximation kApproximations[] = {
    {"ex2.approx.f32 y, x;", [](long double x) { return std::exp2(x); },
     [](long double, long double y) { return 2 * ulp(y); }},
    {"lg2.approx.f32 y, x;", [](long double x) { return std::log2(x); },
     [](long double x, long double y) { return x > 0.5L && x < 2 ? 0x1p-22L : std::fabs(y) * 0x1p-22L; }},
    {"rcp.approx.f32 y, x;", [](long double x) { return 1 / x; },
     [](long double, long double y) { return ulp(y); }},
    {"rsqrt.approx.f32 y, x;", [](long double x) { return 1 / std::sqrt(x); },
     [](long double, long double y) { return y * std::exp2(-22.9L); }},
    {"sqrt.approx.f32 y, x;", [](long double x) { return std::sqrt(x); },
     [](long double, long double y) { return y * 0x1p-23L; }},
    {"sin.approx.f32 y, x;", [](long double x) { return std::sin(x); },
     [](long double, long double) { return std::exp2(-20.5L); }},
    {"cos.approx.f32 y, x;", [](long double x) { return std::cos(x); },
     [](long double, long double) { return std::exp2(-20.5L); }},
    {"tanh.approx.f32 y, x;", [](long double x) { return std::tanh(x); },
     [](long double, long double y) { return std::fabs(y) * 0x1p-11L; }},
    {"div.approx.f32 y, 0f40400000, x;", [](long double x) { return 3 / x; },
     [](long double, long double y) { return 2 * ulp(y); }},
    {"div.full.f32 y, 0f40400000, x;", [](long double x) { return 3 / x; },
     [](long double, long double y) { return 2 * ulp(y); }},
};

class Perturbed : public test::ContextTest {
 protected:
  void TearDown() override {
    unsetenv("PTXOPS_PERTURB");
    ContextTest::TearDown();
  }
  static std::string kernel(const char* instruction) {
    return fmt::format(R"(.version 8.0
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 p)
{{
  .reg .b32 i, d, t;
  .reg .f32 x, y;
  .reg .b64 a, o;
  mov.u32 i, %ctaid.x;
  mov.u32 d, %ntid.x;
  mov.u32 t, %tid.x;
  mad.lo.u32 i, i, d, t;
  ld.param.u64 a, [p];
  mul.wide.u32 o, i, 4;
  add.u64 a, a, o;
  ld.global.f32 x, [a];
  {}
  st.global.f32 [a], y;
  ret;
}}
)",
                       instruction);
  }
  // PTXOPS_PERTURB is read when a module is loaded.
  std::vector<float> run(const char* instruction, const char* seed, std::vector<float> data) {
    seed ? setenv("PTXOPS_PERTURB", seed, 1) : unsetenv("PTXOPS_PERTURB");
    CUmodule module = nullptr;
    EXPECT_CUDA(cuda().cuModuleLoadData(&module, kernel(instruction).c_str()));
    CUfunction function = nullptr;
    EXPECT_CUDA(cuda().cuModuleGetFunction(&function, module, "k"));
    CUdeviceptr p = 0;
    EXPECT_CUDA(cuda().cuMemAlloc_v2(&p, data.size() * 4));
    EXPECT_CUDA(cuda().cuMemcpyHtoD_v2(p, data.data(), data.size() * 4));
    void* parameters[] = {&p};
    EXPECT_CUDA(cuda().cuLaunchKernel(function, static_cast<unsigned>(data.size() / 128), 1, 1, 128, 1, 1, 0,
                                      nullptr, parameters, nullptr));
    EXPECT_CUDA(cuda().cuMemcpyDtoH_v2(data.data(), p, data.size() * 4));
    EXPECT_CUDA(cuda().cuMemFree_v2(p));
    EXPECT_CUDA(cuda().cuModuleUnload(module));
    return data;
  }
};

TEST_F(Perturbed, WithinTheBound) {
  auto rng = ptxops::test::random_engine(1);
  std::vector<float> x(4096);
  std::uniform_real_distribution<float> positive(0.01f, 6.0f);
  for (float& v : x) v = positive(rng);
  for (const Approximation& a : kApproximations) {
    const auto plain = run(a.instruction, nullptr, x), seven = run(a.instruction, "7", x),
               again = run(a.instruction, "0x7", x), eight = run(a.instruction, "8", x);
    int moved = 0, moved_otherwise = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const long double y = a.exact(x[i]);
      for (const float got : {plain[i], seven[i], eight[i]})
        ASSERT_LE(std::fabs(got - y), a.bound(x[i], y)) << a.instruction << std::hexfloat << " " << x[i];
      ASSERT_EQ(std::bit_cast<uint32_t>(seven[i]), std::bit_cast<uint32_t>(again[i])) << a.instruction;
      moved += plain[i] != seven[i];
      moved_otherwise += seven[i] != eight[i];
    }
    EXPECT_GT(moved, 20) << a.instruction;
    EXPECT_GT(moved_otherwise, 20) << a.instruction;
  }
}

TEST_F(Perturbed, AMalformedSeedIsRefused) {
  setenv("PTXOPS_PERTURB", "much", 1);
  CUmodule module = nullptr;
  EXPECT_NE(cuda().cuModuleLoadData(&module, kernel("ex2.approx.f32 y, x;").c_str()), CUDA_SUCCESS);
  EXPECT_NE(cuda().report().find("PTXOPS_PERTURB: expected an integer seed, actual 'much'"),
            std::string::npos)
      << cuda().report();
}

}  // namespace
}  // namespace ptxops::virt::testing
