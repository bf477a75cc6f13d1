/* ptxops: hand-written PTX kernels for Hopper behind a C ABI.
 *
 * An op is used in five steps:
 *   describe  fill a descriptor (shapes, strides, types, SM budget); start from its INITIALIZER
 *   check     ptxopsXCheck: is the descriptor legal? pure, no device needed
 *   choose    ptxopsXPlanCreate: picks a kernel configuration; deterministic, no I/O, no compilation
 *   prepare   ptxopsPlanPrepare: assembles (or takes from the cache) and loads the kernels, once
 *   run       ptxopsXRun: only launches; no allocation, lock, compilation, synchronisation or getenv
 *
 * Errors. Every function returns a status; PTXOPS_SUCCESS is 0. On failure ptxopsGetLastError() holds a text
 * for the calling thread that names the argument, the expected and the actual value; nothing was launched or
 * written. A fault inside a kernel surfaces at the next synchronising call of its stream, as in CUDA.
 *
 * Memory. All tensor pointers are device addresses, owned by the caller, alive until the stream has passed
 * the launch. Plans keep no pointer. "Bytes" are bytes; all other sizes and strides are in elements.
 *
 * Streams. A stream is a CUstream (cudaStream_t is the same thing); NULL is the legacy default stream. It
 * must belong to the context's device. run may be captured into a graph; prepare loads code, which CUDA
 * refuses during a capture unless its mode is relaxed.
 *
 * Threads. Any thread may prepare a plan, and any number of threads may run it then, on any streams; a
 * workspace holds one run at a time. A context may be shared between threads; a timer belongs to one thread
 * at a time. No context need be current in the calling thread, and what is current stays so. As with CUDA, a
 * process forked after the first ptxopsContextCreate cannot use the library.
 */
#ifndef PTXOPS_H_
#define PTXOPS_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PTXOPS_API __attribute__((visibility("default")))
#else
#define PTXOPS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define PTXOPS_VERSION_MAJOR 0
#define PTXOPS_VERSION_MINOR 1
#define PTXOPS_VERSION_PATCH 0

/* Version of the loaded library: major * 10000 + minor * 100 + patch. */
PTXOPS_API int ptxopsGetVersion(void);

/* ---- Status
 * ---------------------------------------------------------------------------------------------------- */

#define PTXOPS_STATUS_LIST(X)                                                       \
  X(SUCCESS, 0, "success")                                                          \
  X(INVALID_ARGUMENT, 1, "an argument is out of its range")                         \
  X(NOT_SUPPORTED, 2, "legal, but no kernel of this library does it")               \
  X(NOT_PREPARED, 3, "the plan has not been prepared")                              \
  X(WORKSPACE_TOO_SMALL, 4, "the workspace is smaller than the plan needs")         \
  X(WRONG_DEVICE, 5, "a stream or pointer belongs to another device than the plan") \
  X(NO_DEVICE, 6, "no usable driver or Hopper device")                              \
  X(OUT_OF_MEMORY, 7, "out of host or device memory")                               \
  X(BUILD_FAILED, 8, "a kernel could not be assembled or loaded")                   \
  X(DRIVER_ERROR, 9, "a driver call failed, or an earlier kernel faulted")          \
  X(INTERNAL_ERROR, 10, "a defect of this library")

typedef enum ptxopsStatus_t {
#define PTXOPS_STATUS_ENUM(name, value, text) PTXOPS_##name = value,
  PTXOPS_STATUS_LIST(PTXOPS_STATUS_ENUM)
#undef PTXOPS_STATUS_ENUM
} ptxopsStatus_t;

/* "PTXOPS_SUCCESS" and "success"; static text, "unknown status" for other values. */
PTXOPS_API const char* ptxopsGetStatusName(ptxopsStatus_t status);
PTXOPS_API const char* ptxopsGetStatusText(ptxopsStatus_t status);
/* Text of the calling thread's latest failure; "" when there was none. Valid until the thread's next failure.
 */
PTXOPS_API const char* ptxopsGetLastError(void);

/* ---- Context
 * --------------------------------------------------------------------------------------------------- */

typedef struct ptxopsContext_st* ptxopsContext_t;
typedef struct ptxopsPlan_st* ptxopsPlan_t;
typedef struct CUstream_st* ptxopsStream_t; /* CUstream, cudaStream_t */

/* Device `device` through its primary context, so that it lives beside torch and the CUDA runtime. The first
 * call of the process loads the driver: libcuda with a Hopper GPU, else the virtual H800 (see PTXOPS_DRIVER).
 */
PTXOPS_API ptxopsStatus_t ptxopsContextCreate(ptxopsContext_t* context, int device);
/* Refused while plans or timers of it are alive. Memory and streams that it gave must not be used afterwards.
 * NULL is allowed. */
PTXOPS_API ptxopsStatus_t ptxopsContextDestroy(ptxopsContext_t context);

typedef struct ptxopsDeviceInfo_t {
  char name[128];
  int32_t device; /* ordinal */
  int32_t sm_count;
  int32_t clock_khz;      /* maximum, as the driver reports it */
  int32_t is_virtual;     /* 1: the virtual H800; every time it reports is modelled, never measured */
  int32_t driver_version; /* 13000 = CUDA 13.0 */
  uint64_t memory_bytes;
} ptxopsDeviceInfo_t;
PTXOPS_API ptxopsStatus_t ptxopsContextGetInfo(ptxopsContext_t context, ptxopsDeviceInfo_t* info);

