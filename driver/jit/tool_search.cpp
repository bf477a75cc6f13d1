#include "driver/jit/tool_search.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace ptxops::jit {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<std::string> split_path(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::vector<std::string> subdirectories(const fs::path& directory, const std::string& prefix = "") {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    if (it->is_directory(error) && it->path().filename().string().starts_with(prefix))
      found.push_back(it->path());
  std::sort(found.begin(), found.end());
  return found;
}

// site-packages/nvidia/*/<leaf> of the active virtual environment.
std::vector<std::string> wheel_directories(const std::string& leaf) {
  std::vector<std::string> found;
  const std::string venv = environment("VIRTUAL_ENV");
  if (venv.empty()) return found;
  for (const std::string& python : subdirectories(fs::path(venv) / "lib", "python"))
    for (const std::string& package : subdirectories(fs::path(python) / "site-packages" / "nvidia"))
      found.push_back((fs::path(package) / leaf).string());
  return found;
}

bool is_program(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

// The newest "libnvrtc.so*" of a directory, by name; never the "alt" or "builtins" libraries.
std::string nvrtc_in(const std::string& directory) {
  std::string best;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.starts_with("libnvrtc.so") && it->path().string() > best) best = it->path();
  }
  return best;
}

}  // namespace

std::string ToolPath::status(const std::string& tool) const {
  if (!path.empty()) return fmt::format("{}: {}", tool, path);
  return fmt::format("{}: not found; looked in {}", tool, fmt::join(looked, ", "));
}

ToolPath find_ptxas_path() {
  ToolPath result;
  const auto check = [&](const std::string& path, const std::string& label) {
    result.looked.push_back(label);
    if (is_program(path)) result.path = fs::absolute(path);
    return !result.path.empty();
  };
  if (const std::string given = environment("PTXOPS_PTXAS"); !given.empty()) {
    check(given, "PTXOPS_PTXAS=" + given);
    return result;
  }
  for (const std::string& directory : split_path(environment("PATH")))
    if (check(directory + "/ptxas", directory)) return result;
  std::vector<std::string> rest;
  if (const std::string home = environment("CUDA_HOME"); !home.empty()) rest.push_back(home + "/bin");
  rest.push_back("/usr/local/cuda/bin");
  const auto wheels = wheel_directories("bin");
  rest.insert(rest.end(), wheels.begin(), wheels.end());
  for (const std::string& directory : rest)
    if (check(directory + "/ptxas", directory)) return result;
  return result;
}

ToolPath find_nvrtc_path() {
  ToolPath result;
  if (const std::string given = environment("PTXOPS_NVRTC"); !given.empty()) {
    result.looked.push_back("PTXOPS_NVRTC=" + given);
    std::error_code error;
    if (fs::is_regular_file(given, error)) result.path = fs::absolute(given);
    return result;
  }
  std::vector<std::string> places;
  if (const std::string home = environment("CUDA_HOME"); !home.empty()) places.push_back(home + "/lib64");
  places.push_back("/usr/local/cuda/lib64");
  for (const auto& directory : wheel_directories("lib")) places.push_back(directory);
  for (const auto& directory : split_path(environment("LD_LIBRARY_PATH"))) places.push_back(directory);
  for (const auto& directory : split_path(environment("PATH")))
    if (is_program(directory + "/ptxas") || is_program(directory + "/nvcc"))
      places.push_back(directory + "/../lib64");
  for (const std::string& directory : places) {
    result.looked.push_back(directory);
    result.path = nvrtc_in(directory);
    if (!result.path.empty()) break;
  }
  return result;
}

}  // namespace ptxops::jit
