// Compiled by nvcc to PTX that the parser must take whole: templates, math, atomics, calls, cooperative groups.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda/atomic>
#include <cuda/barrier>
#include <cuda/ptx>
namespace cg = cooperative_groups;
template <class T>
__global__ void axpy(T a, const T* __restrict__ x, T* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
template __global__ void axpy<float>(float, const float*, float*, int);
template __global__ void axpy<double>(double, const double*, double*, int);
template __global__ void axpy<__half>(__half, const __half*, __half*, int);
template __global__ void axpy<__half2>(__half2, const __half2*, __half2*, int);
template __global__ void axpy<__nv_bfloat16>(__nv_bfloat16, const __nv_bfloat16*, __nv_bfloat16*, int);
template __global__ void axpy<__nv_bfloat162>(__nv_bfloat162, const __nv_bfloat162*, __nv_bfloat162*, int);
template __global__ void axpy<int8_t>(int8_t, const int8_t*, int8_t*, int);
template __global__ void axpy<long long>(long long, const long long*, long long*, int);
__constant__ float tab[4] = {1, 2, 3, 4};
__device__ int counter;
__device__ const char* msg = "hello";
__device__ float big[2][3] = {{1, 2, 3}, {4, 5, 6}};
__device__ int* pc = &counter;
__global__ void math(float* o, const float* x, double* d) {
  int i = threadIdx.x;
  float v = x[i];
  o[i] = sinf(v) + cosf(v) + expf(v) + logf(v) + sqrtf(v) + rsqrtf(v) + tanhf(v) + powf(v, v) +
         fmodf(v, 3.f) + erff(v) + __fdividef(v, 2.f) + tab[i & 3];
  d[i] = sin(d[i]) + exp(d[i]) + sqrt(d[i]) / d[i] + lgamma(d[i]);
  o[i] += __sinf(v) + __expf(v) + __frcp_rn(v) + __fsqrt_rz(v) + big[i & 1][2];
}
__global__ void sw(int* o, int k) {
  int r;
  switch (k) {
    case 0:
      r = 3;
      break;
    case 1:
      r = o[1] * 7;
      break;
    case 2:
      r = o[4];
      break;
    case 3:
      r = o[3] / k;
      break;
    case 4:
      r = o[9] % k;
      break;
    case 5:
      r = __popc(o[1]);
      break;
    case 6:
      r = __clz(k);
      break;
    case 7:
      r = __ffs(k);
      break;
    default:
      r = -1;
  }
  o[threadIdx.x] = r + __brev(k) + __byte_perm(k, r, 0x3210) + __funnelshift_l(k, r, 3) + __dp4a(k, r, 1) +
                   __umulhi(k, r) + __sad(k, r, 1) + __vadd2(k, r) + __vcmpeq4(k, r);
}
__device__ __noinline__ float callee(float a, float2 b, int* c) {
  *c += 1;
  return a * b.x + b.y;
}
typedef float (*fp)(float);
__device__ float f1(float x) {
  return x + 1;
}
__device__ float f2(float x) {
  return x * 2;
}
__device__ fp table[2] = {f1, f2};
__global__ void calls(float* o, int* c, int k) {
  o[0] = callee(o[1], make_float2(2, 3), c) + table[k](o[2]);
  int loc[32];
  for (int i = 0; i < 32; i++) loc[(i * k) & 31] = i;
  o[3] = loc[k & 31];
}
__global__ void at(int* a, float* f, double* d, unsigned long long* u, __half2* h, __nv_bfloat162* b) {
  atomicAdd(a, 1);
  atomicMin(a, 3);
  atomicCAS(a, 1, 2);
  atomicExch(a, 2);
  atomicAdd(f, 1.f);
  atomicAdd(d, 1.0);
  atomicMax(u, 5ull);
  atomicInc((unsigned*)a, 7);
  atomicAnd(a, 3);
  atomicAdd(h, *h);
  atomicAdd(b, *b);
  cuda::atomic_ref<int, cuda::thread_scope_device> r(*a);
  r.fetch_add(1, cuda::memory_order_acq_rel);
  r.store(3, cuda::memory_order_release);
o:
  a[1] = r.load(cuda::memory_order_acquire);
  atomicAdd((float4*)f, make_float4(1, 2, 3, 4));
  __threadfence();
  __threadfence_block();
  __threadfence_system();
}
__global__ void coop(int* o) {
  auto b = cg::this_thread_block();
  auto w = cg::tiled_partition<32>(b);
  auto t = cg::tiled_partition<8>(b);
  int v = o[threadIdx.x];
  v = cg::reduce(w, v, cg::plus<int>());
  v += t.shfl_xor(v, 1);
  b.sync();
  auto cl = cg::this_cluster();
  cl.sync();
  __shared__ int s[32];
  int* rem = cl.map_shared_rank(s, 0);
  rem[0] = v;
  cl.sync();
  auto g = cg::coalesced_threads();
  v += g.size() + w.match_any(v);
  o[threadIdx.x] = v + cl.block_rank() + __ballot_sync(~0u, v) + __any_sync(~0u, v) +
                   __reduce_add_sync(~0u, v) + __match_all_sync(~0u, v, o);
  __nanosleep(10);
}
__global__ void bar(int* o, const int* in) {
  __shared__ cuda::barrier<cuda::thread_scope_block> b;
  if (threadIdx.x == 0) init(&b, blockDim.x);
  __syncthreads();
  __shared__ alignas(128) int s[1024];
  cuda::memcpy_async(s, in, cuda::aligned_size_t<16>(4096), b);
  b.arrive_and_wait();
  o[threadIdx.x] = s[threadIdx.x];
  __syncthreads_count(o[0]);
  o[1] = __syncthreads_or(o[2]) + __syncthreads_and(o[3]);
}
__global__ void fp8(unsigned char* o, const float* x) {
  o[threadIdx.x] = __nv_cvt_float_to_fp8(x[threadIdx.x], __NV_SATFINITE, __NV_E4M3);
  ((__nv_fp8x2_e5m2*)o)[5] = __nv_fp8x2_e5m2(((float2*)x)[3]);
  ((__half2*)o)[7] = (__half2)(((__nv_fp8x2_e4m3*)o)[1]);
}
__global__ void halfs(__half* h, __half2* h2, __nv_bfloat16* b, __nv_bfloat162* b2, int* o) {
  int i = threadIdx.x;
  h[i] = hsin(h[i]) + hexp(h[i]) + htanh(h[i]) + __hmax(h[i], h[1]) + __hfma_relu(h[i], h[1], h[2]) +
         hsqrt(h[i]) + hrcp(h[3]) + __hneg(h[4]) + __habs(h[5]) + __int2half_rn(i) +
         __float2half_rz(3.f * i) + hfloor(h[3]);
  h2[i] = h2exp2(h2[i]) + __hmin2(h2[i], h2[1]) + __hadd2_sat(h2[i], h2[2]) + __hne2(h2[i], h2[2]);
  b[i] = hexp(b[i]) + __hmax_nan(b[i], b[1]) + htanh(b[2]) + __int2bfloat16_rn(i) + hrint(b[3]);
  b2[i] = h2exp2(b2[i]) * __hfma2_relu(b2[i], b2[1], b2[2]) + __hmax2_nan(b2[3], b2[4]);
  o[i] = __hgt(h[i], h[1]) + __hbgt2(h2[i], h2[1]) + __hlt(b[1], b[2]) + __half2int_rz(h[3]) +
         __bfloat162int_rn(b[4]) + (int)__half2ull_rn(h[1]);
}
