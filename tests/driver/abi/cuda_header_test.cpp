// Every value, size, offset and signature of driver/abi against NVIDIA's cuda.h, at compile time.
#include "driver/abi/functions.h"

// With the internal switch, cuda.h declares every version of a function under its own name instead of
// renaming.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include <gtest/gtest.h>

#include <cstddef>

namespace {

#define PTXOPS_RESULT(name, value, text) static_assert(static_cast<long long>(::name) == value, #name);
#include "driver/abi/results.def"
#undef PTXOPS_RESULT

#define PTXOPS_ENUM(type) static_assert(sizeof(::type) == sizeof(ptxops::abi::type), #type);
#define PTXOPS_VALUE(name, value) static_assert(static_cast<long long>(::name) == value, #name);
#define PTXOPS_END(type)
#include "driver/abi/enums.def"
#undef PTXOPS_ENUM
#undef PTXOPS_VALUE
#undef PTXOPS_END

#define PTXOPS_SIZE(type)                                                    \
  static_assert(sizeof(::type) == sizeof(ptxops::abi::type), #type " size"); \
  static_assert(alignof(::type) == alignof(ptxops::abi::type), #type " alignment")
#define PTXOPS_OFFSET(type, member) \
  static_assert(offsetof(::type, member) == offsetof(ptxops::abi::type, member), #type "." #member)

PTXOPS_SIZE(CUuuid);
PTXOPS_OFFSET(CUuuid, bytes);
PTXOPS_SIZE(CUtensorMap);
PTXOPS_OFFSET(CUtensorMap, opaque);
PTXOPS_SIZE(CUaccessPolicyWindow);
PTXOPS_OFFSET(CUaccessPolicyWindow, base_ptr);
PTXOPS_OFFSET(CUaccessPolicyWindow, num_bytes);
PTXOPS_OFFSET(CUaccessPolicyWindow, hitRatio);
PTXOPS_OFFSET(CUaccessPolicyWindow, hitProp);
PTXOPS_OFFSET(CUaccessPolicyWindow, missProp);
PTXOPS_SIZE(CUlaunchMemSyncDomainMap);
PTXOPS_OFFSET(CUlaunchMemSyncDomainMap, default_);
PTXOPS_OFFSET(CUlaunchMemSyncDomainMap, remote);
PTXOPS_SIZE(CUlaunchAttributeValue);
PTXOPS_OFFSET(CUlaunchAttributeValue, pad);
PTXOPS_OFFSET(CUlaunchAttributeValue, accessPolicyWindow);
PTXOPS_OFFSET(CUlaunchAttributeValue, cooperative);
PTXOPS_OFFSET(CUlaunchAttributeValue, syncPolicy);
PTXOPS_OFFSET(CUlaunchAttributeValue, clusterDim);
PTXOPS_OFFSET(CUlaunchAttributeValue, clusterSchedulingPolicyPreference);
PTXOPS_OFFSET(CUlaunchAttributeValue, programmaticStreamSerializationAllowed);
PTXOPS_OFFSET(CUlaunchAttributeValue, programmaticEvent);
PTXOPS_OFFSET(CUlaunchAttributeValue, launchCompletionEvent);
PTXOPS_OFFSET(CUlaunchAttributeValue, priority);
PTXOPS_OFFSET(CUlaunchAttributeValue, memSyncDomainMap);
PTXOPS_OFFSET(CUlaunchAttributeValue, memSyncDomain);
PTXOPS_OFFSET(CUlaunchAttributeValue, preferredClusterDim);
PTXOPS_OFFSET(CUlaunchAttributeValue, deviceUpdatableKernelNode);
PTXOPS_OFFSET(CUlaunchAttributeValue, sharedMemCarveout);
PTXOPS_OFFSET(CUlaunchAttributeValue, nvlinkUtilCentricScheduling);
PTXOPS_SIZE(CUlaunchAttribute);
PTXOPS_OFFSET(CUlaunchAttribute, id);
PTXOPS_OFFSET(CUlaunchAttribute, pad);
PTXOPS_OFFSET(CUlaunchAttribute, value);
PTXOPS_SIZE(CUlaunchConfig);
PTXOPS_OFFSET(CUlaunchConfig, gridDimX);
PTXOPS_OFFSET(CUlaunchConfig, gridDimY);
PTXOPS_OFFSET(CUlaunchConfig, gridDimZ);
PTXOPS_OFFSET(CUlaunchConfig, blockDimX);
PTXOPS_OFFSET(CUlaunchConfig, blockDimY);
PTXOPS_OFFSET(CUlaunchConfig, blockDimZ);
PTXOPS_OFFSET(CUlaunchConfig, sharedMemBytes);
PTXOPS_OFFSET(CUlaunchConfig, hStream);
PTXOPS_OFFSET(CUlaunchConfig, attrs);
PTXOPS_OFFSET(CUlaunchConfig, numAttrs);
PTXOPS_SIZE(CUDA_MEMCPY2D);
PTXOPS_OFFSET(CUDA_MEMCPY2D, srcXInBytes);
PTXOPS_OFFSET(CUDA_MEMCPY2D, srcY);
PTXOPS_OFFSET(CUDA_MEMCPY2D, srcMemoryType);
PTXOPS_OFFSET(CUDA_MEMCPY2D, srcHost);
PTXOPS_OFFSET(CUDA_MEMCPY2D, srcDevice);
PTXOPS_OFFSET(CUDA_MEMCPY2D, srcArray);
PTXOPS_OFFSET(CUDA_MEMCPY2D, srcPitch);
PTXOPS_OFFSET(CUDA_MEMCPY2D, dstXInBytes);
PTXOPS_OFFSET(CUDA_MEMCPY2D, dstY);
PTXOPS_OFFSET(CUDA_MEMCPY2D, dstMemoryType);
PTXOPS_OFFSET(CUDA_MEMCPY2D, dstHost);
PTXOPS_OFFSET(CUDA_MEMCPY2D, dstDevice);
PTXOPS_OFFSET(CUDA_MEMCPY2D, dstArray);
PTXOPS_OFFSET(CUDA_MEMCPY2D, dstPitch);
PTXOPS_OFFSET(CUDA_MEMCPY2D, WidthInBytes);
PTXOPS_OFFSET(CUDA_MEMCPY2D, Height);
PTXOPS_SIZE(CUDA_MEMCPY3D);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcXInBytes);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcY);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcZ);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcLOD);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcMemoryType);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcHost);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcDevice);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcArray);
PTXOPS_OFFSET(CUDA_MEMCPY3D, reserved0);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcPitch);
PTXOPS_OFFSET(CUDA_MEMCPY3D, srcHeight);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstXInBytes);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstY);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstZ);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstLOD);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstMemoryType);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstHost);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstDevice);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstArray);
PTXOPS_OFFSET(CUDA_MEMCPY3D, reserved1);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstPitch);
PTXOPS_OFFSET(CUDA_MEMCPY3D, dstHeight);
PTXOPS_OFFSET(CUDA_MEMCPY3D, WidthInBytes);
PTXOPS_OFFSET(CUDA_MEMCPY3D, Height);
PTXOPS_OFFSET(CUDA_MEMCPY3D, Depth);
PTXOPS_SIZE(CUDA_KERNEL_NODE_PARAMS_v1);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, func);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, gridDimX);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, gridDimY);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, gridDimZ);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, blockDimX);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, blockDimY);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, blockDimZ);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, sharedMemBytes);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, kernelParams);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS_v1, extra);
PTXOPS_SIZE(CUDA_KERNEL_NODE_PARAMS);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, func);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, gridDimX);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, gridDimY);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, gridDimZ);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, blockDimX);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, blockDimY);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, blockDimZ);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, sharedMemBytes);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, kernelParams);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, extra);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, kern);
PTXOPS_OFFSET(CUDA_KERNEL_NODE_PARAMS, ctx);
PTXOPS_SIZE(CUDA_MEMSET_NODE_PARAMS);
PTXOPS_OFFSET(CUDA_MEMSET_NODE_PARAMS, dst);
PTXOPS_OFFSET(CUDA_MEMSET_NODE_PARAMS, pitch);
PTXOPS_OFFSET(CUDA_MEMSET_NODE_PARAMS, value);
PTXOPS_OFFSET(CUDA_MEMSET_NODE_PARAMS, elementSize);
PTXOPS_OFFSET(CUDA_MEMSET_NODE_PARAMS, width);
PTXOPS_OFFSET(CUDA_MEMSET_NODE_PARAMS, height);
PTXOPS_SIZE(CUDA_HOST_NODE_PARAMS);
PTXOPS_OFFSET(CUDA_HOST_NODE_PARAMS, fn);
PTXOPS_OFFSET(CUDA_HOST_NODE_PARAMS, userData);
PTXOPS_SIZE(CUgraphEdgeData);
PTXOPS_OFFSET(CUgraphEdgeData, from_port);
PTXOPS_OFFSET(CUgraphEdgeData, to_port);
PTXOPS_OFFSET(CUgraphEdgeData, type);
PTXOPS_OFFSET(CUgraphEdgeData, reserved);
PTXOPS_SIZE(CUDA_GRAPH_INSTANTIATE_PARAMS);
PTXOPS_OFFSET(CUDA_GRAPH_INSTANTIATE_PARAMS, flags);
PTXOPS_OFFSET(CUDA_GRAPH_INSTANTIATE_PARAMS, hUploadStream);
PTXOPS_OFFSET(CUDA_GRAPH_INSTANTIATE_PARAMS, hErrNode_out);
PTXOPS_OFFSET(CUDA_GRAPH_INSTANTIATE_PARAMS, result_out);
PTXOPS_SIZE(CUgraphExecUpdateResultInfo);
PTXOPS_OFFSET(CUgraphExecUpdateResultInfo, result);
PTXOPS_OFFSET(CUgraphExecUpdateResultInfo, errorNode);
PTXOPS_OFFSET(CUgraphExecUpdateResultInfo, errorFromNode);
PTXOPS_SIZE(CUmemLocation);
PTXOPS_OFFSET(CUmemLocation, type);
PTXOPS_OFFSET(CUmemLocation, id);
PTXOPS_SIZE(CUmemAccessDesc);
PTXOPS_OFFSET(CUmemAccessDesc, location);
PTXOPS_OFFSET(CUmemAccessDesc, flags);
PTXOPS_SIZE(CUmemPoolProps);
PTXOPS_OFFSET(CUmemPoolProps, allocType);
PTXOPS_OFFSET(CUmemPoolProps, handleTypes);
PTXOPS_OFFSET(CUmemPoolProps, location);
PTXOPS_OFFSET(CUmemPoolProps, win32SecurityAttributes);
PTXOPS_OFFSET(CUmemPoolProps, maxSize);
PTXOPS_OFFSET(CUmemPoolProps, usage);
PTXOPS_OFFSET(CUmemPoolProps, reserved);
PTXOPS_SIZE(CUexecAffinitySmCount);
PTXOPS_OFFSET(CUexecAffinitySmCount, val);
PTXOPS_SIZE(CUexecAffinityParam);
PTXOPS_OFFSET(CUexecAffinityParam, type);
PTXOPS_OFFSET(CUexecAffinityParam, param);
PTXOPS_SIZE(CUctxCigParam);
PTXOPS_OFFSET(CUctxCigParam, sharedDataType);
PTXOPS_OFFSET(CUctxCigParam, sharedData);
PTXOPS_SIZE(CUctxCreateParams);
PTXOPS_OFFSET(CUctxCreateParams, execAffinityParams);
PTXOPS_OFFSET(CUctxCreateParams, numExecAffinityParams);
PTXOPS_OFFSET(CUctxCreateParams, cigParams);

