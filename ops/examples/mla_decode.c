/* MLA decode over a paged FP8 cache: append the tokens of two requests, then attend to them. */
#include <ptxops.h>
#include <stdio.h>

#define TRY(call) \
  if ((call) != PTXOPS_SUCCESS) return fprintf(stderr, "%s\n", ptxopsGetLastError()), 1
enum { BATCH = 2, HEADS = 16, PAGE = 64, PAGES = 4, MAX_PAGES = 2, TOKENS = 140 };

/* Keys are 1 and 3 by turns, queries 0: every output is their mean. */
static uint16_t latent[TOKENS][512], out[BATCH][HEADS][512];
static float lse[BATCH][HEADS];

int main(void) {
  const int32_t lengths[BATCH] = {100, 40}, table[BATCH][MAX_PAGES] = {{2, 0}, {3, -1}};
  int32_t slot[TOKENS];
  for (int t = 0; t < TOKENS; ++t) {
    const int b = t < lengths[0] ? 0 : 1, key = b ? t - lengths[0] : t;
    slot[t] = table[b][key / PAGE] * PAGE + key % PAGE;
    for (int i = 0; i < 512; ++i) latent[t][i] = t % 2 ? 0x4040 : 0x3F80; /* bf16: 3.0, 1.0 */
  }

  ptxopsContext_t context;
  ptxopsPlan_t append, decode;
  ptxopsDevicePtr_t workspace;
  size_t bytes;
  ptxopsMlaAppendDesc_t tokens = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
  ptxopsMlaAppendArgs_t in = PTXOPS_MLA_APPEND_ARGS_INITIALIZER;
  ptxopsMlaDecodeFp8Desc_t desc = PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER;
  ptxopsMlaDecodeFp8Args_t args = PTXOPS_MLA_DECODE_FP8_ARGS_INITIALIZER;
  TRY(ptxopsContextCreate(&context, 0));
  TRY(ptxopsMemAlloc(context, &in.latent, sizeof latent));
  TRY(ptxopsMemAlloc(context, &in.rope, TOKENS * 64 * 2));
  TRY(ptxopsMemAlloc(context, &in.slot, sizeof slot));
  TRY(ptxopsMemAlloc(context, &in.cache, PAGES * PAGE * 656));
  TRY(ptxopsMemAlloc(context, &args.q, BATCH * HEADS * 576 * 2));
  TRY(ptxopsMemAlloc(context, &args.keys, sizeof table));
  TRY(ptxopsMemAlloc(context, &args.lengths, sizeof lengths));
  TRY(ptxopsMemAlloc(context, &args.out, sizeof out));
  TRY(ptxopsMemAlloc(context, &args.lse, sizeof lse));
  TRY(ptxopsMemcpyToDevice(context, in.latent, latent, sizeof latent, NULL));
  TRY(ptxopsMemset(context, in.rope, 0, TOKENS * 64 * 2, NULL));
  TRY(ptxopsMemcpyToDevice(context, in.slot, slot, sizeof slot, NULL));
  TRY(ptxopsMemset(context, args.q, 0, BATCH * HEADS * 576 * 2, NULL));
  TRY(ptxopsMemcpyToDevice(context, args.keys, table, sizeof table, NULL));
  TRY(ptxopsMemcpyToDevice(context, args.lengths, lengths, sizeof lengths, NULL));
  args.cache = in.cache;

  tokens.tokens = TOKENS, tokens.pages = PAGES, tokens.page_size = PAGE;
  tokens.format = PTXOPS_MLA_CACHE_FP8;
  TRY(ptxopsMlaAppendPlanCreate(context, &tokens, &append));
  TRY(ptxopsPlanPrepare(append));
  TRY(ptxopsMlaAppendRun(append, &in, NULL));

  desc.batch = BATCH, desc.h_q = HEADS;
  desc.pages = PAGES, desc.page_size = PAGE, desc.max_pages = MAX_PAGES;
  TRY(ptxopsMlaDecodeFp8PlanCreate(context, &desc, &decode)); /* nothing in it depends on lengths */
  TRY(ptxopsPlanPrepare(decode));
  TRY(ptxopsPlanGetWorkspaceSize(decode, &bytes));
  TRY(ptxopsMemAlloc(context, &workspace, bytes));
  TRY(ptxopsMlaDecodeFp8Run(decode, &args, workspace, bytes, NULL)); /* may be captured in a graph */

  TRY(ptxopsMemcpyToHost(context, out, args.out, sizeof out, NULL));
  TRY(ptxopsMemcpyToHost(context, lse, args.lse, sizeof lse, NULL));
  TRY(ptxopsPlanDestroy(append));
  TRY(ptxopsPlanDestroy(decode));
  TRY(ptxopsContextDestroy(context));
  printf("OUT[1][15][511] = bf16 0x%04x, expected 0x4000; LSE[0][0] = %g, expected ln 100 = 4.60517\n",
         out[1][15][511], lse[0][0]);
  return out[1][15][511] != 0x4000 || !(lse[0][0] > 4.6051f && lse[0][0] < 4.6053f);
}
