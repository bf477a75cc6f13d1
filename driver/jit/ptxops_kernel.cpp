// ptxops-kernel: look at, expand, assemble and report the kernels of ptx/.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "driver/jit/build.h"
#include "driver/jit/expander.h"
#include "driver/jit/head.h"
#include "driver/jit/process.h"
#include "driver/jit/report.h"
#include "driver/jit/source.h"

namespace ptxops::jit {
namespace {

// KERNEL on the command line: a path below ptx/, with or without ".ptx", or a unique file name.
std::string resolve_kernel(const std::string& given) {
  std::vector<std::string> found;
  for (const std::string& path : source_paths()) {
    const bool whole = path == given || path == given + ".ptx";
    if (whole) return path;
    if (path.ends_with("/" + given) || path.ends_with("/" + given + ".ptx")) found.push_back(path);
  }
  if (found.size() == 1) return found[0];
  throw std::runtime_error(
      fmt::format("{} '{}' below ptx/", found.empty() ? "no kernel" : "several kernels", given));
}

Params parse_defines(const std::vector<std::string>& defines) {
  Params params;
  for (const std::string& d : defines) {
    const size_t equal = d.find('=');
    char* end = nullptr;
    errno = 0;
    const long long value = equal == d.npos ? 0 : std::strtoll(d.c_str() + equal + 1, &end, 0);
    if (equal == d.npos || equal == 0 || end == d.c_str() + equal + 1 || *end || errno == ERANGE)
      throw std::runtime_error(fmt::format("-D {}: expected NAME=INTEGER of 64 bits", d));
    if (!params.emplace(d.substr(0, equal), value).second)
      throw std::runtime_error(fmt::format("-D {}: given twice", d));
  }
  return params;
}

int list_kernels() {
  int status = 0;
  for (const std::string& path : source_paths()) {
    if (!path.ends_with(".ptx") || !is_kernel(*read_source(path))) continue;
    try {
      const KernelHead head = parse_head(path);
      fmt::print("{:<40} {:<32} {} configurations\n", path, head.name, enumerate(head).size());
    } catch (const TemplateError& e) {
      fmt::print(stderr, "{}\n", e.what());
      status = 1;
    }
  }
  return status;
}

int print_head(const std::string& path) {
  const KernelHead head = parse_head(path);
  fmt::print("kernel   {} ({})\n", head.name, head.path);
  for (const HeadParam& p : head.params) fmt::print("param    {} in {}\n", p.name, p.domain_text);
  for (const HeadLine& r : head.requirements) fmt::print("require  {}  \"{}\"\n", r.kind, r.text);
  for (const HeadLine& c : head.contract) fmt::print("{:<8} {}\n", c.kind, c.text);
  const Domain domain = legal_domain(head);
  for (size_t n = 0; n < head.notes.size() && !domain.configs.empty(); ++n) {
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (size_t c = 0; c < domain.configs.size(); ++c) {
      low = std::min(low, domain.note(c, n));
      high = std::max(high, domain.note(c, n));
    }
    fmt::print("note     {} = {}\n", head.notes[n],
               low == high ? fmt::to_string(low) : fmt::format("{} .. {}", low, high));
  }
  fmt::print("legal    {} configurations\n", domain.configs.size());
  return 0;
}

struct ReportOptions {
  bool all = false;
  bool full_log = false;
  bool notes = false;
  std::string ptxas;
  std::string arch = "sm_90a";
  unsigned threads = 0;
};

// The configurations that `defines` leaves open: with --all the whole legal domain, else exactly one.
std::vector<Config> select_configs(const KernelHead& head, const Params& given, bool all) {
  if (!all) {
    const Config config = head.config(given);
    std::string why;
    if (!is_legal(head, config, &why)) throw std::runtime_error(fmt::format("{}: {}", head.path, why));
    return {config};
  }
  for (const auto& [name, value] : given)
    if (head.param_index(name) < 0)
      throw std::runtime_error(fmt::format("{} has no parameter '{}'", head.path, name));
  std::vector<Config> configs = enumerate(head);
  std::erase_if(configs, [&](const Config& c) {
    return std::any_of(given.begin(), given.end(), [&](const auto& define) {
      return c[static_cast<size_t>(head.param_index(define.first))] != define.second;
    });
  });
  if (configs.empty()) throw std::runtime_error(head.path + ": no legal configuration");
  return configs;
}

void show_progress(size_t done, size_t total) {
  constexpr size_t kWidth = 40;
  const size_t filled = done * kWidth / total;
  fmt::print(stderr, "\r[{:#<{}}{:.<{}}] {}/{}{}", "", filled, "", kWidth - filled, done, total,
             done == total ? "\n" : "");
}

int report(const std::string& path, const Params& given, const ReportOptions& options) {
  if (!options.ptxas.empty()) setenv("PTXOPS_PTXAS", options.ptxas.c_str(), 1);
  const PtxasSearch search = find_ptxas();
  if (!search.tool) throw std::runtime_error(search.status);
  const KernelHead head = parse_head(path);
  const std::vector<Config> configs = select_configs(head, given, options.all);
  PtxasOptions ptxas;
  ptxas.flags = {"-arch=" + options.arch, "-lineinfo"};
  const unsigned threads =
      options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  std::function<void(size_t)> progress;
  if (configs.size() > 1 && isatty(STDERR_FILENO))
    progress = [&](size_t done) { show_progress(done, configs.size()); };
  const std::vector<ReportRow> rows = assemble_configs(head, configs, *search.tool, ptxas, threads, progress);
  fmt::print("{}", format_report(head, rows, options.notes));
  if (options.full_log)
    for (const ReportRow& r : rows) fmt::print("{}", r.log);
  const auto dirty = std::count_if(rows.begin(), rows.end(), [](const ReportRow& r) { return !r.clean(); });
  fmt::print("{}: {} of {} configurations clean ({})\n", head.name, rows.size() - static_cast<size_t>(dirty),
             rows.size(), search.status);
  return dirty ? 1 : 0;
}

int assemble(const std::string& path, const Params& given, const std::string& output) {
  const Built built = build(path, given);
  if (built.cubin.empty()) throw std::runtime_error(built.status);
  if (!built.status.empty()) fmt::print(stderr, "{}\n", built.status);
  write_file(output, built.cubin);
  fmt::print("{}: {} bytes{}\n{}", output, built.cubin.size(), built.from_cache ? " (from the cache)" : "",
             built.log);
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app{"Look at, expand, assemble and report the PTX kernels of ptxops"};
  app.require_subcommand(1);
  std::string kernel;
  std::vector<std::string> defines;
  const auto subcommand = [&](const char* name, const char* help) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->add_option("KERNEL", kernel, "path below ptx/, or its file name")->required();
    return sub;
  };
  CLI::App* list = app.add_subcommand("list", "every kernel, its entry and its number of configurations");
  CLI::App* head = subcommand("head", "the contract at the head of a kernel");
  CLI::App* expansion = subcommand("expand", "print the PTX of one configuration");
  CLI::App* assembly = subcommand("assemble", "assemble one configuration, through the cache");
  std::string output = "kernel.cubin";
  assembly->add_option("-o,--output", output, "cubin to write")->capture_default_str();
  CLI::App* table =
      subcommand("report", "what ptxas says: registers, spills, shared memory, barriers, advisories");
  ReportOptions options;
  table->add_flag("--all", options.all,
                  "every legal configuration (with -D: those that agree); exit 1 unless all clean");
  table->add_flag("--log", options.full_log, "print the whole ptxas log, citing template lines");
  table->add_flag("--notes", options.notes, "a column for each note of the head");
  table->add_option("--ptxas", options.ptxas, "this ptxas instead of the one found");
  table->add_option("--arch", options.arch, "target")->capture_default_str();
  table->add_option("-j,--threads", options.threads, "ptxas processes at once (default: one a core)");
  for (CLI::App* sub : {expansion, assembly, table})
    sub->add_option("-D", defines, "NAME=INTEGER, one for each parameter")->allow_extra_args(false);
  if (argc > 1 && argv[1][0] != '-' &&
      app.get_subcommands([&](CLI::App* s) { return s->get_name() == argv[1]; }).empty())
    throw std::runtime_error(
        fmt::format("expected list, head, expand, assemble or report, got '{}'", argv[1]));
  CLI11_PARSE(app, argc, argv);

  if (list->parsed()) return list_kernels();
  const std::string path = resolve_kernel(kernel);
  if (head->parsed()) return print_head(path);
  const Params params = parse_defines(defines);
  if (table->parsed()) return report(path, params, options);
  if (assembly->parsed()) return assemble(path, params, output);
  fmt::print("{}", expand(path, params).ptx);
  return 0;
}

}  // namespace
}  // namespace ptxops::jit

int main(int argc, char** argv) {
  try {
    const int status = ptxops::jit::run(argc, argv);
    if (std::fflush(stdout) != 0) throw std::runtime_error("cannot write the output");
    return status;
  } catch (const std::exception& e) {
    fmt::print(stderr, "ptxops-kernel: {}\n", e.what());
    return 2;
  }
}