/* ---- Device memory and streams, for programs without a CUDA allocator of their own
 * ----------------------------- */

typedef uint64_t ptxopsDevicePtr_t; /* CUdeviceptr */

/* 256-byte aligned, uninitialised. bytes > 0. */
PTXOPS_API ptxopsStatus_t ptxopsMemAlloc(ptxopsContext_t context, ptxopsDevicePtr_t* address, size_t bytes);
/* Waits for the device's work. NULL is allowed. */
PTXOPS_API ptxopsStatus_t ptxopsMemFree(ptxopsContext_t context, ptxopsDevicePtr_t address);
/* Ordered in `stream`; the copies return when they are done, the fill does not wait. 0 bytes are allowed. */
PTXOPS_API ptxopsStatus_t ptxopsMemcpyToDevice(ptxopsContext_t context, ptxopsDevicePtr_t to,
                                               const void* from, size_t bytes, ptxopsStream_t stream);
PTXOPS_API ptxopsStatus_t ptxopsMemcpyToHost(ptxopsContext_t context, void* to, ptxopsDevicePtr_t from,
                                             size_t bytes, ptxopsStream_t stream);
PTXOPS_API ptxopsStatus_t ptxopsMemset(ptxopsContext_t context, ptxopsDevicePtr_t to, uint8_t value,
                                       size_t bytes, ptxopsStream_t stream);
/* A stream that does not synchronise with the default stream. */
PTXOPS_API ptxopsStatus_t ptxopsStreamCreate(ptxopsContext_t context, ptxopsStream_t* stream);
/* Its work goes on. NULL is allowed. */
PTXOPS_API ptxopsStatus_t ptxopsStreamDestroy(ptxopsContext_t context, ptxopsStream_t stream);
/* Waits for the stream's work; returns the fault of an earlier kernel. */
PTXOPS_API ptxopsStatus_t ptxopsStreamSynchronize(ptxopsContext_t context, ptxopsStream_t stream);

/* Seconds between two points of a stream: measured on a GPU, modelled on the virtual H800. */
typedef struct ptxopsTimer_st* ptxopsTimer_t;
PTXOPS_API ptxopsStatus_t ptxopsTimerCreate(ptxopsContext_t context, ptxopsTimer_t* timer);
/* NULL is allowed. */
PTXOPS_API ptxopsStatus_t ptxopsTimerDestroy(ptxopsTimer_t timer);
PTXOPS_API ptxopsStatus_t ptxopsTimerStart(ptxopsTimer_t timer, ptxopsStream_t stream);
/* Marks the end, waits for it, and returns the seconds since the start. */
PTXOPS_API ptxopsStatus_t ptxopsTimerStop(ptxopsTimer_t timer, ptxopsStream_t stream, double* seconds);

/* ---- Plans
 * ----------------------------------------------------------------------------------------------------- */

/* Assembles and loads what the plan needs; a second call does nothing. May take 100 ms per kernel the first
 * time, 2 ms from the cache. */
PTXOPS_API ptxopsStatus_t ptxopsPlanPrepare(ptxopsPlan_t plan);
/* Runs that were launched go on; graphs that captured some stay valid while the context lives. NULL is
 * allowed. */
PTXOPS_API ptxopsStatus_t ptxopsPlanDestroy(ptxopsPlan_t plan);
/* Bytes of device workspace a run needs (256-byte aligned, contents do not matter); may be 0. */
PTXOPS_API ptxopsStatus_t ptxopsPlanGetWorkspaceSize(ptxopsPlan_t plan, size_t* bytes);
/* Text: the choice, its cost by the model, and the runners-up. Writes at most `capacity` bytes with the final
 * NUL and sets `needed` (may be NULL) to what the whole text takes. text may be NULL when capacity is 0. */
PTXOPS_API ptxopsStatus_t ptxopsPlanExplain(ptxopsPlan_t plan, char* text, size_t capacity, size_t* needed);

/* Every descriptor and argument struct begins with size, magic and version; the INITIALIZERs fill them in.
 * Structs only grow at their end, so a program built against an older header keeps working. A newer header's
 * structs are refused. */
#define PTXOPS_MAGIC 0x70747870u
#define PTXOPS_HEADER(type) \
  sizeof(type), PTXOPS_MAGIC, (PTXOPS_VERSION_MAJOR * 10000 + PTXOPS_VERSION_MINOR * 100)

typedef enum ptxopsType_t { PTXOPS_BF16 = 0, PTXOPS_F32 = 1, PTXOPS_F16 = 2 } ptxopsType_t;

/* ---- FP8 GEMM with DeepSeek scaling
 * ----------------------------------------------------------------------------
 *
 *   D[m,n] = sum over kb of SFA[m,kb] * SFB[n/128,kb] * (sum over k in block kb of A[m,k] * B[n,k])
 *
 * A, B: e4m3, K contiguous. SFA: FP32, one scale for 1 x 128 of A. SFB: FP32, one scale for 128 x 128 of B.
 * Products of a 128-block accumulate in the tensor core, which on Hopper keeps 14 bits of an FP8 sum; blocks
 * are added in FP32, in increasing k. D: BF16 (rounded to nearest even) or FP32. Deterministic. A NaN in A or
 * B makes its row or column NaN. Source of the scheme: DeepSeek-V3 technical report, arXiv 2412.19437,
 * section 3.3.
 */
