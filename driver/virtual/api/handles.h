// Handles given to the caller: the object's address, valid while it is in the table. Anything else is refused
// instead of dereferenced.
#pragma once

#include <memory>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

namespace ptxops::virt {

template <class Object>
class HandleTable {
 public:
  void add(std::shared_ptr<Object> object) {
    std::unique_lock lock(mutex_);
    const void* key = object.get();
    objects_[key] = std::move(object);
  }
  // The object, or null for a handle that is not (or no longer) valid.
  std::shared_ptr<Object> find(const void* handle) const {
    std::shared_lock lock(mutex_);
    auto it = objects_.find(handle);
    return it == objects_.end() ? nullptr : it->second;
  }
  // Removes and returns it; null when there is none.
  std::shared_ptr<Object> remove(const void* handle) {
    std::unique_lock lock(mutex_);
    auto it = objects_.find(handle);
    if (it == objects_.end()) return nullptr;
    auto object = std::move(it->second);
    objects_.erase(it);
    return object;
  }
  template <class Predicate>
  std::vector<std::shared_ptr<Object>> remove_if(Predicate predicate) {
    std::unique_lock lock(mutex_);
    std::vector<std::shared_ptr<Object>> removed;
    for (auto it = objects_.begin(); it != objects_.end();)
      if (predicate(*it->second)) {
        removed.push_back(std::move(it->second));
        it = objects_.erase(it);
      } else {
        ++it;
      }
    return removed;
  }

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<const void*, std::shared_ptr<Object>> objects_;
};

}  // namespace ptxops::virt
