// The wrappers of cuda/ptx: one call for each asynchronous or synchronising instruction.
#include <cuda.h>
#include <cuda/ptx>
namespace p = cuda::ptx;
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    tma(const __grid_constant__ CUtensorMap m, int* g, uint64_t* gb, const CUtensorMap* mp) {
  __shared__ alignas(128) int s[1024];
  __shared__ uint64_t b[4];
  if (threadIdx.x == 0) {
    p::mbarrier_init(&b[0], 1);
    p::fence_mbarrier_init(p::sem_release, p::scope_cluster);
  }
  p::barrier_cluster_arrive(p::sem_release);
  p::barrier_cluster_wait(p::sem_acquire);
  p::barrier_cluster_arrive();
  p::barrier_cluster_wait();
  p::barrier_cluster_arrive(p::sem_relaxed);
  const int c2[2] = {1, 2};
  const int c1[1] = {0};
  const int c5[5] = {1, 2, 3, 4, 5};
  if (threadIdx.x == 0) {
    p::cp_async_bulk_tensor(p::space_cluster, p::space_global, s, &m, c2, b);
    p::cp_async_bulk_tensor(p::space_cluster, p::space_global, s, &m, c5, b, (uint16_t)3);
    p::cp_async_bulk_tensor(p::space_shared, p::space_global, s, &m, c1, b);
    p::cp_async_bulk_tensor(p::space_global, p::space_shared, &m, c2, s);
    p::cp_reduce_async_bulk_tensor(p::space_global, p::space_shared, p::op_add, &m, c2, s);
    p::cp_async_bulk(p::space_cluster, p::space_global, s, g, 64, b);
    p::cp_async_bulk(p::space_shared, p::space_global, s, g, 64, b);
    p::cp_async_bulk(p::space_cluster, p::space_shared, s, s + 64, 64, b);
    p::cp_async_bulk(p::space_global, p::space_shared, g, s, 64);
    p::cp_async_bulk(p::space_cluster, p::space_global, s, g, 64, b, (uint16_t)3);
    p::cp_reduce_async_bulk(p::space_global, p::space_shared, p::op_add, g, s, 64);
    p::cp_reduce_async_bulk(p::space_cluster, p::space_shared, p::op_add, s, s, 64, b);
    p::cp_async_bulk_commit_group();
    p::cp_async_bulk_wait_group(p::n32_t<0>());
    p::cp_async_bulk_wait_group_read(p::n32_t<1>());
    uint64_t st = p::mbarrier_arrive_expect_tx(p::sem_release, p::scope_cta, p::space_shared, b, 64);
    p::mbarrier_arrive_expect_tx(p::sem_release, p::scope_cluster, p::space_cluster, b, 64);
    while (!p::mbarrier_try_wait(p::sem_acquire, p::scope_cta, b, st))
      ;
    while (!p::mbarrier_try_wait_parity(b, 0))
      ;
    while (!p::mbarrier_test_wait(b, st))
      ;
    p::mbarrier_test_wait_parity(p::sem_acquire, p::scope_cluster, b, 1);
    p::mbarrier_try_wait_parity(b, 0, 1000u);
    st = p::mbarrier_arrive(b);
    p::mbarrier_arrive(p::sem_release, p::scope_cluster, p::space_cluster, b);
    p::mbarrier_arrive(p::sem_release, p::scope_cta, p::space_shared, b, 2);
    p::mbarrier_arrive_no_complete(b, 2);
    p::mbarrier_expect_tx(p::sem_relaxed, p::scope_cluster, p::space_cluster, b, 5);
    p::st_async(s, 5, b);
    int v4[4] = {1, 2, 3, 4};
    p::st_async(s, v4, b);
    p::red_async(p::op_add, s, 5, b);
    p::red_async(p::op_inc, (uint32_t*)s, 5u, b);
    p::red_async(p::op_add, gb + 0, (uint64_t)5, b);
    p::fence_proxy_async();
    p::fence_proxy_async(p::space_global);
    p::fence_proxy_async(p::space_shared);
    p::fence_proxy_async(p::space_cluster);
    p::fence_proxy_alias();
    p::fence_proxy_tensormap_generic(p::sem_release, p::scope_gpu);
    p::fence_proxy_tensormap_generic(p::sem_acquire, p::scope_sys, mp, p::n32_t<128>());
    p::fence(p::sem_sc, p::scope_cta);
    p::fence(p::sem_acq_rel, p::scope_cluster);
    p::fence(p::sem_acquire, p::scope_gpu);
    p::fence(p::sem_release, p::scope_sys);
    p::tensormap_replace_global_address(p::space_shared, (CUtensorMap*)s, (void*)g);
    p::tensormap_replace_rank(p::space_global, (CUtensorMap*)mp, 2);
    p::tensormap_replace_box_dim(p::space_shared, (CUtensorMap*)s, p::n32_t<1>(), 64);
    p::tensormap_replace_global_stride(p::space_shared, (CUtensorMap*)s, p::n32_t<0>(), (int64_t)64);
    p::tensormap_replace_swizzle_mode(p::space_shared, (CUtensorMap*)s, p::n32_t<3>());
  }
  p::tensormap_cp_fenceproxy(p::sem_release, p::scope_gpu, (CUtensorMap*)mp, (CUtensorMap*)s,
                             p::n32_t<128>());
  p::getctarank(p::space_cluster, s);
  g[0] = 1;
  g[1] = p::get_sreg_smid() + p::get_sreg_clock() + p::get_sreg_cluster_ctarank() +
         p::get_sreg_lanemask_lt() + p::get_sreg_dynamic_smem_size() + p::get_sreg_globaltimer() +
         p::get_sreg_gridid() + p::get_sreg_nsmid() + 1 + p::get_sreg_is_explicit_cluster() +
         p::get_sreg_clusterid_x() + p::get_sreg_aggr_smem_size() + p::get_sreg_cluster_nctaid_y();
  p::multimem_ld_reduce(p::sem_relaxed, p::scope_sys, p::op_min, (int*)g);
  p::multimem_st(p::sem_release, p::scope_gpu, (int*)g, 5);
  p::multimem_red(p::sem_release, p::scope_gpu, p::op_min, (int*)g, 5);
  cudaGridDependencySynchronize();
  cudaTriggerProgrammaticLaunchCompletion();
}
