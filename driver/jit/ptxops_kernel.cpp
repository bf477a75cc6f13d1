// ptxops-kernel: look at, expand, assemble and report the kernels of ptx/.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "driver/jit/expander.h"
#include "driver/jit/head.h"
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
  throw std::runtime_error(fmt::format("{} '{}' below ptx/", found.empty() ? "no kernel" : "several kernels", given));
}

Params parse_defines(const std::vector<std::string>& defines) {
  Params params;
  for (const std::string& d : defines) {
    const size_t equal = d.find('=');
    char* end = nullptr;
    const long long value = equal == d.npos ? 0 : std::strtoll(d.c_str() + equal + 1, &end, 0);
    if (equal == d.npos || equal == 0 || end == d.c_str() + equal + 1 || *end)
      throw std::runtime_error(fmt::format("-D {}: expected NAME=INTEGER", d));
    if (!params.emplace(d.substr(0, equal), value).second)
      throw std::runtime_error(fmt::format("-D {}: given twice", d));
  }
  return params;
}

int list_kernels() {
  for (const std::string& path : source_paths()) {
    if (!path.ends_with(".ptx") || !is_kernel(*read_source(path))) continue;
    const KernelHead head = parse_head(path);
    fmt::print("{:<40} {:<32} {} configurations\n", path, head.name, enumerate(head).size());
  }
  return 0;
}

int print_head(const std::string& path) {
  const KernelHead head = parse_head(path);
  fmt::print("kernel   {} ({})\n", head.name, head.path);
  for (const HeadParam& p : head.params) fmt::print("param    {} in {}\n", p.name, p.domain_text);
  for (const HeadLine& r : head.requirements) fmt::print("require  {}  \"{}\"\n", r.kind, r.text);
  for (const HeadLine& c : head.contract) fmt::print("{:<8} {}\n", c.kind, c.text);
  const std::vector<Config> configs = enumerate(head);
  std::vector<int64_t> values;
  for (size_t n = 0; n < head.notes.size() && !configs.empty(); ++n) {
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (const Config& c : configs) {
      evaluate_notes(head, c, values);
      low = std::min(low, values[n]);
      high = std::max(high, values[n]);
    }
    fmt::print("note     {} = {}\n", head.notes[n], low == high ? fmt::to_string(low) : fmt::format("{} .. {}", low, high));
  }
  fmt::print("legal    {} configurations\n", configs.size());
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
  expansion->add_option("-D", defines, "NAME=INTEGER, one for each parameter")->allow_extra_args(false);
  CLI11_PARSE(app, argc, argv);

  if (list->parsed()) return list_kernels();
  const std::string path = resolve_kernel(kernel);
  if (head->parsed()) return print_head(path);
  fmt::print("{}", expand(path, parse_defines(defines)).ptx);
  return 0;
}

}  // namespace
}  // namespace ptxops::jit

int main(int argc, char** argv) {
  try {
    return ptxops::jit::run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "ptxops-kernel: {}\n", e.what());
    return 2;
  }
}
