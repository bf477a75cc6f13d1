#include "driver/virtual/api/transfer.h"

#include <algorithm>
#include <cstring>

#include "driver/virtual/api/capture.h"

namespace ptxops::virt {

using namespace abi;

namespace {

// Modelled rates and latencies: PCIe 5.0 x16 as measured on H100 hosts, HBM3 less its overheads.
constexpr double kHostBytesPerSecond = 50e9, kHostLatency = 5e-6;
constexpr double kDeviceBytesPerSecond = 3.0e12, kDeviceLatency = 2e-6;

double modelled_copy_seconds(const Transfer& t) {
  const double bytes =
      static_cast<double>(t.width) * static_cast<double>(t.height) * static_cast<double>(t.depth);
  auto host = [](const Box& b) {
    if (!b.on_device) return true;
    const Allocation* a = Runtime::get().memory().find(b.address);
    return a && a->device == kHostDevice;
  };
  if (host(t.to) || host(t.from)) return kHostLatency + bytes / kHostBytesPerSecond;
  return kDeviceLatency + 2 * bytes / kDeviceBytesPerSecond;  // read and written
}

// count * pitch + last, or as much as there can be.
uint64_t span(uint64_t count, uint64_t pitch, uint64_t last) {
  uint64_t bytes;
  if (__builtin_mul_overflow(count, pitch, &bytes) || __builtin_add_overflow(bytes, last, &bytes))
    return UINT64_MAX;
  return bytes;
}

// Bytes from the first to behind the last: of a slice, of a box.
uint64_t slice_extent(const Box& b, const Transfer& t) {
  return span(t.height - 1, b.row_pitch, t.width);
}
uint64_t extent(const Box& b, const Transfer& t) {
  return span(t.depth - 1, b.slice_pitch, slice_extent(b, t));
}

bool is_live(const Box& b, const Transfer& t) {
  if (!b.on_device) return true;
  const Allocation* a = Runtime::get().memory().find(b.address);
  return a && extent(b, t) <= a->end() - b.address;
}

// The written-byte bits go along with the bytes: copying what was never written does not make it written.
void copy_shadow(uint64_t to, const Box& to_box, uint64_t from, const Box& from_box, uint64_t bytes) {
  Memory& memory = Runtime::get().memory();
  const Allocation* target = to_box.on_device ? memory.find(to) : nullptr;
  if (!target || !target->shadow) return;
  const Allocation* source = from_box.on_device ? memory.find(from) : nullptr;
  for (uint64_t i = 0; i < bytes;) {
    const uint64_t run = source ? first_unwritten(*source, from + i, bytes - i) : bytes - i;
    mark_written(*target, to + i, run);
    i += run;
    while (i < bytes && !all_written(*source, from + i, 1)) ++i;
  }
}

void move(const Transfer& t) {
  for (uint64_t z = 0; z < t.depth; ++z)
    for (uint64_t y = 0; y < t.height; ++y) {
      const uint64_t to = t.to.address + z * t.to.slice_pitch + y * t.to.row_pitch;
      const uint64_t from = t.from.address + z * t.from.slice_pitch + y * t.from.row_pitch;
      std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), t.width);
      copy_shadow(to, t.to, from, t.from, t.width);
    }
}

void fault_freed(Context& context, const char* what, uint64_t address) {
  Finding f;
  f.id = Diagnostic::X6;
  f.what = fmt::format("{}: memory was freed before the stream reached the call: {}", what,
                       Runtime::get().memory().describe(address));
  context.set_fault(CUDA_ERROR_ILLEGAL_ADDRESS, Fault(std::move(f)));
}

void check_box(const char* what, const Box& b, const Transfer& t) {
  if (b.address == 0) refuse(CUDA_ERROR_INVALID_VALUE, "{} must not be null", what);
  if (t.height > 1 && b.row_pitch < t.width)
    refuse(CUDA_ERROR_INVALID_VALUE, "{} pitch: expected at least the width of {} bytes, got {}", what,
           t.width, b.row_pitch);
  if (t.depth > 1 && b.slice_pitch < slice_extent(b, t))
    refuse(CUDA_ERROR_INVALID_VALUE, "{} pitch of slices: expected at least the {} bytes of one, got {}",
           what, slice_extent(b, t), b.slice_pitch);
  if (b.on_device)
    check_range(what, b.address, extent(b, t));
  else if (extent(b, t) > UINT64_MAX - b.address)
    refuse(CUDA_ERROR_INVALID_VALUE, "{}: {} bytes of host memory at {:#x} end beyond the address space",
           what, extent(b, t), b.address);
}

Box side(const char* what, CUmemorytype type, const void* host, CUdeviceptr device, uint64_t pitch,
         uint64_t slice, uint64_t offset) {
  switch (type) {
    case CU_MEMORYTYPE_HOST:
      // Null stays null, to be refused as such.
      return {host ? reinterpret_cast<uint64_t>(host) + offset : 0, false, pitch, slice};
    case CU_MEMORYTYPE_DEVICE:
      return {device + offset, true, pitch, slice};
    case CU_MEMORYTYPE_UNIFIED:
      return {device + offset, is_device_address(device + offset), pitch, slice};
    case CU_MEMORYTYPE_ARRAY:
      refuse(CUDA_ERROR_NOT_SUPPORTED, "{} is a CUDA array: arrays are not implemented by the virtual device",
             what);
  }
  refuse(CUDA_ERROR_INVALID_VALUE, "{} memory type: expected 1..4, got {}", what, static_cast<int>(type));
}

}  // namespace

