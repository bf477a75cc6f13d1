/* ptxops.h in a plain C program: initialisers, statuses, last error. */
#include <stdio.h>
#include <string.h>

#include "ptxops.h"

int main(void) {
  ptxopsFp8GemmDesc_t desc = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  ptxopsStatus_t status;
  desc.m = 4;
  desc.n = 12; /* not a multiple of 8 */
  desc.k = 128;
  status = ptxopsFp8GemmCheck(&desc);
  if (status != PTXOPS_INVALID_ARGUMENT ||
      !strstr(ptxopsGetLastError(), "desc.n: expected a multiple of 8, got 12")) {
    printf("%s: %s\n", ptxopsGetStatusName(status), ptxopsGetLastError());
    return 1;
  }
  desc.n = 16;
  status = ptxopsFp8GemmCheck(&desc);
  if (status != PTXOPS_SUCCESS || strcmp(ptxopsGetStatusName(status), "PTXOPS_SUCCESS") != 0) return 1;
  return ptxopsGetVersion() ==
                 100 * PTXOPS_VERSION_MINOR + 10000 * PTXOPS_VERSION_MAJOR + PTXOPS_VERSION_PATCH
             ? 0
             : 1;
}
