#include <ptxops.h>
#include <stdio.h>

#define TRY(call) \
  if ((call) != PTXOPS_SUCCESS) return fprintf(stderr, "%s\n", ptxopsGetLastError()), 1
enum { M = 64, N = 256, K = 512 };

int main(void) {
  float sfa[K / 128 * M], sfb[N / 128 * (K / 128)], d[M * N];
  for (int i = 0; i < K / 128 * M; ++i) sfa[i] = 0.5f;
  for (int i = 0; i < N / 128 * (K / 128); ++i) sfb[i] = 0.25f;

  ptxopsContext_t context;
  ptxopsPlan_t plan;
  ptxopsFp8GemmDesc_t desc = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  ptxopsFp8GemmArgs_t args = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
  desc.m = M, desc.n = N, desc.k = K, desc.out_type = PTXOPS_F32;
  TRY(ptxopsContextCreate(&context, 0)); /* an H100 or H800, or the virtual one */
  TRY(ptxopsMemAlloc(context, &args.a, M * K));
  TRY(ptxopsMemAlloc(context, &args.b, N * K));
  TRY(ptxopsMemAlloc(context, &args.sfa, sizeof sfa));
  TRY(ptxopsMemAlloc(context, &args.sfb, sizeof sfb));
  TRY(ptxopsMemAlloc(context, &args.d, sizeof d));
  TRY(ptxopsMemset(context, args.a, 0x38, M * K, NULL)); /* e4m3: 1.0 */
  TRY(ptxopsMemset(context, args.b, 0x40, N * K, NULL)); /* e4m3: 2.0 */
  TRY(ptxopsMemcpyToDevice(context, args.sfa, sfa, sizeof sfa, NULL));
  TRY(ptxopsMemcpyToDevice(context, args.sfb, sfb, sizeof sfb, NULL));

  TRY(ptxopsFp8GemmPlanCreate(context, &desc, &plan)); /* check, choose */
  TRY(ptxopsPlanPrepare(plan));                        /* assemble, load */
  TRY(ptxopsFp8GemmRun(plan, &args, 0, 0, NULL));      /* launch */
  TRY(ptxopsMemcpyToHost(context, d, args.d, sizeof d, NULL));
  printf("D[63][255] = %g, expected %g\n", d[M * N - 1], K * 1.0 * 2.0 * 0.5 * 0.25);
  return d[M * N - 1] != 128.0f;
}