typedef enum ptxopsGemmForm_t {
  PTXOPS_GEMM_DENSE = 0,              /* A [m,k], B [n,k], D [m,n] */
  PTXOPS_GEMM_GROUPED_CONTIGUOUS = 1, /* A [m,k], B [groups,n,k], D [m,n]: each row belongs to one group */
  PTXOPS_GEMM_GROUPED_MASKED =
      2 /* A [groups,m,k], B [groups,n,k], D [groups,m,n]: first counts[g] rows count */
} ptxopsGemmForm_t;

typedef enum ptxopsGroupLayout_t {
  PTXOPS_GROUPS_OFFSETS =
      0, /* int32 [groups+1]: group g has rows offsets[g] .. offsets[g+1]-1; any sizes, 0 too */
  PTXOPS_GROUPS_ROW_MAP = 1 /* int32 [m]: group of each row, rows of a group adjacent, -1 = row is skipped */
} ptxopsGroupLayout_t;

typedef struct ptxopsFp8GemmDesc_t {
  size_t size;
  uint32_t magic, version;
  int32_t form;         /* ptxopsGemmForm_t */
  int32_t group_layout; /* ptxopsGroupLayout_t; GROUPED_CONTIGUOUS only */
  int64_t m;            /* rows of A and D; GROUPED_MASKED: rows of each group's slab (max_m) */
  int64_t n;            /* multiple of 8 */
  int64_t k;            /* multiple of 128 */
  int64_t groups;       /* 1 for DENSE */
  int64_t expected_m;   /* hint: rows of a group to expect; 0 = m (DENSE, MASKED) or m / groups */
  int64_t ld_sfa;       /* SFA is [k/128][ld_sfa] (GROUPED_MASKED: [groups][k/128][ld_sfa]): rows contiguous;
                           at least m, multiple of 4; 0 = m rounded up to 4 */
  int64_t ldd;      /* row stride of D, at least n, row bytes a multiple of 16; 0 = n (n * size % 16 == 0) */
  int32_t out_type; /* ptxopsType_t */
  int32_t sm_count; /* SMs to use, even; 0 = all of the device */
  int32_t weights_static; /* 1: B, SFB and the group tables were not written by the stream's previous kernel;
                             their loading may then overlap its end (programmatic dependent launch) */
} ptxopsFp8GemmDesc_t;
#define PTXOPS_FP8_GEMM_DESC_INITIALIZER                                                               \
  {                                                                                                    \
    PTXOPS_HEADER(ptxopsFp8GemmDesc_t), PTXOPS_GEMM_DENSE, PTXOPS_GROUPS_OFFSETS, 0, 0, 0, 1, 0, 0, 0, \
        PTXOPS_BF16, 0, 0                                                                              \
  }

typedef struct ptxopsFp8GemmArgs_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t a; /* 16-byte aligned, as all of them */
  ptxopsDevicePtr_t sfa;
  ptxopsDevicePtr_t b;
  ptxopsDevicePtr_t sfb; /* [groups][ceil(n/128)][k/128] */
  ptxopsDevicePtr_t d;   /* rows outside every group, and bytes between n and ldd, are not written */
  ptxopsDevicePtr_t
      groups; /* offsets or counts (int32 [groups], GROUPED_MASKED), 4-byte aligned, or row map, 16; 0 for
                 DENSE. Read by the kernel: offsets and counts that leave the rows of A are clamped, groups
                 in a row map that do not exist skip the row. Of offsets that decrease, and of a group in
                 several runs of a row map, only this is promised: nothing outside D's rows is written */
} ptxopsFp8GemmArgs_t;
#define PTXOPS_FP8_GEMM_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsFp8GemmArgs_t), 0, 0, 0, 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsFp8GemmCheck(const ptxopsFp8GemmDesc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsFp8GemmPlanCreate(ptxopsContext_t context, const ptxopsFp8GemmDesc_t* desc,
                                                  ptxopsPlan_t* plan);
PTXOPS_API ptxopsStatus_t ptxopsFp8GemmRun(ptxopsPlan_t plan, const ptxopsFp8GemmArgs_t* args,
                                           ptxopsDevicePtr_t workspace, size_t workspace_bytes,
                                           ptxopsStream_t stream);
/* For host-side tables: are `offsets` (host memory, int32 [groups+1]) legal, i.e. 0 first, not decreasing, at
 * most m? `counts` (host memory, int32 [groups]) between 0 and m? */
PTXOPS_API ptxopsStatus_t ptxopsFp8GemmCheckOffsets(const ptxopsFp8GemmDesc_t* desc, const int32_t* offsets);
PTXOPS_API ptxopsStatus_t ptxopsFp8GemmCheckCounts(const ptxopsFp8GemmDesc_t* desc, const int32_t* counts);

/* ---- 1 x 128 quantiser, with row gather
 * -------------------------------------------------------------------------
 *
 *   a = max(amax |X[row,128-block]|, 1e-4);  SF[kb,r] = a / 448;  Q[r,k] = e4m3(X[row,k] * (448 / a))
 *
 * X BF16 [source_rows, k] with row stride ldx; Q e4m3 [groups*m, k]; SF FP32 [groups][k/128][ld_sf], rows
 * contiguous: a GEMM's A and SFA. Row r of Q comes from row r of X, or from row_index[r] (int32 [groups*m]);
 * an index outside X
 * (-1, say) skips the row. k up to 67107840. With counts (int32 [groups], device) only the first counts[g]
 * rows of a group are done. Rows that are skipped, and their scales, are not written. Divisions and products
 * are IEEE FP32.
 */
