// _ptxops: the C ABI of ptxops.h as Python objects. Shapes, dtypes and conversions live in the Python
// package.
#include "python/src/binding.h"

namespace ptxops::python {

void check(ptxopsStatus_t status) {
  if (status != PTXOPS_SUCCESS) throw StatusError(status, ptxopsGetLastError());
}

void register_errors(py::module_& m) {
  static PyObject* error = nullptr;  // lives as long as the interpreter, as the translator does
  error = PyErr_NewExceptionWithDoc(
      "ptxops.Error",
      "A call of the library failed; status is the status's name, such as 'PTXOPS_NO_DEVICE'.",
      PyExc_RuntimeError, nullptr);
  if (!error) throw py::error_already_set();
  m.add_object("Error", py::reinterpret_borrow<py::object>(error));
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const StatusError& e) {
      const std::string name = ptxopsGetStatusName(e.status());
      const std::string text = *e.what() ? e.what() : ptxopsGetStatusText(e.status());
      py::object instance = py::reinterpret_borrow<py::object>(error)(name + ": " + text);
      instance.attr("status") = name;
      PyErr_SetObject(error, instance.ptr());
    }
  });
}

}  // namespace ptxops::python

PYBIND11_MODULE(_ptxops, m) {
  using namespace ptxops::python;
  register_errors(m);
  register_context(m);
  register_plans(m);
  register_mla(m);
  register_dlpack(m);
  m.def("version", &ptxopsGetVersion, "Version of the loaded library: major * 10000 + minor * 100 + patch.");
}
