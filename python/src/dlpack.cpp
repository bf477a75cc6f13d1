// DLPack capsules in and out.
#include "python/src/dlpack.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "python/src/binding.h"

namespace ptxops::python {
namespace {

using namespace dlpack;

constexpr const char* kName = "dltensor";
constexpr const char* kUsedName = "used_dltensor";
constexpr const char* kVersionedName = "dltensor_versioned";
constexpr const char* kUsedVersionedName = "used_dltensor_versioned";

// A tensor taken out of a capsule: ours until destroyed.
class Import {
 public:
  explicit Import(const py::object& capsule) {
    if (!PyCapsule_CheckExact(capsule.ptr()))
      throw py::buffer_error(std::string("DLPack: expected a capsule from __dlpack__, got ") +
                             Py_TYPE(capsule.ptr())->tp_name);
    if (PyCapsule_IsValid(capsule.ptr(), kVersionedName)) {
      auto* t = static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), kVersionedName));
      if (t->version.major != 1)
        throw py::buffer_error("DLPack: expected a tensor of version 1.x, got " +
                               std::to_string(t->version.major) + "." + std::to_string(t->version.minor));
      versioned_ = t;
      tensor_ = &t->dl_tensor;
      PyCapsule_SetName(capsule.ptr(), kUsedVersionedName);
    } else if (PyCapsule_IsValid(capsule.ptr(), kName)) {
      plain_ = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kName));
      tensor_ = &plain_->dl_tensor;
      PyCapsule_SetName(capsule.ptr(), kUsedName);
    } else {
      const char* name = PyCapsule_GetName(capsule.ptr());
      throw py::buffer_error(std::string("DLPack: expected an unused capsule 'dltensor', got '") +
                             (name ? name : "") + "'");
    }
  }
  ~Import() {
    if (plain_ && plain_->deleter) plain_->deleter(plain_);
    if (versioned_ && versioned_->deleter) versioned_->deleter(versioned_);
  }
  Import(const Import&) = delete;

  uint64_t address() const { return reinterpret_cast<uint64_t>(tensor_->data) + tensor_->byte_offset; }
  std::vector<int64_t> shape() const { return {tensor_->shape, tensor_->shape + tensor_->ndim}; }
  std::vector<int64_t> strides() const {
    if (tensor_->strides) return {tensor_->strides, tensor_->strides + tensor_->ndim};
    std::vector<int64_t> dense(static_cast<size_t>(tensor_->ndim));
    int64_t step = 1;
    for (size_t i = dense.size(); i-- > 0; step *= tensor_->shape[i]) dense[i] = step;
    return dense;
  }
  bool read_only() const { return versioned_ && (versioned_->flags & kFlagReadOnly); }
  const DLTensor& tensor() const { return *tensor_; }

  // Refuses what no producer may hand out, and measures the rest. Not in span(): an exception in a buffer
  // callback ends the process.
  void measure() {
    if (tensor_->ndim < 0)
      throw py::buffer_error("DLPack: expected at least 0 dimensions, got " + std::to_string(tensor_->ndim));
    const std::vector<int64_t> extent = shape();
    for (const int64_t n : extent)
      if (n < 0) throw py::buffer_error("DLPack: expected extents of at least 0, got " + std::to_string(n));
    const bool empty = std::find(extent.begin(), extent.end(), 0) != extent.end();
    int64_t elements = empty ? 0 : 1, step = 1;
    bool fits = true;
    for (size_t i = extent.size(); i-- > 0 && !empty;) {
      if (tensor_->strides) step = tensor_->strides[i];
      if (step < 0)
        throw py::buffer_error("DLPack: expected strides of at least 0, got " + std::to_string(step));
      int64_t reach = 0;
      fits = fits && !__builtin_mul_overflow(extent[i] - 1, step, &reach) &&
             !__builtin_add_overflow(elements, reach, &elements);
      if (!tensor_->strides) fits = fits && !__builtin_mul_overflow(step, extent[i], &step);
    }
    fits = fits && !__builtin_mul_overflow(elements, tensor_->dtype.bits / 8 * tensor_->dtype.lanes, &bytes_);
    if (!fits) throw py::buffer_error("DLPack: expected a tensor of less than 2^63 bytes, got a larger one");
    if (elements && !tensor_->data) throw py::buffer_error("DLPack: expected an address, got NULL");
  }
  // The bytes from the first to the last element, of a tensor in host memory; none elsewhere.
  py::buffer_info span() const {
    const bool host = tensor_->device.device_type == kDLCPU || tensor_->device.device_type == kDLCUDAHost;
    return py::buffer_info(reinterpret_cast<void*>(address()), 1, "B", 1, {host ? bytes_ : 0}, {1}, true);
  }

 private:
  int64_t bytes_ = 0;
  DLManagedTensor* plain_ = nullptr;
  DLManagedTensorVersioned* versioned_ = nullptr;
  DLTensor* tensor_ = nullptr;
};

