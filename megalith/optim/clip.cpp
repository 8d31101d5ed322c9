#include "megalith/optim/clip.h"

#include <algorithm>
#include <cmath>

#include "megalith/ops/adamw.h"

namespace megalith {

double global_grad_norm(const ParameterStore& store, Exec& exec) {
  return std::sqrt(sum_of_squares(store.flat_grad(), exec));
}

double clip_coefficient(double norm, double max_norm) {
  return max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1;
}

}  // namespace megalith
