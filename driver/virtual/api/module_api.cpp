// cuModule*, cuLibrary*, cuKernel* and cuFunc*.
#include <cstring>
#include <fstream>
#include <sstream>

#include "driver/virtual/api/capture.h"
#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/runtime.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt::api {
namespace {

Runtime& runtime() {
  return Runtime::get();
}

std::shared_ptr<LoadedModule> module_of(CUmodule handle) {
  auto module = runtime().modules.find(handle);
  if (!module) refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not a module", static_cast<void*>(handle));
  return module;
}

std::shared_ptr<LoadedLibrary> library_of(CUlibrary handle) {
  auto library = runtime().libraries.find(handle);
  if (!library) refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not a library", static_cast<void*>(handle));
  return library;
}

std::shared_ptr<LibraryKernel> kernel_of(CUkernel handle) {
  auto kernel = runtime().kernels.find(handle);
  if (!kernel) refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not a library kernel", static_cast<void*>(handle));
  return kernel;
}

// The current context, or, where none is current, the primary one of the device, as cuKernel* functions use
// it.
std::shared_ptr<Context> context_on(CUdevice dev) {
  Device& device = runtime().device(dev);
  auto& stack = context_stack();
  if (!stack.empty() && stack.back() && !stack.back()->destroyed && &stack.back()->device == &device)
    return stack.back();
  std::lock_guard lock(device.mutex);
  if (!device.primary) refuse(CUDA_ERROR_INVALID_CONTEXT, "no context is active on device {}", dev);
  return device.primary;
}

void publish(const std::shared_ptr<LoadedModule>& module) {
  runtime().modules.add(module);
  for (const auto& function : module->functions) runtime().functions.add(function);
}

std::string file_contents(const char* name) {
  std::ifstream file(not_null(name, "file name"), std::ios::binary);
  if (!file) refuse(CUDA_ERROR_FILE_NOT_FOUND, "{}: cannot be opened", name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string known_names(const LoadedModule& module) {
  std::string names;
  for (const auto& f : module.functions) names += (names.empty() ? "" : ", ") + f->kernel->name;
  return names.empty() ? "none" : names;
}

void find_global(const LoadedModule& module, CUdeviceptr* dptr, size_t* bytes, const char* name) {
  uint64_t address = 0, size = 0;
  if (!module.program->find_variable(not_null(name, "name"), address, size))
    refuse(CUDA_ERROR_NOT_FOUND, "no .global or .const variable {} in the module", name);
  if (dptr) *dptr = address;
  if (bytes) *bytes = size;
}

CUresult param_info(const Function& f, size_t index, size_t* offset, size_t* size) {
  const isa::Function& ptx = *f.kernel->code->function;
  if (index >= ptx.params.size())
    refuse(CUDA_ERROR_INVALID_VALUE, "kernel {} has {} parameters, no number {}", f.kernel->name,
           ptx.params.size(), index);
  *not_null(offset, "paramOffset") = ptx.params[index]->offset;
  if (size) *size = ptx.params[index]->size;
  return CUDA_SUCCESS;
}

}  // namespace

// ---- Modules
// --------------------------------------------------------------------------------------------------------

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int numOptions,
                            CUjit_option* options, void** optionValues) {
  not_null(module, "module");
  const auto context = current_context();
  refuse_unsafe("cuModuleLoadData");
  JitOptions jit(numOptions, options, optionValues);
  const auto loaded = load_module(context, ptx_of(image), jit);
  publish(loaded);
  *module = reinterpret_cast<CUmodule>(loaded.get());
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return api::cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

CUresult cuModuleLoadFatBinary(CUmodule* module, const void* fatCubin) {
  return api::cuModuleLoadDataEx(module, fatCubin, 0, nullptr, nullptr);
}

CUresult cuModuleLoad(CUmodule* module, const char* fname) {
  return api::cuModuleLoadDataEx(module, file_contents(fname).c_str(), 0, nullptr, nullptr);
}

CUresult cuModuleUnload(CUmodule hmod) {
  const auto module = module_of(hmod);
  refuse_unsafe("cuModuleUnload");
  if (module->library) refuse(CUDA_ERROR_NOT_PERMITTED, "the module belongs to a library: unload that");
  for (const auto& function : module->functions) runtime().functions.remove(function.get());
  runtime().modules.remove(module.get());
  return CUDA_SUCCESS;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  *not_null(mode, "mode") = CU_MODULE_EAGER_LOADING;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* hfunc, CUmodule hmod, const char* name) {
  not_null(hfunc, "hfunc");
  not_null(name, "name");
  const auto module = module_of(hmod);
  for (const auto& function : module->functions)
    if (function->kernel->name == name) {
      *hfunc = reinterpret_cast<CUfunction>(function.get());
      return CUDA_SUCCESS;
    }
  refuse(CUDA_ERROR_NOT_FOUND, "no entry function {} in the module; it has: {}", name, known_names(*module));
}

CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule mod) {
  *not_null(count, "count") = static_cast<unsigned>(module_of(mod)->functions.size());
  return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction* functions, unsigned int numFunctions, CUmodule mod) {
  not_null(functions, "functions");
  const auto module = module_of(mod);
  for (unsigned i = 0; i < numFunctions && i < module->functions.size(); ++i)
    functions[i] = reinterpret_cast<CUfunction>(module->functions[i].get());
  return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* dptr, size_t* bytes, CUmodule hmod, const char* name) {
  find_global(*module_of(hmod), dptr, bytes, name);
  return CUDA_SUCCESS;
}

// ---- Libraries
// ------------------------------------------------------------------------------------------------------

CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* jitOptions,
                           void** jitOptionsValues, unsigned int numJitOptions,
                           CUlibraryOption* libraryOptions, void** libraryOptionValues,
                           unsigned int numLibraryOptions) {
  not_null(library, "library");
  for (unsigned i = 0; i < numLibraryOptions; ++i) {
    if (not_null(libraryOptions, "libraryOptions")[i] != CU_LIBRARY_BINARY_IS_PRESERVED)
      refuse(CUDA_ERROR_NOT_SUPPORTED, "library option {} is not implemented by the virtual device",
             static_cast<int>(libraryOptions[i]));
    not_null(libraryOptionValues, "libraryOptionValues");
  }
  refuse_unsafe("cuLibraryLoadData");
  JitOptions jit(numJitOptions, jitOptions, jitOptionsValues);
  auto loaded = std::make_shared<LoadedLibrary>();
  loaded->text = ptx_of(code);
  // Loaded at once where there is a context, so that errors appear here; else only parsed.
  auto& stack = context_stack();
  std::vector<std::string> names;
  if (!stack.empty() && stack.back() && !stack.back()->destroyed) {
    stack.back()->check_fault();
    const auto module = load_module(stack.back(), loaded->text, jit);
    module->library = loaded.get();
    loaded->modules[stack.back().get()] = module;
    publish(module);
    for (const auto& f : module->functions) names.push_back(f->kernel->name);
  } else {
    isa::Module parsed;
    std::vector<isa::Diagnostic> diagnostics;
    if (isa::parse(loaded->text, parsed, diagnostics) != isa::Result::ok) {
      jit.write_error_log(isa::render(diagnostics));
      throw Refusal{CUDA_ERROR_INVALID_PTX, isa::render(diagnostics)};
    }
    for (const isa::Function& f : parsed.functions)
      if (f.is_entry && f.defined) names.emplace_back(f.name);
    jit.write_error_log("");
    jit.write_info_log("");
  }
  for (uint32_t i = 0; i < names.size(); ++i) {
    auto kernel = std::make_shared<LibraryKernel>();
    kernel->library = loaded.get();
    kernel->name = names[i];
    kernel->index = i;
    runtime().kernels.add(kernel);
    loaded->kernels.push_back(std::move(kernel));
  }
  runtime().libraries.add(loaded);
  *library = reinterpret_cast<CUlibrary>(loaded.get());
  return CUDA_SUCCESS;
}