typedef struct ptxopsQuantizeDesc_t {
  size_t size;
  uint32_t magic, version;
  int64_t m; /* rows of a group */
  int64_t k; /* multiple of 128 */
  int64_t groups;
  int64_t source_rows; /* rows of X; 0 = groups * m */
  int64_t ldx;         /* at least k, multiple of 8; 0 = k */
  int64_t ld_sf;       /* at least m, multiple of 4; 0 = m rounded up to 4 */
} ptxopsQuantizeDesc_t;
#define PTXOPS_QUANTIZE_DESC_INITIALIZER \
  { PTXOPS_HEADER(ptxopsQuantizeDesc_t), 0, 0, 1, 0, 0, 0 }

typedef struct ptxopsQuantizeArgs_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t x, q, sf;  /* 16-byte aligned */
  ptxopsDevicePtr_t row_index; /* or 0 */
  ptxopsDevicePtr_t counts;    /* or 0; read by the kernel: clamped to 0 .. m */
} ptxopsQuantizeArgs_t;
#define PTXOPS_QUANTIZE_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsQuantizeArgs_t), 0, 0, 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsQuantizeCheck(const ptxopsQuantizeDesc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsQuantizePlanCreate(ptxopsContext_t context, const ptxopsQuantizeDesc_t* desc,
                                                   ptxopsPlan_t* plan);
PTXOPS_API ptxopsStatus_t ptxopsQuantizeRun(ptxopsPlan_t plan, const ptxopsQuantizeArgs_t* args,
                                            ptxopsStream_t stream);

/* ---- SwiGLU + 1 x 128 quantiser
 * ---------------------------------------------------------------------------------
 *
 *   H[r,i] = X[r,i] / (1 + exp(-X[r,i])) * X[r,width+i] in FP32, not rounded to BF16; then quantised as above
 *
 * X BF16 [groups*m, 2*width] (gate | up), Q e4m3 [groups*m, width], SF FP32 [groups][width/128][ld_sf];
 * counts as above.
 */
typedef struct ptxopsSwigluQuantizeDesc_t {
  size_t size;
  uint32_t magic, version;
  int64_t m;     /* rows of a group */
  int64_t width; /* multiple of 128 */
  int64_t groups;
  int64_t ldx;   /* at least 2 * width, multiple of 8; 0 = 2 * width */
  int64_t ld_sf; /* at least m, multiple of 4; 0 = m rounded up to 4 */
} ptxopsSwigluQuantizeDesc_t;
#define PTXOPS_SWIGLU_QUANTIZE_DESC_INITIALIZER \
  { PTXOPS_HEADER(ptxopsSwigluQuantizeDesc_t), 0, 0, 1, 0, 0 }

typedef struct ptxopsSwigluQuantizeArgs_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t x, q, sf; /* 16-byte aligned */
  ptxopsDevicePtr_t counts;   /* or 0 */
} ptxopsSwigluQuantizeArgs_t;
#define PTXOPS_SWIGLU_QUANTIZE_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsSwigluQuantizeArgs_t), 0, 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsSwigluQuantizeCheck(const ptxopsSwigluQuantizeDesc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsSwigluQuantizePlanCreate(ptxopsContext_t context,
                                                         const ptxopsSwigluQuantizeDesc_t* desc,
                                                         ptxopsPlan_t* plan);
PTXOPS_API ptxopsStatus_t ptxopsSwigluQuantizeRun(ptxopsPlan_t plan, const ptxopsSwigluQuantizeArgs_t* args,
                                                  ptxopsStream_t stream);

/* ---- Row gather
 * --------------------------------------------------------------------------------------------------
 *
 *   Y[r,:] = X[row_index[r],:]   BF16; row_index int32 [m]; an index outside X (-1, say) leaves the row of Y
 * as it is
 */
typedef struct ptxopsGatherRowsDesc_t {
  size_t size;
  uint32_t magic, version;
  int64_t m, source_rows; /* rows of Y and of X, both dense */
  int64_t hidden;         /* multiple of 8, up to 134215680 */
} ptxopsGatherRowsDesc_t;
#define PTXOPS_GATHER_ROWS_DESC_INITIALIZER \
  { PTXOPS_HEADER(ptxopsGatherRowsDesc_t), 0, 0, 0 }

typedef struct ptxopsGatherRowsArgs_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t x, row_index, y; /* 16-byte aligned, row_index 4; Y must not overlap X */
} ptxopsGatherRowsArgs_t;
#define PTXOPS_GATHER_ROWS_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsGatherRowsArgs_t), 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsGatherRowsCheck(const ptxopsGatherRowsDesc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsGatherRowsPlanCreate(ptxopsContext_t context,
                                                     const ptxopsGatherRowsDesc_t* desc, ptxopsPlan_t* plan);
PTXOPS_API ptxopsStatus_t ptxopsGatherRowsRun(ptxopsPlan_t plan, const ptxopsGatherRowsArgs_t* args,
                                              ptxopsStream_t stream);

/* ---- Weighted scatter (combine)
 * ----------------------------------------------------------------------------------
 *
 *   OUT[t,:] = sum over j < top_k, in order, of weight[t,j] * Y[row[t,j],:] in FP32
 *
 * The scatter in gather form: each token collects its experts' rows, so the result is deterministic. Y BF16
 * [rows, hidden]; row int32 [tokens, top_k], an index outside Y (-1, say: this expert is not local)
 * contributes nothing; weight FP32 [tokens, top_k]; OUT BF16 or FP32 [tokens, hidden]. All are dense.
 */
