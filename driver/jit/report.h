// Assembling configurations of a kernel and telling what ptxas says of them. For tools and tests.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "driver/jit/head.h"
#include "driver/jit/ptxas.h"

namespace ptxops::jit {

struct ReportRow {
  Config config;
  bool ok = false;      // ptxas accepted it
  ResourceUsage usage;  // advisories cite template lines
  std::string log;      // citing template lines
  int ptx_lines = 0;
  double expand_ms = 0, assemble_ms = 0;  // measured on this CPU
  bool clean() const { return ok && usage.clean(); }
};

// Expands and assembles each configuration, `threads` at a time, without the cache. `progress` (may be empty)
// is called with the number done, from any thread, one call at a time. Throws TemplateError or ToolError.
std::vector<ReportRow> assemble_configs(const KernelHead& head, const std::vector<Config>& configs,
                                        const Ptxas& tool, const PtxasOptions& options, unsigned threads,
                                        const std::function<void(size_t done)>& progress = {});

// One line for each configuration (with_notes: and the head's notes for it), then each log or advisory that
// is not clean.
std::string format_report(const KernelHead& head, const std::vector<ReportRow>& rows,
                          bool with_notes = false);

}  // namespace ptxops::jit
