#include "driver/jit/cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "driver/jit/build.h"

namespace ptxops::jit {
namespace {

struct Header {
  char magic[8];
  uint64_t key_high, key_low;
  uint64_t length;
  uint64_t checksum_high, checksum_low;
};
constexpr char kMagic[9] = "PTXOPSC1";  // the digit is the format's version

Header header_for(const CacheKey& key, std::string_view payload) {
  const XXH128_hash_t sum = XXH3_128bits(payload.data(), payload.size());
  Header header{{}, key.high, key.low, payload.size(), sum.high64, sum.low64};
  std::memcpy(header.magic, kMagic, sizeof header.magic);
  return header;
}

struct File {
  int fd;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};

bool read_all(int fd, char* out, size_t size) {
  while (size > 0) {
    const ssize_t n = read(fd, out, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

std::string CacheKey::hex() const {
  return fmt::format("{:016x}{:016x}", high, low);
}

KeyBuilder::KeyBuilder(std::string_view purpose) : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
  add(purpose);
}

KeyBuilder::~KeyBuilder() {
  XXH3_freeState(static_cast<XXH3_state_t*>(state_));
}

KeyBuilder& KeyBuilder::add(uint64_t field) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), &field, sizeof field);
  return *this;
}

KeyBuilder& KeyBuilder::add(std::string_view field) {
  add(field.size());
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), field.data(), field.size());
  return *this;
}

CacheKey KeyBuilder::key() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(static_cast<XXH3_state_t*>(state_));
  return {hash.high64, hash.low64};
}

Cache Cache::from_environment() {
  if (const std::string choice = environment("PTXOPS_CACHE"); choice == "off")
    return Cache("");
  else if (!choice.empty())
    throw BuildError(fmt::format("PTXOPS_CACHE: expected off, or to be unset, got \"{}\"", choice));
  if (const std::string dir = environment("PTXOPS_CACHE_DIR"); !dir.empty()) return Cache(dir);
  if (const std::string xdg = environment("XDG_CACHE_HOME"); !xdg.empty()) return Cache(xdg + "/ptxops");
  if (const std::string home = environment("HOME"); !home.empty()) return Cache(home + "/.cache/ptxops");
  return Cache("");
}

std::string Cache::entry_path(const CacheKey& key) const {
  const std::string hex = key.hex();
  return fmt::format("{}/{}/{}", directory_, hex.substr(0, 2), hex.substr(2));
}

std::optional<std::string> Cache::load(const CacheKey& key) const {
  if (!enabled()) return std::nullopt;
  const std::string path = entry_path(key);
  const File file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return std::nullopt;
  struct stat info = {};
  Header header;
  if (fstat(file.fd, &info) == 0 && read_all(file.fd, reinterpret_cast<char*>(&header), sizeof header) &&
      static_cast<uint64_t>(info.st_size) == sizeof header + header.length) {
    std::string payload(header.length, '\0');
    if (read_all(file.fd, payload.data(), payload.size())) {
      const Header expected = header_for(key, payload);
      if (std::memcmp(&header, &expected, sizeof header) == 0) return payload;
    }
  }
  // Another process may just have replaced it with a good one: then that is built again, no harm done.
  unlink(path.c_str());
  return std::nullopt;
}

bool Cache::store(const CacheKey& key, std::string_view payload) const {
  if (!enabled() || state_ != kFine) return false;
  const std::string path = entry_path(key);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return give_up("make " + directory_, error.value());
  std::string temporary = path + ".XXXXXX";
  const Header header = header_for(key, payload);
  // No fsync: what a power failure cuts short, load() takes for absent.
  {
    const File file{mkostemp(temporary.data(), O_CLOEXEC)};
    if (file.fd < 0) return give_up("write " + temporary, errno);
    if (!write_all(file.fd, reinterpret_cast<const char*>(&header), sizeof header) ||
        !write_all(file.fd, payload.data(), payload.size())) {
      const int why = errno;
      unlink(temporary.c_str());
      return give_up("write " + temporary, why);
    }
  }
  if (rename(temporary.c_str(), path.c_str())) {
    const int why = errno;
    unlink(temporary.c_str());
    return give_up("rename " + temporary, why);
  }
  return true;
}

bool Cache::give_up(const std::string& what, int error) const {
  // One thread writes the warning; it is read only after kTold is seen.
  int expected = kFine;
  if (state_.compare_exchange_strong(expected, kFailed)) {
    warning_ = fmt::format("kernel cache off: cannot {}: {}", what, std::generic_category().message(error));
    state_ = kTold;
  }
  return false;
}

std::string Cache::take_warning() const {
  if (state_ != kTold || warning_taken_.test_and_set()) return {};
  return warning_;
}

const Cache& default_cache() {
  static const Cache cache = Cache::from_environment();
  return cache;
}

}  // namespace ptxops::jit
