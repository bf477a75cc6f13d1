#include "ops/gemm/fp8_gemm.h"

#include <algorithm>
#include <cstring>

namespace ptxops::ops {
namespace {

constexpr const char* kRowMapPath = "gemm/row_map_to_groups.ptx";
constexpr uint32_t kRowMapThreads = 1024;
// Flags of the kernel's head.
constexpr uint32_t kEarlyWeights = 1, kStreamWeights = 2;

driver::TiledTensor matrix(abi::CUtensorMapDataType type, ptxopsDevicePtr_t address, int64_t columns,
                           int64_t rows, int64_t stride_bytes, int64_t box_columns, int64_t box_rows,
                           abi::CUtensorMapSwizzle swizzle, abi::CUtensorMapL2promotion promotion) {
  driver::TiledTensor t;
  t.type = type;
  t.rank = 2;
  t.address = address;
  t.dim[0] = static_cast<uint64_t>(columns);
  t.dim[1] = static_cast<uint64_t>(rows);
  t.stride[0] = static_cast<uint64_t>(stride_bytes);
  t.box[0] = static_cast<uint32_t>(box_columns);
  t.box[1] = static_cast<uint32_t>(box_rows);
  t.swizzle = swizzle;
  t.l2_promotion = promotion;
  return t;
}

abi::CUtensorMapSwizzle swizzle_of(int bytes) {
  return bytes == 128  ? abi::CU_TENSOR_MAP_SWIZZLE_128B
         : bytes == 64 ? abi::CU_TENSOR_MAP_SWIZZLE_64B
                       : abi::CU_TENSOR_MAP_SWIZZLE_32B;
}

autotune::GemmShape shape_of(const ptxopsFp8GemmDesc_t& d, int sm_count) {
  autotune::GemmShape s;
  s.form = d.form;
  s.out = d.out_type;
  s.rows_per_group = d.expected_m;
  s.m = d.form == PTXOPS_GEMM_GROUPED_MASKED ? d.groups * d.expected_m : d.m;
  s.n = d.n, s.k = d.k, s.groups = d.groups;
  s.sm_count = sm_count;
  return s;
}

}  // namespace

Fp8GemmPlan::Fp8GemmPlan(ptxopsContext_st& context, const ptxopsFp8GemmDesc_t& desc)
    : ptxopsPlan_st(context),
      desc_(desc),
      sm_count_(desc.sm_count ? desc.sm_count : context.info.sm_count / 2 * 2) {
  if (sm_count_ > context.info.sm_count)
    fail(PTXOPS_INVALID_ARGUMENT, "desc.sm_count: expected at most the device's {}, got {}",
         context.info.sm_count, sm_count_);
  if (sm_count_ < 2)
    fail(PTXOPS_NOT_SUPPORTED, "device: an FP8 GEMM expects at least 2 SMs, got {}", context.info.sm_count);
  shape_ = shape_of(desc_, sm_count_);
  config_ = &autotune::choose(shape_);
  const int64_t m_blocks = ceil_div(desc_.expected_m, config_->block_m);
  // A band of m-blocks shares the B tiles in L2; 16 blocks of A fit beside them.
  raster_ = static_cast<uint32_t>(std::clamp<int64_t>(m_blocks, 1, 16));
  flags_ = (desc_.weights_static ? kEarlyWeights : 0) | (m_blocks == 1 ? kStreamWeights : 0);
}

size_t Fp8GemmPlan::workspace_bytes() const {
  const bool maps_rows =
      desc_.form == PTXOPS_GEMM_GROUPED_CONTIGUOUS && desc_.group_layout == PTXOPS_GROUPS_ROW_MAP;
  return maps_rows ? static_cast<size_t>(round_up(2 * 4 * desc_.groups, 256)) : 0;
}

void Fp8GemmPlan::prepare() {
  driver::LaunchShape shape;
  shape.grid.x = static_cast<uint32_t>(sm_count_ / config_->cluster * config_->cluster);
  shape.block.x = static_cast<uint32_t>(config_->threads);
  if (config_->cluster > 1) shape.cluster = {static_cast<uint32_t>(config_->cluster), 1, 1};
  shape.dynamic_shared_bytes = static_cast<uint32_t>(config_->smem_bytes);
  shape.programmatic = true;
  gemm_.prepare(context, autotune::kFp8GemmPath, config_->params(), shape);
  if (workspace_bytes() == 0) return;
  driver::LaunchShape one;
  one.block.x = kRowMapThreads;
  one.programmatic = true;
  row_map_.prepare(context, kRowMapPath, {}, one);
}

void Fp8GemmPlan::check_args(const ptxopsFp8GemmArgs_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                             ptxopsStream_t stream) const {
  const auto tensor = [&](const char* name, ptxopsDevicePtr_t p) {
    check_pointer(name, p, 16);
    check_device(context, name, p);
  };
  tensor("args.a", args.a);
  tensor("args.sfa", args.sfa);
  tensor("args.b", args.b);
  tensor("args.sfb", args.sfb);
  tensor("args.d", args.d);
  if (desc_.form == PTXOPS_GEMM_DENSE) {
    if (args.groups)
      fail(PTXOPS_INVALID_ARGUMENT, "args.groups: expected 0 for a dense GEMM, got 0x{:x}", args.groups);
  } else {
    check_pointer("args.groups", args.groups, workspace_bytes() ? 16 : 4);
    check_device(context, "args.groups", args.groups);
  }
  if (const size_t needed = workspace_bytes()) check_workspace(context, workspace, bytes, needed);
  check_stream(context, stream);
}

void Fp8GemmPlan::encode(const ptxopsFp8GemmArgs_t& args, Maps& maps) const {
  using namespace abi;
  const driver::Driver& driver = context.driver_context.driver();
  const bool masked = desc_.form == PTXOPS_GEMM_GROUPED_MASKED, f32 = desc_.out_type == PTXOPS_F32;
  const int64_t rows = masked ? desc_.groups * desc_.m : desc_.m;
  const int64_t scale_rows = desc_.k / 128 * (masked ? desc_.groups : 1);
  encode_tiled(driver,
               matrix(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.a, desc_.k, rows, desc_.k, 128, config_->a_box_rows,
                      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B),
               maps.a);
  encode_tiled(driver,
               matrix(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.b, desc_.k, desc_.groups * desc_.n, desc_.k, 128,
                      config_->block_n, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B),
               maps.b);
  encode_tiled(driver,
               matrix(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, args.sfa, desc_.m, scale_rows, desc_.ld_sfa * 4,
                      config_->block_m, 1, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE),
               maps.sfa);
  encode_tiled(driver,
               matrix(f32 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, args.d,
                      desc_.n, rows, desc_.ldd * (f32 ? 4 : 2), config_->d_box_cols, 64,
                      swizzle_of(config_->d_swizzle_bytes), CU_TENSOR_MAP_L2_PROMOTION_NONE),
               maps.d);
}

void Fp8GemmPlan::run(const ptxopsFp8GemmArgs_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                      ptxopsStream_t stream) {
  if (!gemm_.ready())
    fail(PTXOPS_NOT_PREPARED, "plan: expected a prepared plan; call ptxopsPlanPrepare first");
  if (desc_.m == 0) return;
  const CurrentContext current(context);
  Maps& maps = remember_run<Maps>(id, WorkspaceCall<ptxopsFp8GemmArgs_t>(args, workspace, bytes, stream),
                                  [&](Maps& made) {
                                    check_args(args, workspace, bytes, stream);
                                    encode(args, made);
                                  });
  const abi::CUstream s = reinterpret_cast<abi::CUstream>(stream);
  uint64_t begin = args.groups, end = args.groups;
  uint32_t m = u32(desc_.m), n = u32(desc_.n), k = u32(desc_.k), groups = u32(desc_.groups),
           ldd = u32(desc_.ldd);
  uint32_t raster = raster_, flags = flags_;
  if (workspace_bytes()) {
    begin = workspace;
    end = workspace + 4 * static_cast<uint64_t>(desc_.groups);
    uint64_t map = args.groups;
    void* parameters[] = {&map, &begin, &end, &m, &groups};
    check_launch(context, "row_map_to_groups", row_map_.launch().try_run(s, parameters));
    flags &= ~kEarlyWeights;  // the group table is now the previous launch's output
  } else if (desc_.form == PTXOPS_GEMM_GROUPED_CONTIGUOUS) {
    end = args.groups + 4;
  }
  uint64_t d = args.d, sfb = args.sfb;
  void* parameters[] = {&maps.a, &maps.b, &maps.sfa, &maps.d, &d,   &sfb,    &begin, &end,
                        &m,      &n,      &k,        &groups, &ldd, &raster, &flags};
  check_launch(context, "fp8_gemm", gemm_.launch().try_run(s, parameters));
}

std::string Fp8GemmPlan::explain() const {
  std::string text = fmt::format(
      "fp8_gemm {}: m {} (expected {} rows a group), n {}, k {}, groups {}, {} output, {} SMs\n"
      "choice by the analytic model; cycles are modelled, never measured\n"
      "rank tile          cluster stages smem    tiles  waves  k-block fixed  total cycles  bound by\n",
      desc_.form == PTXOPS_GEMM_DENSE            ? "dense"
      : desc_.form == PTXOPS_GEMM_GROUPED_MASKED ? "masked"
                                                 : "contiguous",
      desc_.m, desc_.expected_m, desc_.n, desc_.k, desc_.groups,
      desc_.out_type == PTXOPS_F32 ? "FP32" : "BF16", sm_count_);
  int place = 0;
  for (const autotune::Ranked& r : autotune::rank(shape_, 5)) {
    const autotune::GemmCost& c = r.cost;
    const std::pair<double, const char*> bounds[] = {{c.tensor, "tensor cores"},
                                                     {c.shared, "shared memory"},
                                                     {c.l2, "L2"},
                                                     {c.promotion, "promotion"},
                                                     {c.latency, "load latency"}};
    const auto most = *std::max_element(std::begin(bounds), std::end(bounds),
                                        [](const auto& a, const auto& b) { return a.first < b.first; });
    text += fmt::format(
        "{}{:<3} {:>3}x{:<3}x128    {:<7} {:<6} {:<7} {:<6} {:<6} {:<7.0f} {:<6.0f} {:<13.0f} {}\n", ++place,
        r.config == config_ ? "*" : "", r.config->block_m, r.config->block_n, r.config->cluster,
        r.config->stages, r.config->smem_bytes, c.tiles, c.waves, most.first, c.fixed, c.cycles,
        c.cycles <= c.dram ? "DRAM" : most.second);
  }
  return text;
}

}  // namespace ptxops::ops

using namespace ptxops::ops;

extern "C" {

ptxopsStatus_t ptxopsFp8GemmPlanCreate(ptxopsContext_t context, const ptxopsFp8GemmDesc_t* desc,
                                       ptxopsPlan_t* plan) {
  return create_plan<Fp8GemmPlan>(context, plan, [&] { return complete(desc); });
}

ptxopsStatus_t ptxopsFp8GemmRun(ptxopsPlan_t plan, const ptxopsFp8GemmArgs_t* args,
                                ptxopsDevicePtr_t workspace, size_t workspace_bytes, ptxopsStream_t stream) {
  return guarded([&] {
    Fp8GemmPlan& p = expect_plan<Fp8GemmPlan>(plan);
    const ptxopsFp8GemmArgs_t defaults = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
    p.run(read_struct("args", args, defaults), workspace, workspace_bytes, stream);
  });
}

}  // extern "C"