// What an exported tensor keeps alive.
struct Export {
  py::object owner;
  std::vector<int64_t> shape, strides;
};

template <class Managed>
void destroy(Managed* self) {
  const py::gil_scoped_acquire gil;  // a consumer may drop the tensor on any thread
  delete static_cast<Export*>(self->manager_ctx);
  delete self;
}

template <class Managed>
void drop_unused(PyObject* capsule, const char* name) {
  if (!PyCapsule_IsValid(capsule, name)) return;  // consumed: the consumer calls the deleter
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

template <class Managed>
Managed* manage(std::unique_ptr<Export> keep, const DLTensor& tensor) {
  auto* managed = new Managed{};
  managed->dl_tensor = tensor;
  managed->dl_tensor.ndim = static_cast<int32_t>(keep->shape.size());
  managed->dl_tensor.shape = keep->shape.data();
  managed->dl_tensor.strides = keep->strides.data();
  managed->deleter = destroy<Managed>;
  managed->manager_ctx = keep.release();
  return managed;
}

py::object export_tensor(py::object owner, uint64_t address, std::vector<int64_t> shape,
                         std::vector<int64_t> strides, uint8_t code, uint8_t bits, int32_t device_type,
                         int32_t device_id, bool versioned, bool copied) {
  auto keep = std::make_unique<Export>(Export{std::move(owner), std::move(shape), std::move(strides)});
  DLTensor tensor{};
  tensor.data = reinterpret_cast<void*>(address);
  tensor.device = {device_type, device_id};
  tensor.dtype = {code, bits, 1};
  PyObject* capsule;
  if (versioned) {
    auto* managed = manage<DLManagedTensorVersioned>(std::move(keep), tensor);
    managed->version = {1, 0};
    managed->flags = copied ? kFlagIsCopied : 0;
    capsule = PyCapsule_New(managed, kVersionedName,
                            [](PyObject* c) { drop_unused<DLManagedTensorVersioned>(c, kVersionedName); });
    if (!capsule) managed->deleter(managed);
  } else {
    auto* managed = manage<DLManagedTensor>(std::move(keep), tensor);
    capsule = PyCapsule_New(managed, kName, [](PyObject* c) { drop_unused<DLManagedTensor>(c, kName); });
    if (!capsule) managed->deleter(managed);
  }
  if (!capsule) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(capsule);
}

}  // namespace

void register_dlpack(py::module_& m) {
  py::class_<Import>(m, "DlpackImport", py::buffer_protocol())
      .def(py::init([](const py::object& capsule) {
             auto tensor = std::make_unique<Import>(capsule);
             tensor->measure();
             return tensor;
           }),
           py::arg("capsule"))
      .def_property_readonly("address", &Import::address)
      .def_property_readonly("shape", &Import::shape)
      .def_property_readonly("strides", &Import::strides)
      .def_property_readonly("read_only", &Import::read_only)
      .def_property_readonly("code", [](const Import& t) { return t.tensor().dtype.code; })
      .def_property_readonly("bits", [](const Import& t) { return t.tensor().dtype.bits; })
      .def_property_readonly("lanes", [](const Import& t) { return t.tensor().dtype.lanes; })
      .def_property_readonly("device_type", [](const Import& t) { return t.tensor().device.device_type; })
      .def_property_readonly("device_id", [](const Import& t) { return t.tensor().device.device_id; })
      .def_buffer([](Import& t) { return t.span(); });
  m.def("dlpack_export", &export_tensor, py::arg("owner"), py::arg("address"), py::arg("shape"),
        py::arg("strides"), py::arg("code"), py::arg("bits"), py::arg("device_type"), py::arg("device_id"),
        py::arg("versioned"), py::arg("copied"));
}

}  // namespace ptxops::python
