#include "driver/virtual/exec/system_call.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>

#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/grid.h"
#include "driver/virtual/exec/shadow.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

// What kernels printed and nobody has seen yet.
struct Output {
  std::mutex mutex;
  std::string text;
};
Output& output() {
  static auto* o = new Output;  // outlives the engine's threads
  return *o;
}

uint64_t argument(Warp& w, const SystemCall& call, size_t i, uint32_t lane) {
  uint64_t value = 0;
  const Place& place = call.arguments[i];
  std::memcpy(&value, host_of(w, *w.split->frame, place, lane, place.bytes), place.bytes);
  return value;
}

// A value of T, or text up to its zero, at a generic address; false after a fault.
template <class T>
bool read(Warp& w, const Op& op, uint32_t lane, uint64_t address, T& out) {
  const Access access{.size = sizeof(T), .alignment = sizeof(T)};
  const std::byte* at = resolve(w, op, static_cast<int>(lane), address, access);
  if (at) std::memcpy(&out, at, sizeof(T));
  return at != nullptr;
}
bool read(Warp& w, const Op& op, uint32_t lane, uint64_t address, std::string& out) {
  out.clear();
  for (char c;; out += c) {
    if (!read(w, op, lane, address + out.size(), c)) return false;
    if (c == 0) return true;
  }
}

// The arguments of a printf behind its format: each at a multiple of its own size, as C promotes them.
class Arguments {
 public:
  Arguments(Warp& w, const Op& op, uint32_t lane, uint64_t address)
      : w_(w), op_(op), lane_(lane), address_(address) {}

  template <class T>
  bool next(T& out) {
    address_ = (address_ + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    ++count;
    if (!read(w_, op_, lane_, address_, out)) return false;
    address_ += sizeof(T);
    return true;
  }
  bool text(std::string& out) {
    uint64_t address;
    if (!next(address)) return false;
    return address ? read(w_, op_, lane_, address, out) : (out = "(null)", true);
  }
  int count = 0;

 private:
  Warp& w_;
  const Op& op_;
  uint32_t lane_;
  uint64_t address_;
};

template <class T>
std::string print(const std::string& spec, T value) {
  char small[128];
  const int n = std::snprintf(small, sizeof small, spec.c_str(), value);
  if (n < static_cast<int>(sizeof small)) return n > 0 ? std::string(small, static_cast<size_t>(n)) : "";
  std::string large(static_cast<size_t>(n) + 1, 0);
  std::snprintf(large.data(), large.size(), spec.c_str(), value);
  large.pop_back();
  return large;
}

// One conversion, `spec` without length modifiers; false after a fault.
bool convert(Arguments& arguments, std::string spec, char conversion, bool wide, std::string& out) {
  switch (conversion) {
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
      if (wide) {
        unsigned long long v = 0;
        if (!arguments.next(v)) return false;
        out += print(spec + "ll" + conversion, v);
        return true;
      }
      [[fallthrough]];
    case 'c': {
      unsigned v = 0;
      if (!arguments.next(v)) return false;
      out += print(spec + conversion, v);
      return true;
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case 'a':
    case 'A': {
      double v = 0;
      if (!arguments.next(v)) return false;
      out += print(spec + conversion, v);
      return true;
    }
    case 'p': {
      void* v = nullptr;
      if (!arguments.next(v)) return false;
      out += print(spec + conversion, v);
      return true;
    }
    case 's': {
      std::string v;
      if (!arguments.text(v)) return false;
      out += print(spec + conversion, v.c_str());
      return true;
    }
    default:
      out += spec + conversion;  // as it stands, like CUDA
      return true;
  }
}

bool expand(Arguments& arguments, std::string_view format, std::string& out) {
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    std::string spec = "%";
    bool wide = false;
    for (++i; i < format.size() && std::string_view("-+ #0123456789.*hlLjzt").find(format[i]) != format.npos;
         ++i) {
      const char c = format[i];
      if (c == '*') {
        int n = 0;
        if (!arguments.next(n)) return false;
        spec += std::to_string(n);
      } else if (std::string_view("hlLjzt").find(c) == std::string_view::npos) {
        spec += c;
      } else {
        wide |= c != 'h' && c != 'L';  // long is 64 bits wide
      }
    }
    if (i == format.size()) break;
    if (format[i] == '%')
      out += '%';
    else if (!convert(arguments, spec, format[i], wide, out))
      return false;
  }
  return true;
}

// int vprintf(const char* format, void* arguments)
Step device_printf(Warp& w, const Op& op, uint32_t lanes) {
  const auto& call = *reinterpret_cast<const SystemCall*>(op.imm);
  for (uint32_t m = lanes; m; m &= m - 1) {
    const auto lane = static_cast<uint32_t>(__builtin_ctz(m));
    std::string format, text;
    if (!read(w, op, lane, argument(w, call, 0, lane), format)) return Step::fault;
    Arguments arguments(w, op, lane, argument(w, call, 1, lane));
    if (!expand(arguments, format, text)) return Step::fault;
    if (call.result.bytes)
      std::memcpy(host_of(w, *w.split->frame, call.result, lane, 4), &arguments.count, 4);
    if (call.result.local)
      shadow_mark(w.local_shadow.get(),
                  size_t{lane} * w.local_size + w.split->frame->local_base + call.result.offset, 4);
    std::lock_guard lock(output().mutex);
    output().text += text;
  }
  return Step::next;
}

// void __assertfail(const char* message, const char* file, unsigned line, const char* function, size_t)
Step assert_fail(Warp& w, const Op& op, uint32_t lanes) {
  const auto& call = *reinterpret_cast<const SystemCall*>(op.imm);
  const Cta& cta = *w.cta;
  const Dim3& block = cta.cluster->grid->desc.block;
  std::string first;
  for (uint32_t m = lanes; m; m &= m - 1) {
    const auto lane = static_cast<uint32_t>(__builtin_ctz(m));
    std::string message, file, function;
    if (!read(w, op, lane, argument(w, call, 0, lane), message) ||
        !read(w, op, lane, argument(w, call, 1, lane), file) ||
        !read(w, op, lane, argument(w, call, 3, lane), function))
      return Step::fault;
    const uint32_t thread = w.id * kLanes + lane;
    const std::string text =
        fmt::format("{}:{}: {}: block: [{},{},{}], thread: [{},{},{}] Assertion `{}` failed.", file,
                    argument(w, call, 2, lane), function, cta.id.x, cta.id.y, cta.id.z, thread % block.x,
                    thread / block.x % block.y, thread / block.x / block.y, message);
    std::fprintf(stderr, "%s\n", text.c_str());
    if (first.empty()) first = text;
  }
  return w.fault(op, __builtin_ctz(lanes), Diagnostic::X9, first);
}

}  // namespace

Handler system_function(const isa::Function& f) {
  const auto takes = [&](std::initializer_list<uint64_t> sizes) {
    if (f.params.size() != sizes.size()) return false;
    size_t i = 0;
    for (const uint64_t size : sizes)
      if (f.params[i++]->size != size) return false;
    return true;
  };
  if (f.name == "vprintf" && takes({8, 8})) return device_printf;
  if (f.name == "__assertfail" && takes({8, 8, 4, 8, 8})) return assert_fail;
  return nullptr;
}

void flush_device_output() {
  std::lock_guard lock(output().mutex);
  if (output().text.empty()) return;
  std::fwrite(output().text.data(), 1, output().text.size(), stdout);
  std::fflush(stdout);
  output().text.clear();
}

}  // namespace ptxops::virt
