#include "megalith/kernels/cuda/tensor_map.h"

#include <cuda_runtime_api.h>

#include "megalith/core/cuda/check.h"
#include "megalith/core/exec.h"

namespace megalith::cuda {
namespace {

// The driver's function, looked up once: the program is not linked to the driver.
struct Encoder {
  decltype(&cuTensorMapEncodeTiled) encode = nullptr;
};

}  // namespace

CUtensorMap make_tensor_map(const TensorMapArgs& args, Exec& exec) {
  Encoder& encoder = exec.slots().get<Encoder>();
  if (encoder.encode == nullptr) {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    MG_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                   cudaEnableDefault, &found));
    MG_CHECK(found == cudaDriverEntryPointSuccess, "the CUDA driver has no cuTensorMapEncodeTiled");
    encoder.encode = reinterpret_cast<decltype(encoder.encode)>(function);
  }
  constexpr int kRank = 3;
  constexpr int64_t kItemBytes = 2;
  cuuint64_t extents[kRank], stride_bytes[kRank - 1];
  cuuint32_t box[kRank], steps[kRank];
  for (int i = 0; i < kRank; ++i) {
    extents[i] = static_cast<cuuint64_t>(args.extents[i]);
    box[i] = static_cast<cuuint32_t>(args.box[i]);
    steps[i] = 1;
    if (i > 0) stride_bytes[i - 1] = static_cast<cuuint64_t>(args.strides[i - 1] * kItemBytes);
  }
  CUtensorMap map;
  const CUresult result =
      encoder.encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, kRank, const_cast<void*>(args.data), extents,
                     stride_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  MG_CHECK(result == CUDA_SUCCESS, "cuTensorMapEncodeTiled failed with {}: {} x {} x {}, strides {}, {}",
           static_cast<int>(result), extents[0], extents[1], extents[2], args.strides[0], args.strides[1]);
  return map;
}

}  // namespace megalith::cuda
