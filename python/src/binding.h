// What the files of the extension share: status translation, owning handles, and one register function a
// file.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "ops/include/ptxops.h"

namespace ptxops::python {

namespace py = pybind11;

class StatusError : public std::runtime_error {
 public:
  StatusError(ptxopsStatus_t status, const std::string& text) : std::runtime_error(text), status_(status) {}
  ptxopsStatus_t status() const { return status_; }

 private:
  ptxopsStatus_t status_;
};

// Throws StatusError with the calling thread's last error: call it on the thread of the failing call.
void check(ptxopsStatus_t status);

inline ptxopsStream_t stream_of(uint64_t handle) {
  return reinterpret_cast<ptxopsStream_t>(handle);
}

// Owns a ptxopsContext_t. Buffers, streams and plans share it, so it goes last.
struct Context {
  explicit Context(int device);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  ptxopsContext_t handle = nullptr;
  ptxopsDeviceInfo_t info{};
};
using ContextPtr = std::shared_ptr<Context>;

// For functions that wait, or work for long: other threads go on meanwhile. Not for py::init, where the guard
// would last while pybind11 enters the new object into its table of instances, which needs the GIL.
using Unlocked = py::call_guard<py::gil_scoped_release>;

// For py::init: T is made and destroyed without the GIL.
template <class T, class... Args>
std::shared_ptr<T> make_unlocked(Args&&... args) {
  const py::gil_scoped_release release;
  return std::shared_ptr<T>(new T(std::forward<Args>(args)...), [](T* object) {
    const py::gil_scoped_release release_again;
    delete object;
  });
}

void register_errors(py::module_& m);
void register_context(py::module_& m);
void register_plans(py::module_& m);
void register_mla(py::module_& m);  // after register_plans
void register_dlpack(py::module_& m);

}  // namespace ptxops::python