CUresult cuLibraryLoadFromFile(CUlibrary* library, const char* fileName, CUjit_option* jitOptions,
                               void** jitOptionsValues, unsigned int numJitOptions,
                               CUlibraryOption* libraryOptions, void** libraryOptionValues,
                               unsigned int numLibraryOptions) {
  return api::cuLibraryLoadData(library, file_contents(fileName).c_str(), jitOptions, jitOptionsValues,
                                numJitOptions, libraryOptions, libraryOptionValues, numLibraryOptions);
}

CUresult cuLibraryUnload(CUlibrary handle) {
  const auto library = library_of(handle);
  refuse_unsafe("cuLibraryUnload");
  for (const auto& kernel : library->kernels) runtime().kernels.remove(kernel.get());
  {
    std::lock_guard lock(library->mutex);
    for (const auto& [context, module] : library->modules) {
      for (const auto& function : module->functions) runtime().functions.remove(function.get());
      runtime().modules.remove(module.get());
      module->library = nullptr;
    }
  }
  runtime().libraries.remove(library.get());
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel* pKernel, CUlibrary handle, const char* name) {
  not_null(pKernel, "pKernel");
  not_null(name, "name");
  const auto library = library_of(handle);
  std::string known;
  for (const auto& kernel : library->kernels) {
    if (kernel->name == name) {
      *pKernel = reinterpret_cast<CUkernel>(kernel.get());
      return CUDA_SUCCESS;
    }
    known += (known.empty() ? "" : ", ") + kernel->name;
  }
  refuse(CUDA_ERROR_NOT_FOUND, "no entry function {} in the library; it has: {}", name,
         known.empty() ? "none" : known);
}

CUresult cuLibraryGetKernelCount(unsigned int* count, CUlibrary lib) {
  *not_null(count, "count") = static_cast<unsigned>(library_of(lib)->kernels.size());
  return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel* kernels, unsigned int numKernels, CUlibrary lib) {
  not_null(kernels, "kernels");
  const auto library = library_of(lib);
  for (unsigned i = 0; i < numKernels && i < library->kernels.size(); ++i)
    kernels[i] = reinterpret_cast<CUkernel>(library->kernels[i].get());
  return CUDA_SUCCESS;
}

