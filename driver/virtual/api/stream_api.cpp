// cuStream* and cuEvent*.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "driver/virtual/api/capture.h"
#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/runtime.h"

namespace ptxops::virt::api {
namespace {

Runtime& runtime() {
  return Runtime::get();
}

std::shared_ptr<Event> event_of(CUevent handle) {
  auto event = runtime().events.find(handle);
  if (!event) refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not an event", static_cast<void*>(handle));
  return event;
}

constexpr int kLeastPriority = 0, kGreatestPriority = -5;

}  // namespace

CUresult cuStreamCreateWithPriority(CUstream* phStream, unsigned int flags, int priority) {
  not_null(phStream, "phStream");
  if (flags & ~unsigned{CU_STREAM_NON_BLOCKING})
    refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0 or 1 (non-blocking), got {:#x}", flags);
  const auto context = current_context();
  // Out of range means the nearest priority, as on the real driver.
  auto stream = context->create_stream(flags, std::clamp(priority, kGreatestPriority, kLeastPriority));
  runtime().streams.add(stream);
  *phStream = reinterpret_cast<CUstream>(stream.get());
  return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* phStream, unsigned int Flags) {
  return api::cuStreamCreateWithPriority(phStream, Flags, kLeastPriority);
}

CUresult cuStreamDestroy_v2(CUstream hStream) {
  const auto stream = runtime().streams.remove(hStream);
  if (!stream) refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not a stream", static_cast<void*>(hStream));
  abandon_captures([&](const Stream& s) { return &s == stream.get(); });
  stream->context->forget_stream(*stream);
  return CUDA_SUCCESS;
}

CUresult cuStreamGetPriority(CUstream hStream, int* priority) {
  *not_null(priority, "priority") = resolve_stream(hStream)->priority;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int* flags) {
  *not_null(flags, "flags") = resolve_stream(hStream)->flags;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long* streamId) {
  *not_null(streamId, "streamId") = resolve_stream(hStream)->id;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext* pctx) {
  *not_null(pctx, "pctx") = reinterpret_cast<CUcontext>(resolve_stream(hStream).context.get());
  return CUDA_SUCCESS;
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice* device) {
  *not_null(device, "device") = resolve_stream(hStream).context->device.ordinal;
  return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags) {
  if (Flags & ~unsigned{CU_EVENT_WAIT_EXTERNAL})
    refuse(CUDA_ERROR_INVALID_VALUE, "Flags: expected 0 or 1, got {}", Flags);
  wait_event(resolve_stream(hStream), event_of(hEvent), Flags);
  return CUDA_SUCCESS;
}

CUresult cuStreamQuery(CUstream hStream) {
  const StreamRef stream = resolve_stream(hStream);
  refuse_capturing(stream, "cuStreamQuery");
  if (stream.context->tail(*stream.stream)) return CUDA_ERROR_NOT_READY;
  stream.context->check_fault();
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream hStream) {
  const StreamRef stream = resolve_stream(hStream);
  refuse_capturing(stream, "cuStreamSynchronize");
  stream.context->synchronize(*stream.stream);
  stream.context->check_fault();
  return CUDA_SUCCESS;
}

// The callback gets an error and runs even when the context has faulted; a host function does not run then.
CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void* userData,
                             unsigned int flags) {
  if (flags != 0) refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0, got {}", flags);
  not_null(reinterpret_cast<void*>(callback), "callback");
  const StreamRef stream = resolve_stream(hStream);
  refuse_capturing(stream, "cuStreamAddCallback");
  stream.context->enqueue_even_faulted(*stream.stream, Work::Place::thread,
                                       [callback, userData, hStream, context = stream.context](Work& work) {
                                         callback(hStream, context->fault(), userData);
                                         work.finish(0);
                                       });
  return CUDA_SUCCESS;
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void* userData) {
  not_null(reinterpret_cast<void*>(fn), "fn");
  issue(resolve_stream(hStream), HostCall{fn, userData});
  return CUDA_SUCCESS;
}

// ---- Attributes: kept and returned; they are hints that change nothing that this device models
// --------------------------

namespace {
void check_stream_attribute(CUstreamAttrID attr) {
  switch (attr) {
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
      return;
    default:
      refuse(CUDA_ERROR_INVALID_VALUE, "attribute {} is not one of a stream", static_cast<int>(attr));
  }
}
}  // namespace

CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue* value_out) {
  const StreamRef stream = resolve_stream(hStream);
  check_stream_attribute(attr);
  std::memset(not_null(value_out, "value_out"), 0, sizeof *value_out);
  std::lock_guard lock(stream.context->mutex);
  if (auto it = stream->attributes.find(attr); it != stream->attributes.end())
    *value_out = it->second;
  else if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
    value_out->priority = stream->priority;
  else if (attr == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY)
    value_out->syncPolicy = CU_SYNC_POLICY_AUTO;
  else if (attr == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP)
    value_out->memSyncDomainMap = {0, 1};
  return CUDA_SUCCESS;
}

CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue* value) {
  const StreamRef stream = resolve_stream(hStream);
  check_stream_attribute(attr);
  std::lock_guard lock(stream.context->mutex);
  stream->attributes[attr] = *not_null(value, "value");
  if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY) stream->priority = value->priority;
  return CUDA_SUCCESS;
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src) {
  const StreamRef to = resolve_stream(dst), from = resolve_stream(src);
  if (to.context != from.context)
    refuse(CUDA_ERROR_INVALID_HANDLE, "the streams belong to different contexts");
  std::lock_guard lock(to.context->mutex);
  to->attributes = from->attributes;
  return CUDA_SUCCESS;
}

// ---- Memory operations of streams
// -----------------------------------------------------------------------------------------

namespace {

void check_word(CUdeviceptr address, size_t bytes) {
  const Allocation* a = runtime().memory().find(address);
  if (!a || address % bytes != 0 || address + bytes > a->end())
    refuse(CUDA_ERROR_INVALID_VALUE, "{} aligned bytes of memory expected at {}", bytes,
           runtime().memory().describe(address));
}

template <class T>
CUresult write_value(CUstream handle, CUdeviceptr address, T value, unsigned flags) {
  if (flags & ~unsigned{CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER})
    refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0 or 1, got {:#x}", flags);
  const StreamRef stream = resolve_stream(handle);
  check_word(address, sizeof(T));
  refuse_capturing(stream, "cuStreamWriteValue", CUDA_ERROR_NOT_SUPPORTED);
  stream.context->enqueue(*stream.stream, Work::Place::inline_, [address, value](Work& work) {
    if (const Allocation* a = runtime().memory().find(address)) {
      mark_written(*a, address, sizeof(T));
      std::atomic_ref<T>(*reinterpret_cast<T*>(address)).store(value, std::memory_order_seq_cst);
    }
    work.finish(0);
  });
  return CUDA_SUCCESS;
}

template <class T>
CUresult wait_value(CUstream handle, CUdeviceptr address, T value, unsigned flags) {
  if (flags & CU_STREAM_WAIT_VALUE_FLUSH)
    refuse(CUDA_ERROR_NOT_SUPPORTED,
           "flushing remote writes is not supported (CAN_FLUSH_REMOTE_WRITES is 0)");
  if (flags > CU_STREAM_WAIT_VALUE_NOR)
    refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0..3, got {:#x}", flags);
  const StreamRef stream = resolve_stream(handle);
  check_word(address, sizeof(T));
  refuse_capturing(stream, "cuStreamWaitValue", CUDA_ERROR_NOT_SUPPORTED);
  stream.context->enqueue(
      *stream.stream, Work::Place::thread, [address, value, flags, context = stream.context](Work& work) {
        auto holds = [&] {
          const T now = std::atomic_ref<T>(*reinterpret_cast<T*>(address)).load(std::memory_order_seq_cst);
          switch (flags) {
            case CU_STREAM_WAIT_VALUE_GEQ:
              return static_cast<std::make_signed_t<T>>(now - value) >= 0;
            case CU_STREAM_WAIT_VALUE_EQ:
              return now == value;
            case CU_STREAM_WAIT_VALUE_AND:
              return (now & value) != 0;
            default:
              return ~(now | value) != 0;
          }
        };
        // A freed word or a faulted context ends the wait: nobody can write it any more.
        while (runtime().memory().find(address) && context->fault() == CUDA_SUCCESS && !holds())
          std::this_thread::sleep_for(std::chrono::microseconds(20));
        work.finish(0);
      });
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags) {
  return write_value<uint32_t>(stream, addr, value, flags);
}
CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags) {
  return write_value<uint64_t>(stream, addr, value, flags);
}
CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags) {
  return wait_value<uint32_t>(stream, addr, value, flags);
}
CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags) {
  return wait_value<uint64_t>(stream, addr, value, flags);
}