static_assert(sizeof(::CUdeviceptr) == sizeof(ptxops::abi::CUdeviceptr));
static_assert(sizeof(::CUdevice) == sizeof(ptxops::abi::CUdevice));
static_assert(CU_LAUNCH_PARAM_END_AS_INT == ptxops::abi::kLaunchParamEnd);
static_assert(CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT == ptxops::abi::kLaunchParamBufferPointer);
static_assert(CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT == ptxops::abi::kLaunchParamBufferSize);
static_assert(CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC == ptxops::abi::kGraphKernelNodePortProgrammatic);
static_assert(CU_MEMHOSTALLOC_PORTABLE == ptxops::abi::kMemHostAllocPortable);
static_assert(CU_MEMHOSTALLOC_DEVICEMAP == ptxops::abi::kMemHostAllocDeviceMap);
static_assert(CU_MEMHOSTALLOC_WRITECOMBINED == ptxops::abi::kMemHostAllocWriteCombined);
static_assert(CU_MEMHOSTREGISTER_PORTABLE == ptxops::abi::kMemHostRegisterPortable);
static_assert(CU_MEMHOSTREGISTER_DEVICEMAP == ptxops::abi::kMemHostRegisterDeviceMap);
static_assert(CU_MEMHOSTREGISTER_IOMEMORY == ptxops::abi::kMemHostRegisterIoMemory);
static_assert(CU_MEMHOSTREGISTER_READ_ONLY == ptxops::abi::kMemHostRegisterReadOnly);

