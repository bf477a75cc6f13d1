#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "tests/driver/virtual/api/virtual_driver.h"
#include "tests/driver/virtual/check/run_twin.h"

namespace ptxops::virt::testing {
namespace {

using test::cuda;
using namespace abi;

void check(CUresult result, const char* what) {
  if (result != CUDA_SUCCESS) throw std::runtime_error(std::string(what) + ": " + cuda().report());
}
#define CHECK(call) check(cuda().call, #call)

struct ContextOfOne {
  CUcontext context = nullptr;
  ContextOfOne() { CHECK(cuCtxCreate_v2(&context, 0, 0)); }
  ~ContextOfOne() { cuda().cuCtxDestroy_v2(context); }
};

CUdeviceptr upload(const void* data, size_t bytes, bool written) {
  CUdeviceptr p = 0;
  CHECK(cuMemAlloc_v2(&p, bytes));
  // A fresh buffer is poisoned behind the driver's back: a device pointer of the virtual H800 is a host
  // address.
  if (written)
    CHECK(cuMemcpyHtoD_v2(p, data, bytes));
  else
    std::memcpy(reinterpret_cast<void*>(p), data, bytes);
  return p;
}

void launch(const Twin::Launch& l, CUmodule module, std::vector<std::byte> block, CUstream stream) {
  CUfunction function = nullptr;
  CHECK(cuModuleGetFunction(&function, module, l.entry.c_str()));
  CUlaunchAttribute attributes[2] = {};
  CUlaunchConfig c{};
  c.gridDimX = l.grid.x, c.gridDimY = l.grid.y, c.gridDimZ = l.grid.z;
  c.blockDimX = l.block.x, c.blockDimY = l.block.y, c.blockDimZ = l.block.z;
  c.sharedMemBytes = l.smem;
  c.hStream = stream;
  c.attrs = attributes;
  if (l.cluster.count() > 1) {
    attributes[c.numAttrs].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attributes[c.numAttrs++].value.clusterDim = {l.cluster.x, l.cluster.y, l.cluster.z};
  }
  if (l.programmatic) {
    attributes[c.numAttrs].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attributes[c.numAttrs++].value.programmaticStreamSerializationAllowed = 1;
  }
  size_t size = block.size();
  void* extra[] = {reinterpret_cast<void*>(kLaunchParamBufferPointer), block.data(),
                   reinterpret_cast<void*>(kLaunchParamBufferSize), &size,
                   reinterpret_cast<void*>(kLaunchParamEnd)};
  CHECK(cuLaunchKernelEx(&c, function, nullptr, extra));
}

// The driver's last finding, one line of JSON: its id, and the line of each site.
void read_finding(Outcome& outcome) {
  const auto last =
      reinterpret_cast<size_t (*)(char*, size_t)>(dlsym(cuda().library, "ptxopsVirtualLastFinding"));
  if (!last) throw std::runtime_error("the driver does not export ptxopsVirtualLastFinding");
  std::string json(last(nullptr, 0) + 1, '\0');
  last(json.data(), json.size());
  const std::string id = "\"id\":\"", line = "\"line\":";
  if (const size_t at = json.find(id); at != json.npos)
    outcome.code = json.substr(at + id.size(), json.find('"', at + id.size()) - at - id.size());
  for (size_t at = json.find(line); at != json.npos; at = json.find(line, at + 1))
    outcome.lines.insert(static_cast<uint32_t>(std::strtoul(json.c_str() + at + line.size(), nullptr, 10)));
}

}  // namespace

Outcome run_on_driver(const Twin& twin, const std::string& ptx) {
  Outcome outcome;
  outcome.before = initial_contents(twin);
  try {
    setenv("PTXOPS_CHECK", "full", 0);  // before the library is loaded
    const ContextOfOne context;
    CUmodule module = nullptr;
    CHECK(cuModuleLoadData(&module, ptx.c_str()));
    std::map<std::string, uint64_t> address;
    for (const auto& p : twin.parameters)
      if (p.kind == Twin::Parameter::Kind::buffer)
        address[p.name] = upload(outcome.before[p.name].data(), p.bytes, p.fill != Twin::Fill::fresh);
    CUstream stream = nullptr;
    CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (const auto& l : twin.launches) launch(l, module, parameter_block(twin, address), stream);
    outcome.ran = true;
    if (cuda().cuStreamSynchronize(stream) != CUDA_SUCCESS) {
      outcome.report = cuda().report();
      outcome.code = "unknown";
      read_finding(outcome);
    }
    for (const auto& p : twin.parameters) {
      if (p.kind != Twin::Parameter::Kind::buffer) continue;
      auto& words = outcome.after[p.name];
      words.resize(p.words);
      std::memcpy(words.data(), reinterpret_cast<const void*>(address.at(p.name)), words.size() * 4);
    }
  } catch (const std::exception& e) {
    outcome.report = e.what();
    outcome.ran = false;
  }
  return outcome;
}

}  // namespace ptxops::virt::testing
