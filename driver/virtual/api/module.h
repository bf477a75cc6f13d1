// Loaded code: modules (one context), libraries (every context), and the functions in them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "driver/abi/types.h"
#include "driver/virtual/exec/program.h"

namespace ptxops::virt {

class Context;
struct Device;
struct LoadedModule;
struct LoadedLibrary;
struct LibraryKernel;

// What cuFuncSetAttribute can change.
struct FunctionSettings {
  int max_dynamic_shared = 0;  // bytes; set to what needs no opting in when the function is made
  int carveout = -1;           // percent
  bool non_portable_cluster = false;
  int required_cluster[3] = {0, 0, 0};
  int scheduling_policy = 0;
  abi::CUfunc_cache cache = abi::CU_FUNC_CACHE_PREFER_NONE;
};

struct Function {
  std::weak_ptr<LoadedModule> module;
  std::shared_ptr<Program> program;  // code outlives the module while launches need it
  const Kernel* kernel = nullptr;
  std::mutex mutex;
  FunctionSettings settings;
};

struct LoadedModule {
  std::weak_ptr<Context> context;
  std::shared_ptr<Program> program;
  std::vector<std::shared_ptr<Function>> functions;  // in the order of the text
  LoadedLibrary* library = nullptr;
};

struct LibraryKernel {
  LoadedLibrary* library = nullptr;
  std::string name;
  uint32_t index = 0;  // in LoadedModule::functions
};

struct LoadedLibrary {
  std::string text;
  std::mutex mutex;
  std::map<const Context*, std::shared_ptr<LoadedModule>> modules;
  std::vector<std::shared_ptr<LibraryKernel>> kernels;
};

// The PTX text of a module image; throws Refusal for cubins, fat binaries and anything else the device cannot
// execute.
std::string ptx_of(const void* image);

// A JIT option list, checked; writes logs and sizes back. Throws Refusal for unknown or unsupported options.
class JitOptions {
 public:
  JitOptions(unsigned count, abi::CUjit_option* options, void** values);
  void write_error_log(const std::string& text);
  void write_info_log(const std::string& text);
  void write_wall_time(float milliseconds);

 private:
  struct Log {
    char* buffer = nullptr;
    size_t size = 0;
    void** written = nullptr;
    void write(const std::string& text);
  };
  Log error_, info_;
  void** wall_time_ = nullptr;
};

// Parses and decodes for a context, filling the logs. Throws Refusal with the line-cited messages.
std::shared_ptr<LoadedModule> load_module(const std::shared_ptr<Context>& context, const std::string& text,
                                          JitOptions& options);

// A CUfunction, or a CUkernel used in its place (in the current context). Throws INVALID_HANDLE.
std::shared_ptr<Function> resolve_function(abi::CUfunction handle);
// The function of a library kernel in a context, loading the library there if need be.
std::shared_ptr<Function> function_of(LibraryKernel& kernel, const std::shared_ptr<Context>& context);

int function_attribute(Function& function, abi::CUfunction_attribute attribute);
void set_function_attribute(Function& function, abi::CUfunction_attribute attribute, int value);

}  // namespace ptxops::virt