typedef struct ptxopsWeightedScatterDesc_t {
  size_t size;
  uint32_t magic, version;
  int64_t tokens, rows;
  int64_t hidden;   /* multiple of 8, up to 134215680 */
  int64_t top_k;    /* 1..32 */
  int32_t out_type; /* ptxopsType_t */
} ptxopsWeightedScatterDesc_t;
#define PTXOPS_WEIGHTED_SCATTER_DESC_INITIALIZER \
  { PTXOPS_HEADER(ptxopsWeightedScatterDesc_t), 0, 0, 0, 8, PTXOPS_BF16 }

typedef struct ptxopsWeightedScatterArgs_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t y, row, weight, out; /* y, out 16-byte aligned, row, weight 4 */
} ptxopsWeightedScatterArgs_t;
#define PTXOPS_WEIGHTED_SCATTER_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsWeightedScatterArgs_t), 0, 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsWeightedScatterCheck(const ptxopsWeightedScatterDesc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsWeightedScatterPlanCreate(ptxopsContext_t context,
                                                          const ptxopsWeightedScatterDesc_t* desc,
                                                          ptxopsPlan_t* plan);
PTXOPS_API ptxopsStatus_t ptxopsWeightedScatterRun(ptxopsPlan_t plan, const ptxopsWeightedScatterArgs_t* args,
                                                   ptxopsStream_t stream);

/* ---- MLA decode attention
 * ----------------------------------------------------------------------------------------
 *
 * Latent attention (DeepSeek-V2, V3) of the last s_q tokens of each request, weights absorbed, over a paged
 * cache. For request b, token t, head h, and the keys k that it sees:
 *
 *   s[k] = softmax_scale * (Q[b,t,h,0:512] . C[k,0:512] + Q[b,t,h,512:576] . C[k,512:576])
 *   OUT[b,t,h,:] = sum over k of softmax(s)[k] * C[k,0:512]          LSE[b,h,t] = log(sum over k of
 * exp(s[k]))
 *
 * Key k of request b lies in page page_table[b][k / page_size] of the cache. Seen are k < lengths[b]; causal:
 * k < lengths[b] - (s_q - 1 - t). lengths includes the s_q tokens. A row that sees no key gets OUT 0 and LSE
 * +inf.
 *
 * Lengths and page table are read on the device only, and the schedule is computed there: the plan and a
 * graph that captured a run stay valid whatever they become. A wrong entry never leads outside the cache: a
 * length is clamped to 0 .. max_pages * page_size, keys of a page that does not exist count as zero vectors,
 * and args.flags says so.
 *
 * Arithmetic: products BF16 or FP16 into FP32; softmax in FP32; its weights rounded to the input type for the
 * second product. Deterministic. A request may be split over SMs; where depends on the whole batch, unless
 * split_tokens is given: then its bits depend on nothing but itself.
 */
#define PTXOPS_MLA_LENGTH_NEGATIVE 1 /* bits of args.flags */
#define PTXOPS_MLA_LENGTH_TOO_LONG 2
#define PTXOPS_MLA_PAGE_OUT_OF_RANGE 4
#define PTXOPS_MLA_NO_SLOTS 8 /* max_total_tokens was exceeded: the request was not split */

typedef enum ptxopsMlaMerge_t {
  PTXOPS_MLA_MERGE_AUTO = 0,     /* what the model of ptxopsPlanExplain prefers */
  PTXOPS_MLA_MERGE_SEPARATE = 1, /* a launch of its own */
  PTXOPS_MLA_MERGE_FUSED = 2     /* the attention kernel: who is last at a request's rows */
} ptxopsMlaMerge_t;

typedef struct ptxopsMlaDecodeDesc_t {
  size_t size;
  uint32_t magic, version;
  int64_t batch;       /* requests, up to 65535 */
  int64_t s_q;         /* query tokens of a request, 1 .. 65536 */
  int64_t h_q;         /* query heads, 1 .. 128; one latent head */
  int64_t d_qk;        /* 576 */
  int64_t d_v;         /* 512 */
  int64_t pages;       /* of the cache */
  int64_t page_size;   /* 1 .. 65536 tokens; fastest are 16, 32, 64, 128 */
  int64_t max_pages;   /* of a request: columns of the page table */
  float softmax_scale; /* above 0; 0 = 1 / sqrt(d_qk) */
  int32_t type;        /* PTXOPS_BF16 or PTXOPS_F16: of Q, cache and OUT */
  int32_t causal;
  int32_t lse_base2;     /* 1: LSE in base 2 */
  int32_t lse_empty_neg; /* 1: LSE of a row without keys is -inf */
  int32_t separate_rope; /* 0: rows of Q and cache have 576 columns. 1: args.q and args.cache have 512,
                            args.q_rope and args.cache_rope the other 64 */
  int32_t sm_count;      /* SMs to use; 0 = all of the device */
  int64_t
      split_tokens; /* 0: split as the batch allows. Else a multiple of 64: every request is split there */
  int64_t max_total_tokens; /* with split_tokens: bound of the sum of lengths, sizes the workspace;
                               0 = batch * max_pages * page_size */
  /* Strides, in elements; all but those of LSE and page table multiples of 8. 0 = contiguous, in the order
   * written. The axes of OUT and LSE may lie in any order, but no two rows in the same place. */
  int64_t q_request, q_token, q_head;                /* Q [batch, s_q, h_q, 576 or 512] */
  int64_t q_rope_request, q_rope_token, q_rope_head; /* [batch, s_q, h_q, 64], separate_rope only */
  int64_t cache_page, cache_token;                   /* [pages, page_size, 576 or 512] */
  int64_t cache_rope_page, cache_rope_token;         /* [pages, page_size, 64], separate_rope only */
  int64_t out_request, out_token, out_head;          /* OUT [batch, s_q, h_q, 512] */
  int64_t lse_request, lse_head, lse_token;          /* LSE [batch, h_q, s_q] */
  int64_t table_request;                             /* page table [batch, max_pages] */
  int32_t merge; /* ptxopsMlaMerge_t: who merges requests that were split; the bits are the same */
} ptxopsMlaDecodeDesc_t;
#define PTXOPS_MLA_DECODE_DESC_INITIALIZER                                                                 \
  {                                                                                                        \
    PTXOPS_HEADER(ptxopsMlaDecodeDesc_t), 0, 1, 128, 576, 512, 0, 64, 0, 0.0f, PTXOPS_BF16, 0, 0, 0, 0, 0, \
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, PTXOPS_MLA_MERGE_AUTO                     \
  }

