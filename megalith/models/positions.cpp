#include "megalith/models/positions.h"

#include <vector>

#include "megalith/base/math.h"

namespace megalith {

Tensor sequence_positions(int64_t batch, int64_t seq, Exec& exec) {
  std::vector<int32_t> positions;
  positions.reserve(static_cast<size_t>(batch * seq));
  for (int64_t i = 0; i < batch * seq; ++i) positions.push_back(narrow<int32_t>(i % seq));
  return exec.from_host(std::span<const int32_t>(positions), {batch * seq});
}

}  // namespace megalith
