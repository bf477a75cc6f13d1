// The head of a kernel: its contract, read by the tuner, the ops and the report tool.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "driver/jit/expander.h"

namespace ptxops::jit {

// Values of the parameters, in the order of KernelHead::params.
using Config = std::vector<int64_t>;

struct HeadParam {
  std::string name;
  std::vector<int64_t> domain;  // in the order written
  std::string domain_text;
  int line;
};
struct HeadLine {
  std::string kind;  // smem, role, cost
  std::string text;
  int line;
};

// Immutable and shareable between threads.
struct KernelHead {
  std::string path;
  std::string name;  // of the .entry
  std::vector<HeadParam> params;
  std::vector<std::string> notes;      // names, in file order
  std::vector<HeadLine> requirements;  // kind is the condition, text the message
  std::vector<HeadLine> contract;
  std::shared_ptr<const Template> parsed;

  // Index, or -1.
  int param_index(std::string_view name) const;
  int note_index(std::string_view name) const;
  Params named(std::span<const int64_t> config) const;
  // Throws std::invalid_argument where the names are not exactly the parameters'.
  Config config(const Params& params) const;
};

// Throws TemplateError.
KernelHead parse_head(const std::string& path);
KernelHead parse_head_text(const std::string& path, std::string text);

// Whether each value is in its domain and every `require` holds; *why (where given) says what does not.
bool is_legal(const KernelHead& head, std::span<const int64_t> config, std::string* why = nullptr);

// All legal combinations, the last parameter varying fastest. Requirements prune as soon as the parameters
// they read are chosen. Throws TemplateError where an expression of the head fails (division by zero, say).
std::vector<Config> enumerate(const KernelHead& head);

// The legal domain with every note of every configuration: what a tuner keeps. Making it is one walk (under a
// millisecond for some hundred configurations), reading it an array access.
struct Domain {
  std::vector<Config> configs;
  size_t note_count = 0;
  std::vector<int64_t> notes;  // configs.size() rows of note_count
  int64_t note(size_t config, size_t index) const { return notes[config * note_count + index]; }
};
Domain legal_domain(const KernelHead& head);

// One note of a legal configuration. nullopt: no note of this name. Throws TemplateError.
std::optional<int64_t> evaluate_note(const KernelHead& head, std::string_view note,
                                     std::span<const int64_t> config);
// Every note, in the order of KernelHead::notes, with no allocation beyond `out` (resized). For loops over
// many configurations.
void evaluate_notes(const KernelHead& head, std::span<const int64_t> config, std::vector<int64_t>& out);

}  // namespace ptxops::jit