typedef struct ptxopsMlaDecodeArgs_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t q, q_rope; /* 16-byte aligned; q_rope 0 unless separate_rope */
  ptxopsDevicePtr_t cache, cache_rope;
  ptxopsDevicePtr_t page_table; /* int32; entries beyond a request's length are not read */
  ptxopsDevicePtr_t lengths;    /* int32 [batch] */
  ptxopsDevicePtr_t out;        /* 16-byte aligned */
  ptxopsDevicePtr_t lse;        /* FP32 */
  ptxopsDevicePtr_t flags; /* int32 [batch], or 0: each request's PTXOPS_MLA_... bits; 0 = all was well */
} ptxopsMlaDecodeArgs_t;
#define PTXOPS_MLA_DECODE_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsMlaDecodeArgs_t), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsMlaDecodeCheck(const ptxopsMlaDecodeDesc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsMlaDecodePlanCreate(ptxopsContext_t context,
                                                    const ptxopsMlaDecodeDesc_t* desc, ptxopsPlan_t* plan);
/* One run at a time in one workspace. */
PTXOPS_API ptxopsStatus_t ptxopsMlaDecodeRun(ptxopsPlan_t plan, const ptxopsMlaDecodeArgs_t* args,
                                             ptxopsDevicePtr_t workspace, size_t workspace_bytes,
                                             ptxopsStream_t stream);

/* ---- MLA cache: append
 * --------------------------------------------------------------------------------------------------
 *
 * Token t's 512 latent and 64 rope values go to slot[t] = page * page_size + row of the paged cache.
 *
 *   16BIT  BF16 or FP16 bits, copied: 512 latent, then 64 rope, or rope in a tensor of its own
 *   FP8    656 bytes: 512 e4m3 | 4 FP32 scales, one for each 128 | 64 BF16 rope; inputs BF16. For a block x:
 *          a = max(amax |x|, 1e-4), scale = a / 448, q = e4m3(x * (448 / a)). POWER_OF_TWO: scale rounded up
 *          to a power of two, q = e4m3(x / scale). Divisions and products are IEEE FP32. A NaN makes its
 * block NaN, scale and all
 *
 * Slot -1 leaves the token out. Any other slot outside the cache does too, and is counted in bad_slots. The
 * slots of one run must differ. All strides are in bytes, multiples of 16; 0 = dense. Slots of a cache must
 * not overlap.
 */
typedef enum ptxopsMlaCache_t { PTXOPS_MLA_CACHE_16BIT = 0, PTXOPS_MLA_CACHE_FP8 = 1 } ptxopsMlaCache_t;
typedef enum ptxopsMlaScale_t {
  PTXOPS_MLA_SCALE_EXACT = 0,
  PTXOPS_MLA_SCALE_POWER_OF_TWO = 1
} ptxopsMlaScale_t;

typedef struct ptxopsMlaAppendDesc_t {
  size_t size;
  uint32_t magic, version;
  int64_t tokens;
  int64_t pages, page_size;    /* product below 2^31 */
  int32_t format;              /* ptxopsMlaCache_t */
  int32_t scale_rule;          /* ptxopsMlaScale_t; FP8 only */
  int32_t slot_64bit;          /* 1: slots are int64, 0: int32 */
  int32_t separate_rope;       /* 1: rope goes to args.rope_cache (16BIT only) */
  int64_t latent_stride_bytes; /* from token to token of the inputs; 0 = 1024 */
  int64_t rope_stride_bytes;   /* 0 = 128 */
  int64_t page_stride_bytes;   /* 0 = page_size tokens */
  int64_t token_stride_bytes;  /* 0 = 656 (FP8), 1152, or 1024 with separate_rope */
  int64_t rope_page_stride_bytes, rope_token_stride_bytes; /* separate_rope only; 0 = dense */
} ptxopsMlaAppendDesc_t;
#define PTXOPS_MLA_APPEND_DESC_INITIALIZER \
  { PTXOPS_HEADER(ptxopsMlaAppendDesc_t), 0, 0, 64, PTXOPS_MLA_CACHE_16BIT, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

typedef struct ptxopsMlaAppendArgs_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t latent, rope; /* [tokens][512], [tokens][64]; 16-byte aligned, as the caches */
  ptxopsDevicePtr_t slot;         /* int32 or int64 [tokens], aligned to 4 or 8 bytes */
  ptxopsDevicePtr_t cache;
  ptxopsDevicePtr_t rope_cache; /* separate_rope only, else 0 */
  ptxopsDevicePtr_t bad_slots;  /* uint32, the number of bad slots is added to it; or 0 */
} ptxopsMlaAppendArgs_t;
#define PTXOPS_MLA_APPEND_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsMlaAppendArgs_t), 0, 0, 0, 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsMlaAppendCheck(const ptxopsMlaAppendDesc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsMlaAppendPlanCreate(ptxopsContext_t context,
                                                    const ptxopsMlaAppendDesc_t* desc, ptxopsPlan_t* plan);
