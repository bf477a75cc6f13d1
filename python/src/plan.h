// A plan of any op: what its class in Python inherits.
#pragma once

#include "python/src/binding.h"

namespace ptxops::python {

struct Plan {
  explicit Plan(ContextPtr c) : context(std::move(c)) {}
  ~Plan() { ptxopsPlanDestroy(handle); }
  Plan(const Plan&) = delete;

  size_t workspace_size() const {
    size_t bytes = 0;
    check(ptxopsPlanGetWorkspaceSize(handle, &bytes));
    return bytes;
  }
  std::string explain() const {
    size_t needed = 0;
    check(ptxopsPlanExplain(handle, nullptr, 0, &needed));
    std::string text(needed, '\0');
    check(ptxopsPlanExplain(handle, text.data(), text.size(), nullptr));
    text.resize(needed - 1);  // the final NUL
    return text;
  }

  ContextPtr context;
  ptxopsPlan_t handle = nullptr;
};

}  // namespace ptxops::python
