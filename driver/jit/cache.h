// Content-addressed files, shared by any number of processes.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ptxops::jit {

struct CacheKey {
  uint64_t high = 0, low = 0;
  std::string hex() const;
  bool operator==(const CacheKey&) const = default;
};

// XXH3-128 over a sequence of fields, each with its length, so that no two sequences read alike.
class KeyBuilder {
 public:
  explicit KeyBuilder(std::string_view purpose);
  ~KeyBuilder();
  KeyBuilder(const KeyBuilder&) = delete;
  KeyBuilder& operator=(const KeyBuilder&) = delete;
  KeyBuilder& add(std::string_view field);
  KeyBuilder& add(uint64_t field);
  CacheKey key() const;

 private:
  void* state_;
};

// An entry is one file: header (magic, key, length, checksum) and payload. It is written beside its place,
// synced, and renamed into it, so readers see whole entries only; a truncated or altered one is removed and
// reads as absent. Methods may be called from any thread. No failure of the file system is an error: the
// cache then holds nothing, and take_warning() says why.
class Cache {
 public:
  // PTXOPS_CACHE_DIR, else $XDG_CACHE_HOME/ptxops, else ~/.cache/ptxops; PTXOPS_CACHE=off: no cache.
  static Cache from_environment();
  // An empty directory name: no cache.
  explicit Cache(std::string directory) : directory_(std::move(directory)) {}
  Cache(const Cache&) = delete;

  std::optional<std::string> load(const CacheKey& key) const;
  bool store(const CacheKey& key, std::string_view payload) const;

  bool enabled() const { return !directory_.empty(); }
  const std::string& directory() const { return directory_; }
  std::string entry_path(const CacheKey& key) const;
  // The first failure to write since the cache was made; empty when there was none or it was already told.
  std::string take_warning() const;

 private:
  bool give_up(const std::string& what, int error) const;

  std::string directory_;
  enum : int { kFine, kFailed, kTold };
  mutable std::atomic<int> state_{kFine};
  mutable std::string warning_;
  mutable std::atomic_flag warning_taken_ = ATOMIC_FLAG_INIT;
};

// The process's cache, from the environment at first use.
const Cache& default_cache();

}  // namespace ptxops::jit
