#include "driver/jit/nvrtc.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

#include "driver/jit/ptxas.h"
#include "driver/jit/tool_search.h"

namespace ptxops::jit {

// nvrtc's C interface, as far as we use it. nvrtcResult is an int; 0 success, 6 compilation error.
struct Nvrtc::Api {
  using Program = struct ProgramTag*;
  static constexpr int kSuccess = 0;
  static constexpr int kCompilationError = 6;
  const char* (*get_error_string)(int) = nullptr;
  int (*version)(int*, int*) = nullptr;
  int (*create_program)(Program*, const char* source, const char* name, int header_count,
                        const char* const* headers, const char* const* header_names) = nullptr;
  int (*destroy_program)(Program*) = nullptr;
  int (*compile_program)(Program, int option_count, const char* const* options) = nullptr;
  int (*get_ptx_size)(Program, size_t*) = nullptr;
  int (*get_ptx)(Program, char*) = nullptr;
  int (*get_cubin_size)(Program, size_t*) = nullptr;
  int (*get_cubin)(Program, char*) = nullptr;
  int (*get_log_size)(Program, size_t*) = nullptr;
  int (*get_log)(Program, char*) = nullptr;

  std::string identity;
  std::string include_directory;  // empty: no headers beside the library

  void check(int result, const char* call) const {
    if (result != kSuccess)
      throw ToolError(fmt::format("{}: {} ({})", call, get_error_string(result), result));
  }
};

namespace {

using Api = Nvrtc::Api;

template <typename F>
void resolve(void* library, const char* symbol, F& function) {
  function = reinterpret_cast<F>(dlsym(library, symbol));
  if (!function) throw ToolError(fmt::format("it has no symbol {}", symbol));
}

std::shared_ptr<const Api> load(const std::string& path) {
  // nvrtc asks for its builtins by name alone: what is loaded already, from beside it, is found.
  std::error_code ignored;
  for (const auto& file :
       std::filesystem::directory_iterator(std::filesystem::path(path).parent_path(), ignored))
    if (file.path().filename().string().starts_with("libnvrtc-builtins.so"))
      dlopen(file.path().c_str(), RTLD_NOW | RTLD_LOCAL);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw ToolError(dlerror());
  auto api = std::make_shared<Api>();
  resolve(library, "nvrtcGetErrorString", api->get_error_string);
  resolve(library, "nvrtcVersion", api->version);
  resolve(library, "nvrtcCreateProgram", api->create_program);
  resolve(library, "nvrtcDestroyProgram", api->destroy_program);
  resolve(library, "nvrtcCompileProgram", api->compile_program);
  resolve(library, "nvrtcGetPTXSize", api->get_ptx_size);
  resolve(library, "nvrtcGetPTX", api->get_ptx);
  resolve(library, "nvrtcGetCUBINSize", api->get_cubin_size);
  resolve(library, "nvrtcGetCUBIN", api->get_cubin);
  resolve(library, "nvrtcGetProgramLogSize", api->get_log_size);
  resolve(library, "nvrtcGetProgramLog", api->get_log);
  int major = 0, minor = 0;
  api->check(api->version(&major, &minor), "nvrtcVersion");
  namespace fs = std::filesystem;
  const fs::path real = fs::canonical(path);
  api->identity = fmt::format("nvrtc {}.{} ({})", major, minor, real.filename().string());
  // lib64/ or lib/ beside include/; a toolkit's lib64 may be a link into targets/x86_64-linux/lib.
  for (const fs::path& file : {fs::path(path), real}) {
    const fs::path include = file.parent_path().parent_path() / "include";
    std::error_code error;
    if (api->include_directory.empty() && fs::is_directory(include, error)) api->include_directory = include;
  }
  return api;
}

std::string text_of(const Api& api, Api::Program program, int (*size_of)(Api::Program, size_t*),
                    int (*get)(Api::Program, char*), const char* call) {
  size_t size = 0;
  api.check(size_of(program, &size), call);
  std::string text(size, '\0');
  if (size) api.check(get(program, text.data()), call);
  return text;
}

void drop_final_nul(std::string& text) {
  if (!text.empty() && text.back() == '\0') text.pop_back();
}

}  // namespace

const std::string& Nvrtc::identity() const {
  return api_->identity;
}

NvrtcResult Nvrtc::compile(const std::string& source, const std::string& name,
                           const NvrtcOptions& options) const {
  std::vector<const char*> header_texts, header_names, flags;
  for (const auto& [header, text] : options.headers) {
    header_names.push_back(header.c_str());
    header_texts.push_back(text.c_str());
  }
  std::vector<std::string> all = options.flags;
  all.push_back((options.cubin ? "--gpu-architecture=sm_" : "--gpu-architecture=compute_") + options.arch);
  if (!api_->include_directory.empty()) all.push_back("--include-path=" + api_->include_directory);
  for (const std::string& flag : all) flags.push_back(flag.c_str());

  Api::Program program = nullptr;
  api_->check(
      api_->create_program(&program, source.c_str(), name.c_str(), static_cast<int>(header_texts.size()),
                           header_texts.data(), header_names.data()),
      "nvrtcCreateProgram");
  const auto destroy = [this](Api::Program p) { api_->destroy_program(&p); };
  const std::unique_ptr<std::remove_pointer_t<Api::Program>, decltype(destroy)> owner(program, destroy);

  NvrtcResult result;
  const int status = api_->compile_program(program, static_cast<int>(flags.size()), flags.data());
  result.log = text_of(*api_, program, api_->get_log_size, api_->get_log, "nvrtcGetProgramLog");
  drop_final_nul(result.log);
  if (status == Api::kCompilationError) return result;
  if (status != Api::kSuccess && !result.log.empty())
    throw ToolError(fmt::format("nvrtcCompileProgram: {}\n{}", api_->get_error_string(status), result.log));
  api_->check(status, "nvrtcCompileProgram");
  result.ok = true;
  if (options.cubin) {
    result.image = text_of(*api_, program, api_->get_cubin_size, api_->get_cubin, "nvrtcGetCUBIN");
  } else {
    result.image = text_of(*api_, program, api_->get_ptx_size, api_->get_ptx, "nvrtcGetPTX");
    drop_final_nul(result.image);
  }
  return result;
}

NvrtcSearch find_nvrtc() {
  const ToolPath found = find_nvrtc_path();
  if (found.path.empty()) return {nullptr, found.status("nvrtc")};
  try {
    auto tool = std::make_shared<const Nvrtc>(load(found.path));
    return {tool, found.status(tool->identity())};
  } catch (const std::exception& e) {
    return {nullptr, fmt::format("nvrtc: cannot use {}: {}", found.path, e.what())};
  }
}

}  // namespace ptxops::jit
