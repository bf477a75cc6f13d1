#include "driver/jit/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

namespace ptxops::jit {
namespace {

ReportRow assemble_one(const KernelHead& head, const Config& config, const Ptxas& tool,
                       const PtxasOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const Expansion e = expand(*head.parsed, head.named(config));
  ReportRow row;
  row.expand_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  Assembly assembly = tool.assemble(e.ptx, e.kernel, options);
  row.config = config;
  row.ok = assembly.ok;
  row.usage = std::move(assembly.usage);
  for (std::string& advisory : row.usage.advisories) advisory = e.lines.remap_log(advisory);
  row.log = e.lines.remap_log(assembly.log);
  row.ptx_lines = e.lines.line_count();
  row.assemble_ms = assembly.milliseconds;
  return row;
}

using Row = std::vector<std::string>;

std::string align_columns(const std::vector<Row>& table) {
  std::vector<size_t> width(table.front().size());
  for (const Row& row : table)
    for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  std::string out;
  for (const Row& row : table) {
    for (size_t c = 0; c < row.size(); ++c) out += fmt::format("{}{:>{}}", c ? "  " : "", row[c], width[c]);
    out += '\n';
  }
  return out;
}

}  // namespace

std::vector<ReportRow> assemble_configs(const KernelHead& head, const std::vector<Config>& configs,
                                        const Ptxas& tool, const PtxasOptions& options, unsigned threads,
                                        const std::function<void(size_t done)>& progress) {
  std::vector<ReportRow> rows(configs.size());
  std::atomic<size_t> next{0};
  std::mutex mutex;
  size_t done = 0;
  std::exception_ptr failure;
  const auto work = [&] {
    for (size_t i; (i = next++) < configs.size();) {
      try {
        rows[i] = assemble_one(head, configs[i], tool, options);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        next = configs.size();
        return;
      }
      const std::lock_guard lock(mutex);
      ++done;
      if (progress) progress(done);
    }
  };
  std::vector<std::thread> pool;
  for (unsigned t = 1; t < std::min<size_t>(threads, configs.size()); ++t) pool.emplace_back(work);
  work();
  for (std::thread& t : pool) t.join();
  if (failure) std::rethrow_exception(failure);
  return rows;
}

std::string format_report(const KernelHead& head, const std::vector<ReportRow>& rows, bool with_notes) {
  std::vector<Row> table(1);
  for (const HeadParam& p : head.params) table[0].push_back(p.name);
  if (with_notes)
    for (const std::string& n : head.notes) table[0].push_back(n);
  for (const char* name : {"regs", "spill st", "spill ld", "stack", "static smem", "barriers", "ptx lines",
                           "expand ms", "ptxas ms", "verdict"})
    table[0].push_back(name);
  std::vector<int64_t> notes;
  std::string details;
  for (const ReportRow& r : rows) {
    Row row;
    std::string label;
    if (with_notes) evaluate_notes(head, r.config, notes);
    for (size_t i = 0; i < r.config.size(); ++i) {
      row.push_back(fmt::to_string(r.config[i]));
      label += fmt::format(" {}={}", head.params[i].name, r.config[i]);
    }
    for (const int64_t n : notes) row.push_back(fmt::to_string(n));
    const ResourceUsage& u = r.usage;
    for (const int n : {u.registers, u.spill_store_bytes, u.spill_load_bytes, u.stack_bytes, u.smem_bytes,
                        u.barriers, r.ptx_lines})
      row.push_back(fmt::to_string(n));
    row.push_back(fmt::format("{:.2f}", r.expand_ms));
    row.push_back(fmt::format("{:.1f}", r.assemble_ms));
    row.push_back(!r.ok ? "REFUSED" : !u.advisories.empty() ? "ADVISORY" : r.clean() ? "ok" : "SPILLS");
    table.push_back(std::move(row));
    if (r.ok && u.advisories.empty()) continue;
    details += fmt::format("{}{}:\n", head.name, label);
    if (!r.ok) details += r.log;
    for (const std::string& a : u.advisories) details += a + "\n";
  }
  return align_columns(table) + details;
}

}  // namespace ptxops::jit
