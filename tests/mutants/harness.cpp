#include "tests/mutants/harness.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "driver/abi/functions.h"
#include "driver/jit/source.h"
#include "tests/mutants/origin.h"

namespace ptxops::mutants {
namespace {

std::string last_finding() {
  void* library = dlopen(driver::Driver::get().path().c_str(), RTLD_NOW | RTLD_NOLOAD);
  const auto function =
      library
          ? reinterpret_cast<abi::Fn_ptxopsVirtualLastFinding>(dlsym(library, abi::kVirtualLastFindingSymbol))
          : nullptr;
  if (!function) throw std::runtime_error("the driver has no ptxopsVirtualLastFinding");
  std::string text(function(nullptr, 0) + 1, '\0');
  function(text.data(), text.size());
  text.pop_back();
  return text;
}

// In a process of its own.
Outcome run_text(const Subject& subject, const std::string& ptx, bool checked) {
  setenv("PTXOPS_DRIVER", "virtual", 1);
  setenv("PTXOPS_QUIET", "1", 1);
  setenv("PTXOPS_CHECK", checked ? "full" : "off", 1);
  setenv("PTXOPS_VIRTUAL_THREADS", "1", 1);  // deterministic, and there are two such processes
  setenv("PTXOPS_VIRTUAL_SPIN_LIMIT", "0.3", 1);
  setenv("PTXOPS_CHECK_POLICY", PTXOPS_MUTANTS_FOLDER "/policy.txt", 1);
  for (const char* name : {"PTXOPS_CHECK_PEDANTIC", "PTXOPS_CHECK_JSON", "PTXOPS_PERTURB"}) unsetenv(name);
  try {
    const Device device(ptx, subject.expansion.kernel);
    for (const auto& problem : subject.of->problems)
      if (std::string difference = problem(device, subject.expansion.notes); !difference.empty())
        return {Outcome::Kind::wrong, difference, {}};
    return {Outcome::Kind::right, {}, {}};
  } catch (const Refused& e) {
    return {Outcome::Kind::refused, e.what(), {}};
  } catch (const driver::Error& e) {
    return {Outcome::Kind::fault, e.what(), last_finding()};
  }
}

// Numbers the mutants of one operator at one place of the template; keeps the first copy and the last, or
// all.
std::vector<Mutant> number_copies(std::vector<Mutant> mutants, const std::vector<std::string>& origins,
                                  bool all) {
  std::map<std::string, std::vector<size_t>> groups;
  for (size_t i = 0; i < mutants.size(); ++i)
    groups[mutants[i].op + " " + origins.at(static_cast<size_t>(mutants[i].line))].push_back(i);
  std::vector<bool> kept(mutants.size(), all);
  for (const auto& [key, copies] : groups) {
    for (size_t k = 0; k < copies.size(); ++k) {
      mutants[copies[k]].copy = static_cast<int>(k) + 1;
      mutants[copies[k]].copies = static_cast<int>(copies.size());
    }
    kept[copies.front()] = kept[copies.back()] = true;
  }
  std::vector<Mutant> out;
  for (size_t i = 0; i < mutants.size(); ++i)
    if (kept[i]) out.push_back(std::move(mutants[i]));
  return out;
}

// One of each class and case: the classes that must be complete, more.
void keep_sample(std::vector<Result>& results) {
  std::map<std::pair<const Subject*, FaultClass>, std::vector<size_t>> groups;
  for (size_t i = 0; i < results.size(); ++i)
    groups[{results[i].subject, results[i].mutant.fault}].push_back(i);
  std::vector<size_t> kept;
  size_t turn = 0;
  for (const auto& [key, members] : groups) {
    const size_t most = info(key.second).kind == ClassKind::certain ? 2 : 1;
    const size_t n = std::min(members.size(), most);
    ++turn;  // another place in each group
    for (size_t k = 0; k < n; ++k)
      kept.push_back(members[(turn * 7 + k * members.size() / n) % members.size()]);
  }
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  std::vector<Result> out;
  for (const size_t i : kept) out.push_back(std::move(results[i]));
  results = std::move(out);
}

}  // namespace

bool caught_by_results(const Outcome& unchecked) {
  return unchecked.kind != Outcome::Kind::right;
}

Harness::Harness(const Options& options) : options_(options), cases_(all_cases(options.seed)) {
  subjects_.reserve(cases_.size());  // results point to them
  size_t number = 0;
  for (const Case& c : cases_) {
    jit::Expansion expansion = jit::expand(c.path, c.params);
    std::vector<std::string> lines = origins(expansion);
    subjects_.push_back({&c, std::move(expansion), std::move(lines)});
    const Subject& subject = subjects_.back();
    std::vector<Mutant> mutants = all_mutants(subject.expansion.ptx);
    mutants = number_copies(std::move(mutants), subject.origins, options_.every_copy);
    for (Mutant& m : mutants) {
      ++number;
      if (options_.only && options_.only != number) continue;
      if (c.name.find(options_.kernel) == std::string::npos) continue;
      if (!options_.takes(info(m.fault))) continue;
      results_.push_back({number, &subject, std::move(m), {}, {}, {}});
    }
  }
  if (options_.sample) keep_sample(results_);
}

std::vector<std::string> Harness::kernels_without_case() const {
  std::vector<std::string> out;
  for (const std::string& path : jit::source_paths())
    if (path.ends_with(".ptx") && jit::is_kernel(*jit::read_source(path)) &&
        std::none_of(cases_.begin(), cases_.end(), [&](const Case& c) { return c.path == path; }))
      out.push_back(path);
  return out;
}

std::vector<std::string> Harness::run_originals() {
  std::vector<const Subject*> used;
  for (const Result& r : results_)
    if (used.empty() || used.back() != r.subject) used.push_back(r.subject);
  std::vector<std::string> wrong;
  run_processes(
      2 * used.size(), options_.limits,
      [&](size_t i) { return run_text(*used[i / 2], used[i / 2]->expansion.ptx, i % 2 == 0); },
      [&](size_t i, const Outcome& o) {
        if (o.kind != Outcome::Kind::right)
          wrong.push_back(fmt::format("{} {} the checker: {}", used[i / 2]->of->name,
                                      i % 2 ? "without" : "with", o.text));
      });
  return wrong;
}

void Harness::run(Equivalents& equivalents, const std::function<void(size_t, size_t)>& progress) {
  const size_t runs = options_.sample ? 1 : 2;
  const size_t total = runs * results_.size();
  size_t ended = 0;
  run_processes(
      total, options_.limits,
      [&](size_t i) {
        return run_text(*results_[i / runs].subject, text_of(results_[i / runs]), i % runs == 0);
      },
      [&](size_t i, const Outcome& o) {
        Result& r = results_[i / runs];
        if (i % runs == 0) {
          r.checked = o;
          r.verdict = judge(*r.subject, r.mutant, o, equivalents);
        } else {
          r.unchecked = o;
        }
        progress(++ended, total);
      });
}

}  // namespace ptxops::mutants