namespace {
// The library's module in the current context.
std::shared_ptr<LoadedModule> module_here(LoadedLibrary& library) {
  const auto context = current_context();
  {
    std::lock_guard lock(library.mutex);
    if (auto it = library.modules.find(context.get()); it != library.modules.end()) return it->second;
  }
  if (library.kernels.empty()) {
    JitOptions none(0, nullptr, nullptr);
    const auto module = load_module(context, library.text, none);
    module->library = &library;
    publish(module);
    std::lock_guard lock(library.mutex);
    return library.modules[context.get()] = module;
  }
  return function_of(*library.kernels.front(), context)->module.lock();
}
}  // namespace

CUresult cuLibraryGetModule(CUmodule* pMod, CUlibrary handle) {
  const auto library = library_of(handle);
  *not_null(pMod, "pMod") = reinterpret_cast<CUmodule>(module_here(*library).get());
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetGlobal(CUdeviceptr* dptr, size_t* bytes, CUlibrary handle, const char* name) {
  const auto library = library_of(handle);
  find_global(*module_here(*library), dptr, bytes, name);
  return CUDA_SUCCESS;
}

// ---- Kernels of libraries
// ---------------------------------------------------------------------------------------------

CUresult cuKernelGetFunction(CUfunction* pFunc, CUkernel handle) {
  const auto kernel = kernel_of(handle);
  *not_null(pFunc, "pFunc") = reinterpret_cast<CUfunction>(function_of(*kernel, current_context()).get());
  return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary* pLib, CUkernel handle) {
  *not_null(pLib, "pLib") = reinterpret_cast<CUlibrary>(kernel_of(handle)->library);
  return CUDA_SUCCESS;
}

CUresult cuKernelGetAttribute(int* pi, CUfunction_attribute attrib, CUkernel handle, CUdevice dev) {
  const auto kernel = kernel_of(handle);
  *not_null(pi, "pi") = function_attribute(*function_of(*kernel, context_on(dev)), attrib);
  return CUDA_SUCCESS;
}

CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel handle, CUdevice dev) {
  const auto kernel = kernel_of(handle);
  set_function_attribute(*function_of(*kernel, context_on(dev)), attrib, val);
  return CUDA_SUCCESS;
}

CUresult cuKernelSetCacheConfig(CUkernel handle, CUfunc_cache config, CUdevice dev) {
  const auto function = function_of(*kernel_of(handle), context_on(dev));
  std::lock_guard lock(function->mutex);
  function->settings.cache = config;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char** name, CUkernel handle) {
  *not_null(name, "name") = kernel_of(handle)->name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel handle, size_t paramIndex, size_t* paramOffset, size_t* paramSize) {
  return param_info(*function_of(*kernel_of(handle), current_context()), paramIndex, paramOffset, paramSize);
}

// ---- Functions
// ----------------------------------------------------------------------------------------------------------

CUresult cuFuncGetAttribute(int* pi, CUfunction_attribute attrib, CUfunction hfunc) {
  *not_null(pi, "pi") = function_attribute(*resolve_function(hfunc), attrib);
  return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value) {
  set_function_attribute(*resolve_function(hfunc), attrib, value);
  return CUDA_SUCCESS;
}

CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config) {
  const auto function = resolve_function(hfunc);
  if (config < CU_FUNC_CACHE_PREFER_NONE || config > CU_FUNC_CACHE_PREFER_EQUAL)
    refuse(CUDA_ERROR_INVALID_VALUE, "cache preference: expected 0..3, got {}", static_cast<int>(config));
  std::lock_guard lock(function->mutex);
  function->settings.cache = config;
  return CUDA_SUCCESS;
}

CUresult cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig config) {
  resolve_function(hfunc);
  // Banks are four bytes wide on this device; the function remains for old programs and changes nothing, as
  // on one.
  if (config < CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE || config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
    refuse(CUDA_ERROR_INVALID_VALUE, "bank size: expected 0..2, got {}", static_cast<int>(config));
  return CUDA_SUCCESS;
}

CUresult cuFuncGetModule(CUmodule* hmod, CUfunction hfunc) {
  *not_null(hmod, "hmod") = reinterpret_cast<CUmodule>(resolve_function(hfunc)->module.lock().get());
  return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char** name, CUfunction hfunc) {
  *not_null(name, "name") = resolve_function(hfunc)->kernel->name.c_str();
  return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t* paramOffset, size_t* paramSize) {
  return param_info(*resolve_function(func), paramIndex, paramOffset, paramSize);
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction function) {
  resolve_function(function);
  *not_null(state, "state") = CU_FUNCTION_LOADING_STATE_LOADED;
  return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction function) {
  resolve_function(function);
  return CUDA_SUCCESS;
}

}  // namespace ptxops::virt::api
