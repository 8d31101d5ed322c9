#include "megalith/models/stored_tensor.h"

#include <algorithm>

#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

/// Elements converted at a time: what a conversion costs in memory.
constexpr int64_t kChunk = int64_t{1} << 20;

bool is_floating(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

}  // namespace

void fill_from_stored(const std::string& name, std::span<const std::byte> bytes, DType dtype,
                      const Tensor& to, Exec& exec) {
  MG_CHECK(to.is_contiguous(), "'{}': stored tensors fill contiguous ones", name);
  if (dtype == to.dtype()) return exec.upload(bytes, to);
  MG_CHECK(is_floating(dtype) && is_floating(to.dtype()),
           "tensor '{}' holds {}, which does not convert to {}", name, name_of(dtype), name_of(to.dtype()));
  const Tensor flat = to.view({to.numel()});
  const auto item_bytes = static_cast<int64_t>(size_of(dtype));
  for (int64_t begin = 0; begin < to.numel(); begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, to.numel());
    const Tensor staged = exec.empty({end - begin}, dtype);
    exec.upload(bytes.subspan(static_cast<size_t>(begin * item_bytes), static_cast<size_t>(staged.nbytes())),
                staged);
    copy(staged, flat.slice(0, begin, end), exec);
  }
}

void read_stored_tensor(const SafetensorsFile& file, const SafetensorsEntry& entry, const Tensor& to,
                        Exec& exec) {
  const TensorInfo& info = entry.info;
  MG_CHECK(info.shape == to.shape(), "{}: tensor '{}' has shape {}, the model needs {}", file.path().string(),
           info.name, info.shape.str(), to.shape().str());
  fill_from_stored(info.name, entry.bytes, info.dtype, to, exec);
}

}  // namespace megalith