PTXOPS_API ptxopsStatus_t ptxopsMlaAppendRun(ptxopsPlan_t plan, const ptxopsMlaAppendArgs_t* args,
                                             ptxopsStream_t stream);

/* ---- MLA decode attention over an FP8 cache
 * ---------------------------------------------------------------------------
 *
 * As MLA decode, with a cache of 656-byte tokens (512 e4m3 | 4 FP32 scales | 64 BF16 rope, see MLA cache:
 * append), Q and OUT in BF16. Two forms:
 *
 *   dense   key k of request b lies in page keys[b][k / page_size]; seen are k < lengths[b], causal as above
 *   sparse  query token t of request b names its keys: keys[b][t][0 .. top_k-1], each page * page_size + row.
 *           Seen are those at positions below lengths[b] (or lengths[b][t]; all of them without lengths) that
 *           lie in the cache. -1 means no key; other numbers outside are left out too, and flagged. A token
 *           that is named twice counts twice
 *
 * With a sink (FP32, one per head, any value but NaN), OUT is multiplied by exp(LSE) / (exp(LSE) +
 * exp(sink)); LSE is not. Codes become BF16(code * scale), exact for scales that are powers of two, else
 * rounded once but for a relative error of 2^-17 before (one value in some 256 is the other neighbour).
 * Scales must be below 256: a larger one gives no number. The codes 0x7f and 0xff, e4m3's NaN, count as
 * +-480 (append marks a block that holds a NaN by its scale). Products, softmax, splits and flags as above.
 */
typedef struct ptxopsMlaDecodeFp8Desc_t {
  size_t size;
  uint32_t magic, version;
  int64_t batch;             /* requests, up to 65535 */
  int64_t s_q;               /* query tokens of a request, 1 .. 65536 */
  int64_t h_q;               /* query heads, 1 .. 128 */
  int64_t pages, page_size;  /* of the cache: any, product below 2^31 */
  int32_t sparse;            /* 0 dense, 1 sparse */
  int64_t max_pages;         /* dense: columns of the page table */
  int64_t top_k;             /* sparse: keys of a query token at most */
  int32_t lengths_per_token; /* sparse: 1: lengths is [batch, s_q], 0: [batch] */
  float softmax_scale;       /* above 0; 0 = 1 / sqrt(576) */
  int32_t causal;            /* dense only */
  int32_t lse_base2;         /* 1: LSE in base 2 */
  int32_t lse_empty_neg;     /* 1: LSE of a row without keys is -inf */
  int32_t sm_count;          /* SMs to use; 0 = all of the device */
  int64_t split_tokens;      /* as in MLA decode; with sparse, positions of keys */
  int64_t max_total_tokens;
  /* Strides in elements, those of the cache in bytes; 0 = contiguous, in the order written. Rows of OUT and
   * LSE must not overlap. */
  int64_t q_request, q_token, q_head;            /* Q [batch, s_q, h_q, 576]; multiples of 8 */
  int64_t out_request, out_token, out_head;      /* OUT [batch, s_q, h_q, 512]; multiples of 8 */
  int64_t lse_request, lse_head, lse_token;      /* LSE [batch, h_q, s_q] */
  int64_t keys_request, keys_token;              /* [batch, max_pages], or sparse [batch, s_q, top_k] */
  int64_t page_stride_bytes, token_stride_bytes; /* multiples of 16; 0 = dense, 656 */
} ptxopsMlaDecodeFp8Desc_t;
#define PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER                                                              \
  {                                                                                                         \
    PTXOPS_HEADER(ptxopsMlaDecodeFp8Desc_t), 0, 1, 128, 0, 64, 0, 0, 0, 0, 0.0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                                        \
  }

typedef struct ptxopsMlaDecodeFp8Args_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t q;       /* 16-byte aligned */
  ptxopsDevicePtr_t cache;   /* 16-byte aligned */
  ptxopsDevicePtr_t keys;    /* int32: page table or indices; entries beyond a length are not read */
  ptxopsDevicePtr_t lengths; /* int32 [batch] or [batch, s_q]; sparse: 0 = top_k keys each */
  ptxopsDevicePtr_t sink;    /* FP32 [h_q], or 0 */
  ptxopsDevicePtr_t out;     /* 16-byte aligned */
  ptxopsDevicePtr_t lse;     /* FP32 */
  ptxopsDevicePtr_t
      flags; /* int32 [batch], or sparse [batch, s_q], or 0: PTXOPS_MLA_... bits; 0 = all was well */
} ptxopsMlaDecodeFp8Args_t;
#define PTXOPS_MLA_DECODE_FP8_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsMlaDecodeFp8Args_t), 0, 0, 0, 0, 0, 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsMlaDecodeFp8Check(const ptxopsMlaDecodeFp8Desc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsMlaDecodeFp8PlanCreate(ptxopsContext_t context,
                                                       const ptxopsMlaDecodeFp8Desc_t* desc,
                                                       ptxopsPlan_t* plan);
