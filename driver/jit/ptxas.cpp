#include "driver/jit/ptxas.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "driver/jit/cache.h"
#include "driver/jit/process.h"
#include "driver/jit/tool_search.h"

namespace ptxops::jit {
namespace {

ProcessResult run_checked(const std::vector<std::string>& argv, const std::string& directory,
                          std::chrono::milliseconds timeout) {
  ProcessResult result;
  try {
    result = run_process(argv, directory, timeout);
  } catch (const std::system_error& e) {
    throw ToolError(e.what());
  }
  if (result.timed_out)
    throw ToolError(fmt::format("{} did not finish within {} ms; killed", argv[0], timeout.count()));
  if (result.signal)
    throw ToolError(fmt::format("{} was ended by signal {}\n{}", argv[0], result.signal, result.output));
  return result;
}

// The integer in front of `what` in `line`: "… 168 bytes spill stores …"; 0 where it does not occur.
int number_before(std::string_view line, std::string_view what) {
  const size_t at = line.find(what);
  if (at == line.npos) return 0;
  size_t end = at;
  while (end > 0 && line[end - 1] == ' ') --end;
  size_t begin = end;
  while (begin > 0 && isdigit(static_cast<unsigned char>(line[begin - 1]))) --begin;
  int value = 0;
  std::from_chars(line.data() + begin, line.data() + end, value);
  return value;
}

bool contains_code(std::string_view line) {
  for (size_t at = line.find("(C7"); at != line.npos; at = line.find("(C7", at + 1)) {
    size_t end = at + 3;
    while (end < line.size() && isdigit(static_cast<unsigned char>(line[end]))) ++end;
    if (end > at + 3 && end < line.size() && line[end] == ')') return true;
  }
  return false;
}

bool is_advisory(std::string_view line) {
  std::string lower(line);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return tolower(c); });
  return contains_code(line) || lower.find("warning") != lower.npos ||
         lower.find("performance") != lower.npos || lower.find("advisory") != lower.npos;
}

}  // namespace

ResourceUsage parse_ptxas_log(std::string_view log) {
  ResourceUsage usage;
  while (!log.empty()) {
    const size_t end = std::min(log.find('\n'), log.size());
    const std::string_view line = log.substr(0, end);
    log.remove_prefix(std::min(end + 1, log.size()));
    if (is_advisory(line)) usage.advisories.emplace_back(line);
    usage.stack_bytes = std::max(usage.stack_bytes, number_before(line, "bytes stack frame"));
    usage.spill_store_bytes += number_before(line, "bytes spill stores");
    usage.spill_load_bytes += number_before(line, "bytes spill loads");
    if (line.find("Used ") == line.npos) continue;
    usage.registers = std::max(usage.registers, number_before(line, "registers"));
    usage.barriers = std::max(usage.barriers, number_before(line, "barriers"));
    usage.smem_bytes = std::max(usage.smem_bytes, number_before(line, "bytes smem"));
  }
  return usage;
}

std::string Ptxas::identity(const Cache& cache) const {
  struct stat file = {};
  if (stat(path_.c_str(), &file)) throw ToolError("no file " + path_);
  const CacheKey key = KeyBuilder("ptxas version")
                           .add(path_)
                           .add(static_cast<uint64_t>(file.st_size))
                           .add(static_cast<uint64_t>(file.st_ino))
                           .add(static_cast<uint64_t>(file.st_mtim.tv_sec))
                           .add(static_cast<uint64_t>(file.st_mtim.tv_nsec))
                           .key();
  if (auto known = cache.load(key)) return *known;
  const ProcessResult result = run_checked({path_, "--version"}, "/", std::chrono::seconds(20));
  if (result.exit_code != 0 || result.output.empty())
    throw ToolError(fmt::format("{} --version: exit status {}\n{}", path_, result.exit_code, result.output));
  cache.store(key, result.output);
  return result.output;
}

Assembly Ptxas::assemble(std::string_view ptx, const std::string& name, const PtxasOptions& options) const {
  // Relative names in a directory of its own: neither log nor line table holds a machine's path.
  const auto start = std::chrono::steady_clock::now();
  const ScratchDirectory scratch;
  const std::string input = name + ".ptx";
  write_file(scratch.path() + "/" + input, ptx);
  std::vector<std::string> argv = {path_, "-v"};
  argv.insert(argv.end(), options.flags.begin(), options.flags.end());
  argv.insert(argv.end(), {"-o", "out.cubin", input});
  ProcessResult result = run_checked(argv, scratch.path(), options.timeout);

  Assembly assembly;
  assembly.log = std::move(result.output);
  assembly.ok = result.exit_code == 0;
  if (assembly.ok) {
    assembly.cubin = read_file(scratch.path() + "/out.cubin");
    assembly.usage = parse_ptxas_log(assembly.log);
  }
  assembly.milliseconds =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return assembly;
}

PtxasSearch find_ptxas() {
  const ToolPath found = find_ptxas_path();
  PtxasSearch search{std::nullopt, found.status("ptxas")};
  if (!found.path.empty()) search.tool.emplace(found.path);
  return search;
}

}  // namespace ptxops::jit