// ---- Events
// -----------------------------------------------------------------------------------------------------------

CUresult cuEventCreate(CUevent* phEvent, unsigned int Flags) {
  not_null(phEvent, "phEvent");
  if (Flags & CU_EVENT_INTERPROCESS)
    refuse(CUDA_ERROR_NOT_SUPPORTED, "interprocess events are not implemented");
  if (Flags & ~unsigned{CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING})
    refuse(CUDA_ERROR_INVALID_VALUE, "Flags {:#x} has unknown bits", Flags);
  auto event = std::make_shared<Event>();
  event->context = current_context().get();
  event->flags = Flags;
  runtime().events.add(event);
  *phEvent = reinterpret_cast<CUevent>(event.get());
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent hEvent) {
  if (!runtime().events.remove(hEvent))
    refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not an event", static_cast<void*>(hEvent));
  return CUDA_SUCCESS;
}

CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags) {
  if (flags & ~unsigned{CU_EVENT_RECORD_EXTERNAL})
    refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0 or 1, got {}", flags);
  const auto event = event_of(hEvent);
  const StreamRef stream = resolve_stream(hStream);
  if (event->context != stream.context.get())
    refuse(CUDA_ERROR_INVALID_HANDLE, "event and stream belong to different contexts");
  record_event(stream, event, flags);
  return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream) {
  return api::cuEventRecordWithFlags(hEvent, hStream, 0);
}

CUresult cuEventQuery(CUevent hEvent) {
  const auto event = event_of(hEvent);
  event->context->check_fault();
  refuse_captured(*event, "cuEventQuery");
  refuse_unsafe("cuEventQuery");
  const WorkPtr work = event->last_recorded();
  if (work && !work->finished()) return CUDA_ERROR_NOT_READY;
  event->context->check_fault();
  return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent hEvent) {
  const auto event = event_of(hEvent);
  refuse_captured(*event, "cuEventSynchronize");
  refuse_unsafe("cuEventSynchronize");
  if (const WorkPtr work = event->last_recorded()) work->wait();
  event->context->check_fault();
  return CUDA_SUCCESS;
}

// Modelled device time between the two events: what the commands between them are modelled to take. Time in
// which the host leaves the stream idle does not count.
CUresult cuEventElapsedTime_v2(float* pMilliseconds, CUevent hStart, CUevent hEnd) {
  not_null(pMilliseconds, "pMilliseconds");
  const auto start = event_of(hStart), end = event_of(hEnd);
  if ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING)
    refuse(CUDA_ERROR_INVALID_HANDLE, "an event was created with CU_EVENT_DISABLE_TIMING");
  refuse_captured(*start, "cuEventElapsedTime");
  refuse_captured(*end, "cuEventElapsedTime");
  const WorkPtr from = start->last_recorded(), to = end->last_recorded();
  if (!from || !to)
    refuse(CUDA_ERROR_INVALID_HANDLE, "the {} event was never recorded", !from ? "start" : "end");
  if (!from->finished() || !to->finished()) return CUDA_ERROR_NOT_READY;
  end->context->check_fault();
  *pMilliseconds = static_cast<float>((to->end() - from->end()) * 1e3);
  return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float* pMilliseconds, CUevent hStart, CUevent hEnd) {
  return api::cuEventElapsedTime_v2(pMilliseconds, hStart, hEnd);
}

}  // namespace ptxops::virt::api
