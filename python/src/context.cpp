// Context, device memory, streams and timers.
#include "python/src/binding.h"

namespace ptxops::python {

Context::Context(int device) {
  check(ptxopsContextCreate(&handle, device));
  if (const ptxopsStatus_t status = ptxopsContextGetInfo(handle, &info); status != PTXOPS_SUCCESS) {
    const StatusError error(status, ptxopsGetLastError());
    ptxopsContextDestroy(handle);
    throw error;
  }
}

// A destructor cannot report; the fault that makes these calls fail is reported by the next synchronising
// call.
Context::~Context() {
  ptxopsContextDestroy(handle);
}

namespace {

// Device memory. Freeing waits for the device, so memory in use by a kernel may be dropped.
struct Buffer {
  Buffer(ContextPtr c, size_t bytes) : context(std::move(c)), size(bytes) {
    check(ptxopsMemAlloc(context->handle, &address, bytes));
  }
  ~Buffer() { ptxopsMemFree(context->handle, address); }
  Buffer(const Buffer&) = delete;

  ContextPtr context;
  ptxopsDevicePtr_t address = 0;
  size_t size;
};

struct Stream {
  explicit Stream(ContextPtr c) : context(std::move(c)) {
    check(ptxopsStreamCreate(context->handle, &handle));
  }
  ~Stream() { ptxopsStreamDestroy(context->handle, handle); }
  Stream(const Stream&) = delete;

  ContextPtr context;
  ptxopsStream_t handle = nullptr;
};

struct Timer {
  explicit Timer(ContextPtr c) : context(std::move(c)) { check(ptxopsTimerCreate(context->handle, &handle)); }
  ~Timer() { ptxopsTimerDestroy(handle); }
  Timer(const Timer&) = delete;

  ContextPtr context;
  ptxopsTimer_t handle = nullptr;
};

py::buffer_info bytes_of(const py::buffer& object, const char* name, bool writable) {
  py::buffer_info info = object.request(writable);
  int64_t dense = info.itemsize;
  for (py::ssize_t i = info.ndim; i-- > 0; dense *= info.shape[i])
    if (info.shape[i] != 1 && info.strides[i] != dense && info.size != 0)
      throw py::value_error(std::string(name) + ": expected a dense row-major buffer, got a strided one");
  return info;
}

py::dict info_of(const Context& c) {
  using namespace py::literals;
  return py::dict("name"_a = c.info.name, "device"_a = c.info.device, "sm_count"_a = c.info.sm_count,
                  "clock_khz"_a = c.info.clock_khz, "is_virtual"_a = c.info.is_virtual != 0,
                  "driver_version"_a = c.info.driver_version, "memory_bytes"_a = c.info.memory_bytes);
}

}  // namespace

void register_context(py::module_& m) {
  py::class_<Context, ContextPtr>(m, "Context")
      .def(py::init([](int device) {
             const py::gil_scoped_release release;
             return std::make_shared<Context>(device);
           }),
           py::arg("device"))
      .def("info", &info_of)
      .def(
          "copy_to_device",
          [](Context& c, ptxopsDevicePtr_t to, const py::buffer& from, uint64_t stream) {
            const py::buffer_info b = bytes_of(from, "from", false);
            const size_t bytes = static_cast<size_t>(b.size * b.itemsize);
            py::gil_scoped_release release;
            if (bytes) check(ptxopsMemcpyToDevice(c.handle, to, b.ptr, bytes, stream_of(stream)));
          },
          py::arg("to"), py::arg("from_"), py::arg("stream") = 0)
      .def(
          "copy_to_host",
          [](Context& c, const py::buffer& to, ptxopsDevicePtr_t from, uint64_t stream) {
            const py::buffer_info b = bytes_of(to, "to", true);
            const size_t bytes = static_cast<size_t>(b.size * b.itemsize);
            py::gil_scoped_release release;
            if (bytes) check(ptxopsMemcpyToHost(c.handle, b.ptr, from, bytes, stream_of(stream)));
          },
          py::arg("to"), py::arg("from_"), py::arg("stream") = 0)
      .def(
          "memset",
          [](Context& c, ptxopsDevicePtr_t to, uint8_t value, size_t bytes, uint64_t stream) {
            check(ptxopsMemset(c.handle, to, value, bytes, stream_of(stream)));
          },
          py::arg("to"), py::arg("value"), py::arg("bytes"), py::arg("stream") = 0, Unlocked())
      .def(
          "synchronize",
          [](Context& c, uint64_t stream) { check(ptxopsStreamSynchronize(c.handle, stream_of(stream))); },
          py::arg("stream") = 0, Unlocked());

  py::class_<Buffer, std::shared_ptr<Buffer>>(m, "Buffer")
      .def(py::init([](ContextPtr c, size_t bytes) { return make_unlocked<Buffer>(std::move(c), bytes); }),
           py::arg("context"), py::arg("bytes"))
      .def_readonly("address", &Buffer::address)
      .def_readonly("size", &Buffer::size);

  py::class_<Stream, std::shared_ptr<Stream>>(m, "Stream")
      .def(py::init([](ContextPtr c) { return make_unlocked<Stream>(std::move(c)); }), py::arg("context"))
      .def_property_readonly("handle", [](const Stream& s) { return reinterpret_cast<uint64_t>(s.handle); });

  py::class_<Timer, std::shared_ptr<Timer>>(m, "Timer")
      .def(py::init([](ContextPtr c) { return make_unlocked<Timer>(std::move(c)); }), py::arg("context"))
      .def(
          "start", [](Timer& t, uint64_t stream) { check(ptxopsTimerStart(t.handle, stream_of(stream))); },
          py::arg("stream") = 0, Unlocked())
      .def(
          "stop",
          [](Timer& t, uint64_t stream) {
            double seconds = 0;
            check(ptxopsTimerStop(t.handle, stream_of(stream), &seconds));
            return seconds;
          },
          py::arg("stream") = 0, Unlocked());
}

}  // namespace ptxops::python