/* One run at a time in one workspace. */
PTXOPS_API ptxopsStatus_t ptxopsMlaDecodeFp8Run(ptxopsPlan_t plan, const ptxopsMlaDecodeFp8Args_t* args,
                                                ptxopsDevicePtr_t workspace, size_t workspace_bytes,
                                                ptxopsStream_t stream);

/* ---- MLA decode attention in FP8
 * --------------------------------------------------------------------------------------------------
 *
 * As MLA decode, where Q and cache are e4m3 (a token is 576 bytes: 512 latent, 64 rope), each with one scale:
 *
 *   s[k] = softmax_scale * dq * dk * (Q . C[k])      OUT = dk * sum over k of softmax(s)[k] * C[k,0:512]
 *   dq = desc.descale_q * *args.descale_q            dk = desc.descale_k * *args.descale_k
 *
 * Both products are FP8: the softmax's weights are rounded to e4m3, in units of 2^-8 of about the largest,
 * and their rounded sum divides them; LSE has the sum of unrounded ones. So the weight of a key is off by at
 * most 1/16 of itself (keys below 2^-14 of the largest: by 2^-18 of it), and not at all where one key has all
 * the weight. Hopper keeps 14 bits of an FP8 sum: scores have about 11 to 12 bits; the second product is
 * added up in FP32 every 64 keys. A code 0x7f or 0xff (NaN) in a visible key or in Q makes its rows NaN.
 * Everything else as in MLA decode.
 */
typedef struct ptxopsMlaDecodeE4m3Desc_t {
  size_t size;
  uint32_t magic, version;
  int64_t batch;       /* requests, up to 65535 */
  int64_t s_q;         /* query tokens of a request, 1 .. 65536 */
  int64_t h_q;         /* query heads, 1 .. 128; one latent head */
  int64_t d_qk;        /* 576 */
  int64_t d_v;         /* 512 */
  int64_t pages;       /* of the cache */
  int64_t page_size;   /* 16, 32, 64, 128 tokens */
  int64_t max_pages;   /* of a request: columns of the page table */
  float softmax_scale; /* above 0; 0 = 1 / sqrt(d_qk) */
  float descale_q;     /* above 0 */
  float descale_k;     /* above 0 */
  int32_t out_type;    /* PTXOPS_BF16 or PTXOPS_F16 */
  int32_t causal;
  int32_t lse_base2;        /* 1: LSE in base 2 */
  int32_t lse_empty_neg;    /* 1: LSE of a row without keys is -inf */
  int32_t sm_count;         /* SMs to use; 0 = all of the device */
  int64_t split_tokens;     /* as in MLA decode */
  int64_t max_total_tokens; /* as in MLA decode */
  /* Strides, in elements. 0 = contiguous, in the order written. Rows of OUT and LSE must not overlap. */
  int64_t q_request, q_token, q_head;       /* Q [batch, s_q, h_q, 576]; multiples of 16 */
  int64_t cache_page, cache_token;          /* [pages, page_size, 576]; multiples of 16 */
  int64_t out_request, out_token, out_head; /* OUT [batch, s_q, h_q, 512]; multiples of 8 */
  int64_t lse_request, lse_head, lse_token; /* LSE [batch, h_q, s_q] */
  int64_t table_request;                    /* page table [batch, max_pages] */
} ptxopsMlaDecodeE4m3Desc_t;
#define PTXOPS_MLA_DECODE_E4M3_DESC_INITIALIZER                                                             \
  {                                                                                                         \
    PTXOPS_HEADER(ptxopsMlaDecodeE4m3Desc_t), 0, 1, 128, 576, 512, 0, 64, 0, 0.0f, 1.0f, 1.0f, PTXOPS_BF16, \
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                \
  }

typedef struct ptxopsMlaDecodeE4m3Args_t {
  size_t size;
  uint32_t magic, version;
  ptxopsDevicePtr_t q, cache;             /* e4m3; 16-byte aligned */
  ptxopsDevicePtr_t descale_q, descale_k; /* FP32, one each, read by the run, above 0; or 0: 1 */
  ptxopsDevicePtr_t page_table;           /* int32; entries beyond a request's length are not read */
  ptxopsDevicePtr_t lengths;              /* int32 [batch] */
  ptxopsDevicePtr_t out;                  /* 16-byte aligned */
  ptxopsDevicePtr_t lse;                  /* FP32 */
  ptxopsDevicePtr_t flags; /* int32 [batch], or 0: each request's PTXOPS_MLA_... bits; 0 = all was well */
} ptxopsMlaDecodeE4m3Args_t;
#define PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER \
  { PTXOPS_HEADER(ptxopsMlaDecodeE4m3Args_t), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

PTXOPS_API ptxopsStatus_t ptxopsMlaDecodeE4m3Check(const ptxopsMlaDecodeE4m3Desc_t* desc);
PTXOPS_API ptxopsStatus_t ptxopsMlaDecodeE4m3PlanCreate(ptxopsContext_t context,
                                                        const ptxopsMlaDecodeE4m3Desc_t* desc,
                                                        ptxopsPlan_t* plan);
/* One run at a time in one workspace. */
PTXOPS_API ptxopsStatus_t ptxopsMlaDecodeE4m3Run(ptxopsPlan_t plan, const ptxopsMlaDecodeE4m3Args_t* args,
                                                 ptxopsDevicePtr_t workspace, size_t workspace_bytes,
                                                 ptxopsStream_t stream);

#ifdef __cplusplus
}
#endif

#endif /* PTXOPS_H_ */