bool is_device_address(uint64_t address) {
  const Memory& memory = Runtime::get().memory();
  return memory.owns(address) || memory.find(address);
}

Transfer transfer_of(const CUDA_MEMCPY2D* p) {
  not_null(p, "pCopy");
  Transfer t;
  t.width = p->WidthInBytes;
  t.height = p->Height;
  t.to = side("destination", p->dstMemoryType, p->dstHost, p->dstDevice, p->dstPitch, 0,
              p->dstY * p->dstPitch + p->dstXInBytes);
  t.from = side("source", p->srcMemoryType, p->srcHost, p->srcDevice, p->srcPitch, 0,
                p->srcY * p->srcPitch + p->srcXInBytes);
  return t;
}

Transfer transfer_of(const CUDA_MEMCPY3D* p) {
  not_null(p, "pCopy");
  Transfer t;
  t.width = p->WidthInBytes;
  t.height = p->Height;
  t.depth = p->Depth;
  const uint64_t to_slice = p->dstPitch * p->dstHeight, from_slice = p->srcPitch * p->srcHeight;
  t.to = side("destination", p->dstMemoryType, p->dstHost, p->dstDevice, p->dstPitch, to_slice,
              p->dstZ * to_slice + p->dstY * p->dstPitch + p->dstXInBytes);
  t.from = side("source", p->srcMemoryType, p->srcHost, p->srcDevice, p->srcPitch, from_slice,
                p->srcZ * from_slice + p->srcY * p->srcPitch + p->srcXInBytes);
  return t;
}

void check_range(const char* what, uint64_t address, uint64_t bytes) {
  Memory& memory = Runtime::get().memory();
  const Allocation* a = memory.find(address);
  if (!a) refuse(CUDA_ERROR_INVALID_VALUE, "{} is not device memory: {}", what, memory.describe(address));
  if (bytes > a->end() - address)
    refuse(CUDA_ERROR_INVALID_VALUE, "{}: {} bytes run {} past the end: {}", what, bytes,
           bytes - (a->end() - address), memory.describe(address));
}

bool is_known_memory(uint64_t address, uint64_t bytes) {
  const Allocation* a = Runtime::get().memory().find(address);
  return a && bytes <= a->end() - address;
}

void check(const Transfer& t) {
  check_box("destination", t.to, t);
  check_box("source", t.from, t);
}

Fill make_fill(uint64_t address, uint64_t pitch, uint32_t value, uint32_t bytes, uint64_t width,
               uint64_t height) {
  if (width > UINT64_MAX / bytes)
    refuse(CUDA_ERROR_INVALID_VALUE, "memset of {} elements of {} bytes", width, bytes);
  Fill fill;
  fill.value = value;
  fill.bytes = bytes;
  fill.target.width = width * bytes;
  fill.target.height = height;
  fill.target.to = {address, true, pitch, 0};
  if (is_empty(fill.target)) return fill;
  if (address % bytes != 0 || (height > 1 && pitch % bytes != 0))
    refuse(CUDA_ERROR_INVALID_VALUE,
           "memset of {}-byte elements: address {:#x} and pitch {} must be multiples of {}", bytes, address,
           pitch, bytes);
  check_box("destination", fill.target.to, fill.target);
  return fill;
}

// Small transfers run where the stream gets to them; large ones must not hold up a worker.
Work::Place place_of(const Transfer& t) {
  return t.width * t.height * t.depth <= 64 << 10 ? Work::Place::inline_ : Work::Place::thread;
}

void run(Work& work, const Transfer& t, Context& context) {
  if (!is_live(t.to, t))
    fault_freed(context, "copy destination", t.to.address);
  else if (!is_live(t.from, t))
    fault_freed(context, "copy source", t.from.address);
  else
    move(t);
  work.finish(modelled_copy_seconds(t));
}

void run(Work& work, const Fill& fill, Context& context) {
  const Transfer& t = fill.target;
  if (!is_live(t.to, t)) {
    fault_freed(context, "memset destination", t.to.address);
    work.finish(0);
    return;
  }
  const Allocation* a = Runtime::get().memory().find(t.to.address);
  for (uint64_t y = 0; a && y < t.height; ++y) {  // none: nothing to fill
    const uint64_t row = t.to.address + y * t.to.row_pitch;
    if (fill.bytes == 1)
      std::memset(reinterpret_cast<void*>(row), static_cast<int>(fill.value), t.width);
    else if (fill.bytes == 2)
      std::fill_n(reinterpret_cast<uint16_t*>(row), t.width / 2, static_cast<uint16_t>(fill.value));
    else
      std::fill_n(reinterpret_cast<uint32_t*>(row), t.width / 4, fill.value);
    mark_written(*a, row, t.width);
  }
  work.finish(kDeviceLatency + static_cast<double>(t.width * t.height) / kDeviceBytesPerSecond);
}

void copy(const StreamRef& stream, const Transfer& t, bool wait) {
  if (is_empty(t)) return;
  check(t);
  const WorkPtr work = issue(stream, t);
  if (!wait || !work) return;
  work->wait();
  stream.context->check_fault();
}

void fill(const StreamRef& stream, uint64_t address, uint64_t pitch, uint32_t value, uint32_t bytes,
          uint64_t width, uint64_t height) {
  const Fill fill = make_fill(address, pitch, value, bytes, width, height);
  if (!is_empty(fill.target)) issue(stream, fill);
}

}  // namespace ptxops::virt
