// Flat bytes of a cache entry: little-endian 64-bit numbers, and texts with their length. Read on the machine
// that wrote them.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ptxops::jit {

struct Writer {
  std::string& out;

  Writer& number(uint64_t value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& text(std::string_view s) {
    number(s.size());
    out.append(s);
    return *this;
  }
  template <typename T>
  Writer& array(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    return text({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }
};

// Throws std::runtime_error at the end of the bytes.
struct Reader {
  std::string_view bytes;

  std::string_view take(uint64_t n) {
    if (n > bytes.size()) throw std::runtime_error("cache entry: truncated");
    const auto piece = bytes.substr(0, n);
    bytes.remove_prefix(n);
    return piece;
  }
  uint64_t number() {
    uint64_t value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view text() { return take(number()); }
  template <typename T>
  std::vector<T> array() {
    const auto piece = text();
    if (piece.size() % sizeof(T)) throw std::runtime_error("cache entry: a torn array");
    std::vector<T> values(piece.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), piece.data(), piece.size());
    return values;
  }
};

}  // namespace ptxops::jit