// Signatures: the same number of parameters, each of the same size and kind (their types have other
// namespaces).
template <class T>
constexpr int kind() {
  return std::is_pointer_v<T> ? 1 : std::is_enum_v<T> ? 2 : std::is_integral_v<T> ? 3 : 4;
}
template <class A, class B>
struct Same : std::false_type {};
template <class... A, class... B>
struct Same<::CUresult (*)(A...), ptxops::abi::CUresult (*)(B...)> {
  static constexpr bool value = [] {
    if constexpr (sizeof...(A) != sizeof...(B))
      return false;
    else
      return ((sizeof(A) == sizeof(B) && kind<A>() == kind<B>()) && ...);
  }();
};
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  static_assert(Same<decltype(&::symbol), ptxops::abi::Fn_##symbol>::value, #symbol);
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO

TEST(CudaHeader, HandlesOfDefaultStreams) {
  EXPECT_EQ(static_cast<void*>(CU_STREAM_LEGACY), static_cast<void*>(ptxops::abi::legacy_stream()));
  EXPECT_EQ(static_cast<void*>(CU_STREAM_PER_THREAD), static_cast<void*>(ptxops::abi::per_thread_stream()));
  EXPECT_EQ(CUDA_VERSION >= ptxops::abi::kCudaVersion, true);
}

}  // namespace
