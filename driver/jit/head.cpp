#include "driver/jit/head.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "driver/jit/template.h"

namespace ptxops::jit {
namespace {

// Beyond these a domain is wrong, not large.
constexpr size_t kMaxConfigs = size_t{1} << 17;
constexpr size_t kMaxVisits = 5'000'000;  // values tried and lines of the head evaluated

struct HeadContext final : EvalContext {};

int index_of(const auto& list, std::string_view name, auto get) {
  for (size_t i = 0; i < list.size(); ++i)
    if (get(list[i]) == name) return static_cast<int>(i);
  return -1;
}

// The kernel's frame as far as the head needs it.
class Evaluator {
 public:
  explicit Evaluator(const Template& t) : t_(t), slots_(frame()) {
    slots_.assign(t.global_slots, 0);
    context_.globals = slots_.data();
  }

  void set_param(size_t index, int64_t value) { slots_[t_.params[index].slot] = value; }

  // Runs one step; false: a requirement does not hold. Throws ExpressionError.
  bool step(const HeadStep& s, std::vector<int64_t>* notes = nullptr) {
    if (s.kind == HeadStep::Kind::kNote && !notes) return true;
    const int64_t value = evaluate(t_.pool, s.expr.root, context_);
    if (s.kind == HeadStep::Kind::kLet) slots_[s.index] = value;
    if (s.kind == HeadStep::Kind::kNote) (*notes)[s.index] = value;
    return s.kind != HeadStep::Kind::kRequire || value;
  }

  // Everything in file order, as the expander does. The first requirement that fails, or null.
  const HeadStep* run(std::vector<int64_t>* notes) {
    for (const HeadStep& s : t_.head) {
      try {
        if (!step(s, notes)) return &s;
      } catch (const ExpressionError& e) {
        t_.fail(s.where, e.what());
      }
    }
    return nullptr;
  }

 private:
  // Reused, so that evaluating many configurations does not allocate.
  static std::vector<int64_t>& frame() {
    thread_local std::vector<int64_t> slots;
    return slots;
  }
  const Template& t_;
  std::vector<int64_t>& slots_;
  HeadContext context_;
};

void check_size(const KernelHead& head, std::span<const int64_t> config) {
  if (config.size() != head.params.size())
    throw std::invalid_argument(fmt::format("kernel {}: expected {} parameter values, got {}", head.name,
                                            head.params.size(), config.size()));
}

// Depth-first over the parameters. Steps run at the depth at which the last parameter they read is chosen.
class Enumerator {
 public:
  Enumerator(const Template& t, bool with_notes)
      : t_(t), evaluator_(t), at_depth_(t.params.size() + 1), config_(t.params.size()) {
    for (const HeadStep& s : t.head)
      if (s.kind != HeadStep::Kind::kNote) at_depth_[s.param_count].push_back(&s);
    if (with_notes) found_.note_count = t.notes.size();
    note_.resize(t.notes.size());
  }

  Domain run() {
    visit(0, false);
    return std::move(found_);
  }

 private:
  void visit(size_t depth, bool suspect) {
    // A failing let may be guarded by an earlier requirement on a later parameter: judge in file order then.
    try {
      if (!suspect)
        for (const HeadStep* s : at_depth_[depth])
          if (spend(s->where), !evaluator_.step(*s)) return;
    } catch (const ExpressionError&) {
      suspect = true;
    }
    if (depth == t_.params.size()) {
      if (suspect) spend({0, 1}, t_.head.size());
      if (suspect && evaluator_.run(nullptr)) return;
      if (found_.configs.size() == kMaxConfigs)
        t_.fail({0, 1}, fmt::format("more than {} legal configurations", kMaxConfigs));
      found_.configs.push_back(config_);
      if (found_.note_count) {
        spend({0, 1}, found_.note_count);
        add_notes();
      }
      return;
    }
    for (const int64_t value : t_.params[depth].domain) {
      config_[depth] = value;
      spend(t_.params[depth].where);
      evaluator_.set_param(depth, value);
      visit(depth + 1, suspect);
    }
  }

  void spend(Where where, size_t n = 1) {
    if ((visits_ += n) > kMaxVisits)
      t_.fail(where, fmt::format("more than {} steps to enumerate the configurations", kMaxVisits));
  }

  void add_notes() {
    for (const HeadStep& s : t_.head) {
      if (s.kind != HeadStep::Kind::kNote) continue;
      try {
        evaluator_.step(s, &note_);
      } catch (const ExpressionError& e) {
        t_.fail(s.where, e.what());
      }
    }
    found_.notes.insert(found_.notes.end(), note_.begin(), note_.end());
  }

