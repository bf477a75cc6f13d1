// Kernel templates: parse, enumerate the domain, expand. Text below //% kernel is the input.
#include <algorithm>
#include <string>

#include "driver/jit/head.h"
#include "driver/jit/source.h"
#include "driver/jit/template_error.h"
#include "tests/fuzz/target.h"

namespace ptxops::fuzz {
namespace {

void expand_one(const jit::KernelHead& head, const jit::Params& params) {
  const jit::Expansion e = jit::expand(*head.parsed, params);
  FUZZ_CHECK(std::count(e.ptx.begin(), e.ptx.end(), '\n') == e.lines.line_count(), "line map");
  for (int line = 1; line <= std::min(e.lines.line_count(), 50); ++line)
    FUZZ_CHECK(e.lines.locate(line).line > 0, std::to_string(line));
}

void expand(Bytes input) {
  const std::string text(input.begin(), input.end());
  try {
    const jit::KernelHead head = jit::parse_head_text("fuzz.ptx", text);
    const jit::Domain domain = jit::legal_domain(head);
    FUZZ_CHECK(jit::enumerate(head).size() == domain.configs.size(), "enumerate and legal_domain differ");
    if (!domain.configs.empty()) {
      FUZZ_CHECK(jit::is_legal(head, domain.configs.back()), "an enumerated configuration is not legal");
      expand_one(head, head.named(domain.configs.back()));
      expand_one(head, head.named(domain.configs.front()));
    }
    // One with values that may not be legal: refused, or expanded.
    jit::Params params;
    for (const jit::HeadParam& p : head.params) params[p.name] = p.domain[p.domain.size() / 2];
    expand_one(head, params);
  } catch (const jit::TemplateError& e) {
    FUZZ_CHECK(e.line() >= 1, e.what());
  }
}

const Registration registration("expander", expand, true);

}  // namespace
}  // namespace ptxops::fuzz
