// fuzz_replay NAME [--mutations N] PATH...: runs a fuzzer on every file of the paths, in this process and
// without libFuzzer, then on N random mutations of them. What crashes, hangs or eats memory fails the test
// that calls it.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/fuzz/mutator.h"
#include "tests/fuzz/target.h"

namespace ptxops::fuzz {
namespace {

namespace fs = std::filesystem;

// For inputs that wait for ever without using time, on a busy machine.
constexpr unsigned kWallSeconds = 300;
constexpr long kMaxResidentKiB = 4l << 20;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

void run(const Target& target, const std::string& input, const fs::path* keep_at) {
  // On the heap and without slack, so that AddressSanitizer sees a read past the end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  if (keep_at) std::ofstream(*keep_at, std::ios::binary) << input;
  const TimeLimit limit;
  alarm(kWallSeconds);
  target.run(bytes);
  alarm(0);
}

int replay(const Target& target, size_t mutations, const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& p : paths) {
    if (fs::is_directory(p))
      for (const auto& entry : fs::directory_iterator(p)) files.push_back(entry.path());
    else
      files.push_back(p);
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::fprintf(stderr, "fuzz_replay: no input\n");
    return 2;
  }
  std::vector<std::string> inputs;
  for (const fs::path& f : files) {
    std::printf("%s\n", f.c_str());
    std::fflush(stdout);  // the last line names the culprit
    run(target, inputs.emplace_back(read(f)), nullptr);
  }
  const char* given = std::getenv("PTXOPS_TEST_SEED");
  const uint64_t seed = given ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  const fs::path last = fs::temp_directory_path() / fs::path("ptxops-fuzz-" + std::to_string(getpid()));
  std::printf("%zu mutations, PTXOPS_TEST_SEED=%llu, the last one in %s\n", mutations,
              static_cast<unsigned long long>(seed), last.c_str());
  std::fflush(stdout);
  Random random(seed);
  for (size_t i = 0; i < mutations; ++i) {
    std::string input = random.pick(inputs);
    for (size_t n = 1 + random.below(4); n > 0; --n)
      input = target.is_text && !random.one_in(3) ? mutate_text(input, random.pick(inputs), random)
                                                  : mutate_bytes(input, random);
    run(target, input, &last);
  }
  fs::remove(last);
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%zu files, %zu mutations, %ld MiB resident at most\n", files.size(), mutations,
              usage.ru_maxrss >> 10);
  if (usage.ru_maxrss <= kMaxResidentKiB) return 0;
  std::fprintf(stderr, "fuzz_replay: expected at most %ld MiB\n", kMaxResidentKiB >> 10);
  return 1;
}

}  // namespace
}  // namespace ptxops::fuzz

int main(int argc, char** argv) {
  using namespace ptxops::fuzz;
  size_t mutations = 0;
  std::vector<std::filesystem::path> paths;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--mutations") == 0 && i + 1 < argc)
      mutations = std::strtoull(argv[++i], nullptr, 10);
    else
      paths.emplace_back(argv[i]);
  }
  for (const Target* t = targets; t; t = t->next)
    if (argc > 1 && std::strcmp(argv[1], t->name) == 0) return replay(*t, mutations, paths);
  std::fprintf(stderr, "usage: fuzz_replay NAME [--mutations N] PATH...; names:");
  for (const Target* t = targets; t; t = t->next) std::fprintf(stderr, " %s", t->name);
  std::fprintf(stderr, "\n");
  return 2;
}