  const Template& t_;
  Evaluator evaluator_;
  std::vector<std::vector<const HeadStep*>> at_depth_;
  Config config_;
  std::vector<int64_t> note_;
  Domain found_;
  size_t visits_ = 0;
};

KernelHead head_of(std::shared_ptr<const Template> t) {
  KernelHead head;
  head.path = t->path();
  head.name = t->name;
  for (const ParamDecl& p : t->params)
    head.params.push_back({p.name, p.domain, p.domain_text, static_cast<int>(p.where.line)});
  for (const NoteDecl& n : t->notes) head.notes.push_back(n.name);
  for (const RequireDecl& r : t->requirements) {
    std::string message;
    for (uint32_t i = 0; i < r.message.count; ++i) {
      const Segment& s = t->segments[r.message.begin + i];
      message +=
          s.kind == Segment::Kind::kLiteral ? std::string(s.text) : fmt::format("{{{{{}}}}}", s.first.text);
    }
    head.requirements.push_back({std::string(r.expr.text), message, static_cast<int>(r.where.line)});
  }
  for (const ContractLine& c : t->contract)
    head.contract.push_back({c.kind, c.text, static_cast<int>(c.where.line)});
  head.parsed = std::move(t);
  return head;
}

}  // namespace

int KernelHead::param_index(std::string_view name) const {
  return index_of(params, name, [](const HeadParam& p) { return std::string_view(p.name); });
}

int KernelHead::note_index(std::string_view name) const {
  return index_of(notes, name, [](const std::string& n) { return std::string_view(n); });
}

Params KernelHead::named(std::span<const int64_t> config) const {
  check_size(*this, config);
  Params named;
  for (size_t i = 0; i < params.size(); ++i) named[params[i].name] = config[i];
  return named;
}

Config KernelHead::config(const Params& values) const {
  Config config(params.size());
  for (const auto& [key, value] : values)
    if (param_index(key) < 0)
      throw std::invalid_argument(fmt::format("kernel {} has no parameter '{}'", name, key));
  for (size_t i = 0; i < params.size(); ++i) {
    const auto it = values.find(params[i].name);
    if (it == values.end())
      throw std::invalid_argument(fmt::format("kernel {}: parameter '{}' is missing", name, params[i].name));
    config[i] = it->second;
  }
  return config;
}

KernelHead parse_head(const std::string& path) {
  return head_of(parse_template(path));
}

KernelHead parse_head_text(const std::string& path, std::string text) {
  return head_of(parse_template_text(path, std::move(text)));
}

bool is_legal(const KernelHead& head, std::span<const int64_t> config, std::string* why) {
  check_size(head, config);
  Evaluator evaluator(*head.parsed);
  for (size_t i = 0; i < config.size(); ++i) {
    const HeadParam& p = head.params[i];
    if (std::find(p.domain.begin(), p.domain.end(), config[i]) == p.domain.end()) {
      if (why) *why = fmt::format("{} = {} is not in its domain {}", p.name, config[i], p.domain_text);
      return false;
    }
    evaluator.set_param(i, config[i]);
  }
  const HeadStep* failed = evaluator.run(nullptr);
  if (failed && why) {
    const HeadLine& r = head.requirements[failed->index];
    *why = fmt::format("{}: required {}", r.text, r.kind);
  }
  return !failed;
}

std::vector<Config> enumerate(const KernelHead& head) {
  return Enumerator(*head.parsed, false).run().configs;
}

Domain legal_domain(const KernelHead& head) {
  return Enumerator(*head.parsed, true).run();
}

void evaluate_notes(const KernelHead& head, std::span<const int64_t> config, std::vector<int64_t>& out) {
  check_size(head, config);
  Evaluator evaluator(*head.parsed);
  for (size_t i = 0; i < config.size(); ++i) evaluator.set_param(i, config[i]);
  out.assign(head.notes.size(), 0);
  if (const HeadStep* failed = evaluator.run(&out)) {
    const HeadLine& r = head.requirements[failed->index];
    throw TemplateError(head.path, r.line, fmt::format("{}: required {}", r.text, r.kind), "");
  }
}

std::optional<int64_t> evaluate_note(const KernelHead& head, std::string_view note,
                                     std::span<const int64_t> config) {
  const int index = head.note_index(note);
  if (index < 0) return std::nullopt;
  std::vector<int64_t> values;
  evaluate_notes(head, config, values);
  return values[static_cast<size_t>(index)];
}

}  // namespace ptxops::jit
